//! Entries of queues that no task knows of.

use std::fmt;

use redis::Value;
use taskweir_domain::{Priority, QueueName, TaskId, TaskType};

use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError};

/// Entries looked at in one call.
const PAGE: usize = 500;

/// Where a task can stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Waiting for a time.
    Due,
    /// Waiting to expire.
    Expiry,
    /// Waiting for a worker, or held by one.
    Ready(QueueName, Priority),
    /// Waiting for a worker that knows its type.
    Parked(QueueName, TaskType),
    /// Among the dead letters.
    Dead(QueueName),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Due => write!(f, "due"),
            Self::Expiry => write!(f, "expiry"),
            Self::Ready(queue, priority) => write!(f, "ready:{queue}:{priority}"),
            Self::Parked(queue, task_type) => write!(f, "parked:{queue}:{task_type}"),
            Self::Dead(queue) => write!(f, "dlq:{queue}"),
        }
    }
}

impl Place {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Expiry => "expiry",
            Self::Ready(..) => "ready",
            Self::Parked(..) => "parked",
            Self::Dead(_) => "dead",
        }
    }

    const fn is_stream(&self) -> bool {
        matches!(self, Self::Ready(..) | Self::Dead(_))
    }
}

/// An entry of a place: its own id in a stream, and the task it is of.
struct Entry {
    entry: String,
    id: Option<TaskId>,
}

impl Partition {
    fn place(&self, place: &Place) -> String {
        match place {
            Place::Due => self.keys.due(),
            Place::Expiry => self.keys.expiry(),
            Place::Ready(queue, priority) => self.keys.ready(queue, *priority),
            Place::Parked(queue, task_type) => self.keys.parked(queue, task_type),
            Place::Dead(queue) => self.keys.dlq(queue),
        }
    }

    /// Entries of a place that their tasks do not know of, by the text that names them.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn strays(&self, place: &Place) -> Result<Vec<String>, StoreError> {
        let mut strays = Vec::new();
        let mut cursor = Some("0".to_owned());
        while let Some(from) = cursor {
            let (entries, next) = if place.is_stream() {
                self.stream_page(place, &from).await?
            } else {
                self.set_page(place, &from).await?
            };
            cursor = next;
            strays.extend(self.strays_of(place, entries).await?);
        }
        Ok(strays)
    }

    async fn stream_page(
        &self,
        place: &Place,
        from: &str,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        let mut connection = self.link.get();
        let value: Value = redis::cmd("XRANGE")
            .arg(self.place(place))
            .arg(format!("({from}"))
            .arg("+")
            .arg("COUNT")
            .arg(PAGE)
            .query_async(&mut connection)
            .await?;
        let entries: Vec<Entry> = Reader("stream")
            .entries(value)?
            .into_iter()
            .map(|entry| Entry {
                id: entry
                    .fields
                    .iter()
                    .find(|(name, _)| name == "i")
                    .and_then(|(_, id)| id.parse().ok()),
                entry: entry.id,
            })
            .collect();
        let next = entries.last().map(|entry| entry.entry.clone());
        Ok((entries, next))
    }

    async fn set_page(
        &self,
        place: &Place,
        cursor: &str,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        let reader = Reader("sorted set");
        let mut connection = self.link.get();
        let value: Value = redis::cmd("ZSCAN")
            .arg(self.place(place))
            .arg(cursor)
            .arg("COUNT")
            .arg(PAGE)
            .query_async(&mut connection)
            .await?;
        let [next, pairs] = reader.tuple::<2>(value)?;
        let entries = reader.pairs(pairs)?.into_iter().map(|(member, _)| Entry {
            id: member.parse().ok(),
            entry: member,
        });
        let next = reader.text(next)?;
        Ok((entries.collect(), (next != "0").then_some(next)))
    }

    async fn strays_of(
        &self,
        place: &Place,
        entries: Vec<Entry>,
    ) -> Result<Vec<String>, StoreError> {
        let mut strays = Vec::new();
        let mut tasks = Vec::new();
        for entry in entries {
            match entry.id {
                Some(id) if id.partition() == self.keys.partition() => {
                    tasks.push((id, entry.entry));
                }
                _ => strays.push(entry.entry),
            }
        }
        if tasks.is_empty() {
            return Ok(strays);
        }
        let reply = self
            .eval(Script::Strays, 1 + tasks.len(), |cmd| {
                cmd.arg(self.place(place));
                for (id, _) in &tasks {
                    cmd.arg(self.keys.task(*id));
                }
                cmd.arg(place.kind());
                for (id, entry) in &tasks {
                    cmd.arg(entry).arg(id.to_string());
                }
            })
            .await?;
        let reader = Reader("strays");
        for index in reader.list(reply)? {
            let index = usize::try_from(reader.number(index)?).unwrap_or(0);
            if let Some((id, _)) = index.checked_sub(1).and_then(|index| tasks.get(index)) {
                strays.push(id.to_string());
            }
        }
        Ok(strays)
    }
}
