//! Submit tasks.

use std::collections::BTreeMap;

use poem::Request;
use poem_openapi::payload::Json;
use poem_openapi::types::{Any, Example};
use poem_openapi::{ApiResponse, Object};
use serde_json::Value;
use taskweir_domain::{Actor, Json as JsonBody, TaskId, draft_from_json, members};
use taskweir_runtime::access::Caller;
use taskweir_store::{Idempotency, StoreError, SubmitOutcome};

use crate::position;
use crate::problem::{ApiError, Field};
use crate::state::State;
use crate::view::{PriorityWord, StatusWord};

/// Tasks of one batch.
const MAX_TASKS: usize = 1_000;
/// Longest idempotency key, bytes.
const MAX_KEY: usize = 255;

/// A retry policy; what is absent is taken from the gateway's settings.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct RetryRequest {
    /// Seconds before the first retry.
    #[oai(validator(minimum(value = "0"), maximum(value = "2592000")))]
    initial_delay: Option<f64>,
    /// Factor by which the delay grows, 1 to 1000.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    multiplier: Option<f64>,
    /// Longest delay, seconds.
    #[oai(validator(minimum(value = "0"), maximum(value = "2592000")))]
    max_delay: Option<f64>,
    /// Share of the delay that is drawn at random, 0 to 1.
    #[oai(validator(minimum(value = "0"), maximum(value = "1")))]
    jitter: Option<f64>,
}

/// A task to be made.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(crate) struct TaskRequest {
    /// Which handler runs it: 1 to 64 of letters, digits and `._-:/`.
    #[oai(rename = "type", validator(pattern = "^[A-Za-z0-9._:/-]{1,64}$"))]
    kind: String,
    /// The handler's input, any JSON.
    data: Option<Any<Value>>,
    /// The queue it waits in: 1 to 64 of letters, digits and `._-`; `default` where absent.
    #[oai(validator(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
    queue: Option<String>,
    /// How urgent it is; `normal` where absent.
    priority: Option<PriorityWord>,
    /// Retries after the first attempt, 0 to 1000.
    #[oai(validator(maximum(value = "1000")))]
    max_retries: Option<u32>,
    /// The retry policy.
    retry: Option<RetryRequest>,
    /// Seconds to wait before it is ready.
    #[oai(validator(minimum(value = "0"), maximum(value = "315360000")))]
    delay: Option<f64>,
    /// When it becomes ready, RFC 3339. Not beside `delay`.
    run_at: Option<String>,
    /// Longest run of one attempt, seconds.
    #[oai(validator(minimum(value = "0.001"), maximum(value = "2592000")))]
    timeout: Option<f64>,
    /// Seconds within which it must start, from its submit or its `run_at`; else it expires.
    #[oai(validator(minimum(value = "0.001"), maximum(value = "315360000")))]
    expires_in: Option<f64>,
    /// At most one task that has not ended carries a unique key, over all queues and types; 1 to 256 bytes.
    #[oai(validator(min_length = 1, max_length = 256))]
    unique_key: Option<String>,
    /// Free words for searching, at most 16.
    #[oai(validator(max_properties = 16))]
    labels: Option<BTreeMap<String, String>>,
}

impl Example for TaskRequest {
    fn example() -> Self {
        Self {
            kind: "process".to_owned(),
            data: Some(Any(Value::from("hello-world"))),
            queue: None,
            priority: Some(PriorityWord::High),
            max_retries: None,
            retry: None,
            delay: None,
            run_at: None,
            timeout: None,
            expires_in: None,
            unique_key: None,
            labels: None,
        }
    }
}

/// A task that was taken.
#[derive(Debug, Object)]
pub(crate) struct Accepted {
    /// Its id.
    id: String,
    /// Where it is.
    status: StatusWord,
    /// Which handler runs it.
    #[oai(rename = "type")]
    kind: String,
    /// The queue it belongs to.
    queue: String,
    /// How urgent it is.
    priority: PriorityWord,
    /// Position of its first event; lists take it as `min_position`.
    position: String,
}

