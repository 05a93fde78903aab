//! Takes tasks from workers that said nothing for a lease, and forgets workers that are gone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use taskweir_domain::{Command, Event, Fence, LossSeen, Phase, QueueName, TaskId, decide};
use taskweir_runtime::Feeder;
use taskweir_store::labels::label;
use taskweir_store::{
    Loss, MAX_BATCH, Partition, ReclaimOutcome, Record, SeenWorker, SilentEntry, Store, StoreError,
    StreamSet,
};
use tokio_util::sync::CancellationToken;

use crate::metrics::REDELIVERIES;
use crate::wait;

/// The consumer under which lost entries are claimed; nothing stays pending under it.
const CONSUMER: &str = "janitor";
/// Longest time between two rounds.
const MAX_PERIOD: Duration = Duration::from_secs(1);
const MIN_PERIOD: Duration = Duration::from_millis(100);
/// A worker silent for longer than this, and than four of its leases, is forgotten.
const FORGET_AFTER_MS: u64 = 60_000;

/// Queues that no active worker names and that are looked at in one round: there may be thousands.
const QUEUES: usize = 200;

/// A good round.
struct Good {
    /// When it looked, by our clock.
    looked: Instant,
    /// The same by Redis' clock, ms.
    redis_ms: u64,
    /// When it was done, which may be long after.
    ended: Instant,
}

struct Janitor {
    store: Store,
    partition: Partition,
    lease: Duration,
    /// Since when idle times can be trusted: not right after a restart of Redis or a pause of it or
    /// of ours, when workers had no chance to speak.
    trusted_since: Instant,
    last_good: Option<Good>,
    run_id: String,
    /// The queue that the latest round ended with; `None` begins with the first.
    after: Option<QueueName>,
}

pub(crate) async fn run(
    store: Store,
    partition: Partition,
    lease: Duration,
    readiness: Feeder,
    stop: CancellationToken,
) {
    let mut janitor = Janitor {
        store,
        partition,
        lease,
        trusted_since: Instant::now(),
        last_good: None,
        run_id: String::new(),
        after: None,
    };
    let mut period = MIN_PERIOD;
    while wait(period, &stop).await {
        period = match janitor.round().await {
            Ok(period) => {
                readiness.feed();
                period
            }
            Err(error) => {
                tracing::warn!(%error, "redelivery waits for Redis");
                MAX_PERIOD
            }
        };
    }
}

impl Janitor {
    /// Looks once at everything; gives the time until the next look.
    async fn round(&mut self) -> Result<Duration, StoreError> {
        let (workers, now_ms) = self.partition.workers().await?;
        let looked = Instant::now();
        let own_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let shortest = workers.iter().map(|worker| worker.info.lease_ms);
        let shortest = shortest.min().unwrap_or(own_ms).min(own_ms);
        self.check_trust(Duration::from_millis(shortest), looked, now_ms)
            .await?;
        // Those that somebody takes from, and by turns the others: a worker's entry may be gone before what it held.
        let page = self
            .partition
            .queues_after(self.after.as_ref(), QUEUES)
            .await?;
        self.after = page.last().filter(|_| page.len() == QUEUES).cloned();
        let mut queues = page;
        for worker in &workers {
            let named = worker
                .info
                .queues
                .iter()
                .filter_map(|queue| queue.parse().ok());
            queues.extend(named);
        }
        queues.sort();
        queues.dedup();
        let streams = StreamSet::of_queues(self.partition.keys(), &queues);
        if !streams.is_empty() {
            let silent = self.partition.silent(&streams, shortest).await?;
            for batch in silent.chunks(MAX_BATCH) {
                self.reclaim(&streams, batch).await?;
            }
            self.forget(&streams, &workers, now_ms).await?;
        }
        self.last_good = Some(Good {
            looked,
            redis_ms: now_ms,
            ended: Instant::now(),
        });
        // One partition's janitor is enough. The others may be away, which is no reason to distrust this one.
        if self.partition.keys().partition().0 == 0
            && self.store.partition_count() > 1
            && let Err(error) = self.store.repair_pauses().await
        {
            tracing::debug!(%error, "pauses could not be made to agree everywhere");
        }
        Ok(Duration::from_millis(shortest / 3).clamp(MIN_PERIOD, MAX_PERIOD))
    }

