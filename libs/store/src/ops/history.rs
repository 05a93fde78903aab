use taskweir_domain::{Position, TaskId};

use crate::log::{LogEntry, read_entries};
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, Record, StoreError};

/// A task's record and events, read in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The record; `None` where there is none.
    pub record: Option<Record>,
    /// Its events, oldest first.
    pub entries: Vec<LogEntry>,
    /// Whether `entries` reach back to the task's first event.
    pub complete: bool,
}

/// Most events of one task that are read at once.
const MAX_EVENTS: usize = 10_000;

impl Partition {
    /// The record and the whole history of each task.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn histories(&self, ids: &[TaskId]) -> Result<Vec<History>, StoreError> {
        let from: Vec<(TaskId, Option<Position>)> = ids.iter().map(|id| (*id, None)).collect();
        self.histories_up_to(&from).await
    }

    /// The record and the history of each task up to a position (`None`: its latest event).
    ///
    /// # Errors
    /// Redis is away.
    pub async fn histories_up_to(
        &self,
        tasks: &[(TaskId, Option<Position>)],
    ) -> Result<Vec<History>, StoreError> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let reply = self
            .eval(Script::History, 1 + tasks.len(), |cmd| {
                cmd.arg(self.keys.log());
                for (id, _) in tasks {
                    cmd.arg(self.keys.task(*id));
                }
                cmd.arg(MAX_EVENTS);
                for (_, position) in tasks {
                    cmd.arg(
                        position
                            .map(|position| position.to_string())
                            .unwrap_or_default(),
                    );
                }
            })
            .await?;
        let reader = Reader("history");
        reader
            .list(reply)?
            .into_iter()
            .map(|answer| {
                let [record, entries] = reader.tuple::<2>(answer)?;
                let record = Record::read(reader.pairs(record)?)?;
                let mut entries = read_entries(entries)?.entries;
                entries.reverse();
                Ok(History {
                    record,
                    complete: entries.first().is_some_and(|entry| entry.b.is_empty()),
                    entries,
                })
            })
            .collect()
    }

    /// Records of tasks; `None` where there is none.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn records(&self, ids: &[TaskId]) -> Result<Vec<Option<Record>>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for id in ids {
            pipe.cmd("HGETALL").arg(self.keys.task(*id));
        }
        let mut connection = self.connection.clone();
        let answers: Vec<redis::Value> = pipe.query_async(&mut connection).await?;
        let reader = Reader("task record");
        answers
            .into_iter()
            .map(|answer| Record::read(reader.pairs(answer)?))
            .collect()
    }

    /// The payload of a task that is kept beside the log; `None` where it is gone.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn stored_data(&self, id: TaskId) -> Result<Option<String>, StoreError> {
        self.text(self.keys.data(id)).await
    }

    /// The result of a task that is kept beside the log; `None` where it is gone.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn stored_result(&self, id: TaskId) -> Result<Option<String>, StoreError> {
        self.text(self.keys.result(id)).await
    }

    async fn text(&self, key: String) -> Result<Option<String>, StoreError> {
        let mut connection = self.connection.clone();
        Ok(redis::cmd("GET")
            .arg(key)
            .query_async(&mut connection)
            .await?)
    }
}
