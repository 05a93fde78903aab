//! What a worker holds: every started attempt until it is settled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use taskweir_domain::{Fence, Holder, TaskId};
use taskweir_store::{Beat, ProgressReport};
use tokio::task::AbortHandle;

use crate::context::{CancelReason, CancelSignal, ProgressCell};

/// A started attempt.
pub(crate) struct Hand {
    pub(crate) stream: usize,
    pub(crate) entry: String,
    pub(crate) fence: Fence,
    /// By our own monotonic clock, counted from before the call that began or renewed the lease.
    pub(crate) lease_until: Instant,
    pub(crate) started: Instant,
    /// A person asked to cancel it.
    pub(crate) cancelling: bool,
    pub(crate) cancel: Arc<CancelSignal>,
    pub(crate) progress: Arc<ProgressCell>,
    pub(crate) abort: Option<AbortHandle>,
}

/// The attempts of one partition. A std mutex: every critical section is short and never awaits.
#[derive(Clone, Default)]
pub(crate) struct Hands(Arc<Mutex<HashMap<TaskId, Hand>>>);

impl Hands {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Hand>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Attempts that run for longer than `age`: only they need beats.
    pub(crate) fn beats(&self, now: Instant, age: Duration) -> Vec<Beat> {
        self.lock()
            .iter()
            .filter(|(_, hand)| now.duration_since(hand.started) >= age)
            .map(|(id, hand)| Beat {
                id: *id,
                stream: hand.stream,
                entry: hand.entry.clone(),
                fence: hand.fence.clone(),
            })
            .collect()
    }

    pub(crate) fn renew(&self, id: TaskId, fence: &Fence, until: Instant) {
        if let Some(hand) = self.lock().get_mut(&id)
            && hand.fence == *fence
        {
            hand.lease_until = until;
        }
    }

    /// Tells the handler that a person cancelled its task.
    pub(crate) fn cancel(&self, id: TaskId, holder: &Holder) {
        if let Some(hand) = self.lock().get_mut(&id)
            && hand.fence.holder == *holder
        {
            hand.cancelling = true;
            hand.cancel.fire(CancelReason::Cancelled);
        }
    }

    pub(crate) fn lose(&self, id: TaskId, fence: &Fence) {
        if let Some(hand) = self.lock().get(&id)
            && hand.fence == *fence
        {
            hand.cancel.fire(CancelReason::LeaseLost);
        }
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
            .filter_map(|(id, hand)| {
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
