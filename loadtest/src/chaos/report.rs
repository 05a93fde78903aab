//! What a run is told by.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::cluster::{Counts, LEASE};
use super::{Options, Plan};
use crate::checker::{Figures, Findings, Violation};

/// The outcome of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Draws the schedule.
    pub seed: u64,
    /// How long faults and load went on, s.
    pub seconds: u64,
    /// When Redis synced its file.
    pub fsync: String,
    /// What a submit waited for.
    pub durability: String,
    /// Faults of any kind.
    pub faults: usize,
    /// Processes killed.
    pub kills: usize,
    /// Whether Redis' clock was stepped too.
    pub clock_steps: bool,
    /// Counts.
    pub figures: Figures,
    /// Longest time after a return of Redis until a task completed, ms.
    pub longest_recovery_ms: u64,
    /// Broken promises, in words; the first of each.
    pub violations: Vec<String>,
    /// How often each promise was broken.
    pub violations_by_promise: BTreeMap<&'static str, usize>,
    /// How often any was.
    pub violation_count: usize,
    /// How long it took in all, s.
    pub took_seconds: u64,
}

/// Violations told of one promise; more are counted only. Of each, because what breaks one a hundred times may break
/// another once, and that is what leads to the cause.
const MAX_TOLD: usize = 5;

impl Report {
    pub(crate) fn of(
        options: &Options,
        plan: &Plan,
        findings: &Findings,
        recoveries: &[Duration],
        counts: &Counts,
        took: Duration,
    ) -> Self {
        let longest = recoveries.iter().max().copied().unwrap_or_default();
        let (violations, violations_by_promise) = told(&findings.violations);
        Self {
            seed: options.seed,
            seconds: plan.length.as_secs(),
            fsync: options.fsync.clone(),
            durability: options.durability.clone(),
            faults: counts.faults,
            kills: counts.kills,
            clock_steps: counts.clock_steps,
            figures: findings.figures.clone(),
            longest_recovery_ms: u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
            violations,
            violations_by_promise,
            violation_count: findings.violations.len(),
            took_seconds: took.as_secs(),
        }
    }

    /// Whether every promise held.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.violation_count == 0
    }
}

/// The first violations of each promise in words, and how many there are of each.
fn told(violations: &[Violation]) -> (Vec<String>, BTreeMap<&'static str, usize>) {
    let mut counts = BTreeMap::new();
    let mut words = Vec::new();
    for violation in violations {
        let count: &mut usize = counts.entry(violation.rule).or_default();
        *count += 1;
        if *count <= MAX_TOLD {
            words.push(violation.to_string());
        }
    }
    (words, counts)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        writeln!(
            f,
            "seed {}: {} faults, {} kills in {} s, appendfsync {}, DURABILITY={}, lease {} s{}",
            self.seed,
            self.faults,
            self.kills,
            self.seconds,
            self.fsync,
            self.durability,
            LEASE.as_secs(),
            if self.clock_steps {
                ""
            } else {
                ", no clock steps (no C compiler)"
            },
        )?;
        for (name, count) in [
            ("accepted", figures.accepted),
            ("completed", figures.completed),
            ("failed", figures.failed),
            ("cancelled", figures.cancelled),
            ("lost", figures.lost),
            ("acknowledged at risk of it", figures.at_risk),
            ("of them in the last 2 s", figures.acknowledged_last_2s),
            ("completed twice", figures.completed_twice),
            ("started twice", figures.started_twice),
            ("late completions refused", figures.late_refused),
            ("redeliveries", figures.redeliveries),
            ("events", figures.events),
            ("events cut by retention", figures.cut),
        ] {
            writeln!(f, "  {name:<26} {count:>9}")?;
        }
        writeln!(
            f,
            "  {:<32} {:>6} ms",
            "lost start to the next, at most", figures.longest_redelivery_ms
        )?;
        writeln!(
            f,
            "  {:<26} {:>6} ms",
            "longest recovery of Redis", self.longest_recovery_ms
        )?;
        for violation in &self.violations {
            writeln!(f, "  BROKEN: {violation}")?;
        }
        for (promise, count) in &self.violations_by_promise {
            writeln!(f, "  broken {count} times: {promise}")?;
        }
        write!(f, "  {} broken promises", self.violation_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_broken_once_is_told_behind_one_that_was_broken_often() {
        let violation = |rule, n: usize| Violation {
            rule,
            detail: n.to_string(),
        };
        let mut violations: Vec<_> = (0..100).map(|n| violation("often", n)).collect();
        violations.push(violation("once", 0));
        let (words, counts) = told(&violations);
        assert_eq!(words.len(), MAX_TOLD + 1);
        assert_eq!(words.last().unwrap(), "once: 0");
        assert_eq!(counts, BTreeMap::from([("often", 100), ("once", 1)]));
    }
}
