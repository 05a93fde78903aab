//! Submit tasks and see what became of them.

use std::collections::BTreeMap;
use std::time::Duration;

use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::{Any, Example};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::Value;
use taskweir_domain::{Json as JsonBody, TaskDetail, TaskId, draft_from_json};
use taskweir_store::{Filter, Store};

use super::Tag;
use crate::body::JsonText;
use crate::position;
use crate::problem::{ApiError, Field};
use crate::state::State;
use crate::view::{HistoryEvent, ListedStatus, PriorityWord, StatusWord, Task};

/// Tasks of one batch.
const MAX_TASKS: usize = 1_000;
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;
/// How long a list waits for the views to come to `min_position`.
const VIEW_PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Tasks;

/// A retry policy; what is absent is taken from the gateway's settings.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct RetryRequest {
    /// Seconds before the first retry.
    initial_delay: Option<f64>,
    /// Factor by which the delay grows, 1 to 1000.
    multiplier: Option<f64>,
    /// Longest delay, seconds.
    max_delay: Option<f64>,
    /// Share of the delay that is drawn at random, 0 to 1.
    jitter: Option<f64>,
}

/// A task to be made.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
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
    #[oai(validator(minimum(value = "0")))]
    delay: Option<f64>,
    /// When it becomes ready, RFC 3339. Not beside `delay`.
    run_at: Option<String>,
    /// Longest run of one attempt, seconds.
    timeout: Option<f64>,
    /// Free words for searching, at most 16.
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
    /// The queue it waits in.
    queue: String,
    /// How urgent it is.
    priority: PriorityWord,
    /// Position of its first event; lists take it as `min_position`.
    position: String,
}

#[derive(ApiResponse)]
enum SubmitAnswer {
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
struct BatchRequest {
    /// Up to 1,000 tasks.
    #[oai(validator(max_items = 1000))]
    tasks: Vec<TaskRequest>,
}

/// What became of one task of a batch.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct BatchItem {
    /// Its place in the request, from 0.
    index: usize,
    /// The task, where it was taken.
    task: Option<Accepted>,
    /// Why it was not.
    errors: Option<Vec<Field>>,
}

/// What became of a batch.
#[derive(Debug, Object)]
struct BatchAnswer {
    /// How many were taken.
    accepted: usize,
    /// How many were not.
    rejected: usize,
    /// Each task in order.
    items: Vec<BatchItem>,
}

#[derive(ApiResponse)]
enum BatchResponse {
    /// Good ones are taken, bad ones each say why.
    #[oai(status = 202)]
    Answered(Json<BatchAnswer>),
}

/// A page of tasks, newest first.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct TaskList {
    /// The tasks.
    pub(crate) tasks: Vec<Task>,
    /// Give it back as `cursor` for the next page; absent at the end.
    pub(crate) cursor: Option<String>,
}

/// A task's events, oldest first.
#[derive(Debug, Object)]
struct TaskHistory {
    /// The task.
    id: String,
    /// Its events.
    events: Vec<HistoryEvent>,
    /// Whether the events reach back to its first one.
    complete: bool,
}

/// The filters of a list, as they come.
#[derive(Default)]
pub(crate) struct FilterParams {
    pub(crate) status: Option<ListedStatus>,
    pub(crate) queue: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) priority: Option<PriorityWord>,
    pub(crate) label: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) worker: Option<String>,
    pub(crate) created_after: Option<String>,
    pub(crate) created_before: Option<String>,
    pub(crate) q: Option<String>,
}

impl FilterParams {
    pub(crate) fn read(self) -> Result<Filter, ApiError> {
        let time = |field: &str, text: Option<String>| {
            text.map(|text| {
                taskweir_domain::parse_rfc3339_ms(&text).ok_or_else(|| {
                    ApiError::field(
                        field,
                        "must be an RFC 3339 time, such as 2026-01-31T03:12:00Z",
                    )
                })
            })
            .transpose()
        };
        let label = self.label.map(|label| {
            label
                .split_once('=')
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .ok_or_else(|| ApiError::field("label", "must be name=value"))
        });
        Ok(Filter {
            statuses: self.status.map(Into::into).into_iter().collect(),
            queue: self.queue,
            task_type: self.kind,
            priority: self.priority.map(Into::into),
            label: label.transpose()?,
            error: self.error,
            worker: self.worker,
            created_after_ms: time("created_after", self.created_after)?,
            created_before_ms: time("created_before", self.created_before)?,
            text: self.q.filter(|text| !text.is_empty()),
        })
    }
}

