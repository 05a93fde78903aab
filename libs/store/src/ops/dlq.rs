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
    /// Tasks that gave up before an instant, the oldest of each queue first, up to `most` in all.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn dead_before(
        &self,
        queues: &[QueueName],
        before_ms: u64,
        most: usize,
    ) -> Result<Vec<TaskId>, StoreError> {
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
        for page in pages {
            for entry in Reader("dead letters").entries(page)? {
                let id = entry.fields.iter().find(|(name, _)| name == "i");
                found.extend(id.and_then(|(_, id)| id.parse::<TaskId>().ok()));
            }
        }
        found.truncate(most);
        Ok(found)
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
