//! The end of a worker: finish within the grace period, give the rest back.

use std::time::{Duration, Instant};

use taskweir_domain::{Event, ReleaseReason, Released, TaskId, TaskType};
use taskweir_store::{MAX_BATCH, ReleaseOutcome, Releasing};

use crate::context::CancelReason;
use crate::fetch::Fetcher;
use crate::hands::Hand;
use crate::metrics::InstrumentSet;
use crate::upkeep;

/// Time handlers get to stop by themselves once the grace period is over.
const LAST_CALL: Duration = Duration::from_millis(500);
/// Between two tries while Redis is away.
const PAUSE: Duration = Duration::from_millis(50);
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
    // What cannot be told must not keep the rest from being given back.
    let until = tokio::time::Instant::now() + LAST_WORDS;
    let settled = tokio::time::timeout(LAST_WORDS / 2, settle_rest(fetcher, &mut instruments));
    settled.await.ok();
    let given_back = tokio::time::timeout_at(until, async {
        release(fetcher).await;
        settle_rest(fetcher, &mut instruments).await;
        upkeep::give_back_unknown(&lane, 0).await.ok();
    });
    if given_back.await.is_err() {
        tracing::warn!(worker = %lane.config.id, "Redis is away: what was held is redelivered when its lease has passed");
    }
}

/// Tells of every attempt that has ended by now: done work must not be given back.
async fn settle_rest(fetcher: &mut Fetcher, instruments: &mut InstrumentSet) {
    let lane = fetcher.lane.clone();
    loop {
        while let Ok(ended) = fetcher.ended.try_recv() {
            fetcher.take_ended(ended);
        }
        if fetcher.settlements.is_empty() {
            return;
        }
        if fetcher.settlements.send(&lane, instruments).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
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
            if Instant::now() >= until {
                return;
            }
            if sent.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            continue;
        }
        tokio::select! {
            Some(ended) = fetcher.ended.recv() => fetcher.take_ended(ended),
            () = tokio::time::sleep_until(until.into()) => return,
        }
    }
}

fn releasing(id: TaskId, hand: Hand) -> (Releasing, TaskType) {
    let Hand {
        stream,
        task_type,
        fence,
        unique,
        cancelling,
        ..
    } = hand;
    let event = Event::from(Released {
        reason: ReleaseReason::Shutdown,
        attempt: Some(fence.attempt),
        holder: Some(fence.holder.clone()),
    });
    let releasing = Releasing {
        id,
        stream,
        fence,
        unique,
        cancelling,
        event,
    };
    (releasing, task_type)
}

/// Gives back every attempt that still runs and drops its handler.
async fn release(fetcher: &mut Fetcher) {
    let lane = fetcher.lane.clone();
    let settlements = &fetcher.settlements;
    let rest: Vec<(Releasing, TaskType)> = lane
        .hands
        .lock()
        .extract_if(|key, _| !settlements.holds(key))
        .map(|((id, _), hand)| {
            if let Some(abort) = &hand.abort {
                abort.abort();
            }
            releasing(id, hand)
        })
        .collect();
    for batch in rest.chunks(MAX_BATCH) {
        let mut batch = batch.to_vec();
        while !batch.is_empty() {
            let releases: Vec<Releasing> = batch.iter().map(|(task, _)| task.clone()).collect();
            let outcomes = match lane.partition.release(&lane.streams, &releases).await {
                Ok(outcomes) => outcomes,
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "tasks could not be given back");
                    break;
                }
            };
            let mut again = Vec::new();
            for ((task, kind), outcome) in batch.into_iter().zip(outcomes) {
                let (id, attempt, cancelling) = (task.id, task.fence.attempt, task.cancelling);
                match outcome {
                    ReleaseOutcome::Changed => {
                        let cancelling = !cancelling;
                        again.push((Releasing { cancelling, ..task }, kind));
                    }
                    ReleaseOutcome::Done | ReleaseOutcome::Repeated if !cancelling => {
                        tracing::info!(task.id = %id, task.type = %kind, attempt, worker = %lane.config.id,
                            reason = "shutdown", "🔄 REQUEUED");
                    }
                    _ => {
                        tracing::info!(task.id = %id, task.type = %kind, attempt, ?outcome, "let go at shutdown");
                    }
                }
            }
            batch = again;
        }
    }
}