/// Where a page begins and how long it is.
pub(crate) fn page(
    limit: Option<u64>,
    cursor: Option<&str>,
) -> Result<(usize, Option<&str>), ApiError> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT as u64);
    let fits = usize::try_from(limit)
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit));
    let limit =
        fits.ok_or_else(|| ApiError::field("limit", format!("must be from 1 to {MAX_LIMIT}")))?;
    // An id, or among the dead letters a time before it.
    let is_cursor = |text: &str| {
        let (ms, id) = text.split_once(':').unwrap_or(("0", text));
        ms.bytes().all(|b| b.is_ascii_digit()) && id.parse::<TaskId>().is_ok()
    };
    if cursor.is_some_and(|cursor| !is_cursor(cursor)) {
        return Err(ApiError::field(
            "cursor",
            "must be the cursor of an earlier page",
        ));
    }
    Ok((limit, cursor))
}

pub(crate) async fn await_position(store: &Store, text: Option<&str>) -> Result<(), ApiError> {
    let Some(text) = text else { return Ok(()) };
    let Some((partition, position)) = position::read(text, store.partition_count()) else {
        return Err(ApiError::field(
            "min_position",
            "must be a position such as 1700000000000-0",
        ));
    };
    let deadline = tokio::time::Instant::now() + VIEW_PATIENCE;
    store.partitions()[partition]
        .await_views(position, deadline)
        .await?;
    Ok(())
}

async fn submit(state: &State, text: &str) -> Result<Accepted, ApiError> {
    let spec = draft_from_json(text, &state.submit)
        .map_err(|errors| ApiError::fields(errors.into_iter().map(Field::from).collect()))?;
    let accepted = (
        spec.is_scheduled(),
        spec.task_type.to_string(),
        spec.queue.to_string(),
        spec.priority,
    );
    let (id, at) = state.make(spec).await?;
    let (scheduled, kind, queue, priority) = accepted;
    Ok(Accepted {
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
    })
}

