//! Records, queues, base and views, held against the checker's own fold.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Findings;
use super::evidence::{Evidence, Partition};
use super::tap::{Position, RawEvent};
use super::task::Task;

const RECORD: &str = "records equal the fold of the log";
const PLACE: &str = "tasks stand where their status says";
const LOG: &str = "the log is whole from the base on";
const BASE: &str = "the base holds what lives on";
const VIEWS: &str = "views equal the fold of the log";

/// Checks every partition.
pub(crate) fn check(evidence: &Evidence, tasks: &BTreeMap<String, Task>, findings: &mut Findings) {
    let none = BTreeMap::new();
    for (log, partition) in &evidence.partitions {
        let events = evidence.events.get(log).unwrap_or(&none);
        let ids: BTreeSet<&str> = events.values().map(|event| event.id.as_str()).collect();
        let mine: BTreeMap<&str, &Task> = tasks
            .iter()
            .filter(|(id, _)| ids.contains(id.as_str()))
            .map(|(id, task)| (id.as_str(), task))
            .collect();
        whole(partition, events, findings);
        base(partition, events, findings);
        records(partition, &mine, findings);
        places(partition, &mine, findings);
        views(partition, events, &mine, findings);
    }
}

/// Every event that was seen beyond the base still stands in the log, and none that was not.
fn whole(partition: &Partition, events: &BTreeMap<Position, RawEvent>, findings: &mut Findings) {
    let base = partition.base_position();
    let seen: BTreeSet<Position> = events.keys().filter(|at| **at > base).copied().collect();
    let there: BTreeSet<Position> = partition.log.iter().copied().collect();
    if let Some(gone) = seen.difference(&there).next() {
        let count = seen.difference(&there).count();
        findings.broken(
            LOG,
            format!("{count} events are gone, the first at {gone}; base at {base}"),
        );
    }
    if let Some(odd) = there.difference(&seen).next() {
        findings.broken(
            LOG,
            format!("{odd} was never seen, or stands before the base at {base}"),
        );
    }
}

/// The base holds exactly the tasks that had not ended there, as they were.
fn base(partition: &Partition, events: &BTreeMap<Position, RawEvent>, findings: &mut Findings) {
    let at = partition.base_position();
    let mut tasks: BTreeMap<&str, Task> = BTreeMap::new();
    for event in events.range(..=at).map(|(_, event)| event) {
        if event.id.starts_with("q:") {
            continue;
        }
        let before = tasks.remove(event.id.as_str());
        if let Ok(task) = Task::after(before, event) {
            tasks.insert(&event.id, task);
        }
    }
    for (id, task) in &tasks {
        let kept = partition
            .base
            .get(*id)
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        match (task.is_final(), kept) {
            (true, None) => {}
            (true, Some(_)) => {
                findings.broken(BASE, format!("{id} had ended"));
            }
            (false, None) => {
                findings.broken(BASE, format!("{id} was {} and is not in it", task.status));
            }
            (false, Some(kept)) => {
                if kept["task"]["version"] != task.version || kept["task"]["last"] != task.last {
                    findings.broken(BASE, format!("{id} is not as it was: {}", kept["task"]));
                }
            }
        }
    }
}

fn records(partition: &Partition, tasks: &BTreeMap<&str, &Task>, findings: &mut Findings) {
    for (id, task) in tasks {
        // One that ran out while it was read is empty.
        let record = partition
            .records
            .get(*id)
            .filter(|record| !record.is_empty());
        let Some(record) = record else {
            // Ended ones lose it in time.
            if !task.is_final() {
                findings.broken(RECORD, format!("{id} is {} and has none", task.status));
            }
            continue;
        };
        let field = |name: &str| record.get(name).map_or("", String::as_str);
        // A counter that never moved is not written.
        let counts = |name: &str, count: u64| {
            field(name) == count.to_string() || (field(name).is_empty() && count == 0)
        };
        let same = field("s") == task.status
            && field("v") == task.version.to_string()
            && field("e") == task.last
            && counts("a", task.attempt)
            && counts("f", task.failures)
            && counts("l", task.losses)
            && (task.status != "processing" || task.holder.as_deref() == Some(field("h")));
        if !same {
            findings.broken(
                RECORD,
                format!("{id}: {record:?} where the log says {task:?}"),
            );
        }
    }
    for id in partition
        .records
        .keys()
        .filter(|id| !tasks.contains_key(id.as_str()))
    {
        findings.broken(RECORD, format!("{id} has one and no event"));
    }
}

fn places(partition: &Partition, tasks: &BTreeMap<&str, &Task>, findings: &mut Findings) {
    let mut at: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut entry_of: BTreeMap<&str, &str> = BTreeMap::new();
    for id in partition.due.keys() {
        at.entry(id).or_default().push("due".to_owned());
    }
    for id in &partition.parked {
        at.entry(id).or_default().push("parked".to_owned());
    }
    for (name, entries) in &partition.streams {
        let known: BTreeSet<&str> = entries.iter().map(|(entry, _)| entry.as_str()).collect();
        for (entry, fields) in entries {
            let id = fields.iter().find(|(field, _)| field == "i");
            let id = id.map_or("", |(_, id)| id.as_str());
            at.entry(id).or_default().push(name.clone());
            entry_of.insert(id, entry);
        }
        for entry in partition.held.get(name).into_iter().flatten() {
            if !known.contains(entry.as_str()) {
                findings.broken(
                    PLACE,
                    format!("{entry} of {name} is held and does not exist"),
                );
            }
        }
    }
    for (id, task) in tasks {
        let expected = match task.status {
            "scheduled" | "retrying" => vec!["due".to_owned()],
            "pending" | "processing" => vec![format!("ready:{}:{}", task.queue, task.priority)],
            "failed" => vec![format!("dlq:{}", task.queue)],
            _ => Vec::new(),
        };
        let found = at.remove(id).unwrap_or_default();
        let parked = task.status == "pending" && found == ["parked"];
        if found != expected && !parked {
            findings.broken(
                PLACE,
                format!("{id} is {} and stands in {found:?}", task.status),
            );
        }
        let named = partition
            .records
            .get(*id)
            .and_then(|record| record.get("w"));
        if let Some(entry) = entry_of.get(*id)
            && named.map(String::as_str) != Some(*entry)
        {
            findings.broken(
                PLACE,
                format!("{id} stands at {entry}, and its record says {named:?}"),
            );
        }
        if partition.expiry.contains_key(*id) && (task.is_final() || task.attempt > 0) {
            findings.broken(
                PLACE,
                format!("{id} is {} and waits to expire", task.status),
            );
        }
    }
    for (id, found) in at {
        findings.broken(PLACE, format!("{id:?} is no task and stands in {found:?}"));
    }
}

fn views(
    partition: &Partition,
    events: &BTreeMap<Position, RawEvent>,
    tasks: &BTreeMap<&str, &Task>,
    findings: &mut Findings,
) {
    let last = events.last_key_value().map(|(position, _)| *position);
    if partition.checkpoint != last {
        findings.broken(
            VIEWS,
            format!(
                "they stand at {:?}, the log ends at {last:?}",
                partition.checkpoint
            ),
        );
        return;
    }
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for task in tasks.values() {
        *counts
            .entry(format!("{}|{}|{}", task.status, task.queue, task.kind))
            .or_default() += 1;
    }
    let shown = partition.counts.iter().filter(|(_, count)| **count != 0);
    let shown: BTreeMap<String, i64> = shown
        .map(|(field, count)| (field.clone(), *count))
        .collect();
    if shown != counts {
        findings.broken(VIEWS, format!("they count {shown:?}, the log {counts:?}"));
    }
}
