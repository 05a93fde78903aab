//! See what became of tasks.

use std::time::Duration;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use taskweir_domain::{Actor, Ask, TaskDetail, TaskId};
use taskweir_runtime::access::Caller;
use taskweir_store::{Cancelled, Filter, OperationKind, Page, Store, Story, StoryAt};

use super::Tag;
use super::operations::{BulkAnswer, CancelManyRequest, bulk};
use super::submit::{self, BatchRequest, BatchResponse, SubmitAnswer, TaskRequest};
use crate::body::{JsonText, Reason};
use crate::instant::Instant;
use crate::position;
use crate::problem::ApiError;
use crate::render::Rendered;
use crate::state::State;
use crate::view::{HistoryBase, HistoryEvent, ListedStatus, PriorityWord, Task};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;
/// How long a list waits for the views to come to `min_position`.
const VIEW_PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Tasks;

/// A page of tasks, newest first.
#[derive(Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct TaskList {
    /// The tasks.
    pub(crate) tasks: Vec<Task>,
    /// Give it back as `cursor` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<String>,
}

impl TaskList {
    pub(crate) fn of(page: Page, partitions: usize) -> Self {
        let tasks = page.items.iter();
        Self {
            tasks: tasks.map(|item| Task::listed(item, partitions)).collect(),
            cursor: page.next,
        }
    }
}

/// A task's events, oldest first.
#[derive(Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
struct TaskHistory {
    /// The task.
    id: String,
    /// The task as retention has left it, where its first events were cut from the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<HistoryBase>,
    /// Its events, or those since the base.
    events: Vec<HistoryEvent>,
    /// Whether the events reach back to its first one.
    complete: bool,
}

#[derive(ApiResponse)]
enum CancelAnswer {
    /// Ended.
    #[oai(status = 200)]
    Cancelled(Rendered<Task>),
    /// It runs; its handler is being told.
    #[oai(status = 202)]
    Requested(Rendered<Task>),
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
    pub(crate) failed_after: Option<String>,
    pub(crate) failed_before: Option<String>,
    pub(crate) q: Option<String>,
}

impl FilterParams {
    pub(crate) fn read(self) -> Result<Filter, ApiError> {
        let time = |field: &str, text: Option<String>| {
            text.map(|text| {
                taskweir_domain::parse_rfc3339_ms(&text)
                    .map_err(|fault| ApiError::field(field, fault.to_string()))
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
            failed_after_ms: time("failed_after", self.failed_after)?,
            failed_before_ms: time("failed_before", self.failed_before)?,
            text: self.q.filter(|text| !text.is_empty()),
        })
    }
}

/// How long a page is.
pub(crate) fn page_limit(limit: Option<u64>, usual: usize) -> Result<usize, ApiError> {
    let Some(limit) = limit else { return Ok(usual) };
    usize::try_from(limit)
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| ApiError::field("limit", format!("must be from 1 to {MAX_LIMIT}")))
}

/// Where a page begins and how long it is.
pub(crate) fn page(
    limit: Option<u64>,
    cursor: Option<&str>,
) -> Result<(usize, Option<&str>), ApiError> {
    let limit = page_limit(limit, DEFAULT_LIMIT)?;
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
        let example = if store.partition_count() == 1 {
            "1700000000000-0"
        } else {
            "0@1700000000000-0"
        };
        let takes = format!("must be a position such as {example}");
        return Err(ApiError::field("min_position", takes));
    };
    let deadline = tokio::time::Instant::now() + VIEW_PATIENCE;
    store.partitions()[partition]
        .await_views(position, deadline)
        .await?;
    Ok(())
}

#[OpenApi(tag = "Tag::Tasks")]
impl Tasks {
    /// Submit a task
    ///
    /// Once answered, the task can be read at once and is never behind. With an `Idempotency-Key` the
    /// same request again, within 24 hours, answers the same task.
    #[oai(path = "/tasks", method = "post", operation_id = "submit_task")]
    async fn submit(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
        /// A word of yours for this request, 1 to 255 bytes.
        #[oai(name = "Idempotency-Key")]
        Header(key): Header<Option<String>>,
        body: JsonText<TaskRequest>,
    ) -> Result<SubmitAnswer, ApiError> {
        submit::one(state, caller, key.as_deref(), &body.text).await
    }

