//! The fold of a batch: pure, without clock or I/O, in ordered maps, so that the same events
//! always make the same change. A task that starts and ends within a batch costs one write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use taskweir_domain::{
    DecodeError, Event, EventClass, EventType, Position, Recorded, TaskDetail, TaskId,
};

use crate::row::Row;
use crate::totals::Sum;
use crate::{Delta, Keys, LogEntry, Totals};

/// Tasks remembered between batches; beyond, those that ended and then any are forgotten: the log
/// tells again.
const MAX_ROWS: usize = 100_000;
/// Events between two rows of totals: the most that an answer about an instant must fold again.
const ROW_EVENTS: u64 = 500;

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

impl FoldError {
    /// What an entry holds that this program does not know.
    pub(crate) const fn unknown(entry: &LogEntry, source: DecodeError) -> Self {
        Self::Unknown {
            position: entry.position,
            source,
        }
    }
}

/// What is remembered of tasks between batches, and the totals so far.
#[derive(Debug)]
pub struct Fold {
    rows: HashMap<TaskId, Row>,
    totals: Totals,
    /// Events counted in the totals.
    events: u64,
    /// Place of the latest event.
    last: Position,
    skipped: u64,
    /// Most rows remembered.
    most: usize,
}

/// What a batch changes.
struct Batch {
    delta: Delta,
    /// Rows as they were before the batch, or before the latest row of totals in it; `None` where the
    /// task did not exist.
    before: BTreeMap<TaskId, Option<Row>>,
    /// Events by queue since then.
    sums: HashMap<String, Vec<(Sum, u64)>>,
}

impl Batch {
    fn count(&mut self, sum: Sum, queue: &str) {
        if !self.sums.contains_key(queue) {
            self.sums.insert(queue.to_owned(), Vec::new());
        }
        let Some(sums) = self.sums.get_mut(queue) else {
            return;
        };
        match sums.iter_mut().find(|(known, _)| *known == sum) {
            Some((_, count)) => *count += 1,
            None => sums.push((sum, 1)),
        }
    }
}

impl Fold {
    /// One that begins where views with these totals ended: `last` is the place of the latest event
    /// in them.
    #[must_use]
    pub fn resume(last: Position, totals: Totals) -> Self {
        Self {
            rows: HashMap::new(),
            events: totals.events(),
            totals,
            last,
            skipped: 0,
            most: MAX_ROWS,
        }
    }

    /// The same, but it forgets no task: for a fold of the whole log in one go.
    #[must_use]
    pub fn boundless(self) -> Self {
        Self {
            most: usize::MAX,
            ..self
        }
    }

    /// Entries skipped so far because they fit nowhere.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Place of the latest event.
    #[must_use]
    pub const fn last(&self) -> Position {
        self.last
    }

    /// Counts and sums after the latest event.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Tasks of a batch that must be told from the log first, each with the place of its event
    /// before the batch.
    #[must_use]
    pub fn unknown(&self, entries: &[LogEntry]) -> Vec<(TaskId, Position)> {
        let mut seen = HashSet::new();
        entries
            .iter()
            .filter(|entry| !entry.is_of_queue())
            .filter_map(|entry| Some((entry.i.parse::<TaskId>().ok()?, &entry.b)))
            .filter(|(id, _)| seen.insert(*id) && !self.rows.contains_key(id))
            .filter_map(|(id, b)| Some((id, b.parse().ok()?)))
            .collect()
    }

    /// Takes what the base and the log told of a task.
    pub fn learn(&mut self, id: TaskId, base: Option<&TaskDetail>, history: &[Recorded]) {
        if let Some(row) = Row::of_history(base, history) {
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
            sums: HashMap::new(),
        };
        let before = self.last;
        for entry in entries {
            let known = entry.event_type();
            let event_type = known.map_err(|source| FoldError::unknown(entry, source))?;
            if self.is_row_due(entry.position) {
                self.flush(&mut batch);
                self.totals.space();
                batch.delta.row(self.last, &self.totals);
                batch.delta.spacing(self.totals.spacing());
            }
            if let Some(queue) = entry.i.strip_prefix("q:") {
                batch.count(Sum::Of(event_type), queue);
                self.note_queue(&mut batch.delta, queue, event_type);
            } else if self.step(&mut batch, entry, event_type)?.is_none() {
                self.skipped += 1;
                tracing::warn!(position = %entry.position, event = %event_type, "skipped: it continues no task");
                continue;
            }
            self.events += 1;
            self.last = entry.position;
        }
        self.flush(&mut batch);
        if self.last != before {
            batch.delta.tail(self.last);
        }
        self.forget_some();
        Ok(batch.delta)
    }

