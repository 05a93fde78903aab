//! Retention: cuts what is old enough from the log, a batch at a time.

use std::time::Duration;

use taskweir_runtime::Feeder;
use taskweir_store::{BaseHead, Cut, CutOutcome, NextCut, Partition, Store, StoreError, TrimError};
use tokio_util::sync::CancellationToken;

use crate::metrics::EVENTS_CUT;
use crate::wait;

/// Events per cut: a millisecond or two of Redis' time.
const BATCH: usize = 500;
/// Shortest pause between two rounds that cut what was there, so that a steady trickle is cut in
/// handfuls; and the longest one.
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Pause after another scheduler was faster.
const YIELD: Duration = Duration::from_secs(1);
/// Share of the memory budget from which on history goes before its time.
const PRESSED: f64 = 0.9;
/// What stays even then, ms: a program that repeats a submit whose reply was lost must find the task it
/// made.
const PRESSED_KEEP_MS: u64 = 60_000;

struct Trimmer {
    store: Store,
    partition: Partition,
    retention_ms: u64,
    /// Where the base stands; `None` until Redis has told.
    base: Option<BaseHead>,
}

pub(crate) async fn run(
    store: Store,
    partition: Partition,
    retention_ms: u64,
    readiness: Feeder,
    stop: CancellationToken,
) {
    let mut trimmer = Trimmer {
        store,
        partition,
        retention_ms,
        base: None,
    };
    let mut pause = MIN_PAUSE;
    while wait(pause, &stop).await {
        pause = match trimmer.round().await {
            Ok(pause) => {
                readiness.feed();
                pause
            }
            Err(TrimError::Store(error)) => {
                tracing::warn!(%error, "retention waits for Redis");
                Duration::from_secs(1)
            }
            Err(TrimError::Fold(error)) => {
                tracing::error!(%error, "retention stopped");
                readiness.alarm(error.to_string());
                MAX_PAUSE
            }
        };
    }
}

impl Trimmer {
    /// Cuts one batch, if one is old enough; gives the time until the next look.
    async fn round(&mut self) -> Result<Duration, TrimError> {
        let now_ms = self.store.server_time_ms().await?;
        let keep_ms = if self.is_pressed().await? {
            self.retention_ms.min(PRESSED_KEEP_MS)
        } else {
            self.retention_ms
        };
        let base = match self.base.take() {
            Some(base) => base,
            None => self.partition.base_head().await?,
        };
        let before_ms = now_ms.saturating_sub(keep_ms);
        match self.partition.next_cut(&base, before_ms, BATCH).await? {
            NextCut::Nothing { oldest_ms } => {
                self.base = Some(base);
                let due = oldest_ms.map_or(u64::MAX, |ms| ms.saturating_add(keep_ms));
                let pause = Duration::from_millis(due.saturating_sub(now_ms));
                Ok(pause.clamp(MIN_PAUSE, MAX_PAUSE))
            }
            NextCut::Ready { cut, .. } if self.is_in_vain(&cut, now_ms) => {
                self.base = Some(base);
                Ok(MAX_PAUSE)
            }
            NextCut::Ready { cut, events, more } => match self.partition.cut(&cut).await? {
                CutOutcome::Done => {
                    metrics::counter!(EVENTS_CUT).increment(events as u64);
                    self.base = Some(cut.to);
                    Ok(if more { Duration::ZERO } else { MIN_PAUSE })
                }
                CutOutcome::Moved => Ok(YIELD),
                CutOutcome::Held | CutOutcome::Ahead => Ok(MIN_PAUSE),
            },
        }
    }

    /// Whether a cut before its time would free nothing: the state of a task that lives on takes more
    /// in the base than its events take in the log.
    fn is_in_vain(&self, cut: &Cut, now_ms: u64) -> bool {
        let early = cut.to.position.ms > now_ms.saturating_sub(self.retention_ms);
        let ended = cut
            .tasks
            .iter()
            .filter(|detail| detail.task.status().is_final());
        early && 2 * ended.count() < cut.tasks.len()
    }

    /// Whether Redis' memory is so full that history must go before its time.
    async fn is_pressed(&self) -> Result<bool, StoreError> {
        let Some(budget) = self.store.memory_budget() else {
            return Ok(false);
        };
        Ok(self.store.used_memory().await? as f64 >= budget as f64 * PRESSED)
    }
}
