//! Queues: which there are, how deep they are, whether they are paused.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;
use taskweir_domain::{Position, Priority, QueueName};

use crate::ops::GROUP;
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError};

/// Consumer groups that were missing under way and were made again.
pub const GROUPS_RECREATED: &str = "taskweir_groups_recreated_total";

/// Which queues there are and which of them are paused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueFlags {
    /// Every queue that ever had a task.
    pub known: BTreeSet<QueueName>,
    /// Paused ones, with the epoch of the pause.
    pub paused: BTreeMap<QueueName, Position>,
    /// The epoch of the latest pause or resume.
    pub epochs: BTreeMap<QueueName, Position>,
    /// How many tasks are parked, of all types.
    pub parked: BTreeMap<QueueName, u64>,
}

impl QueueFlags {
    pub(crate) fn read(pairs: &[(String, String)]) -> Self {
        let mut flags = Self::default();
        for (field, value) in pairs {
            if let Some(queue) = field.strip_prefix("pause:")
                && let (Ok(queue), Ok(epoch)) = (queue.parse(), value.parse())
            {
                flags.paused.insert(queue, epoch);
            } else if let Some(queue) = field.strip_prefix("epoch:")
                && let (Ok(queue), Ok(epoch)) = (queue.parse(), value.parse())
            {
                flags.epochs.insert(queue, epoch);
            } else if let Some(queue) = field.strip_prefix("parked:")
                && let (Ok(queue), Ok(count)) = (queue.parse(), value.parse())
            {
                flags.parked.insert(queue, count);
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
        let mut pipe = redis::pipe();
        pipe.cmd("HGETALL").arg(self.keys.meta());
        pipe.cmd("ZRANGE").arg(self.keys.queues()).arg(0).arg(-1);
        let (meta, names): (Value, Vec<String>) = pipe.query_async(&mut connection).await?;
        let mut flags = QueueFlags::read(&Reader("meta").pairs(meta)?);
        flags.known = names.iter().filter_map(|name| name.parse().ok()).collect();
        Ok(flags)
    }

    /// Some queues of this partition by name, behind one of them or from the first on.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn queues_after(
        &self,
        after: Option<&QueueName>,
        most: usize,
    ) -> Result<Vec<QueueName>, StoreError> {
        let from = after.map_or("-".to_owned(), |after| format!("({after}"));
        let names: Vec<String> = redis::cmd("ZRANGEBYLEX")
            .arg(self.keys.queues())
            .arg(from)
            .arg("+")
            .arg("LIMIT")
            .arg(0)
            .arg(most)
            .query_async(&mut self.link.get())
            .await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Depth of every ready stream of some queues, in two round trips whatever their number: the length less what
    /// the group holds. Consumer-group lag is not used: Redis cannot tell it once an entry was deleted.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn depths<'a>(
        &self,
        queues: impl IntoIterator<Item = &'a QueueName>,
    ) -> Result<Vec<(&'a QueueName, Priority, QueueDepth)>, StoreError> {
        let reader = Reader("ready stream");
        let places = queues.into_iter();
        let places = places.flat_map(|queue| Priority::ALL.map(|priority| (queue, priority)));
        let mut depths: Vec<_> = places
            .map(|(queue, priority)| (queue, priority, QueueDepth::default()))
            .collect();
        if depths.is_empty() {
            return Ok(depths);
        }
        let mut connection = self.link.get();
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for (queue, priority, _) in &depths {
            let key = self.keys.ready(queue, *priority);
            pipe.cmd("XLEN").arg(&key);
            pipe.cmd("XINFO").arg("GROUPS").arg(&key);
        }
        let answers: Vec<Value> = pipe.query_async(&mut connection).await?;
        let mut answers = answers.into_iter();
        // A stream that is not there has no groups, and says so by an error.
        let mut next = || match answers.next() {
            None | Some(Value::ServerError(_)) => Value::Nil,
            Some(value) => value,
        };
        let mut waiting = Vec::new();
        let mut pipe = redis::pipe();
        for (index, (queue, priority, depth)) in depths.iter_mut().enumerate() {
            let length = match next() {
                Value::Nil => 0,
                value => reader.number(value)?,
            };
            let (held, delivered) = held(reader, next())?;
            depth.held = held;
            depth.ready = length.saturating_sub(held);
            if depth.ready > 0 {
                let key = self.keys.ready(queue, *priority);
                let oldest = pipe.cmd("XRANGE").arg(key).arg(format!("({delivered}"));
                oldest.arg("+").arg("COUNT").arg(1);
                waiting.push(index);
            }
        }
        if waiting.is_empty() {
            return Ok(depths);
        }
        let oldest: Vec<Value> = pipe.query_async(&mut connection).await?;
        for (index, entry) in waiting.into_iter().zip(oldest) {
            let entry = reader.entries(entry)?.pop();
            depths[index].2.oldest_ms = entry.and_then(|entry| {
                let since = entry.fields.iter().find(|(name, _)| name == "s");
                let since = since.and_then(|(_, since)| since.parse().ok());
                since.or_else(|| entry.id.parse::<Position>().ok().map(|at| at.ms))
            });
        }
        Ok(depths)
    }

    /// Makes the consumer group of ready streams where it is missing, from the beginning: what was
    /// added before must be delivered.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn ensure_groups(&self, streams: &crate::StreamSet) -> Result<(), StoreError> {
        self.make_groups(streams).await?;
        Ok(())
    }

    /// The same under way, where somebody else must have removed them: of that an operator should hear.
    pub(crate) async fn heal_groups(&self, streams: &crate::StreamSet) -> Result<(), StoreError> {
        let made = self.make_groups(streams).await?;
        if made > 0 {
            metrics::counter!(GROUPS_RECREATED).increment(made);
            tracing::warn!(
                partition = self.keys.partition().0,
                made,
                "consumer groups were missing and are made again: what had been received is delivered once more"
            );
        }
        Ok(())
    }

    /// Tells how many were missing.
    async fn make_groups(&self, streams: &crate::StreamSet) -> Result<u64, StoreError> {
        let made = self
            .eval(Script::Groups, 1 + streams.len(), |cmd| {
                cmd.arg(self.keys.log()).arg(streams.keys()).arg(GROUP);
            })
            .await?;
        Reader("groups").number(made)
    }
}

/// What our group of a stream holds, and up to where it has been given.
pub(crate) fn held(reader: Reader, groups: Value) -> Result<(u64, Position), StoreError> {
    let (mut held, mut delivered) = (0, Position::ZERO);
    for group in reader.list(groups)? {
        let pairs: BTreeMap<String, String> = named(reader, group)?.into_iter().collect();
        if pairs.get("name").is_some_and(|name| name == GROUP) {
            let of = |name| pairs.get(name).map(String::as_str).unwrap_or_default();
            held = of("pending").parse().unwrap_or(0);
            delivered = of("last-delivered-id").parse().unwrap_or_default();
        }
    }
    Ok((held, delivered))
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
