//! Around every page: strict headers, no posts from other sites, errors as pages.

use std::sync::Arc;

use poem::error::NotFoundError;
use poem::http::header::{self, HeaderValue};
use poem::http::{Method, StatusCode};
use poem::{Endpoint, IntoResponse, Request, Response};

use taskweir_runtime::listen::{BasePath, HostGuard, is_own};

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

/// When a page that could not be made is asked for again.
const AGAIN_SECONDS: &str = "5";

/// What is shown to everybody.
fn is_open(path: &str) -> bool {
    path == url::SIGN_IN || path == "/health/live" || path.starts_with("/assets/")
}

/// How long a form is, as its sender says and is held to; `None` where it does not say.
fn length(request: &Request) -> Option<u64> {
    match request.header("content-length") {
        Some(length) => length.parse().ok(),
        // Neither a length nor chunks: no body at all.
        None if !request.headers().contains_key("transfer-encoding") => Some(0),
        None => None,
    }
}

/// `most` is the length of the longest form, bytes: forms are read whole.
pub(crate) async fn guard<E>(
    most: u64,
    hosts: HostGuard,
    gate: Gate,
    next: Arc<E>,
    mut request: Request,
) -> poem::Result<Response>
where
    E: Endpoint,
    E::Output: IntoResponse,
{
    let refused = if !hosts.allows(request.header("host")) {
        let why = "this dashboard listens on loopback and answers only to localhost";
        Some((StatusCode::FORBIDDEN, why))
    } else if request.method() == Method::POST && !is_own(request.headers()) {
        let why = "this form was sent from another site";
        Some((StatusCode::FORBIDDEN, why))
    } else if request.method() == Method::POST && length(&request).is_none_or(|long| long > most) {
        let why = "this form is longer than any that fits";
        Some((StatusCode::PAYLOAD_TOO_LARGE, why))
    } else {
        None
    };
    let open = is_open(request.uri().path());
    let looks = request.method() == Method::GET;
    let visitor = gate.visitor(&request);
    let mut response = if let Some((status, why)) = refused {
        layout::problem(visitor.as_ref(), status, why)
    } else if visitor.is_none() && !open {
        StatusCode::SEE_OTHER
            .with_header(header::LOCATION, url::SIGN_IN)
            .into_response()
    } else {
        if let Some(visitor) = &visitor {
            request.set_data(visitor.clone());
        }
        match next.call(request).await {
            Ok(response) => response.into_response(),
            Err(error) => {
                let status = error.status();
                let detail = match status {
                    StatusCode::NOT_FOUND if error.is::<NotFoundError>() => {
                        "there is no such page".to_owned()
                    }
                    StatusCode::SERVICE_UNAVAILABLE if looks => {
                        "Redis is away; this page tries again by itself".to_owned()
                    }
                    StatusCode::SERVICE_UNAVAILABLE => {
                        "Redis is away: look whether it was done before you do it again".to_owned()
                    }
                    _ => error.to_string(),
                };
                let mut response = layout::problem(visitor.as_ref(), status, &detail);
                if status == StatusCode::SERVICE_UNAVAILABLE && looks {
                    let again = HeaderValue::from_static(AGAIN_SECONDS);
                    response.headers_mut().insert(header::REFRESH, again);
                }
                response
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

/// What begins an address of ours in a page; what people wrote has its quotes escaped there.
const ADDRESSES: [&str; 3] = [" href=\"/", " action=\"/", " src=\"/"];

/// Around everything: takes the path of the proxy away from what comes in, and puts it before every address that goes
/// out, in one place for all pages.
pub(crate) async fn under<E>(
    base: BasePath,
    next: Arc<E>,
    mut request: Request,
) -> poem::Result<Response>
where
    E: Endpoint<Output = Response>,
{
    base.strip(&mut request);
    let ticks = request.uri().path() == "/ticks";
    let mut response = next.call(request).await?;
    if ticks {
        // A proxy that gathers answers would keep them.
        let no = HeaderValue::from_static("no");
        response.headers_mut().insert("x-accel-buffering", no);
    }
    if base.as_str().is_empty() {
        return Ok(response);
    }
    let place = response.headers().get(header::LOCATION);
    let place = place.and_then(|place| place.to_str().ok());
    if let Some(place) = place.filter(|place| place.starts_with('/'))
        && let Ok(place) = base.before(place).parse()
    {
        response.headers_mut().insert(header::LOCATION, place);
    }
    let is_page = response
        .content_type()
        .is_some_and(|kind| kind.starts_with("text/html"));
    if is_page {
        let page = response.take_body().into_string().await?;
        let page = ADDRESSES.iter().fold(page, |page, address| {
            let (before, _) = address.split_at(address.len() - 1);
            page.replace(address, &format!("{before}{}/", base.as_str()))
        });
        response.set_body(page);
    }
    Ok(response)
}
