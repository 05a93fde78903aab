//! What a worker does beside its tasks: renews leases, says that it lives, hears what people
//! want, and compares what it holds with what Redis thinks it holds.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use taskweir_store::{
    HeartbeatState, MAX_BATCH, Presence, StoreError, Unclaiming, UnparkOutcome, WorkerInfo,
};
use tokio_util::sync::CancellationToken;

use crate::engine::Lane;
use crate::metrics;

/// Twice in the second within which a handler hears of a cancel.
const PRESENCE_EVERY: Duration = Duration::from_millis(500);
/// Shortest wait for the answer of a heartbeat.
const MIN_PATIENCE: Duration = Duration::from_millis(500);
/// Time between two looks for parked tasks.
const UNPARK_EVERY: Duration = Duration::from_secs(5);
/// An entry of ours that no hand holds for so long came with a reply that was lost.
pub(crate) const LOST_REPLY_MS: u64 = 1_500;

/// How often leases are looked at: several times in the third of a lease that a beat may be late.
fn tick(lane: &Lane) -> Duration {
    (lane.config.lease / 6).clamp(Duration::from_millis(20), Duration::from_secs(1))
}

/// Stops, until `done`, the handlers whose lease has passed unrenewed. By our own monotonic clock, and
/// beside the renewals: one that hangs must not keep this from happening.
pub(crate) async fn watch(lane: Lane, done: CancellationToken) {
    loop {
        tokio::select! {
            () = done.cancelled() => return,
            () = tokio::time::sleep(tick(&lane)) => lane.hands.lose_expired(Instant::now()),
        }
    }
}

/// Renews, until `done`, every lease of which a third has passed: so two more beats may fail before
/// it is lost, and short tasks cost nothing.
pub(crate) async fn beat(lane: Lane, done: CancellationToken) {
    loop {
        tokio::select! {
            () = done.cancelled() => return,
            () = tokio::time::sleep(tick(&lane)) => {}
        }
        if let Err(error) = renew(&lane).await {
            // Again at the next tick: leases are at stake.
            tracing::debug!(%error, "leases could not be renewed");
        }
    }
}

async fn renew(lane: &Lane) -> Result<(), StoreError> {
    let left = lane.config.lease * 2 / 3;
    for batch in lane.hands.beats(Instant::now(), left).chunks(MAX_BATCH) {
        let before = Instant::now();
        let call = lane
            .partition
            .heartbeat(&lane.streams, &lane.config.id, batch);
        // An answer that is swallowed must not hold up the next try until the lease has passed.
        let patience = (lane.config.lease / 3).max(MIN_PATIENCE);
        let Ok(states) = tokio::time::timeout(patience, call).await else {
            tracing::debug!("a heartbeat is not answered");
            continue;
        };
        for (beat, state) in batch.iter().zip(states?) {
            if state == HeartbeatState::Lost {
                lane.hands.lose(beat.id, &beat.fence);
                continue;
            }
            lane.hands
                .renew(beat.id, &beat.fence, before + lane.config.lease);
            if state == HeartbeatState::Cancelling {
                lane.hands.cancel(beat.id, &beat.fence.holder);
            }
        }
    }
    Ok(())
}

/// Says once that the worker lives, and does what people want of it. `handled` carries the
/// signals of the last call, which this one clears.
pub(crate) async fn say_present(lane: &Lane, handled: &mut Vec<String>) -> Result<(), StoreError> {
    let config = &lane.config;
    let busy = config
        .concurrency
        .saturating_sub(lane.slots.available_permits());
    ::metrics::gauge!(metrics::BUSY).set(busy as f64);
    let info = WorkerInfo {
        host: config.host.clone(),
        pid: std::process::id(),
        queues: config.queues.iter().map(ToString::to_string).collect(),
        types: config
            .registry
            .types()
            .iter()
            .map(ToString::to_string)
            .collect(),
        concurrency: config.concurrency,
        running: lane.hands.len(),
        lease_ms: lane.lease_ms(),
        started_ms: config.started_ms,
        draining: lane.stop.is_cancelled(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let presence = lane.partition.presence(&config.id, &info, handled).await?;
    if let Some(heard) = &config.on_contact {
        heard();
    }
    lane.set_paused(presence.paused);
    for signal in &presence.signals {
        if let Some((id, holder)) = Presence::read_signal(signal) {
            lane.hands.cancel(id, &holder);
        }
    }
    *handled = presence.signals;
    Ok(())
}

/// Says twice a second that the worker lives, and passes progress on.
pub(crate) async fn presence(lane: Lane, done: CancellationToken) {
    let mut handled = Vec::new();
    loop {
        let mut result = say_present(&lane, &mut handled).await;
        for batch in lane.hands.take_progress().chunks(MAX_BATCH) {
            // Without an answer the next ones wait, too: presence must not wait for all of them.
            if result.is_err() {
                break;
            }
            result = lane.partition.progress(batch).await.map(drop);
        }
        if let Err(error) = result {
            tracing::debug!(%error, "the worker could not say that it lives");
        }
        tokio::select! {
            () = done.cancelled() => return,
            () = tokio::time::sleep(PRESENCE_EVERY) => {}
        }
    }
}

/// Looks for parked tasks now and then. On its own: there may be a million, and presence must not wait for them.
pub(crate) async fn unpark(lane: Lane, done: CancellationToken) {
    loop {
        if let Err(error) = bring_back(&lane).await {
            tracing::debug!(%error, "parked tasks could not be looked for");
        }
        tokio::select! {
            () = done.cancelled() => return,
            () = lane.stop.cancelled() => return,
            () = tokio::time::sleep(UNPARK_EVERY) => {}
        }
    }
}

/// Brings back what was put aside before this worker, which knows the type, came.
async fn bring_back(lane: &Lane) -> Result<(), StoreError> {
    for queue in &lane.config.queues {
        for task_type in lane.config.registry.types() {
            while !lane.stop.is_cancelled() {
                let brought = lane.partition.unpark(queue, &task_type, MAX_BATCH).await?;
                if !brought.contains(&UnparkOutcome::Done) {
                    break;
                }
                tracing::info!(%queue, task.type = %task_type, count = brought.len(), "parked tasks are ready again");
            }
        }
    }
    Ok(())
}

/// Gives back what is pending under our name for at least `idle_ms` and in no hand.
pub(crate) async fn give_back_unknown(lane: &Lane, idle_ms: u64) -> Result<(), StoreError> {
    let (partition, streams, id) = (&lane.partition, &lane.streams, &lane.config.id);
    // More than we can hold: what is in hand must not hide what is not.
    let count = lane.config.concurrency + MAX_BATCH;
    let pending = partition.own_pending(streams, id, idle_ms, count).await?;
    let unknown: Vec<(usize, String)> = {
        let hands = lane.hands.lock();
        // Entries of different streams may have the same id.
        let held: HashSet<(usize, &str)> = hands
            .values()
            .map(|hand| (hand.stream, hand.entry.as_str()))
            .collect();
        pending
            .into_iter()
            .filter(|(stream, entry)| !held.contains(&(*stream, entry.as_str())))
            .collect()
    };
    let mut lost = Vec::new();
    let mut malformed = Vec::new();
    for (stream, entry) in unknown {
        match partition.task_of_entry(streams, stream, &entry).await? {
            Some(id) => lost.push(Unclaiming { id, stream, entry }),
            None => malformed.push((stream, entry)),
        }
    }
    for batch in lost.chunks(MAX_BATCH) {
        partition.unclaim(streams, id, batch).await?;
    }
    partition.discard(streams, &malformed).await.map(drop)
}
