//! Queues: which there are, how deep they are, whether they are paused.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;
use taskweir_domain::{Position, Priority, QueueName};

use crate::ops::GROUP;
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError};

/// Which queues there are and which of them are paused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueFlags {
    /// Every queue that ever had a task.
    pub known: BTreeSet<QueueName>,
    /// Paused ones, with the epoch of the pause.
    pub paused: BTreeMap<QueueName, Position>,
    /// The epoch of the latest pause or resume.
    pub epochs: BTreeMap<QueueName, Position>,
}

impl QueueFlags {
    pub(crate) fn read(pairs: &[(String, String)]) -> Self {
        let mut flags = Self::default();
        for (field, value) in pairs {
            if let Some(queue) = field.strip_prefix("queue:") {
                flags.known.extend(queue.parse::<QueueName>());
            } else if let Some(queue) = field.strip_prefix("pause:")
                && let (Ok(queue), Ok(epoch)) = (queue.parse(), value.parse())
            {
                flags.paused.insert(queue, epoch);
            } else if let Some(queue) = field.strip_prefix("epoch:")
                && let (Ok(queue), Ok(epoch)) = (queue.parse(), value.parse())
            {
                flags.epochs.insert(queue, epoch);
            }
        }
        flags
    }
}

/// How much waits in a ready stream, exactly and now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Entries no worker has received.
    pub ready: u64,
    /// Entries a worker holds.
    pub held: u64,
    /// Since when the oldest unreceived entry waits, ms since the epoch.
    pub oldest_ms: Option<u64>,
}

impl Partition {
    /// The queues of this partition and their flags.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn queue_flags(&self) -> Result<QueueFlags, StoreError> {
        let mut connection = self.link.get();
        let value: Value = redis::cmd("HGETALL")
            .arg(self.keys.meta())
            .query_async(&mut connection)
            .await?;
        Ok(QueueFlags::read(&Reader("meta").pairs(value)?))
    }

    /// Depth of one ready stream: its length less what the group holds. Consumer-group lag is not
    /// used: Redis cannot tell it once an entry was deleted.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn depth(
        &self,
        queue: &QueueName,
        priority: Priority,
    ) -> Result<QueueDepth, StoreError> {
        let reader = Reader("ready stream");
        let key = self.keys.ready(queue, priority);
        let mut connection = self.link.get();
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        pipe.cmd("XLEN").arg(&key);
        pipe.cmd("XINFO").arg("GROUPS").arg(&key);
        let answers: Vec<Value> = pipe.query_async(&mut connection).await?;
        let mut answers = answers.into_iter();
        let mut next = || match answers.next() {
            None | Some(Value::ServerError(_)) => Value::Nil,
            Some(value) => value,
        };
        let length = match next() {
            Value::Nil => 0,
            value => reader.number(value)?,
        };
        let mut held = 0;
        let mut delivered = Position::ZERO;
        for group in reader.list(next())? {
            let pairs = named(reader, group)?;
            if pairs
                .iter()
                .any(|(name, value)| name == "name" && value == GROUP)
            {
                for (name, value) in &pairs {
                    match name.as_str() {
                        "pending" => held = value.parse().unwrap_or(0),
                        "last-delivered-id" => delivered = value.parse().unwrap_or(delivered),
                        _ => {}
                    }
                }
            }
        }
        let ready = length.saturating_sub(held);
        let oldest_ms = if ready == 0 {
            None
        } else {
            let first: Value = redis::cmd("XRANGE")
                .arg(&key)
                .arg(format!("({delivered}"))
                .arg("+")
                .arg("COUNT")
                .arg(1)
                .query_async(&mut connection)
                .await?;
            reader.entries(first)?.pop().and_then(|entry| {
                let since = entry.fields.iter().find(|(name, _)| name == "s");
                since
                    .and_then(|(_, since)| since.parse().ok())
                    .or_else(|| entry.id.parse::<Position>().ok().map(|at| at.ms))
            })
        };
        Ok(QueueDepth {
            ready,
            held,
            oldest_ms,
        })
    }

    /// Makes the consumer group of ready streams where it is missing, from the beginning: what was
    /// added before must be delivered.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn ensure_groups(&self, streams: &crate::StreamSet) -> Result<(), StoreError> {
        self.eval(Script::Groups, 1 + streams.len(), |cmd| {
            cmd.arg(self.keys.log()).arg(streams.keys()).arg(GROUP);
        })
        .await?;
        Ok(())
    }
}

/// A group of `XINFO GROUPS` as names and values; values that are neither text nor number (nil
/// lag) are empty.
pub(crate) fn named(reader: Reader, group: Value) -> Result<Vec<(String, String)>, StoreError> {
    let flat = match group {
        Value::Map(pairs) => pairs
            .into_iter()
            .flat_map(|(key, value)| [key, value])
            .collect(),
        other => reader.list(other)?,
    };
    let texts: Vec<String> = flat
        .into_iter()
        .map(|value| reader.text(value).unwrap_or_default())
        .collect();
    Ok(texts
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect())
}
