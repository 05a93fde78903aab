//! What a run is told by.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::cluster::{Counts, LEASE};
use super::{Options, Plan};
use crate::checker::{Figures, Findings};

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
    /// Broken promises, in words; the first of them.
    pub violations: Vec<String>,
    /// All broken promises.
    pub violation_count: usize,
    /// How long it took in all, s.
    pub took_seconds: u64,
}

/// Violations told; more are counted only.
const MAX_TOLD: usize = 20;

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
        let told = findings.violations.iter().take(MAX_TOLD);
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
            violations: told.map(ToString::to_string).collect(),
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
        write!(f, "  {} broken promises", self.violation_count)
    }
}