#[derive(ApiResponse)]
pub(super) enum SubmitAnswer {
    /// The idempotency key had made this task from the same body.
    #[oai(status = 200)]
    Same(
        Json<Accepted>,
        /// Where the task can be seen.
        #[oai(header = "Location")]
        String,
    ),
    /// Taken.
    #[oai(status = 202)]
    Accepted(
        Json<Accepted>,
        /// Where the task can be seen.
        #[oai(header = "Location")]
        String,
    ),
}

/// Tasks to be made together.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub(super) struct BatchRequest {
    /// Up to 1,000 tasks.
    #[oai(validator(min_items = 1, max_items = 1000))]
    tasks: Vec<BatchTask>,
}

/// A task of a batch: as one that is submitted alone, with the key that would stand in a header.
#[derive(Debug, Object)]
struct BatchTask {
    /// A word for this task: the same one again, within 24 hours, is the same task; 1 to 255 bytes.
    #[oai(validator(min_length = 1, max_length = 255))]
    idempotency_key: Option<String>,
    /// The task.
    #[oai(flatten)]
    task: TaskRequest,
}

/// What became of one task of a batch.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct BatchItem {
    /// Its place in the request, from 0.
    index: usize,
    /// What a request for this task alone would have been answered with: 202 or 200 where it is taken; 503 where whether
    /// it was stored is not known.
    status: u16,
    /// The task, where it was taken.
    task: Option<Accepted>,
    /// Why it was not.
    errors: Option<Vec<Field>>,
    /// The task that holds its unique key.
    existing_id: Option<String>,
}

impl BatchItem {
    /// What became of the task at a place; `keyed` where it has an idempotency key.
    fn of(index: usize, keyed: bool, answer: Result<(Accepted, bool), ApiError>) -> Self {
        let because = |field: &str, message: String| {
            let field = field.to_owned();
            Some(vec![Field { field, message }])
        };
        let item = |status: u16, errors, existing_id| Self {
            index,
            status,
            task: None,
            errors,
            existing_id,
        };
        match answer {
            Ok((task, same)) => Self {
                task: Some(task),
                ..item(if same { 200 } else { 202 }, None, None)
            },
            Err(ApiError::Fields(problem) | ApiError::TooLarge(problem)) => {
                item(problem.0.status, problem.0.errors, None)
            }
            Err(ApiError::Conflict(problem)) => {
                let field = if problem.0.detail.contains("idempotency key") {
                    "idempotency_key"
                } else {
                    "unique_key"
                };
                let why = because(field, problem.0.detail);
                item(problem.0.status, why, problem.0.existing_id)
            }
            Err(ApiError::TooMany(problem)) => {
                item(problem.0.status, because("queue", problem.0.detail), None)
            }
            // Redis went away half-way: the others are told of.
            Err(ApiError::Away(problem)) => item(503, because("", problem.0.detail), None),
            Err(_) => item(503, because("", unknown_outcome(keyed).to_owned()), None),
        }
    }
}

/// What to do where an answer of Redis was lost.
const fn unknown_outcome(keyed: bool) -> &'static str {
    if keyed {
        "whether it was stored is not known: send it again with the same idempotency key, and it is stored once"
    } else {
        "whether it was stored is not known, and it has no idempotency key: sent again, it may be stored twice; look for \
         it first"
    }
}

/// What became of a batch.
#[derive(Debug, Object)]
pub(super) struct BatchAnswer {
    /// How many were taken.
    accepted: usize,
    /// How many were not.
    rejected: usize,
    /// Each task in order.
    items: Vec<BatchItem>,
}

#[derive(ApiResponse)]
pub(super) enum BatchResponse {
    /// Good ones are taken, bad ones each say why.
    #[oai(status = 202)]
    Answered(Json<BatchAnswer>),
}

