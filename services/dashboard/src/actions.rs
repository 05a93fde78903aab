//! What the forms do: post, then redirect.

use poem::http::{StatusCode, header};
use poem::web::{Data, Form, Path};
use poem::{IntoResponse, Response, handler};
use serde::Deserialize;
use serde_json::{Map, Value};
use taskweir_domain::{FieldError, Json, QueueName, REDACTED, Redaction, TaskId, draft_from_json};
use taskweir_runtime::access::Role;
use taskweir_store::{
    Cancelled, DlqOutcome, DlqVerb, OperationKind, Sending, StoreError, SubmitOutcome,
};
use tracing::Instrument;

use crate::app::State;
use crate::filter::Asked;
use crate::gate::Visitor;
use crate::pages::{Draft, failed, form, kind_of};
use crate::url;

/// The token of a form that says nothing else.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Token {
    pub(crate) token: String,
}

/// Whether somebody may do this, by role and by a form of this session.
pub(crate) fn check(visitor: &Visitor, token: &str, role: Role) -> poem::Result<()> {
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
///
/// Where some of a payload is hidden, its marker must not come back as if it were data.
pub(crate) fn request(draft: &Draft, redaction: &Redaction) -> Result<String, FieldError> {
    let mut fields = Map::new();
    for (name, text) in [
        ("type", &draft.kind),
        ("queue", &draft.queue),
        ("priority", &draft.priority),
        ("unique_key", &draft.unique_key),
    ] {
        if !text.trim().is_empty() {
            fields.insert(name.to_owned(), Value::from(text.trim()));
        }
    }
    for (name, text) in [
        ("max_retries", &draft.max_retries),
        ("delay", &draft.delay),
        ("timeout", &draft.timeout),
    ] {
        if !text.trim().is_empty() {
            let number =
                serde_json::from_str(text.trim()).unwrap_or_else(|_| Value::from(text.as_str()));
            fields.insert(name.to_owned(), number);
        }
    }
    let labels = draft
        .labels
        .split(',')
        .filter(|label| !label.trim().is_empty());
    let mut named = Map::new();
    for label in labels {
        let (name, value) = label.split_once('=').ok_or_else(|| FieldError {
            field: "labels".to_owned(),
            message: "must be name=value, separated by commas".to_owned(),
        })?;
        named.insert(name.trim().to_owned(), Value::from(value.trim()));
    }
    if !named.is_empty() {
        fields.insert("labels".to_owned(), Value::Object(named));
    }
    let data = if draft.data.trim().is_empty() {
        "null"
    } else {
        draft.data.trim()
    };
    Json::parse(data.to_owned()).map_err(|error| FieldError {
        field: "data".to_owned(),
        message: format!("must be JSON: {error}"),
    })?;
    if redaction.left_in(data) {
        return Err(FieldError {
            field: "data".to_owned(),
            message: format!("still reads {REDACTED} where something is hidden: fill it in"),
        });
    }
    // As it was typed: a value would round long numbers.
    let mut body = Value::Object(fields).to_string();
    body.pop();
    if body.len() > 1 {
        body.push(',');
    }
    Ok(format!("{body}\"data\":{data}}}"))
}

#[handler]
pub(crate) async fn submit(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Form(draft): Form<Draft>,
) -> poem::Result<Response> {
    check(visitor, &draft.token, Role::Submitter)?;
    let refused = async |errors: &[FieldError]| {
        let totals = state.store.totals().await.ok();
        let mut response = form(visitor, totals.as_ref(), &draft, errors);
        response.set_status(StatusCode::UNPROCESSABLE_ENTITY);
        response
    };
    let spec = match request(&draft, &state.redaction)
        .map_err(|error| vec![error])
        .and_then(|text| draft_from_json(&text, &state.submit))
    {
        Ok(spec) => spec,
        Err(errors) => return Ok(refused(&errors).await),
    };
    let mut spec = spec;
    spec.actor = visitor.is_signed_in().then(|| visitor.actor());
    let sending = Sending::begin(&mut spec);
    let submitting = state.submitter.submit_keyed(spec, None);
    let (field, message) = match submitting.instrument(sending.span().clone()).await {
        Ok((_, SubmitOutcome::Duplicate(other))) => {
            ("unique_key", format!("task {other} holds it"))
        }
        Ok((_, SubmitOutcome::Full)) => ("queue", "is full".to_owned()),
        Ok((_, SubmitOutcome::Crowded)) => ("queue", "would be one more than may be".to_owned()),
        Ok((_, SubmitOutcome::OverBudget)) => ("", "The memory budget is reached".to_owned()),
        Ok((id, outcome)) => {
            sending.ended(id, outcome);
            return Ok(see_other(url::task(id)));
        }
        Err(error) if matches!(*error, StoreError::OutOfMemory) => {
            ("", "Redis is out of memory".to_owned())
        }
        // Sent again, it would be a second task.
        Err(error) if matches!(*error, StoreError::Unconfirmed(_)) => (
            "",
            format!("{error}. The task is among the latest: look there before you submit it again"),
        ),
        Err(_) => return Err(poem::Error::from_status(StatusCode::SERVICE_UNAVAILABLE)),
    };
    let field = field.to_owned();
    Ok(refused(&[FieldError { field, message }]).await)
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
    let done = match outcome {
        DlqOutcome::Done => done,
        DlqOutcome::Taken(_) => "taken",
        _ => "gone",
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

#[handler]
pub(crate) async fn cancel(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Path(id): Path<String>,
    Form(Token { token }): Form<Token>,
) -> poem::Result<Response> {
    check(visitor, &token, Role::Operator)?;
    let missing = || poem::Error::from_string("there is no such task", StatusCode::NOT_FOUND);
    let id: TaskId = id.parse().map_err(|_| missing())?;
    let done = match state
        .store
        .cancel(id, &visitor.actor())
        .await
        .map_err(failed)?
    {
        Cancelled::Now => "cancelled",
        Cancelled::Requested => "requested",
        Cancelled::Ended(_) => "ended",
        Cancelled::NotFound => return Err(missing()),
    };
    let place = url::task(id);
    Ok(see_other(url::with_query(&place, &[("done", Some(done))])))
}

#[handler]
pub(crate) async fn switch_queue(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Path((queue, verb)): Path<(String, String)>,
    Form(Token { token }): Form<Token>,
) -> poem::Result<Response> {
    check(visitor, &token, Role::Operator)?;
    let missing = || poem::Error::from_string("there is no such queue", StatusCode::NOT_FOUND);
    let queue: QueueName = queue.parse().map_err(|_| missing())?;
    let paused = match verb.as_str() {
        "pause" => true,
        "resume" => false,
        _ => return Err(missing()),
    };
    let actor = visitor.actor();
    let pausing = state.store.pause(&queue, paused, &actor);
    pausing.await.map_err(failed)?;
    Ok(see_other(url::QUEUES.to_owned()))
}

/// What is to be done to all that match.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    kind: String,
    reason: String,
    token: String,
    #[serde(flatten)]
    asked: Asked,
}

#[handler]
pub(crate) async fn bulk(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Form(wanted): Form<Wanted>,
) -> poem::Result<Response> {
    check(visitor, &wanted.token, Role::Operator)?;
    let refused = |why: String| poem::Error::from_string(why, StatusCode::UNPROCESSABLE_ENTITY);
    let kind =
        kind_of(&wanted.kind).ok_or_else(|| refused("there is no such operation".to_owned()))?;
    let filter = wanted.asked.bulk_filter(kind).map_err(refused)?;
    let reason = Some(wanted.reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    if reason
        .as_ref()
        .is_some_and(|reason| reason.len() > OperationKind::MAX_REASON)
    {
        return Err(refused("the reason is longer than 500 bytes".to_owned()));
    }
    let begun = state.store.operate(kind, filter, visitor.actor(), reason);
    match begun.await.map_err(failed)? {
        Some(operation) => Ok(see_other(url::operation(operation.id))),
        None => Err(poem::Error::from_string(
            "too many operations are under way; wait for one, or stop one",
            StatusCode::CONFLICT,
        )),
    }
}

#[handler]
pub(crate) async fn stop_operation(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Path(id): Path<String>,
    Form(Token { token }): Form<Token>,
) -> poem::Result<Response> {
    check(visitor, &token, Role::Operator)?;
    let missing = || poem::Error::from_string("there is no such operation", StatusCode::NOT_FOUND);
    let id: TaskId = id.parse().map_err(|_| missing())?;
    let actor = visitor.actor();
    let stopping = state.store.stop_operation(id, &actor);
    stopping.await.map_err(failed)?;
    Ok(see_other(url::operation(id)))
}
