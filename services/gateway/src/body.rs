//! JSON request bodies as text: documented as their type, checked field by field by the domain.

use std::marker::PhantomData;

use poem::error::ReadBodyError;
use poem::http::Method;
use poem::{Request, RequestBody};
use poem_openapi::error::ContentTypeError;
use poem_openapi::payload::{Json, ParsePayload, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, Object, impl_apirequest_for_payload,
};
use serde_json::Value;
use taskweir_domain::Ask;

use crate::problem::{ApiError, Field};

/// Longest body: a batch of 1,000 tasks of 16 KiB each, or a few of the largest payloads.
pub(crate) const MAX_BODY: usize = 16 * 1024 * 1024;
/// Longest body of a call that takes a reason alone.
const MAX_REASON_BODY: usize = 64 * 1024;

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

/// Why the body of a request is not taken, before it is read: it is compressed, or the call takes none.
pub(crate) fn refused(request: &Request) -> Option<ApiError> {
    let encoding = request.header("content-encoding").unwrap_or("identity");
    if !encoding.trim().eq_ignore_ascii_case("identity") {
        let detail = format!("a body in {encoding:?} is not taken: send it as it is");
        return Some(ApiError::content_type(detail));
    }
    let has_body = match request.header("content-length") {
        Some(length) => length != "0",
        None => request.headers().contains_key("transfer-encoding"),
    };
    if request.method() == Method::DELETE && has_body {
        let detail = "DELETE takes no body; where a reason is taken, it is the parameter ?reason=";
        return Some(ApiError::field("", detail));
    }
    None
}

/// Why something is asked for.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct ReasonRequest {
    /// For the history: at most 500 bytes.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

/// The reason of a call that may give one: `{"reason": "…"}`, or no body at all.
#[derive(Debug)]
pub(crate) struct Reason(pub(crate) Option<String>);

impl Reason {
    /// Checks a reason, wherever it stands.
    pub(crate) fn check(reason: Option<String>) -> Result<Self, ApiError> {
        let long = |reason: &String| reason.len() > Ask::MAX_REASON;
        if reason.as_ref().is_some_and(long) {
            let takes = format!("must be a text of at most {} bytes", Ask::MAX_REASON);
            return Err(ApiError::field("reason", takes));
        }
        Ok(Self(reason))
    }

    fn read(text: &str) -> Result<Self, ApiError> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let value: Value =
            serde_json::from_str(text).map_err(|error| ApiError::not_json(&error))?;
        let Value::Object(mut fields) = value else {
            return Err(ApiError::field("", "must be an object, or nothing at all"));
        };
        let reason = match fields.remove("reason") {
            None | Some(Value::Null) => None,
            Some(Value::String(reason)) => Some(reason),
            Some(_) => return Err(ApiError::field("reason", "must be a text")),
        };
        let unknown = fields.keys().map(|name| {
            let message = "is not a field of this call; known is reason";
            Field::new(name, message)
        });
        let unknown: Vec<Field> = unknown.collect();
        if !unknown.is_empty() {
            return Err(ApiError::fields(unknown));
        }
        Self::check(reason)
    }
}

impl<'a> ApiExtractor<'a> for Reason {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        ReasonRequest::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType {
                content_type: Json::<ReasonRequest>::CONTENT_TYPE,
                schema: ReasonRequest::schema_ref(),
            }],
            required: false,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let bytes = body.take()?.into_bytes_limit(MAX_REASON_BODY).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        match request.content_type() {
            Some(kind) if Json::<ReasonRequest>::check_content_type(kind) => {}
            Some(kind) => {
                let content_type = kind.to_owned();
                return Err(ContentTypeError::NotSupported { content_type }.into());
            }
            None => return Err(ContentTypeError::ExpectContentType.into()),
        }
        let text = String::from_utf8(bytes.into()).map_err(ReadBodyError::Utf8)?;
        Ok(Self::read(&text)?)
    }
}