    /// Whether the totals so far must be kept as a row before an event at `next`: at the end of each
    /// minute, and often enough that no answer has much to fold; more rarely where a row is large. It
    /// depends on the log alone, so that views made afresh hold the same rows.
    fn is_row_due(&self, next: Position) -> bool {
        let spacing = self.totals.spacing();
        let span = 60_000 * spacing;
        self.last != Position::ZERO
            && (next.ms / span != self.last.ms / span
                || self.events.is_multiple_of(ROW_EVENTS * spacing))
    }

    fn note_queue(&mut self, delta: &mut Delta, queue: &str, event: EventType) {
        let paused = event == EventType::QueuePaused;
        if paused {
            self.totals.paused.insert(queue.to_owned());
        } else {
            self.totals.paused.remove(queue);
        }
        delta.paused(queue, paused);
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
        if let (None, Some(Event::LateCompletionRefused(body))) = (row, &event) {
            // Its task ended before the base and is forgotten; nothing but such refusals can follow.
            let Some(queue) = &body.queue else {
                return Ok(None);
            };
            batch.count(Sum::Of(event_type), queue);
            return Ok(Some(()));
        }
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
        batch.count(Sum::Of(event_type), &row.queue);
        if event_type == EventType::Started && row.starts == 2 {
            batch.count(Sum::StartedTwice, &row.queue);
        }
        batch.before.entry(id).or_insert(before);
        self.rows.insert(id, row);
        Ok(Some(()))
    }

    /// Writes for each touched task the difference between before and now, and brings the totals up.
    fn flush(&mut self, batch: &mut Batch) {
        for (id, before) in std::mem::take(&mut batch.before) {
            if let Some(after) = self.rows.get(&id) {
                difference(
                    &mut batch.delta,
                    &mut self.totals,
                    id,
                    before.as_ref(),
                    after,
                );
                if self.most < usize::MAX && after.status.is_final() {
                    self.rows.remove(&id);
                }
            }
        }
        for (queue, sums) in batch.sums.drain() {
            for (sum, count) in sums {
                let field = sum.field(&queue);
                batch.delta.sum(&field, count);
                self.totals.count(field, count);
            }
        }
    }

    fn forget_some(&mut self) {
        if self.rows.len() > self.most {
            self.rows.clear();
        }
    }

    /// The views of a base alone: its tasks, and with `head` its totals.
    #[must_use]
    pub fn seed(&mut self, keys: &Arc<Keys>, tasks: &[TaskDetail], head: bool) -> Delta {
        let mut delta = Delta::new(Arc::clone(keys));
        // Their counts stand in the totals already.
        let mut counted = Totals::default();
        for detail in tasks {
            let row = Row::of_detail(detail);
            difference(&mut delta, &mut counted, detail.id, None, &row);
            if self.most == usize::MAX {
                self.rows.insert(detail.id, row);
            }
        }
        delta.uncount();
        if head {
            delta.totals(&self.totals);
            if self.last != Position::ZERO {
                delta.tail(self.last);
            }
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
        | T::CancelRequested
        | T::LateCompletionRefused => {
            let event = taskweir_domain::event_from_wire(&entry.t, &entry.d);
            let event = event.map_err(|source| FoldError::unknown(entry, source))?;
            Ok((EventClass::from(&event), Some(event)))
        }
        other => Ok((EventClass::Plain(other), None)),
    }
}

fn difference(
    delta: &mut Delta,
    totals: &mut Totals,
    id: TaskId,
    before: Option<&Row>,
    after: &Row,
) {
    let moved = before.is_none_or(|before| before.status != after.status);
    if moved {
        if let Some(before) = before {
            let group = before.group();
            totals.move_counter(&group, -1);
            delta.place(id, &group, false);
        }
        let group = after.group();
        totals.move_counter(&group, 1);
        delta.place(id, &group, true);
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
            delta.label(id, key, value, true);
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
