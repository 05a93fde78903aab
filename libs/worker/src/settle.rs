//! Telling Redis how attempts ended, in batches, until it has heard.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use taskweir_domain::{Command, Event, Failure, Phase, decide};
use taskweir_store::{Finish, FinishOutcome, MAX_BATCH, StoreError, entropy};

use crate::attempt::Ended;
use crate::context::CancelReason;
use crate::engine::Lane;
use crate::hands::{Hand, HandKey};
use crate::metrics::InstrumentSet;

/// An attempt that ended, with what is to be said of it.
struct Settlement {
    ended: Ended,
    finish: Finish,
    /// It was decided as of a task that a person wants cancelled.
    cancelling: bool,
    since: Instant,
}

/// Endings that Redis has not confirmed yet.
pub(crate) struct Settlements {
    waiting: Vec<Settlement>,
    /// The batch on its way, until it is answered.
    sent: Vec<Settlement>,
    /// After so long another worker has surely taken the task; saying more is pointless.
    keep: Duration,
}

impl Settlements {
    pub(crate) fn new(lane: &Lane) -> Self {
        Self {
            waiting: Vec::with_capacity(MAX_BATCH),
            sent: Vec::with_capacity(MAX_BATCH),
            keep: lane.config.lease * 2,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    /// Whether an attempt has ended and waits to be told.
    pub(crate) fn holds(&self, key: &HandKey) -> bool {
        let same = |ended: &Ended| ended.id == key.0 && ended.fence.holder == key.1;
        let mut all = self.waiting.iter().chain(&self.sent);
        all.any(|settlement| same(&settlement.ended))
    }

    /// Takes an ended attempt; one that lost its lease and came to nothing is only let go of.
    pub(crate) fn add(&mut self, lane: &Lane, ended: Ended) {
        if ended.result.is_none() || stopped_for(lane, &ended, CancelReason::LeaseLost) {
            tracing::warn!(task.id = %ended.id, task.type = %ended.task.task_type, attempt = ended.fence.attempt,
                "its lease was lost: it is redelivered");
            lane.hands.let_go(ended.id, &ended.fence);
            return;
        }
        // It stays in its hand and is given back with the others.
        if stopped_for(lane, &ended, CancelReason::Shutdown) {
            return;
        }
        let key = (ended.id, ended.fence.holder.clone());
        let cancelling = lane
            .hands
            .lock()
            .get(&key)
            .is_some_and(|hand| hand.cancelling);
        self.waiting.push(Settlement {
            finish: decided(&ended, cancelling),
            ended,
            cancelling,
            since: Instant::now(),
        });
    }

    /// Takes the next batch out: a task stands in it at most once, since an old and a new attempt of
    /// one task may end together.
    fn take_batch(&mut self) -> Vec<Settlement> {
        let mut ids = HashSet::with_capacity(MAX_BATCH);
        let (mut batch, mut rest) = (Vec::with_capacity(MAX_BATCH), Vec::new());
        for settlement in self.waiting.drain(..) {
            if batch.len() < MAX_BATCH && ids.insert(settlement.ended.id) {
                batch.push(settlement);
            } else {
                rest.push(settlement);
            }
        }
        self.waiting = rest;
        batch
    }

    /// Sends up to a batch. What fails for now is kept and sent again, and so is what nobody waited for to the end.
    pub(crate) async fn send(
        &mut self,
        lane: &Lane,
        instruments: &mut InstrumentSet,
    ) -> Result<(), StoreError> {
        self.waiting.append(&mut self.sent);
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.sent = self.take_batch();
        let batch: Vec<Finish> = self
            .sent
            .iter()
            .map(|settlement| settlement.finish.clone())
            .collect();
        let outcomes = match lane.partition.finish(&lane.streams, &batch).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                self.waiting.append(&mut self.sent);
                self.give_up(lane);
                return Err(error);
            }
        };
        for (mut settlement, outcome) in std::mem::take(&mut self.sent).into_iter().zip(outcomes) {
            if outcome == FinishOutcome::Changed {
                // Whichever was believed, the other holds: a request came, or a failover lost it.
                settlement.cancelling = !settlement.cancelling;
                settlement.finish = decided(&settlement.ended, settlement.cancelling);
                self.waiting.push(settlement);
                continue;
            }
            lane.hands
                .let_go(settlement.ended.id, &settlement.ended.fence);
            note(lane, instruments, &settlement, outcome);
        }
        Ok(())
    }

