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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::{LoadOptions, Tasks, histogram};
    use super::{LoadReport, of};

    /// Ten tasks, eight of which completed and two failed, as they should.
    fn sound() -> (Tasks, Value) {
        let mut tasks = Tasks::default();
        for number in 0..10 {
            tasks.accepted.insert(number.to_string(), 0);
            tasks.ended.insert(number.to_string());
            tasks.latencies_ms.push(10 + number);
        }
        let after = json!({
            "ledger": { "submitted": 110, "balanced": true },
            "totals": { "completed": 58, "failed": 2 },
        });
        (tasks, after)
    }

    fn report(tasks: &Tasks, after: &Value) -> LoadReport {
        let options = LoadOptions {
            base: String::new(),
            secret: None,
            count: 10,
            rate: None,
            connections: 1,
            mix: "echo".parse().unwrap(),
            queue: "default".to_owned(),
            patience: Duration::from_secs(1),
        };
        let before = json!({
            "ledger": { "submitted": 100, "balanced": true },
            "totals": { "completed": 50, "failed": 0 },
        });
        let span = Duration::from_secs(2);
        of(&options, tasks, &histogram(), span, span, &before, after)
    }

    #[test]
    fn a_sound_run_has_no_trouble_and_tells_its_rates() {
        let (tasks, after) = sound();
        let report = report(&tasks, &after);
        assert_eq!(report.troubles, [] as [String; 0]);
        assert!(report.passed());
        assert!((report.end_rate - 5.0).abs() < 1e-9);
        assert!(report.task.p50_ms >= 14.0 && report.task.max_ms >= 19.0);
        assert!(report.to_string().ends_with("passed"));
    }

    #[test]
    fn each_thing_that_does_not_hold_is_told() {
        let told = |tasks: &Tasks, after: &Value, trouble: &str| {
            let report = report(tasks, after);
            assert_eq!(report.troubles, [trouble]);
            assert!(!report.passed() && report.to_string().ends_with("FAILED"));
        };
        for (pointer, value, trouble) in [
            (
                "/ledger/submitted",
                json!(109),
                "/stats knows of 9 submits, 10 were accepted",
            ),
            (
                "/totals/completed",
                json!(57),
                "/stats counts 9 ended tasks, 10 have ended",
            ),
            (
                "/ledger/balanced",
                json!(false),
                "the ledger of /stats does not balance",
            ),
        ] {
            let (tasks, mut after) = sound();
            *after.pointer_mut(pointer).unwrap() = value;
            told(&tasks, &after, trouble);
        }
        let (mut tasks, after) = sound();
        tasks.ended.remove("3");
        told(&tasks, &after, "1 tasks have not ended");
        let (mut tasks, after) = sound();
        tasks.unexpected = 2;
        told(&tasks, &after, "2 tasks ended otherwise than they should");
        let (mut tasks, after) = sound();
        tasks.accepted.remove("3");
        tasks.ended.remove("3");
        told(&tasks, &after, "9 of 10 tasks were accepted");
    }
}
