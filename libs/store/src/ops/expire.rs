use redis::Value;
use taskweir_domain::{Priority, QueueName, TaskId};

use super::GROUP;
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, Record, StoreError, clock};

/// A task that may have to expire.
#[derive(Debug, Clone, PartialEq)]
pub struct Expiring {
    /// The task.
    pub id: TaskId,
    /// Its record; `None` where there is none.
    pub record: Option<Record>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpireOutcome {
    /// Ended.
    Done,
    /// Its time has not come.
    Early,
    /// Started, ended, or expired by another instance.
    Absent,
    /// Started or ended: no longer watched.
    Stale,
}

impl Partition {
    /// Up to `count` tasks whose time to start has passed by Redis' clock.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn expiring(&self, count: usize) -> Result<Vec<Expiring>, StoreError> {
        let reader = Reader("expiry");
        let mut connection = self.link.get();
        let (time, first): ((u64, u64), Value) = redis::pipe()
            .cmd("TIME")
            .cmd("ZRANGE")
            .arg(self.keys.expiry())
            .arg(0)
            .arg(count.saturating_sub(1))
            .arg("WITHSCORES")
            .query_async(&mut connection)
            .await?;
        let now = clock::redis_ms(time);
        let (mut ids, mut strangers) = (Vec::new(), Vec::new());
        for (id, score) in reader.pairs(first)? {
            let at: f64 = score
                .parse()
                .map_err(|_| reader.error("a score is no number"))?;
            if at as u64 >= now {
                break;
            }
            match id.parse::<TaskId>() {
                Ok(id) => ids.push(id),
                Err(_) => strangers.push(id),
            }
        }
        self.drop_strangers(&self.keys.expiry(), &strangers).await?;
        self.look_up(&ids).await
    }

    /// Tasks with their records, to be expired.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn look_up(&self, ids: &[TaskId]) -> Result<Vec<Expiring>, StoreError> {
        let records = self.records(ids).await?;
        let pairs = ids.iter().zip(records);
        Ok(pairs
            .map(|(id, record)| Expiring { id: *id, record })
            .collect())
    }

    /// Ends tasks that were not started in time.
    ///
    /// # Errors
    /// Redis is away. The same call again is safe.
    pub async fn expire(&self, batch: &[Expiring]) -> Result<Vec<ExpireOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let reply = self
            .eval(Script::Expire, 4 + 5 * batch.len(), |cmd| {
                cmd.arg(self.keys.log())
                    .arg(self.keys.expiry())
                    .arg(self.keys.due())
                    .arg(self.keys.meta());
                for Expiring { id, record } in batch {
                    cmd.arg(self.keys.task(*id)).arg(self.keys.data(*id));
                    match record {
                        Some(Record { task, unique, .. }) => {
                            cmd.arg(self.keys.ready(&task.queue, task.priority));
                            cmd.arg(self.keys.parked(&task.queue, &task.task_type));
                            cmd.arg(self.keys.unique_or(unique.as_deref(), *id));
                        }
                        None => {
                            cmd.arg(self.keys.ready(&QueueName::default(), Priority::Normal));
                            cmd.arg(self.keys.task(*id)).arg(self.keys.task(*id));
                        }
                    }
                }
                cmd.arg(GROUP).arg(self.limits.retention_ms);
                for expiring in batch {
                    cmd.arg(expiring.id.to_string());
                }
            })
            .await?;
        Reader("expire").words(reply, batch.len(), |word| match word {
            "done" => Some(ExpireOutcome::Done),
            "early" => Some(ExpireOutcome::Early),
            "absent" => Some(ExpireOutcome::Absent),
            "stale" => Some(ExpireOutcome::Stale),
            _ => None,
        })
    }
}
