//! What is told of a submit, whoever makes it: its span, its line in the log, its count.

use taskweir_domain::{Priority, QueueName, TaskId, TaskSpec, TaskType};
use tracing::Span;

use crate::SubmitOutcome;
use crate::labels::label;

/// The counter of accepted tasks, by queue, type and priority.
pub const SUBMISSIONS: &str = "task_submissions_total";

/// A submit on its way.
#[derive(Debug)]
pub struct Sending {
    span: Span,
    queue: QueueName,
    task_type: TaskType,
    priority: Priority,
    trace: Option<String>,
}

impl Sending {
    /// Begins a span for it, by the conventions for messaging, and writes its trace into the task.
    #[must_use]
    pub fn begin(spec: &mut TaskSpec) -> Self {
        let (queue, task_type) = (spec.queue.clone(), spec.task_type.clone());
        let span = tracing::info_span!(target: taskweir_trace::TARGET, "send", otel.name = format!("send {queue}"),
            otel.kind = "producer", messaging.system = "taskweir", messaging.operation.name = "send",
            messaging.operation.type = "send", messaging.destination.name = %queue,
            taskweir.task.type = %task_type, messaging.message.id = tracing::field::Empty);
        spec.trace = taskweir_trace::of(&span);
        Self {
            span,
            queue,
            task_type,
            priority: spec.priority,
            trace: spec.trace.clone(),
        }
    }

    /// Its span.
    #[must_use]
    pub const fn span(&self) -> &Span {
        &self.span
    }

    /// Tells what became of it.
    pub fn ended(&self, id: TaskId, outcome: SubmitOutcome) {
        self.span
            .record("messaging.message.id", tracing::field::display(id));
        if let SubmitOutcome::Accepted(_) = outcome {
            count_submitted(&self.queue, &self.task_type, self.priority, 1);
            log_submitted(id, &self.queue, &self.task_type, self.trace.as_deref());
        }
    }
}

/// Counts accepted tasks.
pub fn count_submitted(queue: &QueueName, task_type: &TaskType, priority: Priority, count: u64) {
    metrics::counter!(SUBMISSIONS, "queue" => label(queue).into_owned(), "type" => label(task_type).into_owned(),
        "priority" => priority.as_str())
    .increment(count);
}

/// Writes the line of an accepted task.
pub fn log_submitted(id: TaskId, queue: &QueueName, task_type: &TaskType, trace: Option<&str>) {
    let trace_id = trace.and_then(taskweir_trace::trace_id);
    tracing::info!(task.id = %id, task.type = %task_type, attempt = 0, worker = "", queue = %queue,
        trace_id, "📤 SUBMITTED");
}
