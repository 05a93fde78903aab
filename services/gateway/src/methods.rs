//! The `Allow` header of a 405, taken from the OpenAPI document.

use std::sync::Arc;

use poem::Response;
use poem::http::header::{ALLOW, HeaderValue};

/// Which methods each path of the API takes.
#[derive(Debug, Clone)]
pub(crate) struct Methods(Arc<Vec<(Vec<String>, String)>>);

impl Methods {
    /// Reads the paths of an OpenAPI document.
    pub(crate) fn of_spec(spec: &str) -> Self {
        let document: serde_json::Value = serde_json::from_str(spec).unwrap_or_default();
        let paths = document["paths"].as_object().into_iter().flatten();
        let table = paths.map(|(path, operations)| {
            let methods = operations.as_object().into_iter().flatten();
            let mut methods: Vec<String> =
                methods.map(|(method, _)| method.to_uppercase()).collect();
            if methods.iter().any(|method| method == "GET") {
                methods.push("HEAD".to_owned());
            }
            let segments = path.split('/').map(ToOwned::to_owned).collect();
            (segments, methods.join(", "))
        });
        Self(Arc::new(table.collect()))
    }

    /// Adds the header for a path.
    pub(crate) fn allow(&self, path: &str, response: &mut Response) {
        let asked: Vec<&str> = path.split('/').collect();
        let fits = |known: &[String]| {
            known.len() == asked.len()
                && known
                    .iter()
                    .zip(&asked)
                    .all(|(known, asked)| known == asked || known.starts_with('{'))
        };
        let found = self.0.iter().find(|(known, _)| fits(known));
        let allowed = found.map_or("GET", |(_, methods)| methods.as_str());
        if let Ok(value) = HeaderValue::from_str(allowed) {
            response.headers_mut().insert(ALLOW, value);
        }
    }
}
