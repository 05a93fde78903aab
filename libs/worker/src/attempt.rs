//! One attempt: the handler's future with its timeout, its panics and its cancel signal.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use taskweir_domain::{ErrorKind, Fence, Json, Task, TaskId};
use tokio::sync::mpsc;
use tracing::{Instrument, Span};

use crate::TaskError;
use crate::context::{CancelReason, Context};
use crate::handler::AnyHandler;

/// Time a handler gets to stop by itself once its lease is lost; then it is dropped.
const LOST_GRACE: Duration = Duration::from_secs(5);

/// An attempt that ended.
pub(crate) struct Ended {
    pub(crate) id: TaskId,
    pub(crate) stream: usize,
    pub(crate) fence: Fence,
    /// Hash of the task's unique key.
    pub(crate) unique: Option<String>,
    /// The task as it was when the attempt began, in processing.
    pub(crate) task: Task,
    /// `None`: dropped because its lease was lost; there is nothing to settle.
    pub(crate) result: Option<Result<Option<Json>, TaskError>>,
    pub(crate) duration: Duration,
    /// W3C `traceparent` of the attempt's span, where traces are exported.
    pub(crate) trace: Option<String>,
}

/// What an attempt needs.
pub(crate) struct Attempt {
    pub(crate) context: Context,
    pub(crate) stream: usize,
    pub(crate) unique: Option<String>,
    pub(crate) task: Task,
    pub(crate) handler: Arc<dyn AnyHandler>,
    pub(crate) payload: Result<Json, TaskError>,
    pub(crate) ended: mpsc::UnboundedSender<Ended>,
    /// The attempt, as traces show it: what the handler opens is within it.
    pub(crate) span: Span,
}

impl Attempt {
    /// Runs the handler and reports how it ended.
    pub(crate) async fn run(self) {
        let began = Instant::now();
        let result = match &self.payload {
            Err(error) => Some(Err(error.clone())),
            Ok(payload) => {
                // Once more around it: a handler that is dropped, late or without its lease, may panic even then, and
                // who holds its task must hear that it has ended.
                let guarded = AssertUnwindSafe(self.guarded(payload)).catch_unwind();
                let ended = guarded.instrument(self.span.clone()).await;
                ended.unwrap_or_else(|panic| Some(Err(panicked(panic.as_ref()))))
            }
        };
        let hidden = &self.context.hidden;
        let result: Option<Result<Option<Json>, TaskError>> =
            result.map(|ended| ended.map_err(|error| error.reworded(|words| hidden.reword(words))));
        let trace = taskweir_trace::of(&self.span);
        match &result {
            Some(Ok(_)) => self.span.record("otel.status_code", "OK"),
            Some(Err(error)) => {
                self.span.record("otel.status_code", "ERROR");
                self.span.record("error.type", error.group())
            }
            None => self.span.record("error.type", "lease_lost"),
        };
        let ended = Ended {
            id: self.context.id,
            stream: self.stream,
            fence: self.context.fence.clone(),
            unique: self.unique,
            task: self.task,
            result,
            duration: began.elapsed(),
            trace,
        };
        // The engine is gone only when the worker was torn down; the lease then tells the story.
        self.ended.send(ended).ok();
    }

    async fn guarded(&self, payload: &Json) -> Option<Result<Option<Json>, TaskError>> {
        let running = AssertUnwindSafe(self.handler.run(&self.context, payload.as_str()));
        let running = running.catch_unwind();
        let timeout = async {
            match self.context.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            outcome = running => Some(outcome.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))),
            () = timeout => {
                self.context.cancel.fire(CancelReason::Timeout);
                let limit = self.task.limits.timeout_ms.unwrap_or(0);
                Some(Err(TaskError::of_kind(ErrorKind::Timeout, format!("ran longer than {limit} ms"))))
            }
            () = self.lease_lost() => None,
        }
    }

    /// Completes when the lease is lost and the handler has had its time to stop by itself.
    async fn lease_lost(&self) {
        self.context.cancel.lease_lost().await;
        tokio::time::sleep(LOST_GRACE).await;
    }
}

fn panicked(panic: &(dyn Any + Send)) -> TaskError {
    TaskError::of_kind(ErrorKind::Panic, panic_message(panic))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(
        || "the handler panicked".to_owned(),
        |text| format!("the handler panicked: {text}"),
    )
}
