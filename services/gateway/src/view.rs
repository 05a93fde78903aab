//! What the API shows, and how it comes from what the store knows.

use std::collections::BTreeMap;

use poem_openapi::{Enum, Object};
use serde::Serialize;
use taskweir_domain::{
    AttemptError, Event, Json, Phase, Position, Priority, Redaction, RetryPolicy, Status,
    TaskDetail, TaskId, format_ms,
};
use taskweir_store::{Item, Record};

use crate::position;
use crate::render::RawJson;

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "snake_case", rename = "Status")]
#[serde(rename_all = "snake_case")]
pub(crate) enum StatusWord {
    Scheduled,
    Pending,
    Processing,
    Retrying,
    Completed,
    Failed,
    Cancelled,
    Expired,
    Removed,
}

impl From<Status> for StatusWord {
    fn from(status: Status) -> Self {
        match status {
            Status::Scheduled => Self::Scheduled,
            Status::Pending => Self::Pending,
            Status::Processing => Self::Processing,
            Status::Retrying => Self::Retrying,
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
            Status::Expired => Self::Expired,
            Status::Removed => Self::Removed,
        }
    }
}

/// Where a listed task can be: lists show no task that was taken out of the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", rename = "ListedStatus")]
pub(crate) enum ListedStatus {
    Scheduled,
    Pending,
    Processing,
    Retrying,
    Completed,
    Failed,
    Cancelled,
    Expired,
}

impl From<ListedStatus> for Status {
    fn from(word: ListedStatus) -> Self {
        match word {
            ListedStatus::Scheduled => Self::Scheduled,
            ListedStatus::Pending => Self::Pending,
            ListedStatus::Processing => Self::Processing,
            ListedStatus::Retrying => Self::Retrying,
            ListedStatus::Completed => Self::Completed,
            ListedStatus::Failed => Self::Failed,
            ListedStatus::Cancelled => Self::Cancelled,
            ListedStatus::Expired => Self::Expired,
        }
    }
}

/// How urgent a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "snake_case", rename = "Priority")]
#[serde(rename_all = "snake_case")]
pub(crate) enum PriorityWord {
    High,
    Normal,
    Low,
}

impl From<Priority> for PriorityWord {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::High => Self::High,
            Priority::Normal => Self::Normal,
            Priority::Low => Self::Low,
        }
    }
}

impl From<PriorityWord> for Priority {
    fn from(word: PriorityWord) -> Self {
        match word {
            PriorityWord::High => Self::High,
            PriorityWord::Normal => Self::Normal,
            PriorityWord::Low => Self::Low,
        }
    }
}

/// When and how often a failed task is tried again.
#[derive(Debug, Clone, Object, Serialize)]
pub(crate) struct Retry {
    /// Seconds before the first retry.
    pub(crate) initial_delay: f64,
    /// Factor by which the delay grows.
    pub(crate) multiplier: f64,
    /// Longest delay, seconds.
    pub(crate) max_delay: f64,
    /// Share of the delay that is drawn at random, 0 to 1.
    pub(crate) jitter: f64,
}

impl From<&RetryPolicy> for Retry {
    fn from(policy: &RetryPolicy) -> Self {
        Self {
            initial_delay: policy.initial_delay_ms as f64 / 1_000.0,
            multiplier: policy.multiplier,
            max_delay: policy.max_delay_ms as f64 / 1_000.0,
            jitter: policy.jitter,
        }
    }
}

/// What went wrong in an attempt.
#[derive(Debug, Clone, Object, Serialize)]
pub(crate) struct TaskFailure {
    /// `error`, `fatal`, `timeout`, `panic`, `invalid_payload`, `result_too_large` or `crash_loop`.
    pub(crate) kind: String,
    /// Groups alike failures.
    pub(crate) class: String,
    /// For people.
    pub(crate) message: String,
}

impl From<&AttemptError> for TaskFailure {
    fn from(error: &AttemptError) -> Self {
        Self {
            kind: error.kind.to_string(),
            class: error.class().to_owned(),
            message: error.message.clone(),
        }
    }
}

