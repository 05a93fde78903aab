//! Ends tasks that were not started in time.

use std::time::Duration;

use taskweir_runtime::Feeder;
use taskweir_store::labels::label;
use taskweir_store::{ExpireOutcome, MAX_BATCH, Partition, StoreError};
use tokio_util::sync::CancellationToken;

use crate::metrics::EXPIRIES;
use crate::wait;

const PERIOD: Duration = Duration::from_secs(1);

pub(crate) async fn run(partition: Partition, readiness: Feeder, stop: CancellationToken) {
    loop {
        let pause = match sweep(&partition).await {
            Ok(more) => {
                readiness.feed();
                if more { Duration::ZERO } else { PERIOD }
            }
            Err(error) => {
                tracing::warn!(%error, "expiry waits for Redis");
                PERIOD
            }
        };
        if !wait(pause, &stop).await {
            return;
        }
    }
}

/// Ends one batch; whether there may be more.
async fn sweep(partition: &Partition) -> Result<bool, StoreError> {
    let expiring = partition.expiring(MAX_BATCH).await?;
    if expiring.is_empty() {
        return Ok(false);
    }
    let outcomes = partition.expire(&expiring).await?;
    for (task, outcome) in expiring.iter().zip(outcomes) {
        if let (ExpireOutcome::Done, Some(record)) = (outcome, &task.record) {
            let (queue, task_type) = (&record.task.queue, &record.task.task_type);
            metrics::counter!(EXPIRIES, "queue" => label(queue).into_owned(), "type" => label(task_type).into_owned()).increment(1);
            tracing::info!(task.id = %task.id, task.type = %task_type, queue = %queue, "expired: not started in time");
        }
    }
    Ok(true)
}
