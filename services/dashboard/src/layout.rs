//! The frame of every page.

use maud::{DOCTYPE, Markup, html};
use poem::http::StatusCode;
use poem::{IntoResponse, Response};

use taskweir_runtime::access::Role;

use crate::gate::Visitor;
use crate::url;

const NAVIGATION: [(&str, &str); 8] = [
    ("Overview", url::OVERVIEW),
    ("Queues", url::QUEUES),
    ("Tasks", url::TASKS),
    ("Dead letters", url::DLQ),
    ("Operations", url::OPERATIONS),
    ("Workers", url::WORKERS),
    ("System", url::SYSTEM),
    ("New task", url::NEW_TASK),
];

/// A whole page for somebody who is here. `path` marks where we are; `live` pages refresh themselves.
pub(crate) fn page(
    visitor: &Visitor,
    title: &str,
    path: &str,
    live: bool,
    body: &Markup,
) -> Response {
    frame(Some(visitor), title, path, live, body)
}

/// A page for somebody who has not signed in.
pub(crate) fn bare(title: &str, body: &Markup) -> Response {
    frame(None, title, "", false, body)
}

fn frame(
    visitor: Option<&Visitor>,
    title: &str,
    path: &str,
    live: bool,
    body: &Markup,
) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Taskweir" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/style.css";
                script src="/assets/live.js" defer {}
            }
            body data-live=[live.then_some("1")] {
                a.skip href="#page" { "Skip to content" }
                header {
                    div.bar {
                        a.brand href=(url::OVERVIEW) { img src="/assets/icon.svg" alt=""; "Taskweir" }
                        @if let Some(visitor) = visitor { nav aria-label="Pages" {
                            @for (name, to) in NAVIGATION.iter().filter(|(_, to)| *to != url::NEW_TASK || visitor.may(Role::Submitter)) {
                                a href=(to) aria-current=[(*to == path).then_some("page")] { (name) }
                            }
                        } }
                        @if let Some(visitor) = visitor.filter(|visitor| visitor.is_signed_in()) {
                            form.inline method="post" action=(url::SIGN_OUT) {
                                (form_token(visitor))
                                button.quiet type="submit" { "Sign out " (visitor.actor().0) }
                            }
                        }
                        @if live {
                            div.live {
                                span #live role="status" { "live" }
                                button.quiet #live-pause type="button" hidden aria-pressed="false" { "Pause" }
                            }
                        }
                    }
                }
                main #page tabindex="-1" {
                    h1 { (title) }
                    (body)
                }
            }
        }
    };
    poem::web::Html(markup.into_string()).into_response()
}

/// The word that every form of a session carries, so that no other site can send one.
pub(crate) fn form_token(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="token" value=(visitor.token()); }
}

/// A page that says what went wrong.
pub(crate) fn problem(visitor: Option<&Visitor>, status: StatusCode, detail: &str) -> Response {
    let title = format!(
        "{} {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or("")
    );
    let body = html! {
        div.card.trouble role="alert" { p { (detail) } a href=(url::OVERVIEW) { "To the overview" } }
    };
    let mut response = frame(visitor, title.trim(), "", false, &body);
    response.set_status(status);
    response
}
