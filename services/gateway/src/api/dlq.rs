//! What gave up: look, retry, remove.

use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use taskweir_domain::{Actor, Ask, TaskId};
use taskweir_runtime::access::Caller;
use taskweir_store::{DlqOutcome, DlqVerb, OperationKind, Page};

use super::Tag;
use super::operations::{BulkAnswer, BulkRequest, bulk};
use super::tasks::{FilterParams, TaskList, await_position, page, show};
use crate::body::{JsonText, Reason};
use crate::problem::ApiError;
use crate::render::Rendered;
use crate::state::State;
use crate::view::{ListedStatus, PriorityWord, StatusWord, Task};

pub(crate) struct Dlq;

#[derive(ApiResponse)]
enum RetryAnswer {
    /// Pending again, with a fresh retry budget.
    #[oai(status = 202)]
    Retried(Rendered<Task>),
}

#[derive(ApiResponse)]
enum RemoveAnswer {
    /// Out of the dead-letter queue; its history stays.
    #[oai(status = 204)]
    Removed,
}

async fn act(
    state: &State,
    caller: &Caller,
    id: &str,
    verb: DlqVerb,
    reason: Reason,
) -> Result<(), ApiError> {
    let task_id: TaskId = id.parse().map_err(|_| ApiError::no_task(id))?;
    let ask = Ask::new(Actor(caller.name.clone()), reason.0);
    match state.store.act_on_dead(task_id, verb, ask).await? {
        DlqOutcome::Done => Ok(()),
        DlqOutcome::NotFound => Err(ApiError::no_task(id)),
        DlqOutcome::NotDead(status) => Err(ApiError::conflict(format!(
            "the task is {status}, not in the dead-letter queue"
        ))),
        DlqOutcome::Taken(id) => Err(ApiError::taken(id, "another task holds its unique key")),
        DlqOutcome::Raced => Err(ApiError::conflict(
            "somebody else was faster: the task has left the dead-letter queue",
        )),
    }
}

#[OpenApi(tag = "Tag::Dlq")]
impl Dlq {
    /// List dead letters, the latest first
    #[oai(
        path = "/dlq/failed-tasks",
        method = "get",
        operation_id = "list_dead_letters"
    )]
    #[expect(clippy::too_many_arguments, reason = "one per query parameter")]
    async fn list(
        &self,
        Data(state): Data<&State>,
        /// As of any list; every dead letter is `failed`.
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
        /// Only last held by this worker.
        Query(worker): Query<Option<String>>,
        /// Only submitted at or after this time.
        Query(created_after): Query<Option<String>>,
        /// Only submitted before this time.
        Query(created_before): Query<Option<String>>,
        /// Only what gave up at or after this time.
        Query(failed_after): Query<Option<String>>,
        /// Only what gave up before this time.
        Query(failed_before): Query<Option<String>>,
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
            failed_after,
            failed_before,
            q,
        };
        let filter = params.read()?;
        await_position(&state.store, min_position.as_deref()).await?;
        let page = if status.is_none_or(|status| status == ListedStatus::Failed) {
            state.store.dead_letters(&filter, cursor, limit).await?
        } else {
            Page::default()
        };
        Ok(Rendered(TaskList::of(page, state.store.partition_count())))
    }

    /// See one dead letter
    #[oai(
        path = "/dlq/failed-tasks/:id",
        method = "get",
        operation_id = "get_dead_letter"
    )]
    async fn get(
        &self,
        Data(state): Data<&State>,
        /// Its id.
        Path(id): Path<String>,
    ) -> Result<Rendered<Task>, ApiError> {
        let task = show(state, &id).await?;
        if task.status != StatusWord::Failed {
            return Err(ApiError::not_found(
                "the task is not in the dead-letter queue",
            ));
        }
        Ok(Rendered(task))
    }

    /// Retry a dead letter with a fresh budget
    #[oai(
        path = "/dlq/failed-tasks/:id/retry",
        method = "post",
        operation_id = "retry_dead_letter"
    )]
    async fn retry(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
        /// Its id.
        Path(id): Path<String>,
        reason: Reason,
    ) -> Result<RetryAnswer, ApiError> {
        act(state, caller, &id, DlqVerb::Retry, reason).await?;
        Ok(RetryAnswer::Retried(Rendered(show(state, &id).await?)))
    }

    /// Retry every dead letter that passes a filter
    ///
    /// In the background, each with a fresh budget; what gives up later is left alone. With `dry_run` it
    /// only counts.
    #[oai(
        path = "/dlq/retry",
        method = "post",
        operation_id = "retry_dead_letters"
    )]
    async fn retry_many(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
        body: JsonText<BulkRequest>,
    ) -> Result<BulkAnswer, ApiError> {
        bulk(state, caller, OperationKind::DlqRetry, &body.text).await
    }

    /// Remove every dead letter that passes a filter, for good
    ///
    /// In the background; histories stay. With `dry_run` it only counts.
    #[oai(
        path = "/dlq/delete",
        method = "post",
        operation_id = "remove_dead_letters"
    )]
    async fn remove_many(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
        body: JsonText<BulkRequest>,
    ) -> Result<BulkAnswer, ApiError> {
        bulk(state, caller, OperationKind::DlqDelete, &body.text).await
    }

    /// Remove a dead letter for good
    #[oai(
        path = "/dlq/failed-tasks/:id",
        method = "delete",
        operation_id = "remove_dead_letter"
    )]
    async fn remove(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
        /// Its id.
        Path(id): Path<String>,
        /// Why, for its history: at most 500 bytes.
        Query(reason): Query<Option<String>>,
    ) -> Result<RemoveAnswer, ApiError> {
        act(state, caller, &id, DlqVerb::Remove, Reason::check(reason)?).await?;
        Ok(RemoveAnswer::Removed)
    }
}