/// A submitted task, and whether an earlier request had made it.
async fn submit(
    state: &State,
    caller: &Caller,
    text: &str,
    idempotency: Option<Idempotency>,
) -> Result<(Accepted, bool), ApiError> {
    let mut spec = draft_from_json(text, &state.submit)
        .map_err(|errors| ApiError::fields(errors.into_iter().map(Field::from).collect()))?;
    // Where there are no keys, nobody is anybody.
    spec.actor = (*caller != Caller::anonymous()).then(|| Actor(caller.name.clone()));
    let scheduled = spec.is_scheduled();
    let (kind, queue, priority) = (
        spec.task_type.to_string(),
        spec.queue.to_string(),
        spec.priority,
    );
    let keyed = idempotency.is_some();
    let made = state.make(spec, idempotency).await;
    let (id, outcome) = made.map_err(|error| match &*error {
        StoreError::Unavailable(_) => {
            tracing::warn!(%error, "a submit met Redis away");
            ApiError::away(unknown_outcome(keyed))
        }
        StoreError::Unconfirmed(durability) => {
            tracing::warn!(%error, "a submit was not confirmed");
            ApiError::away(format!(
                "it is written, and DURABILITY={durability} was not confirmed in time; send it again {}",
                if keyed {
                    "with the same idempotency key"
                } else {
                    "only if two of it do no harm: it has no idempotency key"
                }
            ))
        }
        other => ApiError::from(other),
    })?;
    let at = match outcome {
        SubmitOutcome::Accepted(at) | SubmitOutcome::Repeated(at) => at,
        SubmitOutcome::Same(id) => return Ok((earlier(state, id).await?, true)),
        SubmitOutcome::Conflict(id) => {
            return Err(ApiError::taken(
                id,
                "the idempotency key was used with another body",
            ));
        }
        SubmitOutcome::Duplicate(id) => {
            return Err(ApiError::taken(
                id,
                "a task that has not ended holds this unique key",
            ));
        }
        SubmitOutcome::Full => return Err(ApiError::full(&queue)),
        SubmitOutcome::OverBudget => return Err(ApiError::over_budget()),
        SubmitOutcome::Crowded => return Err(ApiError::crowded(&queue)),
    };
    let accepted = Accepted {
        id: id.to_string(),
        status: if scheduled {
            StatusWord::Scheduled
        } else {
            StatusWord::Pending
        },
        kind,
        queue,
        priority: priority.into(),
        position: position::show(id.partition(), at, state.store.partition_count()),
    };
    Ok((accepted, false))
}

/// The task that an earlier request with the same idempotency key made, as it is now.
async fn earlier(state: &State, id: TaskId) -> Result<Accepted, ApiError> {
    let (gone, id) = (id, id.to_string());
    let story = state.story(&id).await.map_err(|error| match error {
        // Its record went with RETENTION, which is shorter than the memory of the key.
        ApiError::NotFound(_) => {
            let detail = format!("the key had made task {id}, which ended and is no longer kept");
            ApiError::taken(gone, detail)
        }
        other => other,
    })?;
    let task = &story.detail.task;
    Ok(Accepted {
        status: task.status().into(),
        kind: task.task_type.to_string(),
        queue: task.queue.to_string(),
        priority: task.priority.into(),
        position: position::show(
            story.detail.id.partition(),
            task.first,
            state.store.partition_count(),
        ),
        id,
    })
}

/// The idempotency key of a request, checked.
fn idempotency(
    field: &str,
    key: Option<&str>,
    caller: &Caller,
    body: &str,
) -> Result<Option<Idempotency>, ApiError> {
    let Some(key) = key else { return Ok(None) };
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(ApiError::field(
            field,
            format!("takes 1 to {MAX_KEY} bytes"),
        ));
    }
    Ok(Some(Idempotency::new(&caller.name, key, body)))
}

/// Refuses a key on a batch: its tasks have keys of their own.
pub(super) fn refuse_key(request: &Request) -> Result<(), ApiError> {
    if request.headers().contains_key("idempotency-key") {
        return Err(ApiError::field(
            "Idempotency-Key",
            "is of one task: give each task of a batch that must not be made twice an idempotency_key of its own",
        ));
    }
    Ok(())
}

