use taskweir_domain::{Position, Recorded, TaskDetail, TaskId};

use crate::base::read_detail;
use crate::log::{LogEntry, read_entries};
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, Record, StoreError};

/// A task's record and events, read in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The record; `None` where there is none.
    pub record: Option<Record>,
    /// The task as retention has left it, where its first events were cut.
    pub base: Option<TaskDetail>,
    /// Where the base stands.
    pub base_position: Position,
    /// Its events since, oldest first.
    pub entries: Vec<LogEntry>,
}

impl History {
    /// Its events since the base, without those that this program cannot read.
    #[must_use]
    pub fn decoded(&self) -> Vec<Recorded> {
        let entries = self.entries.iter();
        entries.filter_map(|entry| entry.decode().ok()).collect()
    }
}

/// Most events that one call reads: about ten milliseconds of Redis' time.
const MAX_EVENTS: usize = 2_000;

/// A task's history while it is read, newest first.
struct Reading {
    record: Option<Record>,
    entries: Vec<LogEntry>,
    /// Where to go on; `None` at its end.
    from: Option<String>,
    base: Option<TaskDetail>,
    base_position: Position,
}

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
        let mut readings: Vec<Reading> = tasks
            .iter()
            .map(|(_, position)| Reading {
                record: None,
                entries: Vec::new(),
                from: Some(
                    position
                        .map(|position| position.to_string())
                        .unwrap_or_default(),
                ),
                base: None,
                base_position: Position::ZERO,
            })
            .collect();
        let mut first = true;
        loop {
            let open: Vec<usize> = (0..tasks.len())
                .filter(|i| readings[*i].from.is_some())
                .collect();
            if open.is_empty() {
                break;
            }
            self.read_on(tasks, &open, &mut readings, first).await?;
            first = false;
        }
        Ok(readings
            .into_iter()
            .map(|mut reading| {
                reading.entries.reverse();
                if let Some(base) = &reading.base {
                    // The log may have been cut while a long history was read.
                    let last = base.task.last;
                    reading.entries.retain(|entry| entry.position > last);
                }
                History {
                    record: reading.record,
                    base: reading.base,
                    base_position: reading.base_position,
                    entries: reading.entries,
                }
            })
            .collect())
    }

    /// Reads the open histories on by one call. The record is taken from the first call, which read
    /// it in one step with the latest events.
    async fn read_on(
        &self,
        tasks: &[(TaskId, Option<Position>)],
        open: &[usize],
        readings: &mut [Reading],
        first: bool,
    ) -> Result<(), StoreError> {
        let reply = self
            .eval(Script::History, 2 + open.len(), |cmd| {
                cmd.arg(self.keys.log()).arg(self.keys.base());
                for i in open {
                    cmd.arg(self.keys.task(tasks[*i].0));
                }
                cmd.arg(MAX_EVENTS);
                for i in open {
                    cmd.arg(readings[*i].from.as_deref().unwrap_or_default());
                    cmd.arg(tasks[*i].0.to_string());
                }
            })
            .await?;
        let reader = Reader("history");
        let mut answers = reader.list(reply)?.into_iter();
        let base_position = reader.position(answers.next().unwrap_or(redis::Value::Nil))?;
        for (i, answer) in open.iter().zip(answers) {
            let [record, entries, from, base] = reader.tuple::<4>(answer)?;
            let reading = &mut readings[*i];
            reading.base_position = base_position;
            let base = reader.text(base)?;
            if !base.is_empty() {
                reading.base = Some(read_detail(&base)?);
            }
            if first {
                reading.record = Record::read(reader.pairs(record)?)?;
            }
            reading.entries.extend(read_entries(entries)?.entries);
            reading.from = Some(reader.text(from)?).filter(|from| !from.is_empty());
        }
        Ok(())
    }

    /// Records of tasks; `None` where there is none, or where it cannot be read: one damaged record
    /// must not spoil a page of others. That is logged.
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
        let mut connection = self.link.get();
        let answers: Vec<redis::Value> = pipe.query_async(&mut connection).await?;
        let reader = Reader("task record");
        let read = |answer| reader.pairs(answer).and_then(Record::read);
        let readable = |(answer, id): (redis::Value, &TaskId)| {
            read(answer).unwrap_or_else(|error| {
                tracing::error!(task.id = %id, %error, "a record cannot be read");
                None
            })
        };
        Ok(answers.into_iter().zip(ids).map(readable).collect())
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
        let mut connection = self.link.get();
        Ok(redis::cmd("GET")
            .arg(key)
            .query_async(&mut connection)
            .await?)
    }
}
