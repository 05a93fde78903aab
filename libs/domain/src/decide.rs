//! What follows from a command.

use crate::Status;
use crate::command::{Ask, AttemptError, Command, ErrorKind, Failure, Fence, LossSeen};
use crate::event::{
    AttemptFailed, CancelRequested, Cancelled, Completed, DeadLetterReason, DeadLettered,
    DlqRemoved, DlqRetried, Event, Expired, LateCompletionRefused, LeaseExpired, Progressed,
    ReleaseReason, Released, Requeued, Started, Submitted,
};
use crate::retry::MAX_DELAY_MS;
use crate::task::{Phase, Task};

/// Why a command changes nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// No such task.
    #[error("the task does not exist")]
    NotFound,
    /// The id is taken.
    #[error("the task exists")]
    Exists,
    /// The task is not where the command needs it.
    #[error("the task is {0}")]
    Status(Status),
    /// Another attempt or another holder has the task.
    #[error("the task is {status} and not held by this attempt")]
    Fenced {
        /// Where it is.
        status: Status,
    },
    /// The caller does hold the task: nothing to refuse.
    #[error("the attempt still holds the task")]
    StillHeld,
    /// Its time has not come.
    #[error("the task is due at {due_ms}")]
    TooEarly {
        /// When, ms since the epoch.
        due_ms: u64,
    },
    /// The cancellation was asked for before.
    #[error("the task is being cancelled")]
    AlreadyCancelling,
    /// It was given back for its unknown type before; parking it again is no event.
    #[error("the task was parked before")]
    AlreadyParked,
}

/// The events that follow from a command, or why none does. `now_ms` is ms since the epoch.
///
/// # Errors
/// The command is not legal in this state; nothing changes.
pub fn decide(
    state: Option<&Task>,
    command: &Command,
    now_ms: u64,
) -> Result<Vec<Event>, Rejection> {
    let Some(task) = state else {
        return match command {
            Command::Submit(spec) => Ok(vec![Submitted::from_spec(spec).into()]),
            _ => Err(Rejection::NotFound),
        };
    };
    let event: Event = match command {
        Command::Submit(_) => return Err(Rejection::Exists),
        Command::Start { holder, lease_ms } => {
            require(task, task.status() == Status::Pending)?;
            Started {
                attempt: task.attempt + 1,
                holder: holder.clone(),
                lease_ms: *lease_ms,
            }
            .into()
        }
        Command::Progress {
            fence,
            percent,
            message,
        } => {
            held(task, fence)?;
            Progressed {
                attempt: fence.attempt,
                percent: *percent,
                message: message.clone(),
            }
            .into()
        }
        Command::Complete {
            fence,
            result,
            duration_ms,
        } => {
            held(task, fence)?;
            Completed {
                attempt: fence.attempt,
                holder: fence.holder.clone(),
                result: result.clone().filter(|json| !json.is_null()),
                result_stored: None,
                duration_ms: *duration_ms,
                trace: None,
            }
            .into()
        }
        Command::Fail { fence, failure } => {
            held(task, fence)?;
            failed(task, fence, failure)
        }
        Command::RefuseLate { fence, outcome } => {
            if task.is_held_by(fence) {
                return Err(Rejection::StillHeld);
            }
            LateCompletionRefused {
                attempt: fence.attempt,
                holder: fence.holder.clone(),
                queue: Some(task.queue.clone()),
                outcome: *outcome,
            }
            .into()
        }
        Command::Promote => match task.phase {
            Phase::Scheduled { due_ms } | Phase::Retrying { due_ms } if due_ms > now_ms => {
                return Err(Rejection::TooEarly { due_ms });
            }
            Phase::Scheduled { .. } | Phase::Retrying { .. } => Requeued {}.into(),
            _ => return Err(Rejection::Status(task.status())),
        },
        Command::Lose(LossSeen::Started(fence)) => {
            held(task, fence)?;
            lost(task, Some(fence))
        }
        Command::Lose(LossSeen::NotStarted) => {
            require(task, task.status() == Status::Pending)?;
            lost(task, None)
        }
        Command::Release(fence) => {
            held(task, fence)?;
            Released {
                reason: ReleaseReason::Shutdown,
                attempt: Some(fence.attempt),
                holder: Some(fence.holder.clone()),
            }
            .into()
        }
        Command::Park => {
            require(task, task.status() == Status::Pending)?;
            if task.parked_once {
                return Err(Rejection::AlreadyParked);
            }
            Released {
                reason: ReleaseReason::UnknownType,
                attempt: None,
                holder: None,
            }
            .into()
        }
        Command::Cancel(ask) => cancelled(task, ask)?,
        Command::Expire => {
            require(
                task,
                matches!(task.status(), Status::Scheduled | Status::Pending) && task.attempt == 0,
            )?;
            Expired {}.into()
        }
        Command::DlqRetry(ask) => {
            require(task, task.status() == Status::Failed)?;
            DlqRetried {
                actor: ask.actor.clone(),
                reason: ask.reason.clone(),
                bulk: None,
            }
            .into()
        }
        Command::DlqRemove(ask) => {
            require(task, task.status() == Status::Failed)?;
            DlqRemoved {
                actor: ask.actor.clone(),
                reason: ask.reason.clone(),
                bulk: None,
            }
            .into()
        }
    };
    Ok(vec![event])
}