/// How far a running attempt is.
#[derive(Debug, Clone, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct ProgressView {
    /// 0 to 100.
    pub(crate) percent: f64,
    /// A word from the handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// When it was said.
    pub(crate) at: String,
}

/// A task.
#[derive(Debug, Clone, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct Task {
    /// Its id.
    pub(crate) id: String,
    /// Which handler runs it.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The queue it belongs to.
    pub(crate) queue: String,
    /// How urgent it is.
    pub(crate) priority: PriorityWord,
    /// Where it is.
    pub(crate) status: StatusWord,
    /// A person asked to cancel it and its handler was told.
    pub(crate) cancelling: bool,
    /// It waits for a worker that knows its type.
    pub(crate) waiting_for_worker: bool,
    /// Starts so far.
    pub(crate) attempt: u32,
    /// Failures that were retried, since it was submitted or came back from the dead letters.
    pub(crate) failures: u32,
    /// Workers lost since then.
    pub(crate) losses: u32,
    /// Retries after the first attempt.
    pub(crate) max_retries: u32,
    /// The retry policy.
    pub(crate) retry: Retry,
    /// Losses it survives.
    pub(crate) max_deliveries: u32,
    /// Longest run of one attempt, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<f64>,
    /// Its unique key; in single-task answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unique_key: Option<String>,
    /// When it expires unless it has started; in single-task answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
    /// Free words for searching.
    pub(crate) labels: BTreeMap<String, String>,
    /// The handler's input; in single-task answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<RawJson>,
    /// The handler's result; in single-task answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<RawJson>,
    /// The latest failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<TaskFailure>,
    /// How far the running attempt is; in single-task answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<ProgressView>,
    /// The worker that holds or last held it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<String>,
    /// Who submitted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actor: Option<String>,
    /// The trace of its submit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<String>,
    /// When it was submitted.
    pub(crate) created_at: String,
    /// When it last changed.
    pub(crate) updated_at: String,
    /// When the latest attempt began; in single-task answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started_at: Option<String>,
    /// When it ended or gave up; in single-task answers and among the dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended_at: Option<String>,
    /// When its next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_run_at: Option<String>,
    /// Number of its events.
    pub(crate) version: u64,
    /// Position of its latest event.
    pub(crate) position: String,
}

fn trace_id(traceparent: Option<&str>) -> Option<String> {
    traceparent
        .and_then(taskweir_trace::trace_id)
        .map(ToOwned::to_owned)
}

fn base(id: TaskId, record: &Record, partitions: usize) -> Task {
    let task = &record.task;
    let next_run_at = match task.phase {
        Phase::Scheduled { due_ms } | Phase::Retrying { due_ms } => Some(format_ms(due_ms)),
        _ => None,
    };
    Task {
        id: id.to_string(),
        kind: task.task_type.to_string(),
        queue: task.queue.to_string(),
        priority: task.priority.into(),
        status: task.status().into(),
        cancelling: task.cancelling(),
        waiting_for_worker: record.is_parked(),
        attempt: task.attempt,
        failures: task.failures,
        losses: task.losses,
        max_retries: task.limits.retry.max_retries,
        retry: Retry::from(&task.limits.retry),
        max_deliveries: task.limits.max_deliveries,
        timeout: task.limits.timeout_ms.map(|ms| ms as f64 / 1_000.0),
        unique_key: None,
        expires_at: None,
        labels: BTreeMap::new(),
        data: None,
        result: None,
        error: None,
        progress: None,
        worker: record
            .holder
            .as_ref()
            .map(|holder| holder.worker().to_owned()),
        actor: None,
        trace_id: None,
        created_at: format_ms(task.first.ms),
        updated_at: format_ms(task.last.ms),
        started_at: None,
        ended_at: None,
        next_run_at,
        version: task.version,
        position: position::show(id.partition(), task.last, partitions),
    }
}

impl Task {
    /// A task in a list.
    pub(crate) fn listed(item: &Item, partitions: usize) -> Self {
        Self {
            labels: item.extra.labels.clone(),
            error: item.extra.error.as_ref().map(TaskFailure::from),
            ended_at: item.dead_ms.map(format_ms),
            ..base(item.id, &item.record, partitions)
        }
    }

