//! The table of legal moves. Everything that is not here is illegal.

use crate::event::{Event, EventType, ReleaseReason};
use crate::status::Status;

/// An event as the table sees it: its type, and the one detail of its body that decides where the
/// task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventClass {
    /// `Submitted`, to be ready at once or later.
    Submitted {
        /// Waits for a time first.
        scheduled: bool,
    },
    /// `LeaseExpired`, of a started task or of one that was only received.
    LeaseExpired {
        /// An attempt had begun.
        started: bool,
    },
    /// `Released`, by a worker that stops or by one that does not know the type.
    Released {
        /// An attempt had begun.
        started: bool,
    },
    /// Any event whose type alone decides.
    Plain(EventType),
}

impl From<&Event> for EventClass {
    fn from(event: &Event) -> Self {
        match event {
            Event::Submitted(body) => Self::Submitted {
                scheduled: body.delay_ms.is_some() || body.run_at_ms.is_some(),
            },
            Event::LeaseExpired(body) => Self::LeaseExpired {
                started: body.started,
            },
            Event::Released(body) => Self::Released {
                started: body.reason == ReleaseReason::Shutdown,
            },
            other => Self::Plain(other.event_type()),
        }
    }
}

/// The event is not legal from this status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is illegal from {from:?} (cancelling: {cancelling})")]
pub struct IllegalTransition {
    /// Status before; `None` where the task does not exist.
    pub from: Option<Status>,
    /// A person had asked to cancel the running task.
    pub cancelling: bool,
    /// The event that does not fit.
    pub event: EventClass,
}

/// Status after `event`, or why it cannot be.
///
/// # Errors
/// The pair is not in the table.
pub const fn next_status(
    from: Option<Status>,
    cancelling: bool,
    event: EventClass,
) -> Result<Status, IllegalTransition> {
    use EventClass::{LeaseExpired, Plain, Released, Submitted};
    use EventType as T;
    use Status as S;

    Ok(match (from, cancelling, event) {
        (None, _, Submitted { scheduled: false }) => S::Pending,
        (None, _, Submitted { scheduled: true }) => S::Scheduled,

        (Some(S::Scheduled | S::Retrying), _, Plain(T::Requeued)) => S::Pending,

        (Some(S::Pending), _, Plain(T::Started)) => S::Processing,
        (Some(S::Pending), _, LeaseExpired { started: false }) => S::Pending,
        (Some(S::Pending), _, Released { started: false }) => S::Pending,
        (Some(S::Pending), _, Plain(T::DeadLettered)) => S::Failed,

        (Some(S::Processing), _, Plain(T::Progressed)) => S::Processing,
        (Some(S::Processing), _, Plain(T::Completed)) => S::Completed,
        (Some(S::Processing), false, Plain(T::CancelRequested)) => S::Processing,
        (Some(S::Processing), false, Plain(T::AttemptFailed)) => S::Retrying,
        (Some(S::Processing), false, Plain(T::DeadLettered)) => S::Failed,
        (Some(S::Processing), false, LeaseExpired { started: true }) => S::Pending,
        (Some(S::Processing), false, Released { started: true }) => S::Pending,
        // Once a person asked to cancel, every way of not completing ends it.
        (Some(S::Processing), true, Plain(T::AttemptFailed)) => S::Cancelled,
        (Some(S::Processing), true, LeaseExpired { started: true }) => S::Cancelled,
        (Some(S::Processing), true, Released { started: true }) => S::Cancelled,

        (Some(S::Scheduled | S::Pending | S::Retrying), _, Plain(T::Cancelled)) => S::Cancelled,
        (Some(S::Scheduled | S::Pending), _, Plain(T::Expired)) => S::Expired,

        (Some(S::Failed), _, Plain(T::DlqRetried)) => S::Pending,
        (Some(S::Failed), _, Plain(T::DlqRemoved)) => S::Removed,

        // A refusal is a fact about the late worker, not about the task.
        (Some(status), _, Plain(T::LateCompletionRefused)) => status,

        (from, cancelling, event) => {
            return Err(IllegalTransition {
                from,
                cancelling,
                event,
            });
        }
    })
}
