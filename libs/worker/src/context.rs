//! What a handler knows of its attempt.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use taskweir_domain::{Fence, QueueName, TaskId, TaskType};
use tokio_util::sync::CancellationToken;

use crate::hidden::Hidden;

/// Why a handler is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// A person cancelled the task: a failure now ends it.
    Cancelled,
    /// The worker could not renew its lease: the task may run elsewhere already.
    LeaseLost,
    /// The worker stops: the task will be given back.
    Shutdown,
    /// The task's timeout has passed.
    Timeout,
}

/// The cancel signal of one attempt, shared by handler and engine.
#[derive(Debug, Default)]
pub(crate) struct CancelSignal {
    token: CancellationToken,
    reason: OnceLock<CancelReason>,
    /// Apart, because a lease may be lost after the handler was told something else.
    lost: CancellationToken,
}

impl CancelSignal {
    pub(crate) fn fire(&self, reason: CancelReason) {
        self.reason.get_or_init(|| reason);
        if reason == CancelReason::LeaseLost {
            self.lost.cancel();
        }
        self.token.cancel();
    }

    pub(crate) async fn lease_lost(&self) {
        self.lost.cancelled().await;
    }

    pub(crate) fn reason(&self) -> Option<CancelReason> {
        self.reason.get().copied()
    }

    pub(crate) async fn fired(&self) {
        self.token.cancelled().await;
    }
}

/// The latest progress a handler told, until the engine passes it on.
pub(crate) type ProgressCell = Mutex<Option<(f64, Option<String>)>>;

/// What a handler knows of its attempt.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) id: TaskId,
    pub(crate) task_type: TaskType,
    pub(crate) queue: QueueName,
    pub(crate) fence: Fence,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: Arc<CancelSignal>,
    pub(crate) progress: Arc<ProgressCell>,
    pub(crate) hidden: Hidden,
}

impl Context {
    /// The task's id: the same in every attempt, so a natural idempotency key for side effects.
    #[must_use]
    pub const fn id(&self) -> TaskId {
        self.id
    }

    /// The task's type.
    #[must_use]
    pub const fn task_type(&self) -> &TaskType {
        &self.task_type
    }

    /// The task's queue.
    #[must_use]
    pub const fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Number of this attempt, from 1. It only grows, over retries and lost workers alike.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.fence.attempt
    }

    /// A word that no other attempt of this task has: with it and the task's id, handlers can fence their own side
    /// effects. Other tasks may have the same.
    #[must_use]
    pub fn holder(&self) -> &str {
        self.fence.holder.as_str()
    }

    /// Time left until the task's timeout; `None` where it has none.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Completes when the handler should stop. A handler that does not listen runs on to its end.
    pub async fn cancelled(&self) {
        self.cancel.fired().await;
    }

    /// Why the handler should stop; `None` while it may go on.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.cancel.reason()
    }

    /// Tells how far the work is, in percent (0 to 100), with a word for people. At most one
    /// report a second is recorded; the last one wins.
    pub fn progress(&self, percent: f64, message: Option<&str>) {
        let percent = if percent.is_finite() {
            percent.clamp(0.0, 100.0)
        } else {
            0.0
        };
        let report = (
            percent,
            message.map(|text| self.hidden.reword(text).chars().take(200).collect()),
        );
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }
}
