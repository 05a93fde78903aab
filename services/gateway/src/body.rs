//! JSON request bodies as text: documented as their type, checked field by field by the domain.

use std::marker::PhantomData;

use poem::error::ReadBodyError;
use poem::{Request, RequestBody};
use poem_openapi::impl_apirequest_for_payload;
use poem_openapi::payload::{Json, ParsePayload, Payload};
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;

/// Longest body: a batch of 1,000 tasks of 16 KiB each, or a few of the largest payloads.
pub(crate) const MAX_BODY: usize = 16 * 1024 * 1024;

/// A JSON body, not parsed yet.
#[derive(Debug)]
pub(crate) struct JsonText<T> {
    pub(crate) text: String,
    documented: PhantomData<fn() -> T>,
}

impl<T: Type> Payload for JsonText<T> {
    const CONTENT_TYPE: &'static str = Json::<T>::CONTENT_TYPE;

    fn check_content_type(content_type: &str) -> bool {
        Json::<T>::check_content_type(content_type)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type> ParsePayload for JsonText<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(_: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let bytes = body.take()?.into_bytes_limit(MAX_BODY).await?;
        let text = String::from_utf8(bytes.into()).map_err(ReadBodyError::Utf8)?;
        Ok(Self {
            text,
            documented: PhantomData,
        })
    }
}

impl_apirequest_for_payload!(JsonText<T>, T: Type);
