//! The views: what the projector writes, in one step with its checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Cmd;
use serde::{Deserialize, Serialize};
use taskweir_domain::{AttemptError, EventType, Status, TaskId};

use crate::{Keys, ViewContent};

/// Between the parts of a counter's field; no name may hold it.
pub const INDEX_SEPARATOR: char = '|';

/// Most arguments of one command inside the apply script: far below the limit of Lua's `unpack`.
const MAX_ARGUMENTS: usize = 1_000;

/// A counter of the views: where a group of tasks is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter {
    /// Status of the group.
    pub status: Status,
    /// Queue of the group.
    pub queue: String,
    /// Type of the group.
    pub task_type: String,
}

impl Counter {
    fn field(&self) -> String {
        format!("{}|{}|{}", self.status, self.queue, self.task_type)
    }

    pub(crate) fn read(field: &str) -> Option<Self> {
        let mut parts = field.splitn(3, INDEX_SEPARATOR);
        Some(Self {
            status: parts.next()?.parse().ok()?,
            queue: parts.next()?.to_owned(),
            task_type: parts.next()?.to_owned(),
        })
    }
}

/// What lists show of a task beyond its record. Kept only for tasks that have any of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// The latest error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AttemptError>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Extra {
    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.error.is_none() && self.labels.is_empty()
    }
}

/// Changes of the views, folded: each place is written once however often it changed. Ordered
/// maps, so that the same events always make the same call.
#[derive(Debug, Clone)]
pub struct Delta {
    keys: Arc<Keys>,
    /// Members of sorted sets: true = in, false = out.
    sets: BTreeMap<String, BTreeMap<String, bool>>,
    /// Fields of hashes: a value, or out.
    hashes: BTreeMap<String, BTreeMap<String, Option<String>>>,
    counters: BTreeMap<String, BTreeMap<String, i64>>,
}

/// Member of the view of dead letters: sorts by the time they gave up, then by id.
pub(crate) fn dead_member(id: TaskId, ms: u64) -> String {
    format!("{ms:015}:{id}")
}

impl Delta {
    /// No change yet.
    #[must_use]
    pub fn new(keys: Arc<Keys>) -> Self {
        Self {
            keys,
            sets: BTreeMap::new(),
            hashes: BTreeMap::new(),
            counters: BTreeMap::new(),
        }
    }

    fn set(&mut self, key: String, member: String, present: bool) {
        self.sets.entry(key).or_default().insert(member, present);
    }

    fn add(&mut self, key: String, field: String, by: i64) {
        *self
            .counters
            .entry(key)
            .or_default()
            .entry(field)
            .or_default() += by;
    }

    /// Puts a task into the index of its group, or takes it out, and counts it.
    pub fn place(&mut self, id: TaskId, group: &Counter, present: bool) {
        let key = self
            .keys
            .index(group.status, &group.queue, &group.task_type);
        self.set(key, id.to_string(), present);
        let by = if present { 1 } else { -1 };
        self.add(self.keys.counts(), group.field(), by);
    }

    /// Puts a task into the index of a label.
    pub fn label(&mut self, id: TaskId, key: &str, value: &str) {
        let key = self.keys.label_index(key, value);
        self.set(key, id.to_string(), true);
    }

    /// Puts a task into the index of an error class, or takes it out.
    pub fn error(&mut self, id: TaskId, class: &str, present: bool) {
        let key = self.keys.error_index(class);
        self.set(key, id.to_string(), present);
    }

    /// Puts a task among the dead letters as of a time (ms), or takes it out.
    pub fn dead(&mut self, id: TaskId, ms: u64, present: bool) {
        self.set(self.keys.dead(), dead_member(id, ms), present);
    }

    /// Keeps what lists show of a task beyond its record.
    pub fn extra(&mut self, id: TaskId, extra: &Extra) {
        let value = (!extra.is_empty())
            .then(|| serde_json::to_string(extra).expect("strings and string-keyed maps"));
        self.hashes
            .entry(self.keys.extra())
            .or_default()
            .insert(id.to_string(), value);
    }

