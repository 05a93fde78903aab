use taskweir_domain::{Ask, Bulk, DlqRemoved, DlqRetried, Event, Priority, QueueName, TaskId};

use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError};

/// A dead letter somebody acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DlqAction {
    /// The task.
    pub id: TaskId,
    /// Its queue.
    pub queue: QueueName,
    /// Its class.
    pub priority: Priority,
    /// Hash of the task's unique key.
    pub unique: Option<String>,
    /// Nonce of the request: the same one again answers the first outcome.
    pub nonce: String,
    /// Who acts, and why.
    pub ask: Ask,
    /// What it is part of.
    pub bulk: Option<Bulk>,
}

/// An entry of the dead letters of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadEntry {
    /// The queue.
    pub queue: QueueName,
    /// The entry's own id.
    pub entry: String,
    /// The task it is of; `None` where it names none.
    pub id: Option<TaskId>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionOutcome {
    /// Done, by this call or by an earlier one with the same nonce.
    Done,
    /// The task is not among the dead letters.
    Changed,
}

/// What became of a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOutcome {
    /// Done, by this call or by an earlier one with the same nonce.
    Done,
    /// The task is not among the dead letters.
    Changed,
    /// This task holds its unique key now.
    Taken(TaskId),
}

fn outcome(word: &str) -> Option<ActionOutcome> {
    match word {
        "done" => Some(ActionOutcome::Done),
        "changed" => Some(ActionOutcome::Changed),
        _ => None,
    }
}

impl Partition {
    /// Entries of the dead letters from before an instant, the oldest of each queue first, up to `most` in all.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn dead_before(
        &self,
        queues: &[QueueName],
        before_ms: u64,
        most: usize,
    ) -> Result<Vec<DeadEntry>, StoreError> {
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for queue in queues {
            let range = pipe.cmd("XRANGE").arg(self.keys.dlq(queue)).arg("-");
            range.arg(format!("({before_ms}-0")).arg("COUNT").arg(most);
        }
        let pages: Vec<redis::Value> = pipe.query_async(&mut self.link.get()).await?;
        let mut found = Vec::new();
        for (queue, page) in queues.iter().zip(pages) {
            for entry in Reader("dead letters").entries(page)? {
                let id = entry.fields.iter().find(|(name, _)| name == "i");
                found.push(DeadEntry {
                    queue: queue.clone(),
                    id: id.and_then(|(_, id)| id.parse().ok()),
                    entry: entry.id,
                });
            }
        }
        found.truncate(most);
        Ok(found)
    }

    /// Removes entries of the dead letters that no task knows of: a task that gives up again has another entry.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn drop_dead(&self, strays: &[DeadEntry]) -> Result<(), StoreError> {
        if strays.is_empty() {
            return Ok(());
        }
        let mut pipe = redis::pipe();
        for stray in strays {
            pipe.cmd("XDEL")
                .arg(self.keys.dlq(&stray.queue))
                .arg(&stray.entry);
        }
        pipe.query_async::<()>(&mut self.link.get()).await?;
        let count = strays.len();
        tracing::warn!(
            count,
            "entries of dead letters that no task knows of were removed"
        );
        Ok(())
    }

    /// Brings dead letters back to pending with a fresh budget.
    ///
    /// # Errors
    /// Redis is away. The same call again is safe.
    pub async fn dlq_retry(&self, batch: &[DlqAction]) -> Result<Vec<RetryOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let reply = self
            .eval(Script::DlqRetry, 1 + 4 * batch.len(), |cmd| {
                cmd.arg(self.keys.log());
                for action in batch {
                    cmd.arg(self.keys.task(action.id))
                        .arg(self.keys.dlq(&action.queue));
                    cmd.arg(self.keys.ready(&action.queue, action.priority));
                    cmd.arg(self.keys.unique_or(action.unique.as_deref(), action.id));
                }
                for action in batch {
                    let (Ask { actor, reason }, bulk) = (action.ask.clone(), action.bulk.clone());
                    cmd.arg(action.id.to_string()).arg(&action.nonce);
                    cmd.arg(
                        Event::from(DlqRetried {
                            actor,
                            reason,
                            bulk,
                        })
                        .body(),
                    );
                }
            })
            .await?;
        let reader = Reader("dlq_retry");
        let answers = reader.list(reply)?;
        answers
            .into_iter()
            .map(|answer| {
                let mut parts = reader.list(answer)?.into_iter();
                let mut next = || parts.next().unwrap_or(redis::Value::Nil);
                Ok(match reader.text(next())?.as_str() {
                    "done" => RetryOutcome::Done,
                    "changed" => RetryOutcome::Changed,
                    "taken" => RetryOutcome::Taken(reader.id(next())?),
                    other => return Err(reader.error(format!("unknown answer {other:?}"))),
                })
            })
            .collect()
    }

    /// Removes dead letters for good; their history stays.
    ///
    /// # Errors
    /// Redis is away. The same call again is safe.
    pub async fn dlq_remove(&self, batch: &[DlqAction]) -> Result<Vec<ActionOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let reply = self
            .eval(Script::DlqRemove, 1 + 3 * batch.len(), |cmd| {
                cmd.arg(self.keys.log());
                for action in batch {
                    cmd.arg(self.keys.task(action.id))
                        .arg(self.keys.data(action.id));
                    cmd.arg(self.keys.dlq(&action.queue));
                }
                cmd.arg(self.limits.retention_ms);
                for action in batch {
                    let (Ask { actor, reason }, bulk) = (action.ask.clone(), action.bulk.clone());
                    cmd.arg(action.id.to_string()).arg(&action.nonce);
                    cmd.arg(
                        Event::from(DlqRemoved {
                            actor,
                            reason,
                            bulk,
                        })
                        .body(),
                    );
                }
            })
            .await?;
        Reader("dlq_remove").words(reply, batch.len(), outcome)
    }
}
