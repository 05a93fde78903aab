//! The fold of a batch: pure, without clock or I/O, in ordered maps, so that the same events
//! always make the same change. A task that starts and ends within a batch costs one write.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use taskweir_domain::{DecodeError, Event, EventClass, EventType, Position, TaskId};
use taskweir_store::{Delta, Keys, LogEntry};

use crate::row::Row;

/// Tasks remembered between batches; beyond, those that ended and then any are forgotten: the log
/// tells again.
const MAX_ROWS: usize = 100_000;

/// Why the fold cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// An event that this program does not know. Going on would lose it, so the projector stops
    /// until it is upgraded.
    #[error("event at {position}: {source}; upgrade the projector")]
    Unknown {
        /// Its place.
        position: Position,
        /// What is unknown.
        source: DecodeError,
    },
}

/// What is remembered of tasks between batches.
#[derive(Debug)]
pub struct Fold {
    rows: HashMap<TaskId, Row>,
    skipped: u64,
    /// Most rows remembered.
    most: usize,
}

impl Default for Fold {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            skipped: 0,
            most: MAX_ROWS,
        }
    }
}

/// What a batch changes.
struct Batch {
    delta: Delta,
    /// Rows as they were before the batch; `None` where the task did not exist.
    before: BTreeMap<TaskId, Option<Row>>,
}

impl Fold {
    /// One that forgets nothing: for a fold of the whole log in one go.
    #[must_use]
    pub fn boundless() -> Self {
        Self {
            most: usize::MAX,
            ..Self::default()
        }
    }

    /// Entries skipped so far because they fit nowhere.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Forgets everything; the log tells again.
    pub fn forget(&mut self) {
        self.rows.clear();
    }

    /// Tasks of a batch that must be told from the log first, each with the place of its event
    /// before the batch.
    #[must_use]
    pub fn unknown(&self, entries: &[LogEntry]) -> Vec<(TaskId, Position)> {
        let mut seen = std::collections::HashSet::new();
        entries
            .iter()
            .filter(|entry| !entry.is_of_queue())
            .filter_map(|entry| Some((entry.i.parse::<TaskId>().ok()?, &entry.b)))
            .filter(|(id, _)| seen.insert(*id) && !self.rows.contains_key(id))
            .filter_map(|(id, b)| Some((id, b.parse().ok()?)))
            .collect()
    }

    /// Takes what the log told of a task.
    pub fn learn(&mut self, id: TaskId, history: &[taskweir_domain::Recorded]) {
        if let Some(row) = Row::of_history(history) {
            self.rows.insert(id, row);
        }
    }

    /// Folds a batch into a change of the views.
    ///
    /// # Errors
    /// An event is of a type or version this program does not know.
    pub fn fold(&mut self, keys: &Arc<Keys>, entries: &[LogEntry]) -> Result<Delta, FoldError> {
        let mut batch = Batch {
            delta: Delta::new(Arc::clone(keys)),
            before: BTreeMap::new(),
        };
        for entry in entries {
            let known = entry.event_type();
            let event_type = known.map_err(|source| FoldError::Unknown {
                position: entry.position,
                source,
            })?;
            if let Some(queue) = entry.i.strip_prefix("q:") {
                batch.delta.event(event_type, queue, entry.position.ms);
            } else if self.step(&mut batch, entry, event_type)?.is_none() {
                self.skipped += 1;
                tracing::warn!(position = %entry.position, event = %event_type, "skipped: it continues no task");
            }
        }
        let delta = self.finish(batch);
        Ok(delta)
    }

    /// One entry; `None` where it continues no task.
    fn step(
        &mut self,
        batch: &mut Batch,
        entry: &LogEntry,
        event_type: EventType,
    ) -> Result<Option<()>, FoldError> {
        let (Ok(id), Ok(version)) = (entry.i.parse::<TaskId>(), entry.n.parse::<u64>()) else {
            return Ok(None);
        };
        let (class, event) = class_of(entry, event_type)?;
        let row = self.rows.get(&id);
        let fits = row.map_or(version == 1, |row| {
            version == row.version + 1 && entry.b.parse() == Ok(row.last)
        });
        if !fits {
            return Ok(None);
        }
        let before = row.cloned();
        let row = match (before.clone(), &event) {
            (Some(mut row), _) => {
                if row
                    .step(class, event.as_ref(), version, entry.position)
                    .is_err()
                {
                    return Ok(None);
                }
                row
            }
            (None, Some(Event::Submitted(body))) => {
                let Ok(status) = taskweir_domain::next_status(None, false, class) else {
                    return Ok(None);
                };
                Row::first(body, status, entry.position)
            }
            (None, _) => return Ok(None),
        };
        batch.delta.event(event_type, &row.queue, entry.position.ms);
        batch.before.entry(id).or_insert(before);
        self.rows.insert(id, row);
        Ok(Some(()))
    }

    /// Writes for each touched task the difference between before and after the batch.
    fn finish(&mut self, batch: Batch) -> Delta {
        let Batch { mut delta, before } = batch;
        let mut over = self.rows.len() > self.most;
        for (id, before) in before {
            let Some(after) = self.rows.get(&id) else {
                continue;
            };
            difference(&mut delta, id, before.as_ref(), after);
            let forgets = self.most < usize::MAX;
            if forgets && (after.status.is_final() || over) {
                self.rows.remove(&id);
                over = self.rows.len() > self.most;
            }
        }
        if self.rows.len() > self.most {
            self.rows.clear();
        }
        delta
    }
}

/// The class of an event, and the event itself where its body matters to the views. Bodies that do
/// not matter (results above all) are not parsed.
fn class_of(
    entry: &LogEntry,
    event_type: EventType,
) -> Result<(EventClass, Option<Event>), FoldError> {
    use EventType as T;
    match event_type {
        T::Submitted
        | T::LeaseExpired
        | T::Released
        | T::AttemptFailed
        | T::DeadLettered
        | T::CancelRequested => {
            let event = taskweir_domain::event_from_wire(&entry.t, &entry.d);
            let event = event.map_err(|source| FoldError::Unknown {
                position: entry.position,
                source,
            })?;
            Ok((EventClass::from(&event), Some(event)))
        }
        other => Ok((EventClass::Plain(other), None)),
    }
}

fn difference(delta: &mut Delta, id: TaskId, before: Option<&Row>, after: &Row) {
    let moved = before.is_none_or(|before| before.status != after.status);
    if moved {
        if let Some(before) = before {
            delta.place(id, &before.group(), false);
        }
        delta.place(id, &after.group(), true);
    }
    let class = |row: &Row| {
        row.extra
            .error
            .as_ref()
            .map(|error| error.class().to_owned())
    };
    let (old, new) = (before.and_then(class), class(after));
    if old != new {
        if let Some(old) = old {
            delta.error(id, &old, false);
        }
        if let Some(new) = new {
            delta.error(id, &new, true);
        }
    }
    if before.is_none() {
        for (key, value) in &after.extra.labels {
            delta.label(id, key, value);
        }
    }
    let shown = before.map(|before| &before.extra);
    if shown.map_or(!after.extra.is_empty(), |shown| *shown != after.extra) {
        delta.extra(id, &after.extra);
    }
    let dead = before.and_then(|before| before.dead_ms);
    if dead != after.dead_ms {
        if let Some(ms) = dead {
            delta.dead(id, ms, false);
        }
        if let Some(ms) = after.dead_ms {
            delta.dead(id, ms, true);
        }
    }
}
