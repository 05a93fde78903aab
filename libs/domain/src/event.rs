//! What happened, in the past tense. Additive only: a field once written keeps its meaning.
//!
//! The time of an event is its position in the log; it is not repeated in the body.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Actor, AttemptError};
use crate::{Holder, Json, Priority, QueueName, RetryPolicy, Stored, TaskSpec, TaskType};

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Everything that can stand in the log.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event {
            $($(#[$doc])* $name($name),)+
        }

        /// The name of an event, without its body.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType {
            $($(#[$doc])* $name,)+
        }

        impl EventType {
            /// Every event type.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name in the log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Reads a body of this type.
            pub(crate) fn body(self, text: &str) -> Result<Event, serde_json::Error> {
                match self { $(Self::$name => serde_json::from_str(text).map(Event::$name),)+ }
            }

            /// JSON Schema of the body.
            pub(crate) fn schema(self) -> schemars::Schema {
                match self { $(Self::$name => schemars::schema_for!($name),)+ }
            }
        }

        impl Event {
            /// Which event this is.
            #[must_use]
            pub const fn event_type(&self) -> EventType {
                match self { $(Self::$name(_) => EventType::$name,)+ }
            }

            /// The JSON body as it stands in the log.
            #[must_use]
            pub fn body(&self) -> String {
                let written = match self { $(Self::$name(body) => serde_json::to_string(body),)+ };
                written.expect("event bodies hold only strings, numbers and string-keyed maps")
            }
        }

        $(impl From<$name> for Event {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })+
    };
}

events! {
    /// The task exists. Status: pending, or scheduled when it waits for a time.
    Submitted,
    /// A worker took it. Status: processing.
    Started,
    /// The handler told how far it is. Status unchanged.
    Progressed,
    /// The handler succeeded. Status: completed.
    Completed,
    /// The attempt failed and another will follow. Status: retrying (cancelled, where a person had asked for it).
    AttemptFailed,
    /// Its time came. Status: pending.
    Requeued,
    /// Its worker said nothing for a lease. Status: pending (cancelled, where asked for).
    LeaseExpired,
    /// Given back without fault. Status: pending (cancelled, where asked for).
    Released,
    /// Gave up. Status: failed.
    DeadLettered,
    /// A person asked to cancel a running task. Status: processing.
    CancelRequested,
    /// A person cancelled a waiting task. Status: cancelled.
    Cancelled,
    /// Not started in time. Status: expired.
    Expired,
    /// A worker that had lost the task tried to settle it. Status unchanged.
    LateCompletionRefused,
    /// A person took it back from the dead letters. Status: pending, with a fresh budget.
    DlqRetried,
    /// A person removed it from the dead letters. Status: removed.
    DlqRemoved,
    /// A queue starts nothing from here on.
    QueuePaused,
    /// A queue starts tasks again.
    QueueResumed,
}

impl Event {
    /// The same event as part of a bulk operation; events that can be none stay as they are.
    #[must_use]
    pub fn part_of(mut self, operation: &Bulk) -> Self {
        match &mut self {
            Self::CancelRequested(body) => body.bulk = Some(operation.clone()),
            Self::Cancelled(body) => body.bulk = Some(operation.clone()),
            Self::DlqRetried(body) => body.bulk = Some(operation.clone()),
            Self::DlqRemoved(body) => body.bulk = Some(operation.clone()),
            _ => {}
        }
        self
    }
}

impl Event {
    /// The same event with the span of its attempt; events that end no attempt stay as they are.
    #[must_use]
    pub fn traced(mut self, traceparent: Option<String>) -> Self {
        match &mut self {
            Self::Completed(body) => body.trace = traceparent,
            Self::AttemptFailed(body) => body.trace = traceparent,
            Self::DeadLettered(body) => body.trace = traceparent,
            _ => {}
        }
        self
    }

    /// The `traceparent` it holds.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        match self {
            Self::Submitted(body) => body.trace.as_deref(),
            Self::Completed(body) => body.trace.as_deref(),
            Self::AttemptFailed(body) => body.trace.as_deref(),
            Self::DeadLettered(body) => body.trace.as_deref(),
            _ => None,
        }
    }
}

