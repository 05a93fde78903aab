//! The system at a glance, over all partitions.

use std::collections::BTreeMap;

use taskweir_domain::{EventType, PartitionIndex, Position, Priority, QueueName, Status, TaskType};

use crate::{QueueDepth, SeenWorker, Store, StoreError, Totals};

/// Minutes over which rates are taken.
const RATE_MINUTES: u64 = 5;

/// A queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueOverview {
    /// It starts nothing.
    pub paused: bool,
    /// Tasks by status, from the views.
    pub by_status: BTreeMap<Status, u64>,
    /// What waits and runs, by class, exactly and now.
    pub depths: BTreeMap<Priority, QueueDepth>,
    /// Tasks that wait for a worker that knows their type.
    pub parked: u64,
    /// Events per minute over the last full minutes, by type.
    pub rates: BTreeMap<&'static str, f64>,
}

impl QueueOverview {
    /// Since when the oldest task waits that no worker has received, ms since the epoch.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<u64> {
        self.depths
            .values()
            .filter_map(|depth| depth.oldest_ms)
            .min()
    }

    /// Tasks of a status.
    #[must_use]
    pub fn of(&self, status: Status) -> u64 {
        self.by_status.get(&status).copied().unwrap_or(0)
    }
}

/// How far the views of a partition are behind its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// The partition.
    pub partition: PartitionIndex,
    /// Where the views are.
    pub checkpoint: Position,
    /// Where the log ends.
    pub end: Position,
    /// Events between them.
    pub events: u64,
}

impl Lag {
    /// Time between the latest event and the latest one the views have seen, ms.
    #[must_use]
    pub fn ms(&self) -> u64 {
        self.end.ms.saturating_sub(self.checkpoint.ms.max(1))
            * u64::from(self.checkpoint < self.end)
    }
}

impl Store {
    /// Redis' clock, ms since the epoch.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn server_time_ms(&self) -> Result<u64, StoreError> {
        let mut connection = self.link.get();
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
        Ok(seconds * 1_000 + micros / 1_000)
    }

    /// Every queue that ever had a task.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn queues(
        &self,
        totals: &Totals,
    ) -> Result<BTreeMap<QueueName, QueueOverview>, StoreError> {
        let mut queues: BTreeMap<QueueName, QueueOverview> = BTreeMap::new();
        let minute = self.server_time_ms().await? / 60_000;
        let (mut before, mut after) = (Totals::default(), Totals::default());
        // Rows stand at multiples of their spacing.
        let spacing = totals.spacing();
        let span = RATE_MINUTES.div_ceil(spacing) * spacing;
        let end = minute / spacing * spacing;
        for partition in self.partitions() {
            let flags = partition.queue_flags().await?;
            for queue in flags.known {
                let overview = queues.entry(queue.clone()).or_default();
                overview.paused |= flags.paused.contains_key(&queue);
                for priority in Priority::ALL {
                    let depth = partition.depth(&queue, priority).await?;
                    let sum = overview.depths.entry(priority).or_default();
                    sum.ready += depth.ready;
                    sum.held += depth.held;
                    sum.oldest_ms = [sum.oldest_ms, depth.oldest_ms].into_iter().flatten().min();
                }
            }
            let (now, base) = (partition.standpoint().await?, partition.base_head().await?);
            let by = async |minute| partition.totals_after(minute, &now, &base).await;
            before.add(by(end - span - 1).await?);
            after.add(by(end - 1).await?);
        }
        for (queue, overview) in &mut queues {
            for event in EventType::ALL {
                let of = |totals: &Totals| totals.of_event_in(*event, queue);
                let count = of(&after).saturating_sub(of(&before));
                overview
                    .rates
                    .insert(event.as_str(), count as f64 / span as f64);
            }
        }
        self.count_parked(totals, &mut queues).await?;
        for (counter, count) in &totals.counts {
            if let Some(overview) = queues.get_mut(counter.queue.as_str()) {
                *overview.by_status.entry(counter.status).or_default() += count;
            }
        }
        Ok(queues)
    }

    async fn count_parked(
        &self,
        totals: &Totals,
        queues: &mut BTreeMap<QueueName, QueueOverview>,
    ) -> Result<(), StoreError> {
        let pending = totals
            .counts
            .keys()
            .filter(|counter| counter.status == Status::Pending);
        let kinds: Vec<(QueueName, TaskType)> = pending
            .filter_map(|counter| {
                Some((counter.queue.parse().ok()?, counter.task_type.parse().ok()?))
            })
            .collect();
        if kinds.is_empty() {
            return Ok(());
        }
        for partition in self.partitions() {
            let mut pipe = redis::pipe();
            for (queue, task_type) in &kinds {
                pipe.cmd("ZCARD")
                    .arg(partition.keys().parked(queue, task_type));
            }
            let counts: Vec<u64> = pipe.query_async(&mut self.link.get()).await?;
            for ((queue, _), count) in kinds.iter().zip(counts) {
                if let Some(overview) = queues.get_mut(queue) {
                    overview.parked += count;
                }
            }
        }
        Ok(())
    }

    /// Workers of all partitions with Redis' time, ms. A worker speaks to every partition: the
    /// running tasks are added up.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn workers(&self) -> Result<(Vec<SeenWorker>, u64), StoreError> {
        let mut all: BTreeMap<String, SeenWorker> = BTreeMap::new();
        let mut now = 0;
        for partition in self.partitions() {
            let (workers, at) = partition.workers().await?;
            now = at;
            for worker in workers {
                match all.get_mut(&worker.id) {
                    Some(known) => {
                        known.info.running += worker.info.running;
                        known.seen_ms = known.seen_ms.max(worker.seen_ms);
                        known.info.draining |= worker.info.draining;
                    }
                    None => {
                        all.insert(worker.id.clone(), worker);
                    }
                }
            }
        }
        Ok((all.into_values().collect(), now))
    }

    /// How far the views are behind, per partition.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn lags(&self) -> Result<Vec<Lag>, StoreError> {
        let mut lags = Vec::new();
        for partition in self.partitions() {
            // The checkpoint first: read later, it could be beyond the end read before.
            let checkpoint = partition.checkpoint().await?;
            let seen = partition.totals().await?.events();
            let cut = partition.base_head().await?.totals.events();
            let (end, length) = partition.log_end().await?;
            lags.push(Lag {
                partition: partition.keys().partition(),
                checkpoint,
                end,
                events: if checkpoint < end {
                    (length + cut).saturating_sub(seen).max(1)
                } else {
                    0
                },
            });
        }
        Ok(lags)
    }

    /// Memory of each partition's log, bytes.
    ///
    /// # Errors
    /// Redis is away, or refuses `MEMORY USAGE`.
    pub async fn log_bytes(&self) -> Result<Vec<(PartitionIndex, u64)>, StoreError> {
        let mut sizes = Vec::new();
        for partition in self.partitions() {
            let mut connection = self.link.get();
            let bytes: Option<u64> = redis::cmd("MEMORY")
                .arg("USAGE")
                .arg(partition.keys().log())
                .query_async(&mut connection)
                .await?;
            sizes.push((partition.keys().partition(), bytes.unwrap_or(0)));
        }
        Ok(sizes)
    }
}

/// A worker that spoke within so long is active, ms.
const ACTIVE_MS: u64 = 10_000;

impl SeenWorker {
    /// Whether it spoke lately.
    #[must_use]
    pub const fn is_active(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.seen_ms) <= ACTIVE_MS
    }
}
