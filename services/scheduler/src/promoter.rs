//! Moves what is due to the ready streams, and sleeps until the next task is.

use std::time::Duration;

use taskweir_runtime::Feeder;
use taskweir_store::labels::label;
use taskweir_store::{MAX_BATCH, Partition, PromoteOutcome, StoreError};
use tokio_util::sync::CancellationToken;

use crate::metrics::PROMOTIONS;
use crate::wait;

/// Longest sleep: a net for a wake-up token that was lost.
const MAX_SLEEP_MS: u64 = 5_000;

pub(crate) async fn run(partition: Partition, readiness: Feeder, stop: CancellationToken) {
    let mut pause = Duration::from_millis(50);
    loop {
        let turn = tokio::select! {
            () = stop.cancelled() => return,
            turn = turn(&partition, &readiness) => turn,
        };
        match turn {
            Ok(()) => pause = Duration::from_millis(50),
            Err(error) => {
                tracing::warn!(%error, "promotion waits for Redis");
                if !wait(pause, &stop).await {
                    return;
                }
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}

/// Promotes one batch, or sleeps until something is due.
async fn turn(partition: &Partition, readiness: &Feeder) -> Result<(), StoreError> {
    let (due, next) = partition.due(MAX_BATCH).await?;
    readiness.feed();
    if due.is_empty() {
        return partition
            .await_tick(next.unwrap_or(MAX_SLEEP_MS).min(MAX_SLEEP_MS))
            .await;
    }
    let outcomes = partition.promote(&due).await?;
    for (promotion, outcome) in due.iter().zip(outcomes) {
        match outcome {
            PromoteOutcome::Done => {
                if let Some((queue, priority)) = &promotion.place {
                    metrics::counter!(PROMOTIONS, "queue" => label(queue).into_owned(), "priority" => priority.as_str())
                        .increment(1);
                }
                tracing::debug!(task.id = %promotion.id, "its time has come");
            }
            PromoteOutcome::Stale => {
                tracing::warn!(task.id = %promotion.id, "stood in due without a waiting task: removed");
            }
            // Another instance was faster, or Redis' clock went back.
            PromoteOutcome::Absent | PromoteOutcome::Early => {}
        }
    }
    Ok(())
}