impl EventType {
    /// Whether it may come when nothing else is known of its task any more: retention forgets what has
    /// ended, and an old attempt may be refused later still.
    #[must_use]
    pub const fn may_outlive_its_task(self) -> bool {
        matches!(self, Self::LateCompletionRefused)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Body of `Submitted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// Queue it waits in.
    pub queue: QueueName,
    /// Which handler runs it.
    #[serde(rename = "type")]
    pub task_type: TaskType,
    /// Urgency class.
    pub priority: Priority,
    /// The payload, where it is small enough to stand here; null is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
    /// Stands for a payload kept beside the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_stored: Option<Stored>,
    /// What happens after a failed attempt.
    pub retry: RetryPolicy,
    /// Losses it survives.
    pub max_deliveries: u32,
    /// Time it waits before it is ready, ms from this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Time at which it becomes ready, ms since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at_ms: Option<u64>,
    /// Longest run of one attempt, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Time within which it must start, ms from this event or from its due time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    /// Held by this task until it ends or fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
    /// Free words for searching.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Who submitted it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// W3C `traceparent` of the span that submitted it, where traces are exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl Submitted {
    /// The first event of a task. The payload stands in it; whoever writes it may move a large
    /// one beside the log.
    #[must_use]
    pub fn from_spec(spec: &TaskSpec) -> Self {
        Self {
            queue: spec.queue.clone(),
            task_type: spec.task_type.clone(),
            priority: spec.priority,
            data: Some(spec.data.clone()).filter(|data| !data.is_null()),
            data_stored: None,
            retry: spec.retry,
            max_deliveries: spec.max_deliveries,
            delay_ms: spec.delay_ms,
            run_at_ms: spec.run_at_ms,
            timeout_ms: spec.timeout_ms,
            expires_in_ms: spec.expires_in_ms,
            unique_key: spec.unique_key.clone(),
            labels: spec.labels.clone(),
            actor: spec.actor.clone(),
            trace: spec.trace.clone(),
        }
    }
}

/// Body of `Started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Started {
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Who holds it: worker id and a nonce of this start.
    pub holder: Holder,
    /// The worker's lease, ms.
    pub lease_ms: u64,
}

/// Body of `Progressed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progressed {
    /// The attempt that speaks.
    pub attempt: u32,
    /// 0 to 100.
    pub percent: f64,
    /// A word from the handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Body of `Completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Completed {
    /// The attempt that succeeded.
    pub attempt: u32,
    /// Who held it.
    pub holder: Holder,
    /// The handler's result, where it is small enough to stand here; null is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Stands for a result kept beside the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_stored: Option<Stored>,
    /// How long the handler ran, ms, by the worker's monotonic clock.
    pub duration_ms: u64,
    /// W3C `traceparent` of the attempt's span, where traces are exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// Body of `AttemptFailed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptFailed {
    /// The attempt that failed.
    pub attempt: u32,
    /// Who held it.
    pub holder: Holder,
    /// What went wrong.
    pub error: AttemptError,
    /// Time until the next attempt, ms from this event; absent where the task was being cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// W3C `traceparent` of the attempt's span, where traces are exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// Body of `Requeued`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requeued {}

/// Body of `LeaseExpired`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseExpired {
    /// False where a worker had received it but never started it.
    pub started: bool,
    /// The attempt that was lost; the latest attempt where none was started.
    pub attempt: u32,
    /// Who held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

/// Why a task was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseReason {
    /// The worker stopped before the handler was done.
    Shutdown,
    /// No handler of this type in the worker: parked until one comes.
    UnknownType,
}

/// Body of `Released`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Released {
    /// Why.
    pub reason: ReleaseReason,
    /// The attempt that was given back, where one had started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Who held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

/// Why a task gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterReason {
    /// A fatal failure, or no retry left.
    Failed,
    /// Too many workers died with it.
    CrashLoop,
}

/// Body of `DeadLettered`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLettered {
    /// Why.
    pub reason: DeadLetterReason,
    /// The last attempt.
    pub attempt: u32,
    /// Who held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// What went wrong.
    pub error: AttemptError,
    /// W3C `traceparent` of the attempt's span, where traces are exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// What an event was part of, where a person asked for many tasks at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bulk {
    /// The operation.
    pub operation: String,
    /// Why, in the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `CancelRequested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelRequested {
    /// Who asked.
    pub actor: Actor,
    /// Why, in the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it was part of, where it was one of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<Bulk>,
}

/// Body of `Cancelled`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cancelled {
    /// Who asked.
    pub actor: Actor,
    /// Why, in the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it was part of, where it was one of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<Bulk>,
}

/// Body of `Expired`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Expired {}

/// How a worker wanted to settle an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The handler had succeeded.
    Completed,
    /// The handler had failed.
    Failed,
}

/// Body of `LateCompletionRefused`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LateCompletionRefused {
    /// The attempt that came late.
    pub attempt: u32,
    /// Who came late.
    pub holder: Holder,
    /// Queue of the task. Said here because this event may outlive all else that is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// What it wanted to say.
    pub outcome: Outcome,
}

/// Body of `DlqRetried`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DlqRetried {
    /// Who asked.
    pub actor: Actor,
    /// Why, in the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it was part of, where it was one of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<Bulk>,
}

/// Body of `DlqRemoved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DlqRemoved {
    /// Who asked.
    pub actor: Actor,
    /// Why, in the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it was part of, where it was one of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<Bulk>,
}

/// Body of `QueuePaused`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueuePaused {
    /// Who asked.
    pub actor: Actor,
    /// Why, in the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `QueueResumed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueResumed {
    /// Who asked.
    pub actor: Actor,
    /// Why, in the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
