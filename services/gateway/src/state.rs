//! What the handlers share.

use metrics_exporter_prometheus::PrometheusHandle;
use taskweir_domain::{DraftLimits, Redaction, TaskId, TaskSpec};
use taskweir_store::{Idempotency, Store, Story, SubmitOutcome, Submitter};
use tracing::Instrument;

use crate::feed::Feed;
use crate::gate::Gate;
use crate::metrics;
use crate::problem::ApiError;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) submitter: Submitter,
    pub(crate) submit: DraftLimits,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) gate: Gate,
    pub(crate) feed: Feed,
    /// What is hidden from those who look at histories and the feed.
    pub(crate) redaction: Redaction,
}

impl State {
    /// Makes a task, or finds the one its keys name.
    pub(crate) async fn make(
        &self,
        spec: TaskSpec,
        idempotency: Option<Idempotency>,
    ) -> Result<(TaskId, SubmitOutcome), ApiError> {
        let (queue, task_type, priority) =
            (spec.queue.clone(), spec.task_type.clone(), spec.priority);
        let span = tracing::info_span!(target: taskweir_trace::TARGET, "send", otel.name = format!("send {queue}"),
            otel.kind = "producer", messaging.system = "taskweir", messaging.operation.name = "send",
            messaging.operation.type = "send", messaging.destination.name = %queue,
            taskweir.task.type = %task_type, messaging.message.id = tracing::field::Empty);
        let mut spec = spec;
        spec.trace = taskweir_trace::of(&span);
        let trace = spec.trace.clone();
        let trace_id = trace.as_deref().and_then(taskweir_trace::trace_id);
        let submitting = self.submitter.submit_keyed(spec, idempotency);
        let (id, outcome) = submitting.instrument(span.clone()).await?;
        span.record("messaging.message.id", tracing::field::display(id));
        if let SubmitOutcome::Accepted(_) = outcome {
            metrics::submitted(&queue, &task_type, priority);
            tracing::info!(task.id = %id, task.type = %task_type, attempt = 0, worker = "", queue = %queue, trace_id, "📤 SUBMITTED");
        }
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
