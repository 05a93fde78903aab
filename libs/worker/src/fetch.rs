//! The loop of a partition: settle what ended and take what is ready, sharing round trips.

use std::pin::Pin;
use std::time::{Duration, Instant};

use taskweir_domain::{Fence, Holder, Json, Phase, Task, TaskId};
use taskweir_store::{
    Begun, Claimed, ClaimedWork, MAX_BATCH, Parking, Payload, StartOutcome, Starting, StoreError,
    Unclaiming, clock, entropy,
};
use tokio::sync::mpsc;

use crate::attempt::{Attempt, Ended};
use crate::context::Context;
use crate::engine::Lane;
use crate::hands::Hand;
use crate::hidden::Hidden;
use crate::metrics::InstrumentSet;
use crate::settle::Settlements;
use crate::suspects::{self, Admission, Right};
use crate::{TaskError, lottery, shutdown, upkeep};

/// Longest wait of the idle reader. Short enough that a resumed queue is heard soon.
const IDLE_WAIT_MS: u64 = 2_000;
/// How often hands and pending entries are compared.
const RECONCILE_EVERY: Duration = Duration::from_secs(1);
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

type Waiting = Pin<Box<dyn Future<Output = (Instant, Result<Vec<Claimed>, StoreError>)> + Send>>;

/// A started task on its way to its handler.
struct Begin {
    work: ClaimedWork,
    stream: usize,
    entry: String,
    /// The right to run as the one suspect of the process.
    alone: Option<Right>,
}

pub(crate) struct Fetcher {
    pub(crate) lane: Lane,
    ended_sender: mpsc::UnboundedSender<Ended>,
    pub(crate) ended: mpsc::UnboundedReceiver<Ended>,
    pub(crate) settlements: Settlements,
    instruments: InstrumentSet,
    /// Age of the oldest task last seen per stream, ms: what the lottery's boost goes by.
    ages: Vec<u64>,
    /// The last look found less than there was room for: nothing is ready.
    empty: bool,
    /// The idle reader, on a connection of its own.
    waiting: Option<Waiting>,
    /// Slots waited for and had: kept, and not put back to be taken, since loops that wait for the same slot
    /// would pass it round without an end.
    kept: usize,
    pause: Duration,
    reconcile_at: Instant,
    /// Looks for nothing new until then: only suspects were found, and given back.
    shy_until: Instant,
}

/// Runs a partition's loop until the worker stops and its hands are empty.
pub(crate) async fn run(
    lane: Lane,
    ended_sender: mpsc::UnboundedSender<Ended>,
    ended: mpsc::UnboundedReceiver<Ended>,
) {
    let ages = vec![0; lane.streams.len()];
    let mut fetcher = Fetcher {
        settlements: Settlements::new(&lane),
        lane,
        ended_sender,
        ended,
        instruments: InstrumentSet::default(),
        ages,
        empty: false,
        waiting: None,
        kept: 0,
        pause: MIN_PAUSE,
        reconcile_at: Instant::now() + RECONCILE_EVERY,
        shy_until: Instant::now(),
    };
    while !fetcher.lane.stop.is_cancelled() {
        fetcher.turn().await;
    }
    // Its connection is closed; what it received meanwhile is given back below.
    fetcher.waiting = None;
    shutdown::drain(&mut fetcher).await;
}

