//! Bulk operations: begin, watch, stop.

use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde_json::{Map, Value};
use taskweir_domain::{Actor, Status, TaskId, format_ms};
use taskweir_runtime::access::Caller;
use taskweir_store::{
    COUNTING, Filter, MAX_OPERATIONS, Operation as Stored, OperationKind, OperationState,
    StopOutcome,
};

use super::Tag;
use super::tasks::FilterParams;
use crate::problem::{ApiError, Field};
use crate::state::State;
use crate::view::PriorityWord;

pub(crate) struct Operations;

/// Operations in a list.
const LISTED: usize = 100;

/// Which dead letters; all of them where nothing is said.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub(super) struct BulkRequest {
    /// Only of this queue.
    queue: Option<String>,
    /// Only of this type.
    #[oai(rename = "type")]
    kind: Option<String>,
    /// Only of this class.
    priority: Option<PriorityWord>,
    /// Only with this label, as `name=value`.
    label: Option<String>,
    /// Only with this error class.
    error: Option<String>,
    /// Only last held by this worker.
    worker: Option<String>,
    /// Only submitted at or after this time, RFC 3339.
    created_after: Option<String>,
    /// Only submitted before this time.
    created_before: Option<String>,
    /// Only what gave up at or after this time.
    failed_after: Option<String>,
    /// Only what gave up before this time.
    failed_before: Option<String>,
    /// Prefix of the id, or part of the type or of the error.
    q: Option<String>,
    /// Count, and do nothing.
    dry_run: Option<bool>,
    /// Why, for the histories of the tasks; at most 500 bytes.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

/// Which tasks; all that have not ended where nothing is said.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub(super) struct CancelManyRequest {
    /// Only of this status.
    status: Option<OpenStatus>,
    /// Only of this queue.
    queue: Option<String>,
    /// Only of this type.
    #[oai(rename = "type")]
    kind: Option<String>,
    /// Only of this class.
    priority: Option<PriorityWord>,
    /// Only with this label, as `name=value`.
    label: Option<String>,
    /// Only with this error class.
    error: Option<String>,
    /// Only held or last held by this worker.
    worker: Option<String>,
    /// Only submitted at or after this time, RFC 3339.
    created_after: Option<String>,
    /// Only submitted before this time.
    created_before: Option<String>,
    /// Prefix of the id, or part of the type or of the error.
    q: Option<String>,
    /// Count, and do nothing.
    dry_run: Option<bool>,
    /// Why, for the histories of the tasks; at most 500 bytes.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

/// Where a task is that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum OpenStatus {
    Scheduled,
    Pending,
    Processing,
    Retrying,
}

/// What is done to each task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", rename = "OperationKind")]
pub(super) enum KindWord {
    DlqRetry,
    DlqDelete,
    TasksCancel,
}

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", rename = "OperationState")]
pub(super) enum StateWord {
    Running,
    Completed,
    Stopped,
}

/// A bulk operation.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Operation {
    /// Its id.
    id: String,
    /// What is done to each task.
    kind: KindWord,
    /// Where it is.
    state: StateWord,
    /// Tasks that passed the filter when it was asked for.
    matching: u64,
    /// Whether there were no more; else as many as could be counted at once.
    exact: bool,
    /// Tasks it has changed.
    done: u64,
    /// Tasks that had moved on, or whose unique key was taken.
    skipped: u64,
    /// Who asked.
    actor: String,
    /// Why.
    reason: Option<String>,
    /// When.
    created_at: String,
    /// When it ended.
    ended_at: Option<String>,
    /// Who stopped it.
    stopped_by: Option<String>,
}

impl From<Stored> for Operation {
    fn from(operation: Stored) -> Self {
        let order = operation.order;
        Self {
            id: operation.id.to_string(),
            kind: match order.kind {
                OperationKind::DlqRetry => KindWord::DlqRetry,
                OperationKind::DlqDelete => KindWord::DlqDelete,
                OperationKind::TasksCancel => KindWord::TasksCancel,
            },
            state: match operation.state {
                OperationState::Running => StateWord::Running,
                OperationState::Completed => StateWord::Completed,
                OperationState::Stopped => StateWord::Stopped,
            },
            matching: operation.matching,
            exact: order.exact,
            done: operation.done,
            skipped: operation.skipped,
            actor: order.actor.0,
            reason: order.reason,
            created_at: format_ms(order.asked_ms),
            ended_at: operation.ended_ms.map(format_ms),
            stopped_by: operation.stopped_by,
        }
    }
}

/// All operations.
#[derive(Debug, Object)]
struct OperationList {
    /// The latest, newest first; ended ones stay for a week.
    operations: Vec<Operation>,
}

/// What an operation would do.
#[derive(Debug, Object)]
pub(super) struct DryRun {
    /// Always true.
    dry_run: bool,
    /// Tasks that pass the filter.
    matching: u64,
    /// Whether there are no more; else as many as could be counted at once.
    exact: bool,
}

#[derive(ApiResponse)]
pub(super) enum BulkAnswer {
    /// Counted; nothing was done.
    #[oai(status = 200)]
    Counted(Json<DryRun>),
    /// Under way.
    #[oai(status = 202)]
    Begun(
        Json<Operation>,
        /// Where it can be watched.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum StopAnswer {
    /// It does nothing more; what it has done stays done.
    #[oai(status = 200)]
    Stopped(Json<Operation>),
}

/// A bulk request, read.
pub(crate) struct Wanted {
    filter: Filter,
    dry_run: bool,
    reason: Option<String>,
}

/// The fields of a body, each taken once; what is left over is refused by name.
struct Fields {
    map: Map<String, Value>,
    errors: Vec<Field>,
}

impl Fields {
    fn take<T>(
        &mut self,
        name: &str,
        takes: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.map.remove(name).filter(|value| !value.is_null())?;
        let read = read(&value);
        if read.is_none() {
            self.errors
                .push(Field::new(name, format!("must be {takes}")));
        }
        read
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, "a text", |value| {
            value.as_str().map(ToOwned::to_owned)
        })
    }
}

