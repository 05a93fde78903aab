//! Signing in with the secret of an API key.

use maud::html;
use poem::http::{StatusCode, header};
use poem::web::{Data, Form};
use poem::{IntoResponse, Request, Response, handler};
use serde::Deserialize;
use taskweir_runtime::access::{Refusal, Role};

use crate::actions::{Token, check};
use crate::app::State;
use crate::gate::Visitor;
use crate::{layout, url};

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct Secret {
    secret: String,
}

fn form(status: StatusCode, wrong: Option<&str>) -> Response {
    let body = html! {
        @if let Some(wrong) = wrong { div.card.trouble role="alert" { (wrong) } }
        form.card method="post" action=(url::SIGN_IN) {
            label for="secret" { "Secret of an API key" }
            input #secret name="secret" type="password" autocomplete="current-password" required autofocus;
            p { button type="submit" { "Sign in" } }
        }
    };
    let mut response = layout::bare("Sign in", &body);
    response.set_status(status);
    response
}

#[handler]
pub(crate) fn show() -> Response {
    form(StatusCode::OK, None)
}

#[handler]
pub(crate) fn enter(
    Data(state): Data<&State>,
    request: &Request,
    Form(secret): Form<Secret>,
) -> Response {
    match state.gate.sign_in(request, &secret.secret) {
        Ok(Some(cookie)) => StatusCode::SEE_OTHER
            .with_header(header::LOCATION, url::OVERVIEW)
            .with_header(header::SET_COOKIE, cookie)
            .into_response(),
        Ok(None) | Err(Refusal::Unknown) => {
            form(StatusCode::UNAUTHORIZED, Some("No key has this secret."))
        }
        Err(Refusal::Rationed) => form(
            StatusCode::TOO_MANY_REQUESTS,
            Some("No key has this secret, and many wrong ones came from here; wait a minute."),
        ),
    }
}

#[handler]
pub(crate) fn leave(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Form(Token { token }): Form<Token>,
) -> poem::Result<Response> {
    check(visitor, &token, Role::Viewer)?;
    let mut response = StatusCode::SEE_OTHER
        .with_header(header::LOCATION, url::SIGN_IN)
        .into_response();
    if let Some(cookie) = state.gate.sign_out() {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