fn require(task: &Task, holds: bool) -> Result<(), Rejection> {
    if holds {
        Ok(())
    } else {
        Err(Rejection::Status(task.status()))
    }
}

fn held(task: &Task, fence: &Fence) -> Result<(), Rejection> {
    if task.is_held_by(fence) {
        Ok(())
    } else {
        Err(Rejection::Fenced {
            status: task.status(),
        })
    }
}

fn failed(task: &Task, fence: &Fence, failure: &Failure) -> Event {
    let retry = &task.limits.retry;
    let error = failure.error.clone();
    let again = !error.kind.is_fatal() && task.failures < retry.max_retries;
    if !task.cancelling() && !again {
        return DeadLettered {
            reason: DeadLetterReason::Failed,
            attempt: fence.attempt,
            holder: Some(fence.holder.clone()),
            error,
            trace: None,
        }
        .into();
    }
    let delay_ms = failure.retry_in_ms.map_or_else(
        || retry.delay_ms(task.failures + 1, failure.unit),
        |ms| ms.min(MAX_DELAY_MS),
    );
    AttemptFailed {
        attempt: fence.attempt,
        holder: fence.holder.clone(),
        error,
        delay_ms: (!task.cancelling()).then_some(delay_ms),
        trace: None,
    }
    .into()
}

fn lost(task: &Task, fence: Option<&Fence>) -> Event {
    let holder = fence.map(|fence| fence.holder.clone());
    let crash_loop = task.losses >= task.limits.max_deliveries;
    if crash_loop && !task.cancelling() {
        let message = format!(
            "lost {} times: its worker stopped speaking",
            task.losses + 1
        );
        return DeadLettered {
            reason: DeadLetterReason::CrashLoop,
            attempt: task.attempt,
            holder,
            error: AttemptError::new(ErrorKind::CrashLoop, None, message),
            trace: None,
        }
        .into();
    }
    LeaseExpired {
        started: fence.is_some(),
        attempt: task.attempt,
        holder,
    }
    .into()
}

fn cancelled(task: &Task, ask: &Ask) -> Result<Event, Rejection> {
    let Ask { actor, reason } = ask.clone();
    match task.phase {
        Phase::Processing {
            cancelling: true, ..
        } => Err(Rejection::AlreadyCancelling),
        Phase::Processing { .. } => Ok(CancelRequested {
            actor,
            reason,
            bulk: None,
        }
        .into()),
        Phase::Scheduled { .. } | Phase::Pending | Phase::Retrying { .. } => Ok(Cancelled {
            actor,
            reason,
            bulk: None,
        }
        .into()),
        _ => Err(Rejection::Status(task.status())),
    }
}