pub(crate) fn read(kind: OperationKind, text: &str) -> Result<Wanted, ApiError> {
    let value: Value = serde_json::from_str(text).map_err(|error| ApiError::not_json(&error))?;
    let Value::Object(map) = value else {
        return Err(ApiError::field("", "must be an object with a filter"));
    };
    let mut fields = Fields {
        map,
        errors: Vec::new(),
    };
    let dead = kind.is_of_dead();
    let status = if dead {
        None
    } else {
        let takes = "scheduled, pending, processing or retrying";
        fields.take("status", takes, |value| {
            let status: Status = value.as_str()?.parse().ok()?;
            (!status.is_final() && status != Status::Failed).then_some(status)
        })
    };
    let params = FilterParams {
        status: None,
        queue: fields.text("queue"),
        kind: fields.text("type"),
        priority: fields.take("priority", "high, normal or low", |value| {
            Some(PriorityWord::from(
                value.as_str()?.parse::<taskweir_domain::Priority>().ok()?,
            ))
        }),
        label: fields.text("label"),
        error: fields.text("error"),
        worker: fields.text("worker"),
        created_after: fields.text("created_after"),
        created_before: fields.text("created_before"),
        failed_after: if dead {
            fields.text("failed_after")
        } else {
            None
        },
        failed_before: if dead {
            fields.text("failed_before")
        } else {
            None
        },
        q: fields.text("q"),
    };
    let dry_run = fields.take("dry_run", "true or false", Value::as_bool);
    let reason = fields.take("reason", "a text of at most 500 bytes", |value| {
        let text = value
            .as_str()
            .filter(|text| text.len() <= OperationKind::MAX_REASON)?;
        Some(text.to_owned())
    });
    let Fields { map, mut errors } = fields;
    errors.extend(
        map.keys()
            .map(|name| Field::new(name, "is not a field of this call")),
    );
    if !errors.is_empty() {
        return Err(ApiError::fields(errors));
    }
    let mut filter = params.read()?;
    filter.statuses = status.into_iter().collect();
    kind.check(&filter)
        .map_err(|(field, why)| ApiError::field(field, why))?;
    Ok(Wanted {
        filter,
        dry_run: dry_run.unwrap_or(false),
        reason: reason.filter(|reason| !reason.is_empty()),
    })
}

/// Begins an operation, or counts what it would do.
pub(super) async fn bulk(
    state: &State,
    caller: &Caller,
    kind: OperationKind,
    text: &str,
) -> Result<BulkAnswer, ApiError> {
    let wanted = read(kind, text)?;
    if wanted.dry_run {
        let (matching, exact) = state.store.matching(kind, &wanted.filter, COUNTING).await?;
        return Ok(BulkAnswer::Counted(Json(DryRun {
            dry_run: true,
            matching,
            exact,
        })));
    }
    let actor = Actor(caller.name.clone());
    let begun = state
        .store
        .operate(kind, wanted.filter, actor, wanted.reason)
        .await?;
    let Some(operation) = begun else {
        return Err(ApiError::conflict(format!(
            "{MAX_OPERATIONS} operations are under way; wait for one, or stop one"
        )));
    };
    let place = format!("/operations/{}", operation.id);
    Ok(BulkAnswer::Begun(Json(operation.into()), place))
}

fn missing() -> ApiError {
    ApiError::not_found("there is no such operation; ended ones are kept for a week")
}

#[OpenApi(tag = "Tag::Operations")]
impl Operations {
    /// List bulk operations, newest first
    #[oai(path = "/operations", method = "get", operation_id = "list_operations")]
    async fn list(&self, Data(state): Data<&State>) -> Result<Json<OperationList>, ApiError> {
        let operations = state.store.operations(LISTED).await?;
        Ok(Json(OperationList {
            operations: operations.into_iter().map(Into::into).collect(),
        }))
    }

    /// See how far a bulk operation is
    #[oai(
        path = "/operations/:id",
        method = "get",
        operation_id = "get_operation"
    )]
    async fn get(
        &self,
        Data(state): Data<&State>,
        /// Its id.
        Path(id): Path<String>,
    ) -> Result<Json<Operation>, ApiError> {
        let id: TaskId = id.parse().map_err(|_| missing())?;
        let found = state.store.operation(id).await?;
        found.map(|found| Json(found.into())).ok_or_else(missing)
    }

    /// Stop a bulk operation; what it has done stays done
    #[oai(
        path = "/operations/:id",
        method = "delete",
        operation_id = "stop_operation"
    )]
    async fn stop(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
        /// Its id.
        Path(id): Path<String>,
    ) -> Result<StopAnswer, ApiError> {
        let id: TaskId = id.parse().map_err(|_| missing())?;
        let actor = Actor(caller.name.clone());
        match state.store.stop_operation(id, &actor).await? {
            StopOutcome::NotFound => return Err(missing()),
            StopOutcome::Ended => {
                return Err(ApiError::conflict(
                    "the operation has come to its end already",
                ));
            }
            StopOutcome::Stopped => {}
        }
        let stopped = state.store.operation(id).await?.ok_or_else(missing)?;
        Ok(StopAnswer::Stopped(Json(stopped.into())))
    }
}
