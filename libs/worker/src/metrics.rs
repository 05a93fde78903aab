//! The worker's metrics.

use std::collections::HashMap;

use metrics::{Counter, Histogram, describe_counter, describe_gauge, describe_histogram};
use taskweir_domain::TaskType;
use taskweir_store::ReadyStream;

pub(crate) const COMPLETIONS: &str = "task_completions_total";
pub(crate) const FAILURES: &str = "task_failures_total";
pub(crate) const RETRIES: &str = "task_retries_total";
pub(crate) const DURATION: &str = "task_duration_seconds";
pub(crate) const WAIT: &str = "task_wait_seconds";
pub(crate) const LATE: &str = "task_late_completions_total";
pub(crate) const BUSY: &str = "worker_busy_slots";

/// Gives the worker's metrics their help texts.
pub fn describe() {
    describe_counter!(COMPLETIONS, "Attempts that succeeded.");
    describe_counter!(FAILURES, "Attempts that failed.");
    describe_counter!(RETRIES, "Failed attempts that will be retried.");
    describe_histogram!(DURATION, metrics::Unit::Seconds, "How long handlers ran.");
    describe_histogram!(
        WAIT,
        metrics::Unit::Seconds,
        "How long tasks were ready before they started."
    );
    describe_counter!(
        LATE,
        "Settlements refused because the attempt had lost its task."
    );
    describe_counter!(
        taskweir_store::GROUPS_RECREATED,
        "Consumer groups that somebody removed and this process made again."
    );
    describe_gauge!(BUSY, "Tasks this worker runs now.");
}

/// The instruments of one stream and type, looked up once.
#[derive(Clone)]
pub(crate) struct Instruments {
    pub(crate) completions: Counter,
    pub(crate) failures: Counter,
    pub(crate) retries: Counter,
    pub(crate) late: Counter,
    pub(crate) duration: Histogram,
    pub(crate) wait: Histogram,
}

/// Instruments by stream and type, so that no task pays for the look-up of a label.
#[derive(Default)]
pub(crate) struct InstrumentSet(HashMap<(usize, TaskType), Instruments>);

impl InstrumentSet {
    pub(crate) fn of(
        &mut self,
        index: usize,
        stream: &ReadyStream,
        task_type: &TaskType,
    ) -> &Instruments {
        self.0.entry((index, task_type.clone())).or_insert_with(|| {
            let labels = [
                ("queue", stream.queue.to_string()),
                ("type", task_type.to_string()),
                ("priority", stream.priority.to_string()),
            ];
            Instruments {
                completions: metrics::counter!(COMPLETIONS, &labels),
                failures: metrics::counter!(FAILURES, &labels),
                retries: metrics::counter!(RETRIES, &labels),
                late: metrics::counter!(LATE, &labels),
                duration: metrics::histogram!(DURATION, &labels),
                wait: metrics::histogram!(WAIT, &labels),
            }
        })
    }
}