    /// A task alone, with all that its history tells. `data` and `result` are those kept beside
    /// the log.
    pub(crate) fn alone(
        detail: &TaskDetail,
        record: &Record,
        data: Option<String>,
        result: Option<String>,
        redaction: &Redaction,
        partitions: usize,
    ) -> Self {
        let whole = |beside: Option<String>, inline: &Option<Json>| {
            beside.or_else(|| Some(inline.as_ref()?.as_str().to_owned()))
        };
        let payload = whole(data, &detail.data).unwrap_or_else(|| "null".to_owned());
        let result = whole(result, &detail.result);
        // Its worker hides it already, if it was told to.
        let words = |words: &str| redaction.of_words(words, &payload).into_owned();
        Self {
            unique_key: detail.unique_key.clone(),
            expires_at: detail.expires_ms.map(format_ms),
            labels: detail.labels.clone(),
            data: Some(RawJson::of(redaction.of(&payload))),
            result: result.map(|result| RawJson::of(redaction.of(&result))),
            error: detail.error.as_ref().map(|error| {
                let told = TaskFailure::from(error);
                TaskFailure {
                    class: words(&told.class),
                    message: words(&told.message),
                    ..told
                }
            }),
            progress: detail.progress.as_ref().map(|progress| ProgressView {
                percent: progress.percent,
                message: progress.message.as_deref().map(words),
                at: format_ms(progress.at_ms),
            }),
            worker: detail
                .holder
                .as_ref()
                .map(|holder| holder.worker().to_owned()),
            actor: detail.actor.as_ref().map(|actor| actor.0.clone()),
            trace_id: trace_id(detail.trace.as_deref()),
            started_at: detail.started_ms.map(format_ms),
            ended_at: detail.ended_ms.map(format_ms),
            ..base(detail.id, record, partitions)
        }
    }
}

/// What a task was when the log was cut: its history begins here.
#[derive(Debug, Clone, Object, Serialize)]
pub(crate) struct HistoryBase {
    /// Place of its latest event that was cut.
    pub(crate) position: String,
    /// Number of that event within the task.
    pub(crate) version: u64,
    /// When that event happened.
    pub(crate) time: String,
    /// Where the task was after it.
    pub(crate) status: StatusWord,
    /// Starts up to there.
    pub(crate) attempt: u32,
    /// Up to here the log was cut; of nothing before it can be told.
    pub(crate) cut_at: String,
}

impl HistoryBase {
    pub(crate) fn of(base: &TaskDetail, cut_at: Position, partitions: usize) -> Self {
        let (partition, task) = (base.id.partition(), &base.task);
        Self {
            position: position::show(partition, task.last, partitions),
            version: task.version,
            time: format_ms(task.last.ms),
            status: task.status().into(),
            attempt: task.attempt,
            cut_at: position::show(partition, cut_at, partitions),
        }
    }
}

/// One event of a task's history.
#[derive(Debug, Clone, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct HistoryEvent {
    /// Place in the log.
    pub(crate) position: String,
    /// Number within the task.
    pub(crate) version: u64,
    /// What happened.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// When.
    pub(crate) time: String,
    /// The attempt it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
    /// The worker it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<String>,
    /// The person who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actor: Option<String>,
    /// Why it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// The trace it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<String>,
    /// Where the task was after it.
    pub(crate) status: StatusWord,
    /// The whole body of the event.
    pub(crate) detail: RawJson,
}

impl HistoryEvent {
    /// An event and the state after it.
    pub(crate) fn of(event: &Event, after: &TaskDetail, body: &str, partitions: usize) -> Self {
        let told = event.told();
        let task = &after.task;
        Self {
            position: position::show(after.id.partition(), task.last, partitions),
            version: task.version,
            kind: event.event_type().to_string(),
            time: format_ms(task.last.ms),
            attempt: told.attempt,
            worker: told.worker,
            actor: told.actor,
            cause: told.cause,
            trace_id: trace_id(event.traceparent()),
            status: task.status().into(),
            detail: RawJson::of(body),
        }
    }
}
