//! What the handlers share.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use taskweir_domain::{DraftLimits, Redaction, TaskId, TaskSpec};
use taskweir_runtime::listen::{BasePath, Seats};
use taskweir_store::{Idempotency, Sending, Store, StoreError, Story, SubmitOutcome, Submitter};
use tracing::Instrument;

use crate::feed::Feed;
use crate::gate::Gate;
use crate::problem::ApiError;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) submitter: Submitter,
    pub(crate) submit: DraftLimits,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) gate: Gate,
    /// What stands before every path, as callers see it.
    pub(crate) base_path: BasePath,
    pub(crate) feed: Feed,
    /// Who may listen to the feed.
    pub(crate) seats: Seats,
    /// What is hidden from those who look at histories and the feed.
    pub(crate) redaction: Redaction,
}

impl State {
    /// Makes a task, or finds the one its keys name.
    pub(crate) async fn make(
        &self,
        spec: TaskSpec,
        idempotency: Option<Idempotency>,
    ) -> Result<(TaskId, SubmitOutcome), Arc<StoreError>> {
        let mut spec = spec;
        let sending = Sending::begin(&mut spec);
        let submitting = self.submitter.submit_keyed(spec, idempotency);
        let (id, outcome) = submitting.instrument(sending.span().clone()).await?;
        sending.ended(id, outcome);
        Ok((id, outcome))
    }

    /// The story of a task.
    pub(crate) async fn story(&self, id: &str) -> Result<Story, ApiError> {
        let task_id: TaskId = id.parse().map_err(|_| ApiError::no_task(id))?;
        self.store
            .story(task_id)
            .await?
            .ok_or_else(|| ApiError::no_task(id))
    }
}