/// The texts of the tasks of a batch.
fn batch_items(text: &str) -> Result<Vec<JsonBody>, ApiError> {
    let mut fields: BTreeMap<String, JsonBody> = serde_json::from_str(text)
        .map_err(|_| ApiError::field("", "must be an object with the field tasks"))?;
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

#[OpenApi(tag = "Tag::Tasks")]
impl Tasks {
    /// Submit a task
    ///
    /// Once answered, the task can be read at once and is never behind.
    #[oai(path = "/tasks", method = "post", operation_id = "submit_task")]
    async fn submit(
        &self,
        Data(state): Data<&State>,
        body: JsonText<TaskRequest>,
    ) -> Result<SubmitAnswer, ApiError> {
        require_json(&body.text)?;
        let accepted = submit(state, &body.text).await?;
        let location = format!("/tasks/{}", accepted.id);
        Ok(SubmitAnswer::Accepted(Json(accepted), location))
    }

    /// Submit up to 1,000 tasks
    ///
    /// Each is taken or refused by itself; a bad one harms no other.
    #[oai(path = "/tasks/batch", method = "post", operation_id = "submit_batch")]
    async fn submit_batch(
        &self,
        Data(state): Data<&State>,
        body: JsonText<BatchRequest>,
    ) -> Result<BatchResponse, ApiError> {
        require_json(&body.text)?;
        let tasks = batch_items(&body.text)?;
        let answers =
            futures_util::future::join_all(tasks.iter().map(|task| submit(state, task.as_str())))
                .await;
        let mut items = Vec::with_capacity(answers.len());
        for (index, answer) in answers.into_iter().enumerate() {
            let (task, errors) = match answer {
                Ok(task) => (Some(task), None),
                Err(ApiError::Fields(problem) | ApiError::TooLarge(problem)) => {
                    (None, problem.0.errors)
                }
                Err(error) if index == 0 => return Err(error),
                // Redis went away half-way: say which are in and which are not.
                Err(_) => {
                    let message = "could not be stored; send it again".to_owned();
                    (
                        None,
                        Some(vec![Field {
                            field: String::new(),
                            message,
                        }]),
                    )
                }
            };
            items.push(BatchItem {
                index,
                task,
                errors,
            });
        }
        let accepted = items.iter().filter(|item| item.task.is_some()).count();
        Ok(BatchResponse::Answered(Json(BatchAnswer {
            accepted,
            rejected: items.len() - accepted,
            items,
        })))
    }

    /// List tasks, newest first
    #[oai(path = "/tasks", method = "get", operation_id = "list_tasks")]
    #[expect(clippy::too_many_arguments, reason = "one per query parameter")]
    async fn list(
        &self,
        Data(state): Data<&State>,
        /// Only of this status.
        Query(status): Query<Option<ListedStatus>>,
        /// Only of this queue.
        Query(queue): Query<Option<String>>,
        /// Only of this type.
        #[oai(name = "type")]
        Query(kind): Query<Option<String>>,
        /// Only of this class.
        Query(priority): Query<Option<PriorityWord>>,
        /// Only with this label, as `name=value`.
        Query(label): Query<Option<String>>,
        /// Only with this error class.
        Query(error): Query<Option<String>>,
        /// Only held or last held by this worker.
        Query(worker): Query<Option<String>>,
        /// Only submitted at or after this time.
        Query(created_after): Query<Option<String>>,
        /// Only submitted before this time.
        Query(created_before): Query<Option<String>>,
        /// Prefix of the id, or part of the type or of the error.
        Query(q): Query<Option<String>>,
        /// Tasks per page, 1 to 500; 50 where absent.
        Query(limit): Query<Option<u64>>,
        /// The cursor of the page before.
        Query(cursor): Query<Option<String>>,
        /// Wait up to a second for the views to come here.
        Query(min_position): Query<Option<String>>,
    ) -> Result<Json<TaskList>, ApiError> {
        let (limit, cursor) = page(limit, cursor.as_deref())?;
        let params = FilterParams {
            status,
            queue,
            kind,
            priority,
            label,
            error,
            worker,
            created_after,
            created_before,
            q,
        };
        let filter = params.read()?;
        await_position(&state.store, min_position.as_deref()).await?;
        let page = state.store.list(&filter, cursor, limit).await?;
        let partitions = state.store.partition_count();
        Ok(Json(TaskList {
            tasks: page
                .items
                .iter()
                .map(|item| Task::listed(item, partitions))
                .collect(),
            cursor: page.next,
        }))
    }

    /// See a task as it is now
    #[oai(path = "/tasks/:id", method = "get", operation_id = "get_task")]
    async fn get(
        &self,
        Data(state): Data<&State>,
        Path(id): Path<String>,
    ) -> Result<Json<Task>, ApiError> {
        Ok(Json(show(state, &id).await?))
    }

    /// See everything that happened to a task
    #[oai(
        path = "/tasks/:id/history",
        method = "get",
        operation_id = "get_history"
    )]
    async fn history(
        &self,
        Data(state): Data<&State>,
        Path(id): Path<String>,
    ) -> Result<Json<TaskHistory>, ApiError> {
        let story = state.story(&id).await?;
        let partitions = state.store.partition_count();
        let mut events = Vec::with_capacity(story.events.len());
        let mut after: Option<TaskDetail> = None;
        for (entry, recorded) in story.entries.iter().zip(&story.events) {
            let next =
                TaskDetail::evolve(after, recorded).map_err(|error| ApiError::broken(&error))?;
            let body = serde_json::from_str(&entry.d).unwrap_or_default();
            events.push(HistoryEvent::of(&recorded.event, &next, body, partitions));
            after = Some(next);
        }
        Ok(Json(TaskHistory {
            id,
            events,
            complete: story.complete,
        }))
    }
}

/// A task with all that is known of it.
pub(crate) async fn show(state: &State, id: &str) -> Result<Task, ApiError> {
    let story = state.story(id).await?;
    let detail = &story.detail;
    let parse = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
    let (mut data, mut result) = (None, None);
    if let Some(partition) = state.store.partition_of(detail.id) {
        if detail.data_stored.is_some() {
            data = parse(partition.stored_data(detail.id).await?);
        }
        if detail.result_stored.is_some() {
            result = parse(partition.stored_result(detail.id).await?);
        }
    }
    Ok(Task::alone(
        detail,
        &story.record,
        data,
        result,
        state.store.partition_count(),
    ))
}
