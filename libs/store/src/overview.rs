//! The system at a glance, over all partitions.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use taskweir_domain::{EventType, PartitionIndex, Position, Priority, QueueName, Status};

use crate::{QueueDepth, SeenWorker, Store, StoreError, Totals, clock};

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
    /// How long the oldest of them has waited to be seen, ms.
    pub ms: u64,
}

impl Store {
    /// Redis' clock, ms since the epoch.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn server_time_ms(&self) -> Result<u64, StoreError> {
        let mut connection = self.link.get();
        let time = redis::cmd("TIME").query_async(&mut connection).await?;
        Ok(clock::redis_ms(time))
    }

    /// How long the task that is most overdue has waited for a scheduler, ms; 0 where none is.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn overdue_ms(&self) -> Result<u64, StoreError> {
        let now_ms = self.server_time_ms().await?;
        let looks = self.partitions().into_iter().map(|partition| async move {
            let next: Vec<(String, f64)> = redis::cmd("ZRANGE")
                .arg(partition.keys().due())
                .arg(0)
                .arg(0)
                .arg("WITHSCORES")
                .query_async(&mut self.link.get())
                .await?;
            let due_ms = next.first().map_or(now_ms, |(_, due)| *due as u64);
            Ok::<_, StoreError>(now_ms.saturating_sub(due_ms))
        });
        Ok(try_join_all(looks).await?.into_iter().max().unwrap_or(0))
    }

    /// Every queue.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn queues(
        &self,
        totals: &Totals,
    ) -> Result<BTreeMap<QueueName, QueueOverview>, StoreError> {
        self.overview(totals, None).await
    }

    /// Some queues by name, of those that there are.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn queues_named(
        &self,
        totals: &Totals,
        names: &BTreeSet<QueueName>,
    ) -> Result<BTreeMap<QueueName, QueueOverview>, StoreError> {
        self.overview(totals, Some(names)).await
    }

    /// The names of some queues, behind one of them or from the first on.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn queue_names(
        &self,
        after: Option<&QueueName>,
        most: usize,
    ) -> Result<BTreeSet<QueueName>, StoreError> {
        let looks = self.partitions().into_iter();
        let looks = looks.map(|partition| async move { partition.queues_after(after, most).await });
        let mut names: BTreeSet<QueueName> =
            try_join_all(looks).await?.into_iter().flatten().collect();
        while names.len() > most {
            names.pop_last();
        }
        Ok(names)
    }

    /// Of every queue, or of those that are named.
    async fn overview(
        &self,
        totals: &Totals,
        names: Option<&BTreeSet<QueueName>>,
    ) -> Result<BTreeMap<QueueName, QueueOverview>, StoreError> {
        let mut queues: BTreeMap<QueueName, QueueOverview> = BTreeMap::new();
        let minute = self.server_time_ms().await? / 60_000;
        let (mut before, mut after) = (Totals::default(), Totals::default());
        // Rows stand at multiples of their spacing.
        let spacing = totals.spacing();
        let span = RATE_MINUTES.div_ceil(spacing) * spacing;
        let end = minute / spacing * spacing;
        let looks = self.partitions().into_iter().map(|partition| async move {
            let mut flags = partition.queue_flags().await?;
            if let Some(names) = names {
                flags.known.retain(|queue| names.contains(queue));
                flags.parked.retain(|queue, _| names.contains(queue));
            }
            let depths = partition.depths(&flags.known).await?;
            let depths: Vec<_> = depths
                .into_iter()
                .map(|(queue, priority, depth)| (queue.clone(), priority, depth))
                .collect();
            let (now, base) = (partition.standpoint().await?, partition.base_head().await?);
            let before = partition.totals_after(end - span - 1, &now, &base).await?;
            let after = partition.totals_after(end - 1, &now, &base).await?;
            Ok::<_, StoreError>((flags, depths, before, after))
        });
        for (flags, depths, was, is) in try_join_all(looks).await? {
            for (queue, count) in flags.parked {
                queues.entry(queue).or_default().parked += count;
            }
            for (queue, priority, depth) in depths {
                let overview = queues.entry(queue.clone()).or_default();
                overview.paused |= flags.paused.contains_key(&queue);
                let sum = overview.depths.entry(priority).or_default();
                sum.ready += depth.ready;
                sum.held += depth.held;
                sum.oldest_ms = [sum.oldest_ms, depth.oldest_ms].into_iter().flatten().min();
            }
            before.add(was);
            after.add(is);
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
        for (counter, count) in &totals.counts {
            if let Some(overview) = queues.get_mut(counter.queue.as_str()) {
                *overview.by_status.entry(counter.status).or_default() += count;
            }
        }
        Ok(queues)
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
        let looks = self.partitions().into_iter().map(|partition| async move {
            // The checkpoint first: read later, it could be beyond the end read before.
            let checkpoint = partition.checkpoint().await?;
            let seen = partition.totals().await?.events();
            let cut = partition.base_head().await?.totals.events();
            let (end, length) = partition.log_end().await?;
            let ms = if checkpoint < end {
                partition.age_of_next(checkpoint).await?
            } else {
                0
            };
            Ok(Lag {
                ms,
                partition: partition.keys().partition(),
                checkpoint,
                end,
                events: if checkpoint < end {
                    (length + cut).saturating_sub(seen).max(1)
                } else {
                    0
                },
            })
        });
        try_join_all(looks).await
    }

    /// Memory of each partition's streams; those of `queues` are summed up. Redis estimates long streams from a few
    /// of their nodes, so this costs a round trip per partition and little more.
    ///
    /// # Errors
    /// Redis is away, or refuses `MEMORY USAGE`.
    pub async fn stream_bytes<'a>(
        &self,
        queues: impl IntoIterator<Item = &'a QueueName>,
    ) -> Result<Vec<(PartitionIndex, StreamBytes)>, StoreError> {
        let queues: Vec<&QueueName> = queues.into_iter().collect();
        let looks = self.partitions().into_iter().map(|partition| {
            let queues = &queues;
            async move {
                let keys = partition.keys();
                let ready = queues
                    .iter()
                    .flat_map(|queue| Priority::ALL.map(|priority| keys.ready(queue, priority)));
                let ready: Vec<String> = ready.collect();
                let dead = queues.iter().map(|queue| keys.dlq(queue));
                let mut pipe = redis::pipe();
                for key in std::iter::once(keys.log())
                    .chain(ready.iter().cloned())
                    .chain(dead)
                {
                    pipe.cmd("MEMORY").arg("USAGE").arg(key);
                }
                let sizes: Vec<Option<u64>> = pipe.query_async(&mut self.link.get()).await?;
                let sum = |sizes: &[Option<u64>]| sizes.iter().flatten().sum();
                let (log, rest) = sizes.split_at(1);
                let (ready, dead) = rest.split_at(ready.len());
                let bytes = StreamBytes {
                    log: sum(log),
                    ready: sum(ready),
                    dlq: sum(dead),
                };
                Ok::<_, StoreError>((keys.partition(), bytes))
            }
        });
        try_join_all(looks).await
    }
}

/// Memory of a partition's streams, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamBytes {
    /// Its log.
    pub log: u64,
    /// Its ready streams.
    pub ready: u64,
    /// Its dead-letter streams.
    pub dlq: u64,
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