    /// Begins to distrust idle times after a restart of Redis, when our own last good look is older
    /// than a third of the lease, or when Redis' clock has gone elsewhere than ours (its machine was
    /// suspended, or its clock was set): in each case workers may have been unable to speak.
    async fn check_trust(
        &mut self,
        lease: Duration,
        looked: Instant,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let run_id = self.partition.run_id().await?;
        let slack = (lease / 3).max(MAX_PERIOD * 2);
        let gap = self.last_good.as_ref().is_none_or(|good| {
            let passed = looked.duration_since(good.looked);
            let by_redis = Duration::from_millis(now_ms.saturating_sub(good.redis_ms));
            good.ended.elapsed() > slack || by_redis.abs_diff(passed) > slack
        });
        if gap || run_id != self.run_id {
            if !self.run_id.is_empty() {
                tracing::info!("Redis, its clock or this process was away: leases count anew");
            }
            self.trusted_since = Instant::now();
            self.run_id = run_id;
        }
        Ok(())
    }

    async fn reclaim(&self, streams: &StreamSet, silent: &[SilentEntry]) -> Result<(), StoreError> {
        let ids: Vec<TaskId> = silent.iter().filter_map(|entry| entry.id).collect();
        let records = self.partition.records(&ids).await?;
        let records: HashMap<TaskId, Option<Record>> = ids.into_iter().zip(records).collect();
        let mut losses = Vec::new();
        let mut malformed = Vec::new();
        for entry in silent {
            let Some(id) = entry.id else {
                malformed.push((entry.stream, entry.entry.clone()));
                continue;
            };
            let record = records.get(&id).cloned().flatten();
            let record = record.filter(|record| record.work == entry.entry);
            let lease = self.lease_of(record.as_ref());
            if self.trusted_since.elapsed() < lease || Duration::from_millis(entry.idle_ms) < lease
            {
                continue;
            }
            losses.push(Loss {
                id,
                stream: entry.stream,
                entry: entry.entry.clone(),
                decided: record.and_then(decided),
            });
        }
        if !malformed.is_empty() {
            tracing::warn!(
                count = malformed.len(),
                "malformed ready entries were removed"
            );
            self.partition.discard(streams, &malformed).await?;
        }
        let lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let outcomes = self
            .partition
            .reclaim(streams, CONSUMER, lease_ms, &losses)
            .await?;
        for (loss, outcome) in losses.iter().zip(outcomes) {
            tell(streams, loss, outcome);
        }
        Ok(())
    }

    fn lease_of(&self, record: Option<&Record>) -> Duration {
        match record.map(|record| &record.task.phase) {
            Some(Phase::Processing { lease_ms, .. }) => Duration::from_millis(*lease_ms),
            _ => self.lease,
        }
    }

    async fn forget(
        &self,
        streams: &StreamSet,
        workers: &[SeenWorker],
        now_ms: u64,
    ) -> Result<(), StoreError> {
        for worker in workers {
            let limit = FORGET_AFTER_MS.max(worker.info.lease_ms.saturating_mul(4));
            let gone = now_ms.saturating_sub(worker.seen_ms) > limit;
            if gone && self.partition.forget_worker(&worker.id, streams).await? {
                tracing::info!(worker = %worker.id, "forgotten: it said nothing for long");
            }
        }
        Ok(())
    }
}

fn decided(record: Record) -> Option<(Record, Event)> {
    let task = &record.task;
    let seen = match &task.phase {
        Phase::Processing { holder, .. } => LossSeen::Started(Fence {
            attempt: task.attempt,
            holder: holder.clone(),
        }),
        _ => LossSeen::NotStarted,
    };
    let event = decide(Some(task), &Command::Lose(seen), 0).ok()?.pop()?;
    Some((record, event))
}

fn tell(streams: &StreamSet, loss: &Loss, outcome: ReclaimOutcome) {
    match (outcome, &loss.decided) {
        (ReclaimOutcome::Done, Some((record, event))) => {
            let task = &record.task;
            let worker = record.holder.as_ref().map_or("", |holder| holder.worker());
            match event {
                Event::DeadLettered(body) => {
                    tracing::info!(task.id = %loss.id, task.type = %task.task_type, attempt = task.attempt, worker,
                        error.kind = %body.error.kind, error.message = %body.error.message, "💀 DLQ");
                }
                _ if task.cancelling() => {
                    tracing::info!(task.id = %loss.id, worker, "cancelled: its worker fell silent");
                }
                _ => {
                    let place = streams.get(loss.stream);
                    metrics::counter!(REDELIVERIES, "queue" => label(&place.queue).into_owned(),
                        "type" => label(&task.task_type).into_owned(), "priority" => place.priority.as_str())
                    .increment(1);
                    tracing::info!(task.id = %loss.id, task.type = %task.task_type, attempt = task.attempt, worker,
                        reason = "lease expired", "🔄 REQUEUED");
                }
            }
        }
        (ReclaimOutcome::Stale, _) => {
            tracing::warn!(task.id = %loss.id, "a ready entry that its task does not name was removed");
        }
        // Its holder spoke meanwhile, or it changed: the next round looks again.
        _ => {}
    }
}
