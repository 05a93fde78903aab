//! What the OpenAPI document says of a call: its methods, for the `Allow` header of a 405, and its
//! query parameters, so that an unknown one is refused by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use poem::Response;
use poem::http::Method;
use poem::http::header::{ALLOW, HeaderValue};

use crate::problem::Field;

/// A path of the API: its methods, each with its query parameters.
#[derive(Debug)]
struct Path {
    segments: Vec<String>,
    methods: BTreeMap<String, Vec<String>>,
}

/// Every path of the API.
#[derive(Debug, Clone)]
pub(crate) struct Calls(Arc<Vec<Path>>);

fn parameters(operation: &serde_json::Value) -> Vec<String> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let queries = all.filter(|parameter| parameter["in"] == "query");
    queries
        .filter_map(|parameter| parameter["name"].as_str().map(ToOwned::to_owned))
        .collect()
}

impl Calls {
    /// Reads an OpenAPI document.
    pub(crate) fn of_spec(spec: &str) -> Self {
        let document: serde_json::Value = serde_json::from_str(spec).unwrap_or_default();
        let paths = document["paths"].as_object().into_iter().flatten();
        let paths = paths.map(|(path, operations)| {
            let operations = operations.as_object().into_iter().flatten();
            let methods = operations
                .map(|(method, operation)| (method.to_uppercase(), parameters(operation)));
            Path {
                segments: path.split('/').map(ToOwned::to_owned).collect(),
                methods: methods.collect(),
            }
        });
        Self(Arc::new(paths.collect()))
    }

    /// The path of the document that a request fits, such as `/tasks/{id}`.
    pub(crate) fn route(&self, path: &str) -> Option<String> {
        self.find(path).map(|path| path.segments.join("/"))
    }

    /// The path that fits best: one without parameters before one with.
    fn find(&self, path: &str) -> Option<&Path> {
        let asked: Vec<&str> = path.split('/').collect();
        let fits = |known: &&Path| {
            known.segments.len() == asked.len()
                && known
                    .segments
                    .iter()
                    .zip(&asked)
                    .all(|(known, asked)| known == asked || known.starts_with('{'))
        };
        let found = self.0.iter().filter(fits);
        found.min_by_key(|path| {
            path.segments
                .iter()
                .filter(|segment| segment.starts_with('{'))
                .count()
        })
    }

    /// Whether this is a path of the API.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// Whether this is a call of the API.
    pub(crate) fn takes(&self, method: &Method, path: &str) -> bool {
        self.find(path)
            .is_some_and(|path| path.methods.contains_key(method.as_str()))
    }

    /// Adds the `Allow` header for a path.
    pub(crate) fn allow(&self, path: &str, response: &mut Response) {
        let methods = self
            .find(path)
            .map(|path| path.methods.keys().cloned().collect());
        let mut methods: Vec<String> = methods.unwrap_or_else(|| vec!["GET".to_owned()]);
        if methods.iter().any(|method| method == "GET") {
            methods.push("HEAD".to_owned());
        }
        if let Ok(value) = HeaderValue::from_str(&methods.join(", ")) {
            response.headers_mut().insert(ALLOW, value);
        }
    }

    /// Query parameters of a request that the call does not take, or takes once only.
    pub(crate) fn strangers(&self, method: &Method, path: &str, query: &str) -> Vec<Field> {
        let method = if *method == Method::HEAD {
            "GET"
        } else {
            method.as_str()
        };
        let Some(known) = self.find(path).and_then(|path| path.methods.get(method)) else {
            return Vec::new();
        };
        let mut seen = Vec::new();
        let mut strangers = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap_or_default();
            let message = if !known.iter().any(|known| known == name) {
                format!("is not a parameter; known are {}", known.join(", "))
            } else if seen.contains(&name) {
                "is given twice".to_owned()
            } else {
                seen.push(name);
                continue;
            };
            strangers.push(Field {
                field: name.to_owned(),
                message,
            });
        }
        strangers
    }
}
