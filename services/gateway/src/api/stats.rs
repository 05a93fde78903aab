//! Counts and sums.

use std::collections::BTreeMap;

use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use taskweir_domain::{EventType, Status};

use super::Tag;
use super::tasks::await_position;
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
    /// Tasks taken from workers that fell silent.
    redeliveries: u64,
    /// Completions refused because the attempt had lost its task.
    late_completions_refused: u64,
}

/// Counts by status, as of the views' position.
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
    /// Where the views are, per partition.
    positions: Vec<String>,
}

#[OpenApi(tag = "Tag::Stats")]
impl Stats {
    /// See counts by status
    #[oai(path = "/stats", method = "get", operation_id = "get_stats")]
    async fn get(
        &self,
        Data(state): Data<&State>,
        /// Wait up to a second for the views to come here.
        Query(min_position): Query<Option<String>>,
    ) -> Result<Json<StatsAnswer>, ApiError> {
        await_position(&state.store, min_position.as_deref()).await?;
        let totals = state.store.totals().await?;
        let partitions = state.store.partitions();
        let mut positions = Vec::with_capacity(partitions.len());
        for partition in &partitions {
            let at = partition.checkpoint().await?;
            positions.push(position::show(
                partition.keys().partition(),
                at,
                partitions.len(),
            ));
        }
        let zeros = || {
            Status::ALL
                .iter()
                .map(|status| (status.to_string(), 0))
                .collect::<BTreeMap<_, u64>>()
        };
        let mut queues: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (counter, count) in &totals.counts {
            let queue = queues.entry(counter.queue.clone()).or_insert_with(zeros);
            *queue.entry(counter.status.to_string()).or_default() += count;
        }
        let accounted = totals.counts.values().sum();
        let submitted = totals.of_event(EventType::Submitted);
        Ok(Json(StatsAnswer {
            totals: Status::ALL
                .iter()
                .map(|status| (status.to_string(), totals.of_status(*status)))
                .collect(),
            queues,
            events: EventType::ALL
                .iter()
                .map(|event| (event.to_string(), totals.of_event(*event)))
                .collect(),
            ledger: Ledger {
                submitted,
                accounted,
                balanced: submitted == accounted,
                redeliveries: totals.of_event(EventType::LeaseExpired),
                late_completions_refused: totals.of_event(EventType::LateCompletionRefused),
            },
            positions,
        }))
    }
}
