//! The end of a worker: finish within the grace period, give the rest back.

use std::time::{Duration, Instant};

use taskweir_domain::{Event, Fence, ReleaseReason, Released, TaskId};
use taskweir_store::{MAX_BATCH, ReleaseOutcome, Releasing};

use crate::context::CancelReason;
use crate::engine::Lane;
use crate::fetch::Fetcher;
use crate::metrics::InstrumentSet;
use crate::upkeep;

/// Time handlers get to stop by themselves once the grace period is over.
const LAST_CALL: Duration = Duration::from_millis(500);
/// Time to tell Redis of the rest; after it the leases will.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Empties the hands of a partition's loop.
pub(crate) async fn drain(fetcher: &mut Fetcher) {
    let lane = fetcher.lane.clone();
    if lane.hands.len() > 0 {
        tracing::info!(
            running = lane.hands.len(),
            grace_s = lane.config.grace.as_secs_f64(),
            "waiting for running tasks"
        );
    }
    let grace_over = Instant::now() + lane.config.grace;
    let mut instruments = InstrumentSet::default();
    settle_until(fetcher, &mut instruments, grace_over).await;
    if lane.hands.len() > 0 {
        lane.hands.fire_all(CancelReason::Shutdown);
        settle_until(fetcher, &mut instruments, Instant::now() + LAST_CALL).await;
    }
    let last_words = tokio::time::timeout(LAST_WORDS, async {
        release(&lane).await;
        upkeep::give_back_unknown(&lane, 0).await.ok();
        lane.partition
            .forget_worker(&lane.config.id, &lane.streams)
            .await
            .ok();
    });
    if last_words.await.is_err() {
        tracing::warn!(worker = %lane.config.id, "Redis is away: what was held is redelivered when its lease has passed");
    }
}

/// Settles attempts as they end, until the hands are empty or the time is over.
async fn settle_until(fetcher: &mut Fetcher, instruments: &mut InstrumentSet, until: Instant) {
    let lane = fetcher.lane.clone();
    while lane.hands.len() > 0 {
        while let Ok(ended) = fetcher.ended.try_recv() {
            fetcher.take_ended(ended);
        }
        if !fetcher.settlements.is_empty() {
            let sent = fetcher.settlements.send(&lane, instruments).await;
            if sent.is_ok() {
                continue;
            }
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        tokio::select! {
            Some(ended) = fetcher.ended.recv() => fetcher.take_ended(ended),
            () = tokio::time::sleep_until(until.into()) => return,
        }
    }
}

fn releasing(id: TaskId, stream: usize, fence: Fence, cancelling: bool) -> Releasing {
    let event = Event::from(Released {
        reason: ReleaseReason::Shutdown,
        attempt: Some(fence.attempt),
        holder: Some(fence.holder.clone()),
    });
    Releasing {
        id,
        stream,
        fence,
        cancelling,
        event,
    }
}

/// Gives back every attempt that still runs and drops its handler.
async fn release(lane: &Lane) {
    let rest: Vec<Releasing> = lane
        .hands
        .lock()
        .drain()
        .map(|(id, hand)| {
            if let Some(abort) = &hand.abort {
                abort.abort();
            }
            releasing(id, hand.stream, hand.fence, hand.cancelling)
        })
        .collect();
    for batch in rest.chunks(MAX_BATCH) {
        let mut batch = batch.to_vec();
        while !batch.is_empty() {
            let outcomes = match lane.partition.release(&lane.streams, &batch).await {
                Ok(outcomes) => outcomes,
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "tasks could not be given back");
                    break;
                }
            };
            let mut again = Vec::new();
            for (task, outcome) in batch.into_iter().zip(outcomes) {
                if outcome == ReleaseOutcome::Changed {
                    again.push(Releasing {
                        cancelling: true,
                        ..task
                    });
                } else {
                    tracing::info!(task.id = %task.id, attempt = task.fence.attempt, ?outcome, "given back at shutdown");
                }
            }
            batch = again;
        }
    }
}
