//! Counts and sums.

use std::collections::BTreeMap;

use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use taskweir_domain::{EventType, Position, Status, format_ms};
use taskweir_store::{Store, Totals};

use super::Tag;
use super::tasks::await_position;
use crate::instant::Instant;
use crate::position;
use crate::problem::ApiError;
use crate::state::State;

pub(crate) struct Stats;

/// What was submitted must be somewhere.
#[derive(Debug, Object)]
struct Ledger {
    /// Tasks ever submitted.
    submitted: u64,
    /// Tasks over all statuses.
    accounted: u64,
    /// Whether the two are equal.
    balanced: bool,
    /// Tasks that were started more than once.
    started_twice: u64,
    /// Tasks taken from workers that fell silent.
    redeliveries: u64,
    /// Completions refused because the attempt had lost its task.
    late_completions_refused: u64,
}

/// Counts by status since the first task: of now, as of the views' position, or of an instant. Tasks
/// that ended longer than RETENTION ago stay counted.
#[derive(Debug, Object)]
struct StatsAnswer {
    /// Tasks by status over all queues.
    totals: BTreeMap<String, u64>,
    /// Tasks by status of each queue.
    queues: BTreeMap<String, BTreeMap<String, u64>>,
    /// Events by type.
    events: BTreeMap<String, u64>,
    /// What was submitted must be somewhere.
    ledger: Ledger,
    /// Where the views are, or the latest event by then, per partition.
    positions: Vec<String>,
}

/// How many more (or fewer) at the later instant.
#[derive(Debug, Object)]
struct StatsDiff {
    /// The earlier instant.
    from: String,
    /// The later one.
    to: String,
    /// Tasks by status over all queues.
    totals: BTreeMap<String, i64>,
    /// Tasks by status of each queue.
    queues: BTreeMap<String, BTreeMap<String, i64>>,
    /// What happened in between: events by type.
    events: BTreeMap<String, u64>,
    /// The same, of each queue.
    queue_events: BTreeMap<String, BTreeMap<String, u64>>,
}

fn by_status(of: impl Fn(Status) -> u64) -> BTreeMap<String, u64> {
    let statuses = Status::ALL.iter();
    statuses
        .map(|status| (status.to_string(), of(*status)))
        .collect()
}

fn by_event(of: impl Fn(EventType) -> u64) -> BTreeMap<String, u64> {
    let events = EventType::ALL.iter();
    events
        .map(|event| (event.to_string(), of(*event)))
        .collect()
}

/// A number per status of each queue; every queue that anything is known of.
fn by_queue(totals: &Totals) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut queues: BTreeMap<String, BTreeMap<String, u64>> = totals
        .queues()
        .into_iter()
        .map(|queue| (queue.to_owned(), by_status(|_| 0)))
        .collect();
    for (counter, count) in &totals.counts {
        if let Some(queue) = queues.get_mut(&counter.queue) {
            *queue.entry(counter.status.to_string()).or_default() += count;
        }
    }
    queues
}

fn difference(from: &BTreeMap<String, u64>, to: &BTreeMap<String, u64>) -> BTreeMap<String, i64> {
    let signed = |count: Option<&u64>| count.map_or(0, |count| count.cast_signed());
    to.iter()
        .map(|(name, count)| (name.clone(), count.cast_signed() - signed(from.get(name))))
        .collect()
}

impl StatsAnswer {
    fn of(store: &Store, totals: &Totals, positions: &[Position]) -> Self {
        let partitions = store.partitions();
        let accounted = totals.accounted();
        let submitted = totals.submitted();
        Self {
            totals: by_status(|status| totals.of_status(status)),
            queues: by_queue(totals),
            events: by_event(|event| totals.of_event(event)),
            ledger: Ledger {
                submitted,
                accounted,
                balanced: submitted == accounted,
                started_twice: totals.started_twice(),
                redeliveries: totals.of_event(EventType::LeaseExpired),
                late_completions_refused: totals.of_event(EventType::LateCompletionRefused),
            },
            positions: partitions
                .iter()
                .zip(positions)
                .map(|(partition, at)| {
                    position::show(partition.keys().partition(), *at, partitions.len())
                })
                .collect(),
        }
    }
}

#[OpenApi(tag = "Tag::Stats")]
impl Stats {
    /// See counts by status, now or as they were
    #[oai(path = "/stats", method = "get", operation_id = "get_stats")]
    async fn get(
        &self,
        Data(state): Data<&State>,
        /// As it was then: an RFC 3339 time (the end of that millisecond) or a position.
        Query(as_of): Query<Option<String>>,
        /// Wait up to a second for the views to come here.
        Query(min_position): Query<Option<String>>,
    ) -> Result<Json<StatsAnswer>, ApiError> {
        let store = &state.store;
        await_position(store, min_position.as_deref()).await?;
        if let Some(as_of) = as_of {
            let instant = Instant::read(store, "as_of", &as_of).await?;
            let (totals, last) = instant.totals(store).await?;
            return Ok(Json(StatsAnswer::of(store, &totals, &last)));
        }
        let mut totals = Totals::default();
        let mut positions = Vec::with_capacity(store.partition_count());
        for partition in store.partitions() {
            let views = partition.standpoint().await?;
            totals.add(views.totals);
            positions.push(views.checkpoint);
        }
        Ok(Json(StatsAnswer::of(store, &totals, &positions)))
    }

    /// See what changed between two instants
    #[oai(path = "/stats/diff", method = "get", operation_id = "diff_stats")]
    async fn diff(
        &self,
        Data(state): Data<&State>,
        /// The earlier instant: an RFC 3339 time (the end of that millisecond) or a position.
        Query(from): Query<String>,
        /// The later instant; now where absent.
        Query(to): Query<Option<String>>,
    ) -> Result<Json<StatsDiff>, ApiError> {
        let store = &state.store;
        let from = Instant::read(store, "from", &from).await?;
        let to = match to {
            Some(to) => Instant::read(store, "to", &to).await?,
            None => Instant::now(store).await?,
        };
        let reversed = |partition| to.in_partition(partition) < from.in_partition(partition);
        if (0..store.partition_count()).any(reversed) {
            return Err(ApiError::field("to", "must not be before `from`"));
        }
        let (before, _) = from.totals(store).await?;
        let (after, _) = to.totals(store).await?;
        let (was, is) = (by_queue(&before), by_queue(&after));
        let nothing = BTreeMap::new();
        Ok(Json(StatsDiff {
            from: format_ms(from.ms()),
            to: format_ms(to.ms()),
            totals: difference(
                &by_status(|status| before.of_status(status)),
                &by_status(|status| after.of_status(status)),
            ),
            queues: is
                .iter()
                .map(|(queue, is)| {
                    let was = was.get(queue).unwrap_or(&nothing);
                    (queue.clone(), difference(was, is))
                })
                .collect(),
            events: by_event(|event| after.of_event(event).saturating_sub(before.of_event(event))),
            queue_events: is
                .keys()
                .map(|queue| {
                    let of = |event| {
                        let of = |totals: &Totals| totals.of_event_in(event, queue);
                        of(&after).saturating_sub(of(&before))
                    };
                    (queue.clone(), by_event(of))
                })
                .collect(),
        }))
    }
}
