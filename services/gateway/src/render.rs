//! Answers written by serde, so that payloads and results in them pass as the bytes that came. The framework's own JSON
//! goes by way of a tree that rounds numbers, drops keys that stand twice, and knows no number beyond a double.

use std::borrow::Cow;

use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::{ParseFromJSON, ParseResult, ToJSON, Type};
use serde::Serialize;
use serde_json::Value;
use taskweir_domain::Json as JsonText;

/// Any JSON, as it came.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(crate) struct RawJson(pub(crate) JsonText);

impl RawJson {
    /// A text that is JSON; `null` where it is none.
    pub(crate) fn of(text: impl Into<String>) -> Self {
        Self(JsonText::parse(text.into()).unwrap_or_else(|_| JsonText::null()))
    }
}

impl Type for RawJson {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "any".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::ANY))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

/// What `Object` asks of each field. Requests are read by the domain.
impl ParseFromJSON for RawJson {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self::of(value.unwrap_or_default().to_string()))
    }
}

/// What `Object` asks of each field; the answers themselves are written by [`Rendered`].
impl ToJSON for RawJson {
    fn to_json(&self) -> Option<Value> {
        serde_json::to_value(&self.0).ok()
    }
}

/// A JSON answer, documented as its type.
#[derive(Debug)]
pub(crate) struct Rendered<T>(pub(crate) T);

impl<T: Type> Payload for Rendered<T> {
    const CONTENT_TYPE: &'static str = Json::<T>::CONTENT_TYPE;

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Serialize + Send> IntoResponse for Rendered<T> {
    fn into_response(self) -> Response {
        serde_json::to_string(&self.0)
            .unwrap_or_default()
            .with_content_type("application/json; charset=utf-8")
            .into_response()
    }
}

impl<T: Type + Serialize> ApiResponse for Rendered<T> {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType {
                    content_type: Self::CONTENT_TYPE,
                    schema: T::schema_ref(),
                }],
                headers: vec![],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
