//! Reading everything, to hold it against a fold of the log.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;
use sha2::{Digest, Sha256};
use taskweir_domain::{Position, Status, Task, TaskId};

use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, Record, StoreError};

/// View keys read in one step, as long as that suffices.
const KEYS_AT_ONCE: usize = 20;
/// How often views are read in several steps before all are read in one.
const GENTLE_READS: usize = 3;

/// The content of views: key, then member or field, then value (empty for members). Counters at zero
/// are left out: a group that was counted up and down says 0, one that never was says nothing.
pub type ViewContent = BTreeMap<String, BTreeMap<String, String>>;

/// A record and where its task stands, read in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The record; `None` where there is none that can be read.
    pub record: Option<Record>,
    /// Why there is one that cannot be read.
    pub unreadable: Option<String>,
    /// In `due`.
    pub due: bool,
    /// In its ready stream.
    pub ready: bool,
    /// Parked.
    pub parked: bool,
    /// In the dead-letter stream.
    pub dead: bool,
}

impl Standing {
    /// Whether the task stands where its status says, and nowhere else.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let Some(record) = &self.record else {
            return !self.due && !self.parked;
        };
        let status = record.task.status();
        self.due == status.is_due()
            && (self.ready || self.parked) == status.is_ready()
            && !(self.ready && self.parked)
            && self.dead == (status == Status::Failed)
    }
}

/// A digest of views that does not depend on the order in which they are read: the sum of the hashes
/// of all (key, field, value).
#[must_use]
pub fn digest(content: &ViewContent) -> u128 {
    let places = content
        .iter()
        .flat_map(|(key, fields)| fields.iter().map(move |(field, value)| [key, field, value]));
    places.fold(0, |sum: u128, parts| {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let hash: [u8; 32] = hash.finalize().into();
        let half = hash[..16].try_into().map_or(0, u128::from_be_bytes);
        sum.wrapping_add(half)
    })
}

impl Partition {
    /// The keys of this partition's views, as far as they are there by now.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn view_keys(&self) -> Result<BTreeSet<String>, StoreError> {
        let reader = Reader("view keys");
        let pattern = self.keys.view_pattern();
        let mut keys = BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let reply = self
                .eval(Script::Scan, 1, |cmd| {
                    cmd.arg(self.keys.log());
                    cmd.arg(&cursor).arg(&pattern).arg(1_000);
                })
                .await?;
            let [next, found] = reader.tuple::<2>(reply)?;
            keys.extend(reader.texts(found)?);
            cursor = reader.text(next)?;
            if cursor == "0" {
                return Ok(keys);
            }
        }
    }

    /// The content of views, and the checkpoint at which all of it stood. Read a few keys at a time
    /// where the views stand still long enough; otherwise all at once, for which Redis then lets
    /// others wait.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn view_content(
        &self,
        keys: &BTreeSet<String>,
    ) -> Result<(Position, ViewContent), StoreError> {
        for _ in 0..GENTLE_READS {
            if let Some(still) = self.still_content(keys, KEYS_AT_ONCE).await? {
                return Ok(still);
            }
        }
        let at_once = self.still_content(keys, keys.len()).await?;
        Ok(at_once.unwrap_or_default())
    }

    async fn still_content(
        &self,
        keys: &BTreeSet<String>,
        at_once: usize,
    ) -> Result<Option<(Position, ViewContent)>, StoreError> {
        let reader = Reader("views");
        let mut content = ViewContent::new();
        let mut stood: Option<Position> = None;
        let keys: Vec<&String> = keys.iter().collect();
        // Without a key there is still a checkpoint.
        let none: &[&String] = &[];
        let chunks = keys.chunks(at_once.max(1));
        for keys in chunks.chain(keys.is_empty().then_some(none)) {
            let reply = self
                .eval(Script::ViewContent, 1 + keys.len(), |cmd| {
                    cmd.arg(self.keys.checkpoint()).arg(keys);
                })
                .await?;
            let mut answers = reader.list(reply)?.into_iter();
            let checkpoint = reader.position(answers.next().unwrap_or(Value::Nil))?;
            if *stood.get_or_insert(checkpoint) != checkpoint {
                return Ok(None);
            }
            for (key, fields) in keys.iter().zip(answers) {
                let fields = reader.pairs(fields)?;
                let fields: BTreeMap<String, String> = fields
                    .into_iter()
                    .filter(|(_, value)| value != "0")
                    .collect();
                if !fields.is_empty() {
                    content.insert((*key).clone(), fields);
                }
            }
        }
        Ok(Some((stood.unwrap_or_default(), content)))
    }

    /// Records of tasks with where they stand, each read in one step. `tasks` say where to look.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn standings(&self, tasks: &[(TaskId, &Task)]) -> Result<Vec<Standing>, StoreError> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let reply = self
            .eval(Script::Membership, 1 + 4 * tasks.len(), |cmd| {
                cmd.arg(self.keys.due());
                for (id, task) in tasks {
                    cmd.arg(self.keys.task(*id));
                    cmd.arg(self.keys.ready(&task.queue, task.priority));
                    cmd.arg(self.keys.parked(&task.queue, &task.task_type));
                    cmd.arg(self.keys.dlq(&task.queue));
                }
                for (id, _) in tasks {
                    cmd.arg(id.to_string());
                }
            })
            .await?;
        let reader = Reader("membership");
        reader
            .list(reply)?
            .into_iter()
            .map(|answer| {
                let [record, due, ready, parked, dead] = reader.tuple::<5>(answer)?;
                // One that cannot be read must not hide the others.
                let (record, unreadable) = match Record::read(reader.pairs(record)?) {
                    Ok(record) => (record, None),
                    Err(error) => (None, Some(error.to_string())),
                };
                Ok(Standing {
                    record,
                    unreadable,
                    due: reader.number(due)? == 1,
                    ready: reader.number(ready)? == 1,
                    parked: reader.number(parked)? == 1,
                    dead: reader.number(dead)? == 1,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{ViewContent, digest};

    fn content(places: &[(&str, &str, &str)]) -> ViewContent {
        let mut content = ViewContent::new();
        for (key, field, value) in places {
            let fields = content.entry((*key).to_owned()).or_default();
            fields.insert((*field).to_owned(), (*value).to_owned());
        }
        content
    }

    #[test]
    fn a_digest_tells_every_difference_apart() {
        let one = digest(&content(&[("k", "a", "1"), ("k", "b", "2")]));
        assert_eq!(one, digest(&content(&[("k", "b", "2"), ("k", "a", "1")])));
        for other in [
            content(&[("k", "a", "2"), ("k", "b", "1")]),
            content(&[("k", "a", "1")]),
            content(&[("k", "a1", ""), ("k", "b", "2")]),
            content(&[("ka", "", "1"), ("k", "b", "2")]),
        ] {
            assert_ne!(one, digest(&other));
        }
    }
}