impl Fetcher {
    async fn turn(&mut self) {
        if Instant::now() >= self.reconcile_at {
            self.reconcile().await;
        }
        while let Ok(ended) = self.ended.try_recv() {
            self.take_ended(ended);
        }
        let room = (self.kept + self.lane.slots.available_permits()).min(MAX_BATCH);
        let shy = self.shy_until().is_some();
        let looks = self.waiting.is_none() && !self.empty && room > 0 && !shy;
        let streams = if looks {
            self.lane.open_streams()
        } else {
            Vec::new()
        };
        if streams.is_empty() {
            self.lane.slots.add_permits(std::mem::take(&mut self.kept));
        }
        if self.settlements.is_empty() && streams.is_empty() {
            self.rest(room).await;
            return;
        }
        let claim = self.plan(&streams, room);
        let asked = self.reserve(claim.most);
        let claim = taskweir_store::Claim {
            most: asked,
            ..claim
        };
        let before = Instant::now();
        let lane = self.lane.clone();
        let (settled, claimed) = tokio::join!(
            self.settlements.send(&lane, &mut self.instruments),
            lane.partition.claim(&lane.streams, &lane.config.id, &claim),
        );
        let failed = settled.is_err() || claimed.is_err();
        match claimed {
            Ok(claimed) => {
                self.lane
                    .slots
                    .add_permits(asked - claimed.len().min(asked));
                if asked > 0 {
                    self.empty = claimed.len() < asked;
                }
                self.begin(claimed, before).await;
            }
            Err(_) => self.lane.slots.add_permits(asked),
        }
        if failed {
            self.back_off(settled.err().as_ref()).await;
        } else {
            self.pause = MIN_PAUSE;
        }
    }

    pub(crate) fn take_ended(&mut self, ended: Ended) {
        self.lane.slots.add_permits(1);
        self.settlements.add(&self.lane, ended);
    }

    fn plan(&self, streams: &[usize], room: usize) -> taskweir_store::Claim {
        let weights: Vec<(usize, f64)> = streams
            .iter()
            .map(|index| {
                (
                    *index,
                    lottery::weight(self.lane.streams.get(*index), self.ages[*index]),
                )
            })
            .collect();
        lottery::plan(&weights, room, entropy::unit)
    }

    /// Looks for nothing new until then, or until the suspect that runs has ended.
    fn shy_until(&self) -> Option<Instant> {
        let of_process = self.lane.suspects.shy_until()?;
        let until = of_process.max(self.shy_until);
        (Instant::now() < until).then_some(until)
    }

    /// Takes up to `most` free slots, first those kept.
    fn reserve(&mut self, most: usize) -> usize {
        let kept = self.kept.min(most);
        self.kept -= kept;
        let mut more = most - kept;
        while more > 0 {
            let wanted = u32::try_from(more).unwrap_or(u32::MAX);
            if let Ok(permits) = self.lane.slots.try_acquire_many(wanted) {
                permits.forget();
                break;
            }
            // Another partition's loop was faster.
            more = more.min(self.lane.slots.available_permits());
        }
        kept + more
    }

