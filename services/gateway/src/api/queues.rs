//! Where work waits.

use std::collections::{BTreeMap, BTreeSet};

use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use taskweir_domain::{Actor, Ask, EventType, QueueName, Status};
use taskweir_runtime::access::Caller;
use taskweir_store::{QueueOverview, Totals};

use super::Tag;
use super::tasks::{await_position, page_limit};
use crate::body::Reason;
use crate::instant::Instant;
use crate::problem::ApiError;
use crate::state::State;

pub(crate) struct Queues;

/// What waits and runs in a class of a queue.
#[derive(Debug, Object)]
struct Depth {
    /// No worker has received it yet.
    ready: u64,
    /// A worker holds it.
    held: u64,
}

/// Events per minute over the last five full minutes.
#[derive(Debug, Object)]
struct Rates {
    /// Tasks submitted.
    submitted: f64,
    /// Tasks completed.
    completed: f64,
    /// Attempts that failed, the last ones included.
    failed: f64,
}

/// A queue.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Queue {
    /// Its name.
    name: String,
    /// It starts nothing.
    paused: bool,
    /// What waits and runs, by class, exactly and now; not of an instant.
    depth: Option<BTreeMap<String, Depth>>,
    /// Tasks that wait for a worker that knows their type; not of an instant.
    parked: Option<u64>,
    /// Tasks by status, from the views; since the first one.
    by_status: BTreeMap<String, u64>,
    /// Age of the oldest task that no worker has received, seconds.
    oldest_ready_age_seconds: Option<f64>,
    /// Events per minute; not of an instant.
    rates: Option<Rates>,
}

/// A page of queues.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct QueueList {
    /// The queues by name.
    queues: Vec<Queue>,
    /// Give it back as `cursor` for the next page; absent at the end.
    cursor: Option<String>,
}

/// Queues of a page, where nobody asks for more or fewer.
const DEFAULT_LIMIT: usize = 100;

impl Queue {
    fn of(name: &str, overview: &QueueOverview, now_ms: u64) -> Self {
        let rate = |events: &[EventType]| {
            let of = |event: &EventType| overview.rates.get(event.as_str()).copied().unwrap_or(0.0);
            events.iter().map(of).sum()
        };
        let depth = |depth: &taskweir_store::QueueDepth| Depth {
            ready: depth.ready,
            held: depth.held,
        };
        Self {
            name: name.to_owned(),
            paused: overview.paused,
            parked: Some(overview.parked),
            depth: Some(
                overview
                    .depths
                    .iter()
                    .map(|(class, found)| (class.to_string(), depth(found)))
                    .collect(),
            ),
            by_status: Status::ALL
                .iter()
                .map(|status| (status.to_string(), overview.of(*status)))
                .collect(),
            oldest_ready_age_seconds: overview
                .oldest_ms()
                .map(|ms| now_ms.saturating_sub(ms) as f64 / 1_000.0),
            rates: Some(Rates {
                submitted: rate(&[EventType::Submitted]),
                completed: rate(&[EventType::Completed]),
                failed: rate(&[EventType::AttemptFailed, EventType::DeadLettered]),
            }),
        }
    }

    /// As it was; `None` where nothing was known of it yet.
    fn at(name: &str, totals: &Totals) -> Option<Self> {
        if !totals.queues().contains(name) {
            return None;
        }
        let mut by_status: BTreeMap<Status, u64> = BTreeMap::new();
        let mine = totals.counts.iter().filter(|(of, _)| of.queue == name);
        for (counter, count) in mine {
            *by_status.entry(counter.status).or_default() += count;
        }
        Some(Self {
            name: name.to_owned(),
            paused: totals.paused.contains(name),
            depth: None,
            parked: None,
            by_status: Status::ALL
                .iter()
                .map(|status| {
                    let count = by_status.get(status).copied().unwrap_or(0);
                    (status.to_string(), count)
                })
                .collect(),
            oldest_ready_age_seconds: None,
            rates: None,
        })
    }
}

/// These queues, of those that there are.
async fn named(state: &State, names: &BTreeSet<QueueName>) -> Result<Vec<Queue>, ApiError> {
    let totals = state.store.totals().await?;
    let now_ms = state.store.server_time_ms().await?;
    let queues = state.store.queues_named(&totals, names).await?;
    Ok(queues
        .iter()
        .map(|(name, overview)| Queue::of(name, overview, now_ms))
        .collect())
}

