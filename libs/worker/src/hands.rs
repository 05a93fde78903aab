//! What a worker holds: every started attempt until it is settled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use taskweir_domain::{Fence, Holder, TaskId, TaskType};
use taskweir_store::{Beat, ProgressReport};
use tokio::task::AbortHandle;

use crate::context::{CancelReason, CancelSignal, ProgressCell};
use crate::suspects::Right;

/// A started attempt.
pub(crate) struct Hand {
    pub(crate) stream: usize,
    pub(crate) task_type: TaskType,
    pub(crate) entry: String,
    pub(crate) fence: Fence,
    /// By our own monotonic clock, counted from before the call that began or renewed the lease.
    pub(crate) lease_until: Instant,
    /// A person asked to cancel it.
    pub(crate) cancelling: bool,
    /// Hash of the task's unique key.
    pub(crate) unique: Option<String>,
    pub(crate) cancel: Arc<CancelSignal>,
    pub(crate) progress: Arc<ProgressCell>,
    pub(crate) abort: Option<AbortHandle>,
    /// Where its task is a suspect, the right to run as the one of the process: kept until Redis has heard how
    /// it ended, or the next one could take that along.
    pub(crate) alone: Option<Right>,
}

/// Which attempt: after a lost lease the same worker may hold a task again while its old attempt
/// still runs, so the task alone does not tell.
pub(crate) type HandKey = (TaskId, Holder);

/// The attempts of one partition. A std mutex: every critical section is short and never awaits.
#[derive(Clone, Default)]
pub(crate) struct Hands(Arc<Mutex<HashMap<HandKey, Hand>>>);

impl Hands {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<HandKey, Hand>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Attempts whose lease ends within `left`: they need a beat. Counted from the lease and not from
    /// the start, because a start may be late.
    pub(crate) fn beats(&self, now: Instant, left: Duration) -> Vec<Beat> {
        self.lock()
            .iter()
            .filter(|(_, hand)| hand.lease_until.saturating_duration_since(now) <= left)
            .map(|((id, _), hand)| Beat {
                id: *id,
                stream: hand.stream,
                entry: hand.entry.clone(),
                fence: hand.fence.clone(),
            })
            .collect()
    }

    pub(crate) fn renew(&self, id: TaskId, fence: &Fence, until: Instant) {
        if let Some(hand) = self.lock().get_mut(&(id, fence.holder.clone())) {
            hand.lease_until = until;
        }
    }

    /// Tells the handler that a person cancelled its task.
    pub(crate) fn cancel(&self, id: TaskId, holder: &Holder) {
        if let Some(hand) = self.lock().get_mut(&(id, holder.clone())) {
            hand.cancelling = true;
            hand.cancel.fire(CancelReason::Cancelled);
        }
    }

    pub(crate) fn lose(&self, id: TaskId, fence: &Fence) {
        if let Some(hand) = self.lock().get(&(id, fence.holder.clone())) {
            hand.cancel.fire(CancelReason::LeaseLost);
        }
    }

    /// Lets go of an attempt.
    pub(crate) fn let_go(&self, id: TaskId, fence: &Fence) {
        self.lock().remove(&(id, fence.holder.clone()));
    }

    /// Stops the handlers whose lease has passed unrenewed.
    pub(crate) fn lose_expired(&self, now: Instant) {
        for hand in self.lock().values() {
            if hand.lease_until <= now {
                hand.cancel.fire(CancelReason::LeaseLost);
            }
        }
    }

    pub(crate) fn fire_all(&self, reason: CancelReason) {
        for hand in self.lock().values() {
            hand.cancel.fire(reason);
        }
    }

    /// Progress told since the last call.
    pub(crate) fn take_progress(&self) -> Vec<ProgressReport> {
        self.lock()
            .iter()
            .filter_map(|((id, _), hand)| {
                let told = hand
                    .progress
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                told.map(|(percent, message)| ProgressReport {
                    id: *id,
                    fence: hand.fence.clone(),
                    percent,
                    message,
                })
            })
            .collect()
    }
}
