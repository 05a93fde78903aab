//! Gauges about the system, read from the store when somebody asks, so that every gateway says the
//! same and a drained queue says 0.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use taskweir_domain::{Priority, QueueName, Status};
use taskweir_store::labels::OTHER;
use taskweir_store::{QueueOverview, Store, StoreError, Totals};

use crate::gauges::Gauges;
use crate::metrics::{
    BY_STATUS, IN_DLQ, LAG_EVENTS, LAG_SECONDS, LEDGER, MALFORMED, OLDEST, OPERATIONS, PARKED,
    PAUSED, PENDING, REDIS_LIMIT, REDIS_MEMORY, REDIS_UP, STARTED_TWICE, STREAM_BYTES,
    VERIFY_DIFFERENCES, VERIFY_TIME, WORKERS, help,
};

/// A scrape that takes longer is answered without these gauges.
const PATIENCE: Duration = Duration::from_secs(3);

/// Queues with series of their own, the busiest first; the rest is summed up as `other`.
const QUEUES: usize = 100;

/// The text of every gauge of the system; without Redis, that it is away.
pub(crate) async fn gauges(store: &Store) -> String {
    let mut gauges = Gauges::default();
    let read = tokio::time::timeout(PATIENCE, set(store, &mut gauges)).await;
    // What it answers and we cannot read is no outage.
    let up = matches!(&read, Ok(read) if !read.as_ref().is_err_and(StoreError::is_transient));
    let why = match read {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("Redis does not answer in time".to_owned()),
    };
    if let Some(error) = why {
        tracing::warn!(%error, "gauges of the system could not be read");
        gauges = Gauges::default();
    }
    gauges.set(REDIS_UP, f64::from(u8::from(up)));
    gauges.render(help)
}

/// The queues that get series of their own: those with most to do, then by name.
fn chosen(queues: &BTreeMap<QueueName, QueueOverview>) -> BTreeSet<&QueueName> {
    let live = |queue: &QueueOverview| -> u64 {
        let open = Status::ALL.iter().filter(|status| !status.is_final());
        open.map(|status| queue.of(*status)).sum::<u64>() + u64::from(queue.paused)
    };
    let mut by_work: Vec<_> = queues
        .iter()
        .map(|(name, queue)| (std::cmp::Reverse(live(queue)), name))
        .collect();
    by_work.sort_unstable();
    by_work
        .into_iter()
        .take(QUEUES)
        .map(|(_, name)| name)
        .collect()
}

/// Adds a queue to the one that stands for the rest.
fn add(sum: &mut QueueOverview, queue: &QueueOverview) {
    sum.paused |= queue.paused;
    sum.parked += queue.parked;
    for (status, count) in &queue.by_status {
        *sum.by_status.entry(*status).or_default() += count;
    }
    for (priority, depth) in &queue.depths {
        let of = sum.depths.entry(*priority).or_default();
        of.ready += depth.ready;
        of.held += depth.held;
        of.oldest_ms = [of.oldest_ms, depth.oldest_ms].into_iter().flatten().min();
    }
}

/// Tasks of queues that are no more: they stay in the totals, and in the sums of their status.
fn forgotten(totals: &Totals, queues: &BTreeMap<QueueName, QueueOverview>) -> QueueOverview {
    let mut gone = QueueOverview::default();
    for (counter, count) in &totals.counts {
        if !queues.contains_key(counter.queue.as_str()) {
            *gone.by_status.entry(counter.status).or_default() += count;
        }
    }
    gone
}

fn set_queue(gauges: &mut Gauges, name: &str, queue: &QueueOverview, now_ms: u64) {
    let of_queue = [("queue", name)];
    for status in Status::ALL {
        let labels = [("queue", name), ("status", status.as_str())];
        gauges.set_of(BY_STATUS, &labels, queue.of(status) as f64);
    }
    gauges.set_of(PAUSED, &of_queue, f64::from(u8::from(queue.paused)));
    gauges.set_of(PARKED, &of_queue, queue.parked as f64);
    gauges.set_of(IN_DLQ, &of_queue, queue.of(Status::Failed) as f64);
    for priority in Priority::ALL {
        let depth = queue.depths.get(&priority).copied().unwrap_or_default();
        let labels = [("queue", name), ("priority", priority.as_str())];
        let age = depth
            .oldest_ms
            .map_or(0.0, |ms| now_ms.saturating_sub(ms) as f64 / 1_000.0);
        gauges.set_of(PENDING, &labels, depth.ready as f64);
        gauges.set_of(OLDEST, &labels, age);
    }
}

async fn set(store: &Store, gauges: &mut Gauges) -> Result<(), StoreError> {
    let totals = store.totals().await?;
    gauges.set(
        LEDGER,
        totals.submitted() as f64 - totals.accounted() as f64,
    );
    gauges.set(STARTED_TWICE, totals.started_twice() as f64);
    let (workers, now_ms) = store.workers().await?;
    let queues = store.queues(&totals).await?;
    let own = chosen(&queues);
    let mut rest = forgotten(&totals, &queues);
    for (name, queue) in &queues {
        if own.contains(name) && **name != *OTHER {
            set_queue(gauges, name, queue, now_ms);
        } else {
            add(&mut rest, queue);
        }
    }
    if rest != QueueOverview::default() {
        set_queue(gauges, OTHER, &rest, now_ms);
    }
    let active = workers
        .iter()
        .filter(|worker| worker.is_active(now_ms))
        .count();
    gauges.set(WORKERS, active as f64);
    for lag in store.lags().await? {
        let partition = lag.partition.0.to_string();
        let labels = [("partition", partition.as_str())];
        gauges.set_of(LAG_EVENTS, &labels, lag.events as f64);
        gauges.set_of(LAG_SECONDS, &labels, lag.ms as f64 / 1_000.0);
    }
    if let Some(verified) = store.verified().await? {
        gauges.set(VERIFY_DIFFERENCES, verified.differences as f64);
        gauges.set(VERIFY_TIME, verified.at_ms as f64 / 1_000.0);
    }
    for (place, seen) in store.malformed().await?.into_iter().take(QUEUES) {
        gauges.set_of(MALFORMED, &[("place", &place)], seen.count as f64);
    }
    let operations = store.running_operations().await?.len();
    gauges.set(OPERATIONS, operations as f64);
    let memory = store.memory().await?;
    gauges.set(REDIS_MEMORY, memory.used as f64);
    if let Some(limit) = memory.limit {
        gauges.set(REDIS_LIMIT, limit as f64);
    }
    // Refused on some managed servers: then the gauge is absent, and the scrape goes on.
    let sizes = store.stream_bytes(own).await.unwrap_or_default();
    for (partition, bytes) in sizes {
        let partition = partition.0.to_string();
        for (stream, bytes) in [
            ("log", bytes.log),
            ("ready", bytes.ready),
            ("dlq", bytes.dlq),
        ] {
            let labels = [("stream", stream), ("partition", partition.as_str())];
            gauges.set_of(STREAM_BYTES, &labels, bytes as f64);
        }
    }
    Ok(())
}