/// One queue, where there is one of this name.
async fn one(state: &State, name: &str) -> Result<Option<Queue>, ApiError> {
    let Ok(name) = name.parse::<QueueName>() else {
        return Ok(None);
    };
    Ok(named(state, &BTreeSet::from([name])).await?.pop())
}

#[OpenApi(tag = "Tag::Queues")]
impl Queues {
    /// See the queues, by name
    #[oai(path = "/queues", method = "get", operation_id = "list_queues")]
    async fn list(
        &self,
        Data(state): Data<&State>,
        /// Queues per page, 1 to 500; 100 where absent.
        Query(limit): Query<Option<u64>>,
        /// The cursor of the page before.
        Query(cursor): Query<Option<String>>,
        /// Wait up to a second for the views to come here.
        Query(min_position): Query<Option<String>>,
    ) -> Result<Json<QueueList>, ApiError> {
        await_position(&state.store, min_position.as_deref()).await?;
        let limit = page_limit(limit, DEFAULT_LIMIT)?;
        let after: Option<QueueName> = cursor
            .map(|cursor| {
                let wrong = |_| ApiError::field("cursor", "must be one that an answer gave");
                cursor.parse().map_err(wrong)
            })
            .transpose()?;
        let mut names = state.store.queue_names(after.as_ref(), limit + 1).await?;
        let more = names.len() > limit;
        if more {
            names.pop_last();
        }
        let cursor = names.last().filter(|_| more).map(ToString::to_string);
        Ok(Json(QueueList {
            queues: named(state, &names).await?,
            cursor,
        }))
    }

    /// See one queue, now or as it was
    #[oai(path = "/queues/:queue", method = "get", operation_id = "get_queue")]
    async fn get(
        &self,
        Data(state): Data<&State>,
        /// Its name.
        Path(queue): Path<String>,
        /// As it was then: an RFC 3339 time (the end of that millisecond) or a position.
        Query(as_of): Query<Option<String>>,
        /// Wait up to a second for the views to come here.
        Query(min_position): Query<Option<String>>,
    ) -> Result<Json<Queue>, ApiError> {
        await_position(&state.store, min_position.as_deref()).await?;
        if let Some(as_of) = as_of {
            let instant = Instant::read(&state.store, "as_of", &as_of).await?;
            let (totals, _) = instant.totals(&state.store).await?;
            return Queue::at(&queue, &totals).map(Json).ok_or_else(|| {
                ApiError::not_found(format!("nothing was known of a queue {queue:?} then"))
            });
        }
        let found = one(state, &queue).await?;
        found.map(Json).ok_or_else(|| {
            ApiError::not_found(format!("no task was ever submitted to a queue {queue:?}"))
        })
    }

    /// Pause a queue: from here on it starts nothing
    #[oai(
        path = "/queues/:queue/pause",
        method = "post",
        operation_id = "pause_queue"
    )]
    async fn pause(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
        /// Its name.
        Path(queue): Path<String>,
        reason: Reason,
    ) -> Result<Json<Queue>, ApiError> {
        set(state, caller, &queue, true, reason).await
    }

    /// Resume a queue
    #[oai(
        path = "/queues/:queue/resume",
        method = "post",
        operation_id = "resume_queue"
    )]
    async fn resume(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
        /// Its name.
        Path(queue): Path<String>,
        reason: Reason,
    ) -> Result<Json<Queue>, ApiError> {
        set(state, caller, &queue, false, reason).await
    }
}

/// Pauses or resumes a queue, also one that has had no task yet, and shows it.
async fn set(
    state: &State,
    caller: &Caller,
    queue: &str,
    paused: bool,
    reason: Reason,
) -> Result<Json<Queue>, ApiError> {
    let name: QueueName = queue.parse().map_err(|error| {
        ApiError::not_found(format!("no queue can be called {queue:?}: it {error}"))
    })?;
    let ask = Ask::new(Actor(caller.name.clone()), reason.0);
    state.store.pause(&name, paused, ask).await?;
    one(state, queue)
        .await?
        .map(Json)
        .ok_or_else(|| ApiError::not_found(format!("there is no queue {queue:?}")))
}