    fn give_up(&mut self, lane: &Lane) {
        let keep = self.keep;
        self.waiting.retain(|settlement| {
            let kept = settlement.since.elapsed() < keep;
            if !kept {
                tracing::warn!(task.id = %settlement.ended.id, "its outcome could not be told for two leases: given up");
                lane.hands.let_go(settlement.ended.id, &settlement.ended.fence);
            }
            kept
        });
    }
}

/// Whether a handler stopped because it was told to. That is no failure of its task, and costs none of its retries.
fn stopped_for(lane: &Lane, ended: &Ended, reason: CancelReason) -> bool {
    let told = |hand: &Hand| hand.cancel.reason() == Some(reason);
    let key = (ended.id, ended.fence.holder.clone());
    let asked = lane.hands.lock().get(&key).is_some_and(told);
    asked && matches!(&ended.result, Some(Err(error)) if !error.is_fatal())
}

fn decided(ended: &Ended, cancelled: bool) -> Finish {
    let mut task = ended.task.clone();
    if let Phase::Processing { cancelling, .. } = &mut task.phase {
        *cancelling = cancelled;
    }
    let fence = ended.fence.clone();
    let command = match &ended.result {
        Some(Err(error)) => {
            let (error, retry_in) = error.clone().into_parts();
            Command::Fail {
                fence,
                failure: Failure {
                    error,
                    unit: entropy::unit(),
                    retry_in_ms: retry_in
                        .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
                },
            }
        }
        result => Command::Complete {
            fence,
            result: result
                .as_ref()
                .and_then(|result| result.as_ref().ok().cloned().flatten()),
            duration_ms: u64::try_from(ended.duration.as_millis()).unwrap_or(u64::MAX),
        },
    };
    let event = decide(Some(&task), &command, 0)
        .expect("the holder of an attempt may settle it")
        .remove(0)
        .traced(ended.trace.clone());
    Finish {
        id: ended.id,
        stream: ended.stream,
        fence: ended.fence.clone(),
        unique: ended.unique.clone(),
        event,
    }
}

fn note(
    lane: &Lane,
    instruments: &mut InstrumentSet,
    settlement: &Settlement,
    outcome: FinishOutcome,
) {
    let Settlement { ended, finish, .. } = settlement;
    let kind = &ended.task.task_type;
    let instruments = instruments.of(ended.stream, lane.streams.get(ended.stream), kind);
    let (id, attempt, worker) = (ended.id, ended.fence.attempt, &lane.config.id);
    match outcome {
        FinishOutcome::Late | FinishOutcome::Gone => {
            instruments.late.increment(1);
            tracing::warn!(task.id = %id, task.type = %kind, attempt, worker = %worker,
                "refused: another attempt has the task");
            return;
        }
        FinishOutcome::Done => {}
        // An earlier call had succeeded and its reply was lost: it was not counted then.
        FinishOutcome::Repeated | FinishOutcome::Changed => {}
    }
    let duration_ms = u64::try_from(ended.duration.as_millis()).unwrap_or(u64::MAX);
    let trace_id = ended.trace.as_deref().and_then(taskweir_trace::trace_id);
    instruments.duration.record(ended.duration.as_secs_f64());
    match &finish.event {
        Event::Completed(_) => {
            instruments.completions.increment(1);
            tracing::info!(task.id = %id, task.type = %kind, attempt, worker = %worker, duration_ms,
                trace_id, "✅ COMPLETED");
        }
        Event::AttemptFailed(body) => {
            instruments.failures.increment(1);
            tracing::info!(task.id = %id, task.type = %kind, attempt, worker = %worker, duration_ms,
                error.kind = %body.error.kind, error.message = %body.error.message, trace_id, "❌ ERROR");
            if let Some(delay_ms) = body.delay_ms {
                instruments.retries.increment(1);
                tracing::info!(task.id = %id, task.type = %kind, attempt, worker = %worker, delay_ms,
                    trace_id, "🔄 REQUEUED");
            }
        }
        Event::DeadLettered(body) => {
            instruments.failures.increment(1);
            tracing::info!(task.id = %id, task.type = %kind, attempt, worker = %worker, duration_ms,
                error.kind = %body.error.kind, error.message = %body.error.message, trace_id, "❌ ERROR");
            tracing::info!(task.id = %id, task.type = %kind, attempt, worker = %worker,
                error.kind = %body.error.kind, error.message = %body.error.message, trace_id, "💀 DLQ");
        }
        _ => {}
    }
}
