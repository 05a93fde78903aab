use taskweir_domain::{Event, Fence, TaskId};

use super::{GROUP, lua_index};
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError, StreamSet};

/// A running task to be given back.
#[derive(Debug, Clone, PartialEq)]
pub struct Releasing {
    /// The task.
    pub id: TaskId,
    /// Index of its stream.
    pub stream: usize,
    /// The right to give it back.
    pub fence: Fence,
    /// The caller decided knowing that a person asked to cancel.
    pub cancelling: bool,
    /// Hash of the task's unique key.
    pub unique: Option<String>,
    /// `Released`, as decided.
    pub event: Event,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// Given back (or cancelled, where a person had asked for it).
    Done,
    /// Given back or settled before.
    Repeated,
    /// Another attempt or holder has it.
    Late,
    /// A person asked to cancel meanwhile: decide again.
    Changed,
}

impl Partition {
    /// Gives running tasks back, at no cost to them.
    ///
    /// # Errors
    /// Redis is away. The same call again is safe.
    pub async fn release(
        &self,
        streams: &StreamSet,
        batch: &[Releasing],
    ) -> Result<Vec<ReleaseOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let keys = 1 + streams.len() + 3 * batch.len();
        let reply = self
            .eval(Script::Release, keys, |cmd| {
                cmd.arg(self.keys.log()).arg(streams.keys());
                for task in batch {
                    cmd.arg(self.keys.task(task.id))
                        .arg(self.keys.data(task.id));
                    cmd.arg(self.keys.unique_or(task.unique.as_deref(), task.id));
                }
                cmd.arg(GROUP)
                    .arg(self.limits.retention_ms)
                    .arg(streams.len());
                for task in batch {
                    cmd.arg(task.id.to_string()).arg(lua_index(task.stream));
                    cmd.arg(task.fence.attempt).arg(task.fence.holder.as_str());
                    cmd.arg(u8::from(task.cancelling)).arg(task.event.body());
                }
            })
            .await?;
        Reader("release").words(reply, batch.len(), |word| match word {
            "done" => Some(ReleaseOutcome::Done),
            "repeated" => Some(ReleaseOutcome::Repeated),
            "late" => Some(ReleaseOutcome::Late),
            "changed" => Some(ReleaseOutcome::Changed),
            _ => None,
        })
    }
}
