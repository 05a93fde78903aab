#![doc = include_str!("../README.md")]

mod command;
mod decide;
mod detail;
mod draft;
mod event;
mod evolve;
mod fit;
mod id;
mod json;
mod json_text;
mod name;
mod position;
mod priority;
mod redact;
mod retry;
mod spec;
mod status;
mod task;
mod time;
mod told;
mod transition;
mod wire;

pub use command::{Actor, Ask, AttemptError, Command, ErrorKind, Failure, Fence, LossSeen};
pub use decide::{Rejection, decide};
pub use detail::{Progress, TaskDetail};
pub use draft::{FieldError, Limits as DraftLimits, draft_from_json};
pub use event::{
    AttemptFailed, Bulk, CancelRequested, Cancelled, Completed, DeadLetterReason, DeadLettered,
    DlqRemoved, DlqRetried, Event, EventType, Expired, LateCompletionRefused, LeaseExpired,
    Outcome, Progressed, QueuePaused, QueueResumed, ReleaseReason, Released, Requeued, Started,
    Submitted,
};
pub use evolve::{IllegalEvent, IllegalEventKind, evolve};
pub use id::{IdError, PartitionIndex, TaskId};
pub use json::Json;
pub use json_text::{canonical, compact, members, pretty};
pub use name::{NameError, QueueName, TaskType};
pub use position::{Position, PositionError};
pub use priority::Priority;
pub use redact::{REDACTED, Redaction, RedactionError};
pub use retry::{RetryPolicy, RetryPolicyError};
pub use spec::{Stored, TaskSpec};
pub use status::Status;
pub use task::{Holder, Limits, Phase, Task};
pub use time::{LAST_MS, TimeError, format_ms, parse_rfc3339_ms};
pub use told::Told;
pub use transition::{EventClass, IllegalTransition, next_status};
pub use wire::{DecodeError, Recorded, event_from_wire, schemas};
