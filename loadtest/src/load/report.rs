//! What a load test is told by.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;

use super::{LoadOptions, Tasks, histogram};

/// Latencies, ms.
#[derive(Debug, Clone, Serialize)]
pub struct Latencies {
    /// Half of them are within.
    pub p50_ms: f64,
    /// Nine of ten are within.
    pub p90_ms: f64,
    /// 99 of 100 are within.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Latencies {
    fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |us: u64| us as f64 / 1_000.0;
        Self {
            p50_ms: ms(histogram.value_at_quantile(0.5)),
            p90_ms: ms(histogram.value_at_quantile(0.9)),
            p99_ms: ms(histogram.value_at_quantile(0.99)),
            max_ms: ms(histogram.max()),
        }
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
            self.p50_ms, self.p90_ms, self.p99_ms, self.max_ms
        )
    }
}

/// The outcome of a load test.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// Tasks that were to be submitted.
    pub count: u64,
    /// Tasks that were accepted.
    pub accepted: u64,
    /// Tasks that have ended.
    pub ended: u64,
    /// Tasks that ended otherwise than they should.
    pub unexpected: u64,
    /// Submits per second.
    pub submit_rate: f64,
    /// Ends per second, from the first submit to the last end.
    pub end_rate: f64,
    /// Of `POST /tasks`, as the client saw it.
    pub submit: Latencies,
    /// From a task's first event to its end, by Redis' clock.
    pub task: Latencies,
    /// What does not hold, in words; nothing where the test has passed.
    pub troubles: Vec<String>,
}

/// Troubles of one kind that are told.
const MAX_TOLD: usize = 5;

/// By how much a count has grown.
pub(super) fn grown(before: &Value, after: &Value, pointer: &str) -> u64 {
    let count = |stats: &Value| stats.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    count(after).saturating_sub(count(before))
}

pub(super) fn of(
    options: &LoadOptions,
    tasks: &Tasks,
    submits: &Histogram<u64>,
    submitting: Duration,
    running: Duration,
    before: &Value,
    after: &Value,
) -> LoadReport {
    let mut ends = histogram();
    for ms in &tasks.latencies_ms {
        ends.saturating_record((ms * 1_000).max(1));
    }
    let (accepted, ended) = (tasks.accepted.len() as u64, tasks.ended.len() as u64);
    let rate = |count: u64, span: Duration| count as f64 / span.as_secs_f64().max(1e-6);
    let mut troubles: Vec<String> = tasks.errors.iter().take(MAX_TOLD).cloned().collect();
    if accepted < options.count {
        troubles.push(format!(
            "{accepted} of {} tasks were accepted",
            options.count
        ));
    }
    if ended < accepted {
        troubles.push(format!("{} tasks have not ended", accepted - ended));
    }
    if tasks.unexpected > 0 {
        troubles.push(format!(
            "{} tasks ended otherwise than they should",
            tasks.unexpected
        ));
    }
    // Others may submit meanwhile: the ledger must tell of ours at least.
    let submitted = grown(before, after, "/ledger/submitted");
    if submitted < accepted {
        troubles.push(format!(
            "/stats knows of {submitted} submits, {accepted} were accepted"
        ));
    }
    let counted =
        grown(before, after, "/totals/completed") + grown(before, after, "/totals/failed");
    if counted < ended {
        troubles.push(format!(
            "/stats counts {counted} ended tasks, {ended} have ended"
        ));
    }
    if after.pointer("/ledger/balanced") != Some(&Value::Bool(true)) {
        troubles.push("the ledger of /stats does not balance".to_owned());
    }
    LoadReport {
        count: options.count,
        accepted,
        ended,
        unexpected: tasks.unexpected,
        submit_rate: rate(accepted, submitting),
        end_rate: rate(ended, running),
        submit: Latencies::of(submits),
        task: Latencies::of(&ends),
        troubles,
    }
}

impl LoadReport {
    /// Whether everything holds.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.troubles.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "submitted  {} tasks, {:.0}/s; {}",
            self.accepted, self.submit_rate, self.submit
        )?;
        writeln!(
            f,
            "ended      {} tasks, {:.0}/s; {}",
            self.ended, self.end_rate, self.task
        )?;
        for trouble in &self.troubles {
            writeln!(f, "  TROUBLE: {trouble}")?;
        }
        f.write_str(if self.passed() { "passed" } else { "FAILED" })
    }
}