    /// Counts an event of a queue at a time (ms).
    pub fn event(&mut self, event: EventType, queue: &str, ms: u64) {
        self.add(self.keys.totals(), event.as_str().to_owned(), 1);
        self.add(self.keys.minute(ms / 60_000), format!("{event}|{queue}"), 1);
    }

    /// Adds what came later.
    pub fn merge(&mut self, later: Self) {
        for (key, members) in later.sets {
            self.sets.entry(key).or_default().extend(members);
        }
        for (key, fields) in later.hashes {
            self.hashes.entry(key).or_default().extend(fields);
        }
        for (key, fields) in later.counters {
            let counters = self.counters.entry(key).or_default();
            for (field, by) in fields {
                *counters.entry(field).or_default() += by;
            }
        }
    }

    /// What the views hold when these are all changes since they were empty.
    #[must_use]
    pub fn content(&self) -> ViewContent {
        let sets = self.sets.iter().map(|(key, members)| {
            let present = members.iter().filter(|(_, present)| **present);
            (
                key,
                present
                    .map(|(member, _)| (member.clone(), String::new()))
                    .collect(),
            )
        });
        let hashes = self.hashes.iter().map(|(key, fields)| {
            let set = fields
                .iter()
                .filter_map(|(field, value)| Some((field.clone(), value.clone()?)));
            (key, set.collect())
        });
        let counters = self.counters.iter().map(|(key, fields)| {
            let counted = fields.iter().filter(|(_, count)| **count != 0);
            (
                key,
                counted
                    .map(|(field, count)| (field.clone(), count.to_string()))
                    .collect(),
            )
        });
        let all = sets.chain(hashes).chain(counters);
        all.filter(|(_, fields): &(_, BTreeMap<String, String>)| !fields.is_empty())
            .map(|(key, fields)| (key.clone(), fields))
            .collect()
    }

    /// The view keys, in the order in which operations name them.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        let sets = self.sets.keys();
        let hashes = self.hashes.keys();
        let counters = self.counters.keys();
        sets.chain(hashes)
            .chain(counters)
            .map(String::as_str)
            .collect()
    }

    pub(crate) fn write(&self, cmd: &mut Cmd) {
        let mut index = 0;
        for members in self.sets.values() {
            index += 1;
            let of = |wanted: bool| {
                members
                    .iter()
                    .filter(move |(_, present)| **present == wanted)
                    .map(|(member, _)| member.as_str())
            };
            let added: Vec<&str> = of(true).flat_map(|member| ["0", member]).collect();
            let removed: Vec<&str> = of(false).collect();
            operations(cmd, "Z", index, &added);
            operations(cmd, "z", index, &removed);
        }
        for fields in self.hashes.values() {
            index += 1;
            let set: Vec<&str> = fields
                .iter()
                .filter_map(|(field, value)| Some([field.as_str(), value.as_deref()?]))
                .flatten()
                .collect();
            let removed: Vec<&str> = fields
                .iter()
                .filter(|(_, value)| value.is_none())
                .map(|(field, _)| field.as_str())
                .collect();
            operations(cmd, "H", index, &set);
            operations(cmd, "h", index, &removed);
        }
        for fields in self.counters.values() {
            index += 1;
            for (field, by) in fields.iter().filter(|(_, by)| **by != 0) {
                cmd.arg("I").arg(index).arg(2).arg(field).arg(*by);
            }
        }
    }
}

fn operations(cmd: &mut Cmd, code: &str, key: usize, arguments: &[&str]) {
    // An even number, so that pairs stay together.
    for chunk in arguments.chunks(MAX_ARGUMENTS) {
        cmd.arg(code).arg(key).arg(chunk.len()).arg(chunk);
    }
}
