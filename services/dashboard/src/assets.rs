//! Style, script and icon, built into the program: no page asks another host for anything.

use poem::http::header::CACHE_CONTROL;
use poem::{IntoResponse, Response, handler};

fn asset(text: &'static str, content_type: &'static str) -> Response {
    text.with_content_type(content_type)
        .with_header(CACHE_CONTROL, "max-age=300")
        .into_response()
}

#[handler]
pub(crate) fn style() -> Response {
    asset(
        include_str!("../assets/style.css"),
        "text/css; charset=utf-8",
    )
}

#[handler]
pub(crate) fn live() -> Response {
    asset(
        include_str!("../assets/live.js"),
        "text/javascript; charset=utf-8",
    )
}

#[handler]
pub(crate) fn icon() -> Response {
    asset(include_str!("../assets/icon.svg"), "image/svg+xml")
}

#[handler]
pub(crate) const fn alive() -> &'static str {
    "alive\n"
}
