//! The OpenAPI document and its page, with the way to say who one is: poem-openapi knows schemes only as arguments of
//! single calls, and here every call has the same one.

use poem::endpoint::make_sync;
use poem::web::Html;
use poem::{Endpoint, IntoResponse};

const COMPONENTS: &str = r#""components": {"#;
/// Any call may be made without where there are no keys.
const SECURED: &str = r#""security": [{}, {"key": []}],
  "components": {
    "securitySchemes": {
      "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A secret of `TASKWEIR_API_KEYS`; where there are none, nobody is asked."
      }
    },"#;

/// The document with its security scheme.
pub(super) fn secured(spec: &str) -> String {
    spec.replacen(COMPONENTS, SECURED, 1)
}

/// Serves the document.
pub(super) fn endpoint(document: String) -> impl Endpoint {
    make_sync(move |_| {
        let document = document.clone();
        document
            .with_content_type("application/json")
            .into_response()
    })
}

/// Serves Swagger UI, made for `spec`, with the document in its place.
pub(super) fn page(html: &str, spec: &str, document: &str) -> impl Endpoint + use<> {
    let html = html.replacen(spec, document, 1);
    make_sync(move |_| Html(html.clone()))
}
