//! What the handlers share.

use metrics_exporter_prometheus::PrometheusHandle;
use taskweir_domain::{DraftLimits, TaskId, TaskSpec};
use taskweir_store::{Store, StoreError, Story, Submission, Submitter};

use crate::metrics;
use crate::problem::ApiError;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) submitter: Submitter,
    pub(crate) submit: DraftLimits,
    pub(crate) metrics: PrometheusHandle,
}

impl State {
    /// Makes a task and gives where it begins.
    pub(crate) async fn make(
        &self,
        spec: TaskSpec,
    ) -> Result<(TaskId, taskweir_domain::Position), ApiError> {
        let id = self.store.mint();
        let (queue, task_type, priority) =
            (spec.queue.clone(), spec.task_type.clone(), spec.priority);
        let submission = Submission { id, spec };
        let outcome = match self.submitter.submit(submission.clone()).await {
            // A connection that died between two requests: the id is minted, so once more is safe.
            Err(error) if matches!(*error, StoreError::Unavailable(_)) => {
                self.submitter.submit(submission).await?
            }
            other => other?,
        };
        metrics::submitted(&queue, &task_type, priority);
        tracing::info!(task.id = %id, task.type = %task_type, attempt = 0, worker = "", queue = %queue, "📤 SUBMITTED");
        Ok((id, outcome.position()))
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
