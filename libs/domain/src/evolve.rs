//! The fold: one event after the other makes the state.

use crate::event::{Event, EventType};
use crate::task::{Limits, Phase, Task};
use crate::transition::{EventClass, IllegalTransition, next_status};
use crate::wire::Recorded;
use crate::{Position, Status, TaskId};

/// Why a recorded event does not fit the state before it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IllegalEventKind {
    /// Not in the table of moves.
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    /// Versions have a gap or repeat.
    #[error("version {found} follows version {expected_after}")]
    Version {
        /// Version of the state.
        expected_after: u64,
        /// Version of the event.
        found: u64,
    },
    /// The back-link does not name the previous event.
    #[error("back-link {found:?} where the previous event is {expected:?}")]
    BackLink {
        /// Position of the previous event.
        expected: Option<Position>,
        /// What the event says.
        found: Option<Position>,
    },
    /// The attempt number is not the one that must follow.
    #[error("attempt {found} where {expected} is due")]
    Attempt {
        /// What must be.
        expected: u32,
        /// What the event says.
        found: u32,
    },
    /// The holder is not the one that started the attempt.
    #[error("settled by a holder that does not hold the task")]
    Holder,
    /// An event of a queue in a task's history.
    #[error("belongs to a queue, not to a task")]
    NotOfTask,
}

/// A recorded event that does not fit, with its place.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("task {id}, event {event} at {position}: {kind}")]
pub struct IllegalEvent {
    /// The task.
    pub id: TaskId,
    /// Place in the log.
    pub position: Position,
    /// Its type.
    pub event: EventType,
    /// What is wrong.
    #[source]
    pub kind: IllegalEventKind,
}

/// Folds one recorded event into the state of its task. `None` is a task that does not exist.
///
/// # Errors
/// The event is not legal after this state, or its version, back-link, attempt or holder do not
/// continue it: the log is broken.
pub fn evolve(state: Option<Task>, recorded: &Recorded) -> Result<Task, IllegalEvent> {
    step(state, recorded).map_err(|kind| IllegalEvent {
        id: recorded.id,
        position: recorded.position,
        event: recorded.event.event_type(),
        kind,
    })
}

fn step(state: Option<Task>, recorded: &Recorded) -> Result<Task, IllegalEventKind> {
    let event = &recorded.event;
    let cancelling = state.as_ref().is_some_and(Task::cancelling);
    let status = next_status(
        state.as_ref().map(Task::status),
        cancelling,
        EventClass::from(event),
    )?;
    let before = state.as_ref().map_or(0, |task| task.version);
    if recorded.version != before + 1 {
        return Err(IllegalEventKind::Version {
            expected_after: before,
            found: recorded.version,
        });
    }
    let expected = state.as_ref().map(|task| task.last);
    if recorded.previous != expected {
        return Err(IllegalEventKind::BackLink {
            expected,
            found: recorded.previous,
        });
    }
    let mut task = match (state, event) {
        (Some(task), _) => {
            check_attempt(&task, event)?;
            task
        }
        (None, Event::Submitted(body)) => Task {
            queue: body.queue.clone(),
            task_type: body.task_type.clone(),
            priority: body.priority,
            limits: Limits {
                retry: body.retry,
                max_deliveries: body.max_deliveries,
                timeout_ms: body.timeout_ms,
            },
            version: 0,
            first: recorded.position,
            last: recorded.position,
            attempt: 0,
            failures: 0,
            losses: 0,
            parked_once: false,
            phase: Phase::Pending,
        },
        (None, _) => return Err(IllegalEventKind::NotOfTask),
    };
    task.version = recorded.version;
    task.last = recorded.position;
    count(&mut task, event);
    task.phase = phase(task.phase, status, recorded);
    Ok(task)
}

/// Attempts grow by one, and only the holder of the running attempt settles it.
fn check_attempt(task: &Task, event: &Event) -> Result<(), IllegalEventKind> {
    let same = |found: u32, expected: u32| {
        if found == expected {
            Ok(())
        } else {
            Err(IllegalEventKind::Attempt { expected, found })
        }
    };
    let held = |holder: Option<&crate::Holder>| match (&task.phase, holder) {
        (
            Phase::Processing {
                holder: current, ..
            },
            Some(holder),
        ) if current == holder => Ok(()),
        (Phase::Processing { .. }, _) => Err(IllegalEventKind::Holder),
        (_, None) => Ok(()),
        (_, Some(_)) => Err(IllegalEventKind::Holder),
    };
    match event {
        Event::Started(body) => same(body.attempt, task.attempt + 1),
        Event::Progressed(body) => same(body.attempt, task.attempt),
        Event::Completed(body) => {
            same(body.attempt, task.attempt)?;
            held(Some(&body.holder))
        }
        Event::AttemptFailed(body) => {
            same(body.attempt, task.attempt)?;
            held(Some(&body.holder))
        }
        Event::LeaseExpired(body) => {
            same(body.attempt, task.attempt)?;
            held(body.holder.as_ref())
        }
        Event::DeadLettered(body) => {
            same(body.attempt, task.attempt)?;
            held(body.holder.as_ref())
        }
        Event::Released(body) => {
            same(body.attempt.unwrap_or(task.attempt), task.attempt)?;
            held(body.holder.as_ref())
        }
        _ => Ok(()),
    }
}

fn count(task: &mut Task, event: &Event) {
    match event {
        Event::Started(body) => task.attempt = body.attempt,
        Event::AttemptFailed(_) => task.failures += 1,
        Event::LeaseExpired(_) => task.losses += 1,
        Event::Released(body) => {
            task.parked_once |= body.reason == crate::ReleaseReason::UnknownType;
        }
        Event::DlqRetried(_) => {
            task.failures = 0;
            task.losses = 0;
            task.parked_once = false;
        }
        _ => {}
    }
}

fn phase(before: Phase, status: Status, recorded: &Recorded) -> Phase {
    let now = recorded.position.ms;
    match (status, &recorded.event) {
        (Status::Scheduled, Event::Submitted(body)) => Phase::Scheduled {
            due_ms: body
                .run_at_ms
                .unwrap_or(0)
                .max(now.saturating_add(body.delay_ms.unwrap_or(0))),
        },
        (Status::Retrying, Event::AttemptFailed(body)) => Phase::Retrying {
            due_ms: now.saturating_add(body.delay_ms.unwrap_or(0)),
        },
        (Status::Processing, Event::Started(body)) => Phase::Processing {
            holder: body.holder.clone(),
            lease_ms: body.lease_ms,
            cancelling: false,
        },
        (Status::Processing, Event::CancelRequested(_)) => match before {
            Phase::Processing {
                holder, lease_ms, ..
            } => Phase::Processing {
                holder,
                lease_ms,
                cancelling: true,
            },
            other => other,
        },
        (Status::Pending, _) => Phase::Pending,
        (Status::Completed, _) => Phase::Completed,
        (Status::Failed, _) => Phase::Failed,
        (Status::Cancelled, _) => Phase::Cancelled,
        (Status::Expired, _) => Phase::Expired,
        (Status::Removed, _) => Phase::Removed,
        // Progress and refusals leave the task where it is.
        (Status::Scheduled | Status::Retrying | Status::Processing, _) => before,
    }
}