    /// Submit up to 1,000 tasks
    ///
    /// Each is taken or refused by itself; a bad one harms no other. An `Idempotency-Key` is refused, for it is of one
    /// task: what must not be made twice has a `unique_key`.
    #[oai(path = "/tasks/batch", method = "post", operation_id = "submit_batch")]
    async fn submit_batch(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
        request: &Request,
        body: JsonText<BatchRequest>,
    ) -> Result<BatchResponse, ApiError> {
        submit::refuse_key(request)?;
        submit::batch(state, caller, &body.text).await
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
    ) -> Result<Rendered<TaskList>, ApiError> {
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
            ..FilterParams::default()
        };
        let filter = params.read()?;
        await_position(&state.store, min_position.as_deref()).await?;
        let page = state.store.list(&filter, cursor, limit).await?;
        Ok(Rendered(TaskList::of(page, state.store.partition_count())))
    }

    /// Cancel every task that passes a filter
    ///
    /// In the background; tasks that are submitted later are left alone. With `dry_run` it only counts.
    #[oai(path = "/tasks/cancel", method = "post", operation_id = "cancel_tasks")]
    async fn cancel_many(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
        body: JsonText<CancelManyRequest>,
    ) -> Result<BulkAnswer, ApiError> {
        bulk(state, caller, OperationKind::TasksCancel, &body.text).await
    }

    /// Cancel a task
    ///
    /// A waiting one ends at once; the handler of a running one is told within a second.
    #[oai(
        path = "/tasks/:id/cancel",
        method = "post",
        operation_id = "cancel_task"
    )]
    async fn cancel(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
        /// Its id.
        Path(id): Path<String>,
        reason: Reason,
    ) -> Result<CancelAnswer, ApiError> {
        let task_id: TaskId = id.parse().map_err(|_| ApiError::no_task(&id))?;
        let ask = Ask::new(Actor(caller.name.clone()), reason.0);
        match state.store.cancel(task_id, ask).await? {
            Cancelled::Now => Ok(CancelAnswer::Cancelled(Rendered(show(state, &id).await?))),
            Cancelled::Requested => Ok(CancelAnswer::Requested(Rendered(show(state, &id).await?))),
            Cancelled::Ended(status) => {
                Err(ApiError::conflict(format!("the task is {status} already")))
            }
            Cancelled::NotFound => Err(ApiError::no_task(&id)),
        }
    }

    /// See a task as it is now, or as it was
    #[oai(path = "/tasks/:id", method = "get", operation_id = "get_task")]
    async fn get(
        &self,
        Data(state): Data<&State>,
        /// Its id.
        Path(id): Path<String>,
        /// As it was then: an RFC 3339 time (the end of that millisecond) or a position.
        Query(as_of): Query<Option<String>>,
    ) -> Result<Rendered<Task>, ApiError> {
        let story = state.story(&id).await?;
        let Some(as_of) = as_of else {
            return Ok(Rendered(shown(state, &story).await?));
        };
        let instant = Instant::read(&state.store, "as_of", &as_of).await?;
        let partition = usize::from(story.detail.id.partition().0);
        let position = instant.in_partition_alone(partition).ok_or_else(|| {
            ApiError::field("as_of", "must be a position of the task's partition")
        })?;
        match story.as_of(position)? {
            StoryAt::Was(then) => Ok(Rendered(shown(state, &then).await?)),
            StoryAt::NotYet => Err(ApiError::not_found(format!("task {id} did not exist then"))),
            StoryAt::Gone => Err(ApiError::trimmed(story.base_position)),
        }
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
        /// Its id.
        Path(id): Path<String>,
    ) -> Result<Rendered<TaskHistory>, ApiError> {
        let story = state.story(&id).await?;
        let partitions = state.store.partition_count();
        let mut events = Vec::with_capacity(story.events.len());
        let mut after: Option<TaskDetail> = story.base.clone();
        for (entry, recorded) in story.entries.iter().zip(&story.events) {
            let next =
                TaskDetail::evolve(after, recorded).map_err(|error| ApiError::broken(&error))?;
            let body = state.redaction.of_body(&entry.d);
            events.push(HistoryEvent::of(&recorded.event, &next, &body, partitions));
            after = Some(next);
        }
        Ok(Rendered(TaskHistory {
            id,
            complete: story.base.is_none(),
            base: story
                .base
                .as_ref()
                .map(|base| HistoryBase::of(base, story.base_position, partitions)),
            events,
        }))
    }
}

/// A task with all that is known of it.
pub(crate) async fn show(state: &State, id: &str) -> Result<Task, ApiError> {
    shown(state, &state.story(id).await?).await
}

async fn shown(state: &State, story: &Story) -> Result<Task, ApiError> {
    let detail = &story.detail;
    let (mut data, mut result) = (None, None);
    if let Some(partition) = state.store.partition_of(detail.id) {
        if detail.data_stored.is_some() {
            data = partition.stored_data(detail.id).await?;
        }
        if detail.result_stored.is_some() {
            result = partition.stored_result(detail.id).await?;
        }
    }
    let partitions = state.store.partition_count();
    let redaction = &state.redaction;
    Ok(Task::alone(
        detail,
        &story.record,
        data,
        result,
        redaction,
        partitions,
    ))
}
