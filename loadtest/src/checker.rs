//! The checker: reads the raw streams and keys of Redis with commands and a state machine of its own,
//! and tells which promise was broken. It shares no code with the store, so that a mistake there is
//! not repeated here.

mod evidence;
#[cfg(test)]
mod mutants;
mod queues;
mod tap;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

pub use evidence::{Back, Evidence, rest};
pub use tap::{RawEvent, Tap};

use task::Task;

/// What a client was told about a submit.
#[derive(Debug, Clone, Default)]
pub struct Submit {
    /// The id it was told, if any.
    pub id: Option<String>,
    /// Every id it was told; more than one is a broken promise.
    pub ids: BTreeSet<String>,
    /// Refused, because another task holds its unique key.
    pub refused: bool,
    /// When it was first sent.
    pub sent: Option<Instant>,
    /// When it was told an id.
    pub at: Option<Instant>,
}

/// A span in which what was acknowledged may have been lost.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// From here on.
    pub begin: Instant,
    /// Up to here.
    pub end: Instant,
    /// Submits too; else only what workers said, for every acknowledged submit had been confirmed by
    /// what took over.
    pub submits: bool,
}

/// A worker said that it completed a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The task.
    pub task: String,
    /// The attempt.
    pub attempt: u64,
    /// The worker.
    pub worker: String,
}

impl Claim {
    /// Reads a line of a worker's log.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let fields = line.get("fields").unwrap_or(&line);
        if !fields.get("message")?.as_str()?.contains("COMPLETED") {
            return None;
        }
        Some(Self {
            task: fields.get("task.id")?.as_str()?.to_owned(),
            attempt: fields.get("attempt")?.as_u64()?,
            worker: fields.get("worker")?.as_str()?.to_owned(),
        })
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Which promise.
    pub rule: &'static str,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

/// Counts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Submits that were acknowledged.
    pub accepted: u64,
    /// Tasks completed.
    pub completed: u64,
    /// Tasks among the dead letters at the end.
    pub failed: u64,
    /// Tasks cancelled.
    pub cancelled: u64,
    /// Acknowledged and not in the log.
    pub lost: u64,
    /// Acknowledged when Redis might still lose it: the most that may be lost.
    pub at_risk: u64,
    /// Acknowledged within two seconds before something was lost, for what Redis itself promises of `everysec`.
    pub acknowledged_last_2s: u64,
    /// Completed more than once, in the log or by the word of two workers.
    pub completed_twice: u64,
    /// Started more than once.
    pub started_twice: u64,
    /// Late completions refused.
    pub late_refused: u64,
    /// Tasks taken from workers that fell silent.
    pub redeliveries: u64,
    /// Events.
    pub events: u64,
    /// Events that retention has cut.
    pub cut: u64,
    /// Longest time from a start that was lost to the next start, ms.
    pub longest_redelivery_ms: u64,
}

/// What a check gave.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Counts.
    pub figures: Figures,
    /// Broken promises.
    pub violations: Vec<Violation>,
}

impl Findings {
    pub(crate) fn broken(&mut self, rule: &'static str, detail: impl Into<String>) {
        self.violations.push(Violation {
            rule,
            detail: detail.into(),
        });
    }
}

/// Checks every promise.
#[must_use]
pub fn check(evidence: &Evidence) -> Findings {
    let mut findings = Findings::default();
    if !evidence.settled {
        findings.broken(
            "every task comes to its end",
            "some were still live at the deadline",
        );
    }
    let tasks = fold(evidence, &mut findings);
    acknowledged(evidence, &tasks, &mut findings);
    claims(evidence, &tasks, &mut findings);
    unique_keys(evidence, &mut findings);
    pauses(evidence, &mut findings);
    queues::check(evidence, &tasks, &mut findings);
    figures(evidence, &tasks, &mut findings);
    findings
}

/// Folds every event, in the order of each partition's log.
fn fold(evidence: &Evidence, findings: &mut Findings) -> BTreeMap<String, Task> {
    let mut tasks: BTreeMap<String, Task> = BTreeMap::new();
    for event in evidence.events.values().flat_map(BTreeMap::values) {
        if event.id.starts_with("q:") {
            continue;
        }
        let before = tasks.remove(&event.id);
        match Task::after(before.clone(), event) {
            Ok(task) => {
                tasks.insert(event.id.clone(), task);
            }
            Err((rule, detail)) => {
                findings.broken(
                    rule,
                    format!("{} at {}: {detail}", event.id, event.position),
                );
                // It goes on from where it was, so that one mistake is told once.
                tasks.extend(before.map(|task| (event.id.clone(), task)));
            }
        }
    }
    tasks
}

