//! Retention: cuts what is old enough from the log, a batch at a time.

use std::time::Duration;

use taskweir_domain::{Position, TaskId};
use taskweir_runtime::Feeder;
use taskweir_store::{
    BaseHead, Cut, CutOutcome, NextCut, Partition, Record, Store, StoreError, TrimError,
};
use tokio_util::sync::CancellationToken;

use crate::metrics::EVENTS_CUT;
use crate::wait;

/// Events per cut: a millisecond or two of Redis' time.
const BATCH: usize = 500;
/// Events looked at for whether it pays to cut before its time where the next ones alone do not.
const WIDE: usize = 10_000;
/// Shortest pause between two rounds that cut what was there, so that a steady trickle is cut in
/// handfuls; and the longest one.
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Pause after another scheduler was faster.
const YIELD: Duration = Duration::from_secs(1);
/// Share of the memory budget from which on history goes before its time.
const PRESSED: f64 = 0.9;
/// Longest look at the memory of all servers.
const LOOK: Duration = Duration::from_secs(1);
/// What stays even then, ms: a program that repeats a submit whose reply was lost must find the task it
/// made.
const PRESSED_KEEP_MS: u64 = 60_000;

struct Trimmer {
    store: Store,
    partition: Partition,
    retention_ms: u64,
    /// Where the base stands; `None` until Redis has told.
    base: Option<BaseHead>,
    /// What stays also where it goes before its time, ms.
    pressed_keep_ms: u64,
    /// Up to here it pays to cut before its time.
    pays_to: Position,
    /// Whether history must go before its time, when somebody last could tell.
    pressed: bool,
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
        pressed_keep_ms: PRESSED_KEEP_MS,
        pays_to: Position::ZERO,
        pressed: false,
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
        let now_ms = self.partition.server_time_ms().await?;
        let keep_ms = if self.is_pressed().await? {
            self.retention_ms.min(self.pressed_keep_ms)
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
            NextCut::Ready { cut, .. }
                if cut.to.position.ms > now_ms.saturating_sub(self.retention_ms)
                    && self.is_in_vain(&base, &cut, before_ms).await? =>
            {
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
    /// in the base than its events take in the log. Where the next events are of such tasks (a burst that has just come,
    /// many that wait for a far day), what comes behind them may pay for all.
    async fn is_in_vain(
        &mut self,
        base: &BaseHead,
        cut: &Cut,
        before_ms: u64,
    ) -> Result<bool, TrimError> {
        if cut.to.position <= self.pays_to || self.pays(cut).await? {
            return Ok(false);
        }
        let wide = self.partition.next_cut(base, before_ms, WIDE).await?;
        if let NextCut::Ready { cut: wide, .. } = wide
            && self.pays(&wide).await?
        {
            self.pays_to = wide.to.position;
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether at least half of the tasks of a cut have ended by now: what the base keeps of them for the moment goes with
    /// one of the next cuts.
    async fn pays(&self, cut: &Cut) -> Result<bool, StoreError> {
        let living = cut
            .tasks
            .iter()
            .filter(|detail| !detail.task.status().is_final());
        let living: Vec<TaskId> = living.map(|detail| detail.id).collect();
        let mut left = 0;
        for batch in living.chunks(BATCH) {
            let records = self.partition.records(batch).await?;
            let lives = |record: &Record| !record.task.status().is_final();
            left += records
                .iter()
                .flatten()
                .filter(|record| lives(record))
                .count();
        }
        Ok(2 * left <= cut.tasks.len())
    }

    /// Whether Redis' memory is so full that history must go before its time.
    async fn is_pressed(&mut self) -> Result<bool, StoreError> {
        let Some(budget) = self.store.memory_budget() else {
            return Ok(false);
        };
        let look = tokio::time::timeout(LOOK, self.store.used_memory()).await;
        match look.unwrap_or(Err(StoreError::away())) {
            Ok(used) => self.pressed = used as f64 >= budget as f64 * PRESSED,
            // Of a cluster another primary may be away: this partition goes on as before.
            Err(error) if error.is_transient() && self.store.partition_count() > 1 => {}
            Err(error) => return Err(error),
        }
        Ok(self.pressed)
    }
}

#[cfg(test)]
mod tests {
    use taskweir_domain::{Actor, Position, TaskSpec};
    use taskweir_store::{
        Applied, Delta, Limits, MigrateOptions, RedisSettings, Store, Submission, migrate,
    };
    use taskweir_testkit::TestRedis;

    use super::{MAX_PAUSE, Trimmer};

    /// Of a store whose memory budget is always reached, with nothing that must stay.
    async fn trimmer(redis: &TestRedis) -> Trimmer {
        let settings = RedisSettings::at(redis.url());
        let options = MigrateOptions { partitions: 1 };
        migrate(&settings, options).await.unwrap();
        let limits = Limits {
            memory_budget: Some(1),
            ..Limits::default()
        };
        let store = Store::connect(&settings, limits).await.unwrap();
        Trimmer {
            partition: store.partitions().remove(0),
            store,
            retention_ms: limits.retention_ms,
            base: None,
            pressed_keep_ms: 0,
            pays_to: Position::ZERO,
            pressed: false,
        }
    }

    /// Submits tasks, and cancels so many of them from the last on; the views have seen it all.
    async fn burst(redis: &TestRedis, count: usize, cancelled: usize) {
        let settings = RedisSettings::at(redis.url());
        let store = Store::connect(&settings, Limits::default()).await.unwrap();
        let partition = store.partitions().remove(0);
        let spec = TaskSpec::new("default".parse().unwrap(), "work".parse().unwrap());
        let mut ids = Vec::new();
        for _ in 0..count {
            let submission = Submission {
                id: store.mint(),
                spec: spec.clone(),
                idempotency: None,
            };
            ids.push(submission.id);
            partition.submit(&[submission]).await.unwrap();
        }
        for id in ids.iter().rev().take(cancelled) {
            store.cancel(*id, &Actor::anonymous()).await.unwrap();
        }
        let (end, _) = partition.log_end().await.unwrap();
        let from = partition.checkpoint().await.unwrap();
        let delta = Delta::new(std::sync::Arc::new(partition.keys().clone()));
        let seen = partition.apply(from, end, &delta).await.unwrap();
        assert_eq!(seen, Applied::Done);
    }

    /// Rounds until nothing is left or nothing can be done; events that are left.
    async fn left(trimmer: &mut Trimmer) -> u64 {
        loop {
            let pause = trimmer.round().await.unwrap();
            let (_, left) = trimmer.partition.log_end().await.unwrap();
            if left == 0 || pause == MAX_PAUSE {
                return left;
            }
        }
    }

    #[tokio::test]
    async fn with_memory_short_a_burst_that_has_ended_goes_though_its_beginning_shows_no_end() {
        let redis = TestRedis::start();
        let mut trimmer = trimmer(&redis).await;
        burst(&redis, 600, 600).await;
        assert_eq!(left(&mut trimmer).await, 0);
    }

    #[tokio::test]
    async fn with_memory_short_tasks_that_wait_keep_nothing_behind_them() {
        let redis = TestRedis::start();
        let mut trimmer = trimmer(&redis).await;
        burst(&redis, 1_300, 700).await;
        assert_eq!(left(&mut trimmer).await, 0);
    }

    #[tokio::test]
    async fn with_memory_short_what_lives_on_stays() {
        let redis = TestRedis::start();
        let mut trimmer = trimmer(&redis).await;
        burst(&redis, 600, 100).await;
        assert_eq!(left(&mut trimmer).await, 700);
    }
}