    /// Nothing to settle and nothing to take: waits for the first of both.
    async fn rest(&mut self, room: usize) {
        let shy_until = self.shy_until();
        let shy = shy_until.is_some();
        if self.waiting.is_none() && room > 0 && !shy {
            self.waiting = self.idle_reader();
        }
        // Who has a reader out hears of work from it, and needs no slot until then.
        let full = room == 0 && self.waiting.is_none();
        let wake = shy_until.map_or(self.reconcile_at, |until| until.min(self.reconcile_at));
        let slots = std::sync::Arc::clone(&self.lane.slots);
        tokio::select! {
            biased;
            Some(ended) = self.ended.recv() => self.take_ended(ended),
            (before, found) = async { self.waiting.as_mut().expect("checked").await }, if self.waiting.is_some() => {
                self.waiting = None;
                match found {
                    Ok(claimed) => {
                        self.pause = MIN_PAUSE;
                        self.empty = claimed.is_empty();
                        self.begin_reserved(claimed, before).await;
                    }
                    Err(error) => self.back_off(Some(&error)).await,
                }
            }
            // A slot of another partition's loop became free.
            Ok(slot) = slots.acquire(), if full => {
                slot.forget();
                self.kept += 1;
            }
            () = self.lane.suspects.freed(), if shy => {}
            () = self.lane.stop.cancelled() => {}
            // The next turn compares hands and pending entries.
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }

    /// Gives back what is pending under our name and in no hand.
    async fn reconcile(&mut self) {
        self.reconcile_at = Instant::now() + RECONCILE_EVERY;
        if let Err(error) = upkeep::give_back_unknown(&self.lane, upkeep::LOST_REPLY_MS).await {
            tracing::debug!(%error, "hands and pending entries could not be compared");
        }
    }

    fn idle_reader(&self) -> Option<Waiting> {
        let open = self.lane.open_streams();
        if open.is_empty() {
            return None;
        }
        let lane = self.lane.clone();
        Some(Box::pin(async move {
            let id = &lane.config.id;
            let before = Instant::now();
            let found = lane
                .partition
                .claim_waiting(&lane.streams, &open, id, IDLE_WAIT_MS)
                .await;
            (before.max(Instant::now() - Duration::from_millis(1)), found)
        }))
    }

    async fn back_off(&mut self, error: Option<&StoreError>) {
        if let Some(error) = error {
            tracing::warn!(%error, worker = %self.lane.config.id, "the worker waits for Redis");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    /// Starts what the idle reader brought, as far as there is room, and gives the rest back.
    async fn begin_reserved(&mut self, mut claimed: Vec<Claimed>, before: Instant) {
        let room = self.reserve(claimed.len());
        let excess = claimed.split_off(room);
        give_back_all(&self.lane, excess).await;
        self.begin(claimed, before).await;
    }

    /// Starts claimed entries; each has a slot reserved. `before` is the time before the read, from
    /// which their lease counts.
    async fn begin(&mut self, claimed: Vec<Claimed>, before: Instant) {
        if claimed.is_empty() {
            return;
        }
        // Told to stop while the entries were on their way: nothing new is begun.
        if self.lane.stop.is_cancelled() {
            self.lane.slots.add_permits(claimed.len());
            give_back_all(&self.lane, claimed).await;
            return;
        }
        let now_ms = clock::now_ms();
        let (mut known, mut unknown, mut malformed) = (Vec::new(), Vec::new(), Vec::new());
        let mut not_now = Vec::new();
        for Claimed {
            stream,
            entry,
            work,
        } in claimed
        {
            match work {
                None => malformed.push((stream, entry)),
                Some(work) => {
                    self.ages[stream] = now_ms.saturating_sub(work.since_ms);
                    if self.lane.config.registry.get(&work.task_type).is_some() {
                        let alone = match self.lane.suspects.admit(work.losses) {
                            Admission::Free => None,
                            Admission::Alone(permit) => Some(permit),
                            Admission::NotNow => {
                                let id = work.id;
                                not_now.push(Unclaiming { id, stream, entry });
                                continue;
                            }
                        };
                        known.push(Begin {
                            work,
                            stream,
                            entry,
                            alone,
                        });
                    } else {
                        unknown.push(Parking {
                            id: work.id,
                            task_type: work.task_type,
                            stream,
                            entry,
                        });
                    }
                }
            }
        }
        put_aside(&self.lane, &unknown, &malformed).await;
        self.lane.slots.add_permits(unknown.len() + malformed.len());
        if !not_now.is_empty() {
            // Before anything begins: what is in our name when we die is lost once more.
            self.lane.slots.add_permits(not_now.len());
            give_back(&self.lane, &not_now).await;
            // They are at the end of their queues now: where something else came, they need not be waited for.
            if known.is_empty() {
                self.shy_until = Instant::now() + suspects::SHY;
            }
            self.empty = false;
        }
        if known.is_empty() {
            return;
        }
        let holder = entropy::holder(&self.lane.config.id);
        let starting: Vec<Starting> = known
            .iter()
            .map(|begin| Starting {
                id: begin.work.id,
                stream: begin.stream,
                entry: begin.entry.clone(),
                needs_payload: begin.work.data.is_none(),
            })
            .collect();
        let Some(outcomes) = self.start(&holder, &starting, before).await else {
            self.lane.slots.add_permits(known.len());
            return;
        };
        let (mut paused, mut expired) = (Vec::new(), Vec::new());
        for (begin, outcome) in known.into_iter().zip(outcomes) {
            match outcome {
                StartOutcome::Started(begun) => {
                    self.hand_over(begin, begun, &holder, before, now_ms);
                }
                StartOutcome::Paused => {
                    self.lane.slots.add_permits(1);
                    paused.push(Unclaiming {
                        id: begin.work.id,
                        stream: begin.stream,
                        entry: begin.entry,
                    });
                }
                StartOutcome::Expired => {
                    self.lane.slots.add_permits(1);
                    expired.push(begin.work.id);
                }
                StartOutcome::Held | StartOutcome::Stale => self.lane.slots.add_permits(1),
            }
        }
        give_back(&self.lane, &paused).await;
        expire(&self.lane, &expired).await;
    }

    /// Starts a batch; the same call again is safe, so a lost reply is asked for again until the
    /// lease of the entries would have passed.
    async fn start(
        &mut self,
        holder: &Holder,
        starting: &[Starting],
        before: Instant,
    ) -> Option<Vec<StartOutcome>> {
        loop {
            let lane = &self.lane;
            let call = lane
                .partition
                .start(&lane.streams, holder, lane.lease_ms(), starting);
            match call.await {
                Ok(outcomes) => return Some(outcomes),
                Err(error)
                    if error.is_transient()
                        && !self.lane.stop.is_cancelled()
                        && before.elapsed() < self.lane.config.lease =>
                {
                    self.back_off(Some(&error)).await;
                }
                Err(error) => {
                    tracing::warn!(%error, count = starting.len(), "tasks could not be started");
                    return None;
                }
            }
        }
    }

    fn hand_over(
        &mut self,
        begin: Begin,
        begun: Begun,
        holder: &Holder,
        before: Instant,
        now_ms: u64,
    ) {
        let Begin {
            work,
            stream,
            entry,
            alone,
        } = begin;
        let lane = &self.lane;
        let Some(handler) = lane.config.registry.get(&work.task_type).cloned() else {
            return;
        };
        let fence = Fence {
            attempt: begun.attempt,
            holder: holder.clone(),
        };
        let place = lane.streams.get(stream);
        let instruments = self.instruments.of(stream, place, &work.task_type);
        instruments
            .wait
            .record(now_ms.saturating_sub(work.since_ms) as f64 / 1_000.0);
        let trace_id = begun.trace.as_deref().and_then(taskweir_trace::trace_id);
        tracing::info!(task.id = %work.id, task.type = %work.task_type, attempt = begun.attempt,
            worker = %lane.config.id, trace_id, "📋 ASSIGNED");
        let span = attempt_span(&work, place, begun.attempt, begun.trace.as_deref());
        let started = Instant::now();
        let payload = payload(begun.payload, work.data);
        let context = Context {
            id: work.id,
            task_type: work.task_type.clone(),
            queue: place.queue.clone(),
            fence: fence.clone(),
            deadline: begun
                .limits
                .timeout_ms
                .map(|ms| started + Duration::from_millis(ms)),
            cancel: std::sync::Arc::default(),
            progress: std::sync::Arc::default(),
            hidden: Hidden::of(&lane.config.redaction, payload.as_ref().ok()),
        };
        let hand = Hand {
            stream,
            task_type: work.task_type.clone(),
            entry,
            fence,
            lease_until: before + lane.config.lease,
            cancelling: false,
            unique: begun.unique.clone(),
            cancel: std::sync::Arc::clone(&context.cancel),
            progress: std::sync::Arc::clone(&context.progress),
            abort: None,
            alone,
        };
        if let Some(right) = &hand.alone {
            right.begin();
        }
        let key = (work.id, holder.clone());
        lane.hands.lock().insert(key.clone(), hand);
        let trace = taskweir_trace::of(&span);
        let trace_id = trace.as_deref().and_then(taskweir_trace::trace_id);
        tracing::info!(task.id = %work.id, task.type = %work.task_type, attempt = begun.attempt,
            worker = %lane.config.id, trace_id, "⚙️ STARTED");
        let attempt = Attempt {
            task: Task {
                queue: place.queue.clone(),
                task_type: work.task_type,
                priority: place.priority,
                limits: begun.limits,
                version: 0,
                first: taskweir_domain::Position::ZERO,
                last: taskweir_domain::Position::ZERO,
                attempt: begun.attempt,
                failures: begun.failures,
                losses: begun.losses,
                parked_once: false,
                phase: Phase::Processing {
                    holder: holder.clone(),
                    lease_ms: lane.lease_ms(),
                    cancelling: false,
                },
            },
            payload,
            unique: begun.unique,
            context,
            stream,
            handler,
            ended: self.ended_sender.clone(),
            span,
        };
        let running = lane.handlers.spawn(attempt.run());
        if let Some(hand) = lane.hands.lock().get_mut(&key) {
            hand.abort = Some(running.abort_handle());
        }
    }
}

/// Ends tasks that came too late to be started; what fails here is swept by the scheduler.
async fn expire(lane: &Lane, ids: &[TaskId]) {
    let ended = async {
        let expiring = lane.partition.look_up(ids).await?;
        lane.partition.expire(&expiring).await
    };
    if let Err(error) = ended.await {
        tracing::debug!(%error, "tasks that came too late could not be ended");
    }
}

async fn give_back_all(lane: &Lane, claimed: Vec<Claimed>) {
    let entries: Vec<Unclaiming> = claimed
        .into_iter()
        .filter_map(|claimed| {
            Some(Unclaiming {
                id: claimed.work?.id,
                stream: claimed.stream,
                entry: claimed.entry,
            })
        })
        .collect();
    give_back(lane, &entries).await;
}

/// Gives entries back unused; what fails here is found by the next comparison.
async fn give_back(lane: &Lane, entries: &[Unclaiming]) {
    if let Err(error) = lane
        .partition
        .unclaim(&lane.streams, &lane.config.id, entries)
        .await
    {
        tracing::debug!(%error, "entries could not be given back");
    }
}

/// A trace of its own for each attempt, linked to the one that submitted the task: by the conventions for
/// messaging.
fn attempt_span(
    work: &ClaimedWork,
    place: &taskweir_store::ReadyStream,
    attempt: u32,
    submitted: Option<&str>,
) -> tracing::Span {
    let span = tracing::info_span!(target: taskweir_trace::TARGET, parent: None, "process",
        otel.name = format!("process {}", place.queue), otel.kind = "consumer", messaging.system = "taskweir",
        messaging.operation.name = "process", messaging.operation.type = "process",
        messaging.destination.name = %place.queue, messaging.message.id = %work.id,
        taskweir.task.type = %work.task_type, taskweir.task.attempt = attempt,
        otel.status_code = tracing::field::Empty, error.type = tracing::field::Empty);
    if let Some(submitted) = submitted {
        taskweir_trace::link(&span, submitted);
    }
    span
}

async fn put_aside(lane: &Lane, unknown: &[Parking], malformed: &[(usize, String)]) {
    for parking in unknown {
        tracing::warn!(task.id = %parking.id, task.type = %parking.task_type,
            "parked: no worker of this queue knows its type");
    }
    if !malformed.is_empty() {
        tracing::warn!(
            count = malformed.len(),
            "malformed ready entries were removed"
        );
    }
    let parked = lane.partition.park(&lane.streams, unknown).await;
    let discarded = lane.partition.discard(&lane.streams, malformed).await;
    if let Err(error) = parked.map(drop).and(discarded.map(drop)) {
        tracing::debug!(%error, "entries could not be put aside");
    }
}

fn payload(found: Payload, carried: Option<String>) -> Result<Json, TaskError> {
    let broken = |what: &str| TaskError::of_kind(taskweir_domain::ErrorKind::InvalidPayload, what);
    match (found, carried) {
        (Payload::Json(json), _) => Ok(json),
        (Payload::InHand, Some(text)) => {
            Json::parse(text).map_err(|_| broken("the data is not JSON"))
        }
        (Payload::InHand, None) => Ok(Json::null()),
        (Payload::Missing, _) => Err(broken(
            "the data is gone: the log was cut without keeping it",
        )),
    }
}
