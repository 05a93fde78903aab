//! Around every page: strict headers, no posts from other sites, errors as pages.

use std::sync::Arc;

use poem::error::NotFoundError;
use poem::http::header::{self, HeaderValue};
use poem::http::{Method, StatusCode};
use poem::{Endpoint, IntoResponse, Request, Response};

use taskweir_runtime::listen::HostGuard;

use crate::gate::Gate;
use crate::{layout, url};

const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("x-frame-options", "DENY"),
];

/// Whether a form was sent by a page of ours. Browsers say where a post comes from; programs
/// without these headers are no browsers and carry nobody's session.
fn is_own(request: &Request) -> bool {
    let text = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), _, _) => site == "same-origin" || site == "none",
        (None, Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, from)| from == host),
        (None, Some(_), None) => false,
        (None, None, _) => true,
    }
}

/// What is shown to everybody.
fn is_open(path: &str) -> bool {
    path == url::SIGN_IN || path == "/health/live" || path.starts_with("/assets/")
}

pub(crate) async fn guard<E>(
    hosts: HostGuard,
    gate: Gate,
    next: Arc<E>,
    mut request: Request,
) -> poem::Result<Response>
where
    E: Endpoint,
    E::Output: IntoResponse,
{
    let foreign = if !hosts.allows(request.header("host")) {
        Some("this dashboard listens on loopback and answers only to localhost")
    } else if request.method() == Method::POST && !is_own(&request) {
        Some("this form was sent from another site")
    } else {
        None
    };
    let open = is_open(request.uri().path());
    let visitor = gate.visitor(&request);
    let mut response = if let Some(why) = foreign {
        layout::problem(StatusCode::FORBIDDEN, why)
    } else if visitor.is_none() && !open {
        StatusCode::SEE_OTHER
            .with_header(header::LOCATION, url::SIGN_IN)
            .into_response()
    } else {
        if let Some(visitor) = visitor {
            request.set_data(visitor);
        }
        match next.call(request).await {
            Ok(response) => response.into_response(),
            Err(error) => {
                let status = error.status();
                let detail = match status {
                    StatusCode::NOT_FOUND if error.is::<NotFoundError>() => {
                        "there is no such page".to_owned()
                    }
                    StatusCode::SERVICE_UNAVAILABLE => {
                        "Redis is away; this page tries again by itself".to_owned()
                    }
                    _ => error.to_string(),
                };
                layout::problem(status, &detail)
            }
        }
    };
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    if !response.headers().contains_key(header::CACHE_CONTROL) {
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use poem::Request;

    use super::is_own;

    fn request(headers: &[(&'static str, &str)]) -> bool {
        let mut builder = Request::builder();
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        is_own(&builder.finish())
    }

    #[test]
    fn forms_of_other_sites_are_told_by_their_headers() {
        assert!(request(&[]));
        assert!(request(&[("sec-fetch-site", "same-origin")]));
        assert!(!request(&[("sec-fetch-site", "cross-site")]));
        assert!(!request(&[("sec-fetch-site", "same-site")]));
        assert!(request(&[
            ("origin", "http://localhost:5001"),
            ("host", "localhost:5001")
        ]));
        assert!(!request(&[
            ("origin", "http://evil.example"),
            ("host", "localhost:5001")
        ]));
        assert!(!request(&[("origin", "null"), ("host", "localhost:5001")]));
    }
}