/// A task of a batch without its idempotency key, and the key.
fn split_key(task: &JsonBody) -> Result<(String, Option<String>), ApiError> {
    let text = task.as_str();
    // What is no object, or has a field twice, is refused as a task.
    let read = members(text).filter(|(_, twice)| twice.is_empty());
    let Some((mut fields, _)) = read else {
        return Ok((text.to_owned(), None));
    };
    let Some(key) = fields.remove("idempotency_key") else {
        return Ok((text.to_owned(), None));
    };
    let key = serde_json::from_str::<Option<String>>(key.as_str())
        .map_err(|_| ApiError::field("idempotency_key", "must be a string"))?;
    // As the body of a request for this task alone, whose key would stand in a header.
    let task = serde_json::to_string(&fields).map_err(|error| ApiError::broken(&error))?;
    Ok((task, key))
}

/// Submits one task of a batch; whether it has a key is told too.
async fn of_batch(
    state: &State,
    caller: &Caller,
    task: &JsonBody,
) -> (bool, Result<(Accepted, bool), ApiError>) {
    let read = split_key(task).and_then(|(text, key)| {
        let idempotency = idempotency("idempotency_key", key.as_deref(), caller, &text)?;
        Ok((text, idempotency))
    });
    match read {
        Ok((text, idempotency)) => {
            let keyed = idempotency.is_some();
            (keyed, submit(state, caller, &text, idempotency).await)
        }
        Err(error) => (false, Err(error)),
    }
}

/// The texts of the tasks of a batch.
pub(crate) fn batch_items(text: &str) -> Result<Vec<JsonBody>, ApiError> {
    let (mut fields, twice) = members(text)
        .ok_or_else(|| ApiError::field("", "must be an object with the field tasks"))?;
    if let Some(twice) = twice.first() {
        return Err(ApiError::field(twice, "is given twice"));
    }
    let tasks = fields
        .remove("tasks")
        .ok_or_else(|| ApiError::field("tasks", "is required"))?;
    if let Some(unknown) = fields.keys().next() {
        return Err(ApiError::field(unknown, "is not a field; known is tasks"));
    }
    let tasks: Vec<JsonBody> = serde_json::from_str(tasks.as_str())
        .map_err(|_| ApiError::field("tasks", "must be a list of tasks"))?;
    if tasks.is_empty() || tasks.len() > MAX_TASKS {
        return Err(ApiError::field(
            "tasks",
            format!("must hold 1 to {MAX_TASKS} tasks"),
        ));
    }
    Ok(tasks)
}

/// JSON at all? Told apart from JSON that is not what we take.
fn require_json(text: &str) -> Result<(), ApiError> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(drop)
        .map_err(|error| ApiError::not_json(&error))
}

/// The body of a submit; its answer.
pub(super) async fn one(
    state: &State,
    caller: &Caller,
    key: Option<&str>,
    text: &str,
) -> Result<SubmitAnswer, ApiError> {
    require_json(text)?;
    let idempotency = idempotency("Idempotency-Key", key, caller, text)?;
    let (accepted, same) = submit(state, caller, text, idempotency).await?;
    let location = format!("/tasks/{}", accepted.id);
    Ok(if same {
        SubmitAnswer::Same(Json(accepted), location)
    } else {
        SubmitAnswer::Accepted(Json(accepted), location)
    })
}

/// The body of a batch; its answer.
pub(super) async fn batch(
    state: &State,
    caller: &Caller,
    text: &str,
) -> Result<BatchResponse, ApiError> {
    require_json(text)?;
    let tasks = batch_items(text)?;
    let answers = tasks.iter().map(|task| of_batch(state, caller, task));
    let answers = futures_util::future::join_all(answers).await;
    // An error that is no task's own is the batch's, as long as nothing of it was taken.
    let none_taken = answers.iter().all(|(_, answer)| answer.is_err());
    let mut items = Vec::with_capacity(answers.len());
    for (index, (keyed, answer)) in answers.into_iter().enumerate() {
        match answer {
            Err(error) if none_taken && !error.is_of_a_task() => return Err(error),
            answer => items.push(BatchItem::of(index, keyed, answer)),
        }
    }
    let accepted = items.iter().filter(|item| item.task.is_some()).count();
    Ok(BatchResponse::Answered(Json(BatchAnswer {
        accepted,
        rejected: items.len() - accepted,
        items,
    })))
}
