//! Gauges about the system, read from the store when somebody asks, so that every gateway says the
//! same and a drained queue says 0.

use std::time::Duration;

use taskweir_domain::Status;
use taskweir_store::{Store, StoreError};

use crate::metrics::{
    BY_STATUS, IN_DLQ, LAG_EVENTS, LAG_SECONDS, LEDGER, MALFORMED, OF_THE_SYSTEM, OLDEST,
    OPERATIONS, PARKED, PAUSED, PENDING, REDIS_LIMIT, REDIS_MEMORY, REDIS_UP, STARTED_TWICE,
    STREAM_BYTES, VERIFY_DIFFERENCES, VERIFY_TIME, WORKERS,
};

/// A scrape that takes longer is answered without these gauges.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reads and sets every gauge of the system.
pub(crate) async fn gauges(store: &Store) -> anyhow::Result<()> {
    let read = tokio::time::timeout(PATIENCE, set(store)).await;
    // What it answers and we cannot read is no outage.
    let up = matches!(&read, Ok(read) if !read.as_ref().is_err_and(StoreError::is_transient));
    metrics::gauge!(REDIS_UP).set(f64::from(u8::from(up)));
    Ok(read??)
}

/// The text of metrics without the gauges about the system: an old number looks like a new one.
pub(crate) fn without_system(text: &str) -> String {
    let of_system = |line: &&str| {
        let line = line
            .strip_prefix("# HELP ")
            .or_else(|| line.strip_prefix("# TYPE "))
            .unwrap_or(line);
        let name = line.split([' ', '{']).next().unwrap_or_default();
        OF_THE_SYSTEM.contains(&name)
    };
    let kept = text.lines().filter(|line| !of_system(line));
    kept.flat_map(|line| [line, "\n"]).collect()
}

async fn set(store: &Store) -> Result<(), StoreError> {
    let totals = store.totals().await?;
    metrics::gauge!(LEDGER).set(totals.submitted() as f64 - totals.accounted() as f64);
    metrics::gauge!(STARTED_TWICE).set(totals.started_twice() as f64);
    let (workers, now_ms) = store.workers().await?;
    let queues = store.queues(&totals).await?;
    for (queue, overview) in &queues {
        let queue = queue.to_string();
        for status in Status::ALL {
            metrics::gauge!(BY_STATUS, "queue" => queue.clone(), "status" => status.as_str())
                .set(overview.of(status) as f64);
        }
        metrics::gauge!(PAUSED, "queue" => queue.clone()).set(f64::from(u8::from(overview.paused)));
        metrics::gauge!(PARKED, "queue" => queue.clone()).set(overview.parked as f64);
        metrics::gauge!(IN_DLQ, "queue" => queue.clone()).set(overview.of(Status::Failed) as f64);
        for (priority, depth) in &overview.depths {
            let labels = [("queue", queue.clone()), ("priority", priority.to_string())];
            let age = depth
                .oldest_ms
                .map_or(0.0, |ms| now_ms.saturating_sub(ms) as f64 / 1_000.0);
            metrics::gauge!(PENDING, &labels).set(depth.ready as f64);
            metrics::gauge!(OLDEST, &labels).set(age);
        }
    }
    let active = workers
        .iter()
        .filter(|worker| worker.is_active(now_ms))
        .count();
    metrics::gauge!(WORKERS).set(active as f64);
    for lag in store.lags().await? {
        let partition = lag.partition.0.to_string();
        metrics::gauge!(LAG_EVENTS, "partition" => partition.clone()).set(lag.events as f64);
        metrics::gauge!(LAG_SECONDS, "partition" => partition).set(lag.ms as f64 / 1_000.0);
    }
    if let Some(verified) = store.verified().await? {
        metrics::gauge!(VERIFY_DIFFERENCES).set(verified.differences as f64);
        metrics::gauge!(VERIFY_TIME).set(verified.at_ms as f64 / 1_000.0);
    }
    for (place, seen) in store.malformed().await? {
        metrics::gauge!(MALFORMED, "place" => place).set(seen.count as f64);
    }
    let operations = store.running_operations().await?.len();
    metrics::gauge!(OPERATIONS).set(operations as f64);
    let memory = store.memory().await?;
    metrics::gauge!(REDIS_MEMORY).set(memory.used as f64);
    if let Some(limit) = memory.limit {
        metrics::gauge!(REDIS_LIMIT).set(limit as f64);
    }
    // Refused on some managed servers: then the gauge is absent, and the scrape goes on.
    let sizes = store.stream_bytes(queues.keys()).await.unwrap_or_default();
    for (partition, bytes) in sizes {
        for (stream, bytes) in [
            ("log", bytes.log),
            ("ready", bytes.ready),
            ("dlq", bytes.dlq),
        ] {
            metrics::gauge!(STREAM_BYTES, "stream" => stream, "partition" => partition.0.to_string())
                .set(bytes as f64);
        }
    }
    Ok(())
}
