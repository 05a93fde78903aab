use redis::Value;
use taskweir_domain::{Priority, QueueName, TaskId};

use super::lua_index;
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError, StreamSet, clock};

/// A task that may be due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// The task.
    pub id: TaskId,
    /// Its queue and class; `None` where it has no record.
    pub place: Option<(QueueName, Priority)>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromoteOutcome {
    /// Ready now.
    Done,
    /// Its time has not come.
    Early,
    /// Another promoter was faster.
    Absent,
    /// No such waiting task: taken out of `due`.
    Stale,
}

impl Partition {
    /// Up to `count` tasks whose time has come by Redis' clock, and when the next one is due, in
    /// ms from now (`None`: nothing waits).
    ///
    /// # Errors
    /// Redis is away.
    pub async fn due(&self, count: usize) -> Result<(Vec<Promotion>, Option<u64>), StoreError> {
        let reader = Reader("due");
        let mut connection = self.link.get();
        let (time, first): ((u64, u64), Value) = redis::pipe()
            .cmd("TIME")
            .cmd("ZRANGE")
            .arg(self.keys.due())
            .arg(0)
            .arg(count)
            .arg("WITHSCORES")
            .query_async(&mut connection)
            .await?;
        let now = clock::redis_ms(time);
        let (mut due, mut strangers) = (Vec::new(), Vec::new());
        let mut next = None;
        for (id, score) in reader.pairs(first)? {
            let at = score
                .parse::<f64>()
                .map_err(|_| reader.error("a score is no number"))? as u64;
            if at > now || due.len() == count {
                next = Some(at.saturating_sub(now));
                break;
            }
            match id.parse::<TaskId>() {
                Ok(id) => due.push(id),
                Err(_) => strangers.push(id),
            }
        }
        self.drop_strangers(&self.keys.due(), &strangers).await?;
        let mut pipe = redis::pipe();
        for id in &due {
            pipe.cmd("HMGET").arg(self.keys.task(*id)).arg(&["q", "p"]);
        }
        let places: Vec<Vec<Option<String>>> = if due.is_empty() {
            Vec::new()
        } else {
            pipe.query_async(&mut connection).await?
        };
        let promotions = due
            .into_iter()
            .zip(places)
            .map(|(id, place)| {
                let mut fields = place.into_iter().map(Option::unwrap_or_default);
                let queue = fields.next().and_then(|text| text.parse().ok());
                let priority = fields.next().and_then(|text| text.parse().ok());
                Promotion {
                    id,
                    place: queue.zip(priority),
                }
            })
            .collect();
        Ok((promotions, next))
    }

    /// Moves what is due to the ready streams.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn promote(&self, batch: &[Promotion]) -> Result<Vec<PromoteOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut set = StreamSet::default();
        let nowhere = (QueueName::default(), Priority::default());
        let streams: Vec<usize> = batch
            .iter()
            .map(|task| {
                let (queue, priority) = task.place.as_ref().unwrap_or(&nowhere);
                set.index_of(&self.keys, queue, *priority)
            })
            .collect();
        let reply = self
            .eval(Script::Promote, 2 + set.len() + batch.len(), |cmd| {
                cmd.arg(self.keys.log())
                    .arg(self.keys.due())
                    .arg(set.keys());
                for task in batch {
                    cmd.arg(self.keys.task(task.id));
                }
                cmd.arg(set.len());
                for (task, stream) in batch.iter().zip(&streams) {
                    cmd.arg(task.id.to_string()).arg(lua_index(*stream));
                }
            })
            .await?;
        Reader("promote").words(reply, batch.len(), |word| match word {
            "done" => Some(PromoteOutcome::Done),
            "early" => Some(PromoteOutcome::Early),
            "absent" => Some(PromoteOutcome::Absent),
            "stale" => Some(PromoteOutcome::Stale),
            _ => None,
        })
    }

    /// Waits for the wake-up token that says an earlier task is due; at most `wait_ms`.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn await_tick(&self, wait_ms: u64) -> Result<(), StoreError> {
        let seconds = (wait_ms.clamp(1, 5_000) as f64) / 1_000.0;
        let mut cmd = redis::cmd("BLPOP");
        cmd.arg(self.keys.tick()).arg(seconds);
        self.blocking(&cmd).await.map(drop)
    }
}
