//! Counts of tasks and sums of events: of now, of an instant, or between two instants.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use taskweir_domain::{EventType, Status};

/// Between the parts of a counter's field; no name may hold it.
pub const INDEX_SEPARATOR: char = '|';

/// Counted beside the types of events: tasks that were started a second time, each once.
const STARTED_TWICE: &str = "StartedTwice";

/// A counter of the views: where a group of tasks is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Counter {
    /// Status of the group.
    pub status: Status,
    /// Queue of the group.
    pub queue: String,
    /// Type of the group.
    pub task_type: String,
}

impl Counter {
    pub(crate) fn field(&self) -> String {
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

impl From<Counter> for String {
    fn from(counter: Counter) -> Self {
        counter.field()
    }
}

impl TryFrom<String> for Counter {
    type Error = String;

    fn try_from(field: String) -> Result<Self, Self::Error> {
        Self::read(&field).ok_or(field)
    }
}

/// What is summed of events: those of a type, or tasks started twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sum {
    /// Events of a type.
    Of(EventType),
    /// Tasks that were started a second time.
    StartedTwice,
}

impl Sum {
    /// Its name in the views.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Of(event) => event.as_str(),
            Self::StartedTwice => STARTED_TWICE,
        }
    }

    pub(crate) fn field(self, queue: &str) -> String {
        format!("{}{INDEX_SEPARATOR}{queue}", self.as_str())
    }
}

/// Counts of tasks and sums of events since the first one, those that retention has cut included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Tasks by status, queue and type.
    #[serde(rename = "c")]
    pub counts: BTreeMap<Counter, u64>,
    /// `sum|queue` to how many.
    #[serde(rename = "e")]
    pub(crate) sums: BTreeMap<String, u64>,
    /// Queues that start nothing.
    #[serde(rename = "p", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub paused: BTreeSet<String>,
    /// Rows are so many times rarer than for few counts, see [`Totals::spacing`]; 0 as 1.
    #[serde(rename = "s", default, skip_serializing_if = "is_zero")]
    pub(crate) rarer: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Counts and sums that a row may hold at the ordinary spacing.
const ORDINARY: usize = 64;

impl Totals {
    /// How many times rarer rows come than with few counts: a row costs what it holds, and many queues
    /// and types must not fill the memory.
    #[must_use]
    pub fn spacing(&self) -> u64 {
        self.rarer.max(1)
    }

    /// Fixes the spacing from here on. Done at each row, not in between: when the next one is due must
    /// not depend on how the log is cut into batches.
    pub(crate) fn space(&mut self) {
        let rarer = (self.counts.len() + self.sums.len()) / ORDINARY;
        self.rarer = if rarer == 0 { 0 } else { rarer as u64 + 1 };
    }

    /// Tasks of a status over all queues.
    #[must_use]
    pub fn of_status(&self, status: Status) -> u64 {
        let mine = self
            .counts
            .iter()
            .filter(|(counter, _)| counter.status == status);
        mine.map(|(_, count)| count).sum()
    }

    /// Tasks ever submitted.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.of_event(EventType::Submitted)
    }

    /// Tasks over all statuses: as many as were submitted, or some are missing.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Events of a type.
    #[must_use]
    pub fn of_event(&self, event: EventType) -> u64 {
        self.sum(Sum::Of(event))
    }

    /// Tasks that were started more than once.
    #[must_use]
    pub fn started_twice(&self) -> u64 {
        self.sum(Sum::StartedTwice)
    }

    fn sum(&self, sum: Sum) -> u64 {
        let mine = self.sums.iter().filter(|(field, _)| {
            let (name, _) = field.split_once(INDEX_SEPARATOR).unwrap_or_default();
            name == sum.as_str()
        });
        mine.map(|(_, count)| count).sum()
    }

    /// Events of a type in one queue.
    #[must_use]
    pub fn of_event_in(&self, event: EventType, queue: &str) -> u64 {
        let field = Sum::Of(event).field(queue);
        self.sums.get(&field).copied().unwrap_or(0)
    }

    /// Every event.
    #[must_use]
    pub fn events(&self) -> u64 {
        EventType::ALL
            .iter()
            .map(|event| self.of_event(*event))
            .sum()
    }

    /// Queues that anything was counted of.
    #[must_use]
    pub fn queues(&self) -> BTreeSet<&str> {
        let counted = self.counts.keys().map(|counter| counter.queue.as_str());
        let summed = self.sums.keys();
        let summed = summed.filter_map(|field| Some(field.split_once(INDEX_SEPARATOR)?.1));
        counted.chain(summed).collect()
    }

    /// Adds those of another partition.
    pub fn add(&mut self, other: Self) {
        for (counter, count) in other.counts {
            *self.counts.entry(counter).or_default() += count;
        }
        for (field, count) in other.sums {
            *self.sums.entry(field).or_default() += count;
        }
        self.paused.extend(other.paused);
        self.rarer = self.rarer.max(other.rarer);
    }

    /// Moves tasks of a group. Groups without a task are left out, as the views' readers do.
    pub(crate) fn move_counter(&mut self, counter: &Counter, by: i64) {
        let count = self.counts.get(counter).copied().unwrap_or(0);
        let moved = count.saturating_add_signed(by);
        if moved == 0 {
            self.counts.remove(counter);
        } else if let Some(count) = self.counts.get_mut(counter) {
            *count = moved;
        } else {
            self.counts.insert(counter.clone(), moved);
        }
    }

    pub(crate) fn count(&mut self, field: String, by: u64) {
        *self.sums.entry(field).or_default() += by;
    }

    /// As a row of the views and the base hold them.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and string-keyed maps")
    }
}

#[cfg(test)]
mod tests {
    use taskweir_domain::{EventType, Status};

    use super::{Counter, Sum, Totals};

    #[test]
    fn totals_survive_their_text_and_add_up() {
        let group = Counter {
            status: Status::Pending,
            queue: "mail".to_owned(),
            task_type: "send".to_owned(),
        };
        let mut totals = Totals::default();
        totals.move_counter(&group, 3);
        totals.move_counter(&group, -1);
        totals.count(Sum::Of(EventType::Submitted).field("mail"), 3);
        totals.count(Sum::StartedTwice.field("mail"), 1);
        totals.paused.insert("mail".to_owned());
        let read: Totals = serde_json::from_str(&totals.to_text()).unwrap();
        assert_eq!(read, totals);
        assert_eq!((totals.events(), totals.started_twice()), (3, 1));
        totals.add(read);
        assert_eq!(totals.of_status(Status::Pending), 4);
        assert_eq!(totals.of_event_in(EventType::Submitted, "mail"), 6);
        totals.move_counter(&group, -4);
        assert!(totals.counts.is_empty());
    }
}
