use taskweir_domain::TaskId;

use super::{GROUP, lua_index};
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError, StreamSet};

/// An entry to be given back unused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclaiming {
    /// Its task.
    pub id: TaskId,
    /// Index of its stream.
    pub stream: usize,
    /// Its entry id.
    pub entry: String,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnclaimOutcome {
    /// Back in its stream, as long waiting as before.
    Done,
    /// Another holder runs it: left to that one.
    Held,
    /// Pending under another name.
    NotMine,
    /// Its record does not name it: removed.
    Stale,
}

impl Partition {
    /// Gives received entries back.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn unclaim(
        &self,
        streams: &StreamSet,
        consumer: &str,
        batch: &[Unclaiming],
    ) -> Result<Vec<UnclaimOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let reply = self
            .eval(Script::Unclaim, 1 + streams.len() + batch.len(), |cmd| {
                cmd.arg(self.keys.log()).arg(streams.keys());
                for task in batch {
                    cmd.arg(self.keys.task(task.id));
                }
                cmd.arg(GROUP).arg(consumer).arg(streams.len());
                for task in batch {
                    cmd.arg(task.id.to_string())
                        .arg(lua_index(task.stream))
                        .arg(&task.entry);
                }
            })
            .await?;
        Reader("unclaim").words(reply, batch.len(), |word| match word {
            "done" => Some(UnclaimOutcome::Done),
            "held" => Some(UnclaimOutcome::Held),
            "not_mine" => Some(UnclaimOutcome::NotMine),
            "stale" => Some(UnclaimOutcome::Stale),
            _ => None,
        })
    }

    /// The fields of a ready entry as its task; `None` where it is gone or malformed.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn task_of_entry(
        &self,
        streams: &StreamSet,
        stream: usize,
        entry: &str,
    ) -> Result<Option<TaskId>, StoreError> {
        let mut connection = self.link.get();
        let value: redis::Value = redis::cmd("XRANGE")
            .arg(&streams.keys()[stream])
            .arg(entry)
            .arg(entry)
            .query_async(&mut connection)
            .await?;
        let found = Reader("ready stream").entries(value)?.pop();
        Ok(found.and_then(|entry| {
            super::claim::read_work(&entry.id, &entry.fields).map(|work| work.id)
        }))
    }
}
