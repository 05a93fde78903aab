//! Entries that are none of ours, written by hand or by another program: skipped, counted and named.

use std::collections::BTreeMap;

use crate::ops::{GROUP, lua_index};
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Delta, Partition, Store, StoreError, StreamSet};
use taskweir_domain::Position;

/// Field of `meta`, before the place: how many were skipped there.
const COUNT: &str = "malformed:";
/// Field of `meta`, before the place: when the latest of them was met, ms since the epoch.
const LAST: &str = "malformed_ms:";
const LOG: &str = "log";

/// Malformed entries of a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Malformed {
    /// How many were skipped.
    pub count: u64,
    /// When the latest one was met, ms since the epoch.
    pub last_ms: u64,
}

impl Delta {
    /// Counts entries of the log that are no events, up to a position: in the step of the projection
    /// that passes them, so that each is counted once.
    pub fn malformed(&mut self, count: u64, last: Position) {
        let meta = self.meta_key();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.add(meta.clone(), format!("{COUNT}{LOG}"), count);
        self.field(meta, format!("{LAST}{LOG}"), Some(last.ms.to_string()));
    }
}

impl Partition {
    /// Removes malformed ready entries: nothing names them and no task is behind them. Each is
    /// counted once, whoever finds it; gives how many this call removed.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn discard(
        &self,
        streams: &StreamSet,
        entries: &[(usize, String)],
    ) -> Result<u64, StoreError> {
        if entries.is_empty() {
            return Ok(0);
        }
        let reply = self
            .eval(Script::Discard, 2 + streams.len(), |cmd| {
                cmd.arg(self.keys.log()).arg(self.keys.meta());
                cmd.arg(streams.keys()).arg(GROUP);
                for (stream, entry) in entries {
                    let queue = streams.get(*stream).queue.as_str();
                    cmd.arg(lua_index(*stream)).arg(entry).arg(queue);
                }
            })
            .await?;
        Reader("discard").number(reply)
    }

    /// Takes members that are no task ids out of a sorted set: written by hand, they would stand before all that
    /// waits for its time.
    pub(crate) async fn drop_strangers(
        &self,
        key: &str,
        members: &[String],
    ) -> Result<(), StoreError> {
        if members.is_empty() {
            return Ok(());
        }
        tracing::warn!(key, ?members, "members that are no task ids were removed");
        let mut connection = self.link.get();
        let mut cmd = redis::cmd("ZREM");
        cmd.arg(key).arg(members);
        Ok(cmd.query_async(&mut connection).await?)
    }

    async fn malformed(&self) -> Result<BTreeMap<String, Malformed>, StoreError> {
        let mut connection = self.link.get();
        let meta = redis::cmd("HGETALL")
            .arg(self.keys.meta())
            .query_async(&mut connection)
            .await?;
        let mut places: BTreeMap<String, Malformed> = BTreeMap::new();
        for (field, value) in Reader("meta").pairs(meta)? {
            let number = || value.parse().unwrap_or(0);
            if let Some(place) = field.strip_prefix(COUNT) {
                places.entry(place.to_owned()).or_default().count = number();
            } else if let Some(place) = field.strip_prefix(LAST) {
                places.entry(place.to_owned()).or_default().last_ms = number();
            }
        }
        Ok(places)
    }
}

impl Store {
    /// Malformed entries skipped since the first start, by place: `log`, or `ready:<queue>`.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn malformed(&self) -> Result<BTreeMap<String, Malformed>, StoreError> {
        let mut all: BTreeMap<String, Malformed> = BTreeMap::new();
        for partition in self.partitions() {
            for (place, seen) in partition.malformed().await? {
                let sum = all.entry(place).or_default();
                sum.count += seen.count;
                sum.last_ms = sum.last_ms.max(seen.last_ms);
            }
        }
        Ok(all)
    }
}
