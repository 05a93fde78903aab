use redis::Value;
use taskweir_domain::{Event, Priority, QueueName, ReleaseReason, Released, TaskId, TaskType};

use super::{GROUP, lua_index};
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError, StreamSet};

/// A received entry of a type that the worker does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parking {
    /// The task.
    pub id: TaskId,
    /// Its type.
    pub task_type: TaskType,
    /// Index of its stream.
    pub stream: usize,
    /// Its entry id.
    pub entry: String,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkOutcome {
    /// Put aside.
    Done,
    /// It was put aside before.
    Repeated,
    /// Another holder runs it.
    Held,
    /// Its record does not name this entry: removed.
    Stale,
}

/// What became of a parked task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnparkOutcome {
    /// Ready again.
    Done,
    /// Another worker was faster.
    Absent,
    /// Not a parked task any more: removed from the set.
    Stale,
}

impl Partition {
    /// Puts tasks of an unknown type aside.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn park(
        &self,
        streams: &StreamSet,
        batch: &[Parking],
    ) -> Result<Vec<ParkOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let body = Event::from(Released {
            reason: ReleaseReason::UnknownType,
            attempt: None,
            holder: None,
        })
        .body();
        let keys = 2 + streams.len() + 2 * batch.len();
        let reply = self
            .eval(Script::Park, keys, |cmd| {
                cmd.arg(self.keys.log()).arg(self.keys.meta());
                cmd.arg(streams.keys());
                for task in batch {
                    let queue = &streams.get(task.stream).queue;
                    cmd.arg(self.keys.task(task.id));
                    cmd.arg(self.keys.parked(queue, &task.task_type));
                }
                cmd.arg(GROUP).arg(streams.len());
                for task in batch {
                    cmd.arg(task.id.to_string()).arg(lua_index(task.stream));
                    cmd.arg(&task.entry).arg(&body);
                }
            })
            .await?;
        Reader("park").words(reply, batch.len(), |word| match word {
            "done" => Some(ParkOutcome::Done),
            "repeated" => Some(ParkOutcome::Repeated),
            "held" => Some(ParkOutcome::Held),
            "stale" => Some(ParkOutcome::Stale),
            _ => None,
        })
    }

    /// Brings up to `count` parked tasks of a queue and type back to their ready streams.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn unpark(
        &self,
        queue: &QueueName,
        task_type: &TaskType,
        count: usize,
    ) -> Result<Vec<UnparkOutcome>, StoreError> {
        let parked = self.keys.parked(queue, task_type);
        let mut connection = self.link.get();
        let ids: Vec<String> = redis::cmd("ZRANGE")
            .arg(&parked)
            .arg(0)
            .arg(count.saturating_sub(1))
            .query_async(&mut connection)
            .await?;
        let (mut tasks, mut strangers) = (Vec::new(), Vec::new());
        for id in ids {
            match id.parse::<TaskId>() {
                Ok(id) => tasks.push(id),
                Err(_) => strangers.push(id),
            }
        }
        // Written by hand, they would stand before all that is behind them.
        self.drop_strangers(&parked, &strangers).await?;
        let ids = tasks;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for id in &ids {
            pipe.cmd("HGET").arg(self.keys.task(*id)).arg("p");
        }
        let priorities: Vec<Value> = pipe.query_async(&mut connection).await?;
        let set = StreamSet::of_queues(&self.keys, std::slice::from_ref(queue));
        let stream = |value: Value| {
            let text = Reader("task record").text(value).unwrap_or_default();
            let priority: Priority = text.parse().unwrap_or_default();
            Priority::ALL
                .iter()
                .position(|known| *known == priority)
                .unwrap_or(1)
        };
        let streams: Vec<usize> = priorities.into_iter().map(stream).collect();
        let reply = self
            .eval(Script::Unpark, 3 + set.len() + ids.len(), |cmd| {
                cmd.arg(self.keys.log()).arg(self.keys.meta());
                cmd.arg(&parked).arg(set.keys());
                for id in &ids {
                    cmd.arg(self.keys.task(*id));
                }
                cmd.arg(set.len()).arg(queue.as_str());
                for (id, stream) in ids.iter().zip(&streams) {
                    cmd.arg(id.to_string()).arg(lua_index(*stream));
                }
            })
            .await?;
        Reader("unpark").words(reply, ids.len(), |word| match word {
            "done" => Some(UnparkOutcome::Done),
            "absent" => Some(UnparkOutcome::Absent),
            "stale" => Some(UnparkOutcome::Stale),
            _ => None,
        })
    }
}