/// What was acknowledged is in the log, once.
fn acknowledged(evidence: &Evidence, tasks: &BTreeMap<String, Task>, findings: &mut Findings) {
    let mut by_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, task) in tasks {
        if let Some(key) = &task.client_key {
            by_key.entry(key).or_default().push(id);
        }
    }
    for (key, ids) in &by_key {
        if !evidence.journal.contains_key(*key) {
            let detail = format!("{ids:?} under key {key}");
            findings.broken("nothing is made that nobody asked for", detail);
        }
    }
    for (key, submit) in &evidence.journal {
        if submit.ids.len() > 1 && !evidence.is_lossy() {
            let detail = format!("key {key} was answered with {:?}", submit.ids);
            findings.broken("a key is one task", detail);
        }
        if let Some(id) = &submit.id {
            findings.figures.accepted += 1;
            // Redis took it at some time between the two.
            let mut windows = evidence.losses.iter();
            let at_risk = windows.any(|window| {
                submit.sent.is_some_and(|sent| sent <= window.end)
                    && window.submits
                    && submit.at.is_some_and(|at| at >= window.begin)
            });
            findings.figures.at_risk += u64::from(at_risk);
            findings.figures.acknowledged_last_2s += u64::from(evidence.is_late(submit));
            match tasks.get(id) {
                None => {
                    findings.figures.lost += 1;
                    if !at_risk {
                        let detail = format!("{id} is not in the log");
                        findings.broken("what is acknowledged is kept", detail);
                    }
                }
                Some(task) => {
                    if task.client_key.as_ref().is_some_and(|made| made != key) {
                        let detail = format!("key {key} was told {id}, which is of another key");
                        findings.broken("a key is one task", detail);
                    }
                }
            }
        }
        let made = by_key.get(key.as_str()).map_or(0, Vec::len);
        if made > 1 {
            findings.broken("a key is one task", format!("key {key} made {made} tasks"));
        }
        if submit.refused && submit.id.is_none() && made > 0 && !evidence.is_lossy() {
            let detail = format!("key {key} was refused and made a task");
            findings.broken("a refusal makes nothing", detail);
        }
    }
}

/// Nobody was told twice that it completed a task, neither two workers nor one; and what a worker was told is so.
fn claims(evidence: &Evidence, tasks: &BTreeMap<String, Task>, findings: &mut Findings) {
    // Where something was lost, the word of a worker may be older than what is left.
    for claim in evidence.claims.iter().filter(|_| !evidence.is_lossy()) {
        let task = tasks.get(&claim.task);
        let completed = task.is_some_and(|task| task.status == "completed");
        if !completed || task.is_some_and(|task| task.attempt != claim.attempt) {
            let detail = format!(
                "{} says that it completed {} in attempt {}, and the log does not",
                claim.worker, claim.task, claim.attempt
            );
            findings.broken("who is told of a completion made it", detail);
        }
    }
    let mut by_task: BTreeMap<&str, Vec<&Claim>> = BTreeMap::new();
    for claim in &evidence.claims {
        by_task.entry(&claim.task).or_default().push(claim);
    }
    for (task, claims) in by_task {
        if claims.len() > 1 {
            findings.figures.completed_twice += 1;
            let said = claims
                .iter()
                .map(|claim| format!("{} in attempt {}", claim.worker, claim.attempt));
            let said: Vec<String> = said.collect();
            let detail = format!("{task} was completed by {}", said.join(" and "));
            findings.broken("a task is completed by one attempt", detail);
        }
    }
}

/// At most one live task holds a unique key.
fn unique_keys(evidence: &Evidence, findings: &mut Findings) {
    for events in evidence.events.values() {
        let mut tasks: BTreeMap<&str, &str> = BTreeMap::new();
        let mut held: BTreeMap<&str, &str> = BTreeMap::new();
        for event in events.values() {
            if event.kind == "Submitted"
                && let Some(key) = event.body["unique_key"].as_str()
            {
                tasks.insert(&event.id, key);
            }
            let Some(key) = tasks.get(event.id.as_str()).copied() else {
                continue;
            };
            match event.kind.as_str() {
                "Submitted" | "DlqRetried" => {
                    if let Some(other) = held.insert(key, &event.id)
                        && other != event.id
                    {
                        let detail =
                            format!("{other} and {} hold {key} at {}", event.id, event.position);
                        findings.broken("one live task per unique key", detail);
                    }
                }
                _ if held.get(key) == Some(&event.id.as_str()) && evidence.ends(event) => {
                    held.remove(key);
                }
                _ => {}
            }
        }
    }
}

/// A paused queue starts nothing.
fn pauses(evidence: &Evidence, findings: &mut Findings) {
    for events in evidence.events.values() {
        let mut queue_of: BTreeMap<&str, &str> = BTreeMap::new();
        let mut paused: BTreeSet<&str> = BTreeSet::new();
        for event in events.values() {
            if let Some(queue) = event.id.strip_prefix("q:") {
                if event.kind == "QueuePaused" {
                    paused.insert(queue);
                } else {
                    paused.remove(queue);
                }
            } else if event.kind == "Submitted" {
                queue_of.insert(&event.id, event.body["queue"].as_str().unwrap_or_default());
            } else if event.kind == "Started"
                && queue_of
                    .get(event.id.as_str())
                    .is_some_and(|queue| paused.contains(queue))
            {
                let detail = format!("{} started at {}", event.id, event.position);
                findings.broken("a paused queue starts nothing", detail);
            }
        }
    }
}

fn figures(evidence: &Evidence, tasks: &BTreeMap<String, Task>, findings: &mut Findings) {
    let figures = &mut findings.figures;
    let all = || evidence.events.values().flat_map(BTreeMap::values);
    let of = |kind: &str| all().filter(|event| event.kind == kind).count() as u64;
    let in_status =
        |status: &str| tasks.values().filter(|task| task.status == status).count() as u64;
    figures.completed = in_status("completed");
    figures.failed = in_status("failed");
    figures.cancelled = in_status("cancelled");
    figures.started_twice = tasks.values().filter(|task| task.attempt > 1).count() as u64;
    figures.completed_twice += tasks.values().filter(|task| task.completions > 1).count() as u64;
    figures.late_refused = of("LateCompletionRefused");
    figures.redeliveries = of("LeaseExpired");
    figures.events = all().count() as u64;
    figures.cut = evidence.cut();
    figures.longest_redelivery_ms = evidence.longest_redelivery_ms();
}
