//! What the forms do: post, then redirect.

use poem::http::{StatusCode, header};
use poem::web::{Data, Form, Path};
use poem::{IntoResponse, Response, handler};
use serde_json::{Map, Value};
use taskweir_domain::{Actor, FieldError, TaskId, draft_from_json};
use taskweir_store::{DlqOutcome, DlqVerb, StoreError, Submission};

use crate::app::State;
use crate::pages::{Draft, failed, form};
use crate::url;

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
    Form(draft): Form<Draft>,
) -> poem::Result<Response> {
    let refused = |errors: &[FieldError]| {
        let mut response = form(&draft, errors);
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

async fn act(state: &State, id: &str, verb: DlqVerb, done: &str) -> poem::Result<Response> {
    let id: TaskId = id
        .parse()
        .map_err(|_| poem::Error::from_status(StatusCode::NOT_FOUND))?;
    let outcome = state
        .store
        .act_on_dead(id, verb, Actor::anonymous())
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
    Path(id): Path<String>,
) -> poem::Result<Response> {
    act(state, &id, DlqVerb::Retry, "retried").await
}

#[handler]
pub(crate) async fn remove(
    Data(state): Data<&State>,
    Path(id): Path<String>,
) -> poem::Result<Response> {
    act(state, &id, DlqVerb::Remove, "removed").await
}
