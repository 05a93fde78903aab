//! The views: what the projector writes, in one step with its checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Cmd;
use serde::{Deserialize, Serialize};
use taskweir_domain::{AttemptError, Position, TaskDetail, TaskId};

use crate::{BaseHead, Counter, Keys, Totals, ViewContent};

/// Most arguments of one command inside the apply script: far below the limit of Lua's `unpack`.
const MAX_ARGUMENTS: usize = 1_000;

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
    /// Rows of totals below this member go.
    rows_from: Option<String>,
}

/// Fields of the views' tail and of the base: where the latest event in them stands.
pub(crate) const LAST: &str = "last";
/// Field of the tail: how rare rows are.
pub(crate) const SPACING: &str = "spacing";
/// Before the name of a queue in the tail: it is paused.
pub(crate) const PAUSED: &str = "paused|";
/// Field of the base: where it stands.
pub(crate) const POSITION: &str = "position";
/// Field of the base: its totals.
pub(crate) const TOTALS: &str = "totals";

/// Where a row of totals sorts: by the position of the latest event in it.
pub(crate) fn row_place(position: Position) -> String {
    format!("{:015}-{:020}", position.ms, position.seq)
}

/// A row of totals: its place, then the totals.
pub(crate) fn read_row(member: &str) -> Option<(Position, Totals)> {
    let (place, text) = member.split_once(':')?;
    Some((place.parse().ok()?, serde_json::from_str(text).ok()?))
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
            rows_from: None,
        }
    }

    pub(crate) fn meta_key(&self) -> String {
        self.keys.meta()
    }

    fn set(&mut self, key: String, member: String, present: bool) {
        self.sets.entry(key).or_default().insert(member, present);
    }

    pub(crate) fn add(&mut self, key: String, field: String, by: i64) {
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

    /// Puts a task into the index of a label, or takes it out.
    pub fn label(&mut self, id: TaskId, key: &str, value: &str, present: bool) {
        let key = self.keys.label_index(key, value);
        self.set(key, id.to_string(), present);
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

    pub(crate) fn field(&mut self, key: String, field: impl Into<String>, value: Option<String>) {
        let fields = self.hashes.entry(key).or_default();
        fields.insert(field.into(), value);
    }

    /// Adds to a sum of the totals.
    pub(crate) fn sum(&mut self, field: &str, by: u64) {
        let by = i64::try_from(by).unwrap_or(i64::MAX);
        self.add(self.keys.totals(), field.to_owned(), by);
    }

    /// Notes where the latest event stands.
    pub(crate) fn tail(&mut self, last: Position) {
        self.field(self.keys.tail(), LAST, Some(last.to_string()));
    }

    /// Notes whether a queue starts nothing.
    pub(crate) fn paused(&mut self, queue: &str, paused: bool) {
        let value = paused.then(|| "1".to_owned());
        self.field(self.keys.tail(), format!("{PAUSED}{queue}"), value);
    }

    /// Notes how rare rows are from here on.
    pub(crate) fn spacing(&mut self, spacing: u64) {
        let value = (spacing > 1).then(|| spacing.to_string());
        self.field(self.keys.tail(), SPACING, value);
    }

    /// Keeps the totals as they are after the event at a position.
    pub(crate) fn row(&mut self, position: Position, totals: &Totals) {
        let member = format!("{}:{}", row_place(position), totals.to_text());
        self.set(self.keys.rows(), member, true);
    }

    /// Forgets everything counted so far.
    pub(crate) fn uncount(&mut self) {
        self.counters.clear();
    }

    /// Sets counts, sums and pauses where there were none.
    pub(crate) fn totals(&mut self, totals: &Totals) {
        for (counter, count) in &totals.counts {
            let by = i64::try_from(*count).unwrap_or(i64::MAX);
            self.add(self.keys.counts(), counter.field(), by);
        }
        for (field, count) in &totals.sums {
            self.sum(field, *count);
        }
        for queue in &totals.paused {
            self.paused(queue, true);
        }
        if totals.spacing() > 1 {
            self.spacing(totals.spacing());
        }
    }

    /// Takes a task that ended before the base out of every list. It stays counted.
    pub(crate) fn forget(&mut self, detail: &TaskDetail) {
        let (id, task) = (detail.id, &detail.task);
        let key = self.keys.index(task.status(), &task.queue, &task.task_type);
        self.set(key, id.to_string(), false);
        if let Some(error) = &detail.error {
            self.error(id, error.class(), false);
        }
        for (key, value) in &detail.labels {
            self.label(id, key, value, false);
        }
        if detail.error.is_some() || !detail.labels.is_empty() {
            self.extra(id, &Extra::default());
        }
    }

    /// Keeps a task in the base, or takes it out.
    pub(crate) fn base_task(&mut self, id: TaskId, detail: Option<&TaskDetail>) {
        let text = detail.map(|detail| {
            serde_json::to_string(detail).expect("strings, numbers and string-keyed maps")
        });
        self.field(self.keys.base(), id.to_string(), text);
    }

    /// Moves the base, and drops the rows of totals before it.
    pub(crate) fn base_head(&mut self, head: &BaseHead) {
        let key = self.keys.base();
        let (position, last) = (head.position.to_string(), head.last.to_string());
        self.field(key.clone(), POSITION, Some(position));
        self.field(key.clone(), LAST, Some(last));
        self.field(key, TOTALS, Some(head.totals.to_text()));
        self.sets.entry(self.keys.rows()).or_default();
        self.rows_from = Some(row_place(head.last));
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
        let rows = self.keys.rows();
        for (key, members) in &self.sets {
            index += 1;
            if let Some(from) = self.rows_from.as_ref().filter(|_| *key == rows) {
                operations(cmd, "R", index, &["-", &format!("({from}")]);
            }
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
