//! What the forms do: post, then redirect.

use poem::http::{StatusCode, header};
use poem::web::{Data, Form, Path};
use poem::{IntoResponse, Response, handler};
use serde::Deserialize;
use serde_json::{Map, Value};
use taskweir_domain::{FieldError, TaskId, draft_from_json};
use taskweir_runtime::access::Role;
use taskweir_store::{DlqOutcome, DlqVerb, StoreError, Submission};

use crate::app::State;
use crate::gate::Visitor;
use crate::pages::{Draft, failed, form};
use crate::url;

/// The token of a form that says nothing else.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Token {
    token: String,
}

/// Whether somebody may do this, by role and by a form of this session.
fn check(visitor: &Visitor, token: &str, role: Role) -> poem::Result<()> {
    let refused = |why: &str| {
        Err(poem::Error::from_string(
            why.to_owned(),
            StatusCode::FORBIDDEN,
        ))
    };
    if !visitor.may(role) {
        return refused(&format!("this takes a {role} at least"));
    }
    if !visitor.0.sent(token) {
        return refused(
            "this form is not of your session: go back, reload the page, and try again",
        );
    }
    Ok(())
}

fn see_other(to: String) -> Response {
    StatusCode::SEE_OTHER
        .with_header(header::LOCATION, to)
        .into_response()
}

/// The form as the JSON of a request, so that one set of rules checks both.
fn request(draft: &Draft) -> Result<String, FieldError> {
    let mut fields = Map::new();
    for (name, text) in [
        ("type", &draft.kind),
        ("queue", &draft.queue),
        ("priority", &draft.priority),
    ] {
        if !text.trim().is_empty() {
            fields.insert(name.to_owned(), Value::from(text.trim()));
        }
    }
    for (name, text) in [("max_retries", &draft.max_retries), ("delay", &draft.delay)] {
        if !text.trim().is_empty() {
            let number =
                serde_json::from_str(text.trim()).unwrap_or_else(|_| Value::from(text.as_str()));
            fields.insert(name.to_owned(), number);
        }
    }
    let data = if draft.data.trim().is_empty() {
        "null"
    } else {
        draft.data.trim()
    };
    let data: Value = serde_json::from_str(data).map_err(|error| FieldError {
        field: "data".to_owned(),
        message: format!("must be JSON: {error}"),
    })?;
    fields.insert("data".to_owned(), data);
    Ok(Value::Object(fields).to_string())
}

#[handler]
pub(crate) async fn submit(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Form(draft): Form<Draft>,
) -> poem::Result<Response> {
    check(visitor, &draft.token, Role::Submitter)?;
    let refused = |errors: &[FieldError]| {
        let mut response = form(visitor, &draft, errors);
        response.set_status(StatusCode::UNPROCESSABLE_ENTITY);
        response
    };
    let spec = match request(&draft)
        .map_err(|error| vec![error])
        .and_then(|text| draft_from_json(&text, &state.submit))
    {
        Ok(spec) => spec,
        Err(errors) => return Ok(refused(&errors)),
    };
    let mut spec = spec;
    spec.actor = visitor.is_signed_in().then(|| visitor.actor());
    let id = state.store.mint();
    let task_type = spec.task_type.clone();
    match state
        .submitter
        .submit(Submission {
            id,
            spec,
            idempotency: None,
        })
        .await
    {
        Ok(_) => {
            tracing::info!(task.id = %id, task.type = %task_type, attempt = 0, worker = "", "📤 SUBMITTED");
            Ok(see_other(url::task(id)))
        }
        Err(error) if matches!(*error, StoreError::OutOfMemory) => {
            let full = FieldError {
                field: String::new(),
                message: "Redis is out of memory".to_owned(),
            };
            Ok(refused(&[full]))
        }
        Err(_) => Err(poem::Error::from_status(StatusCode::SERVICE_UNAVAILABLE)),
    }
}

async fn act(
    state: &State,
    visitor: &Visitor,
    id: &str,
    verb: DlqVerb,
    done: &str,
) -> poem::Result<Response> {
    let id: TaskId = id
        .parse()
        .map_err(|_| poem::Error::from_status(StatusCode::NOT_FOUND))?;
    let outcome = state
        .store
        .act_on_dead(id, verb, visitor.actor())
        .await
        .map_err(failed)?;
    let done = if outcome == DlqOutcome::Done {
        done
    } else {
        "gone"
    };
    Ok(see_other(url::with_query(
        url::DLQ,
        &[("done", Some(done))],
    )))
}

#[handler]
pub(crate) async fn retry(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Path(id): Path<String>,
    Form(Token { token }): Form<Token>,
) -> poem::Result<Response> {
    check(visitor, &token, Role::Operator)?;
    act(state, visitor, &id, DlqVerb::Retry, "retried").await
}

#[handler]
pub(crate) async fn remove(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Path(id): Path<String>,
    Form(Token { token }): Form<Token>,
) -> poem::Result<Response> {
    check(visitor, &token, Role::Operator)?;
    act(state, visitor, &id, DlqVerb::Remove, "removed").await
}
