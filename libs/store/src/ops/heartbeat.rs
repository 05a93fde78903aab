use taskweir_domain::{Fence, TaskId};

use super::{GROUP, lua_index};
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError, StreamSet};

/// A task whose lease is to be renewed.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    /// The task.
    pub id: TaskId,
    /// Index of its stream.
    pub stream: usize,
    /// Its entry id.
    pub entry: String,
    /// The right to hold it.
    pub fence: Fence,
}

/// What the record says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatState {
    /// Held, lease renewed.
    Held,
    /// Held, lease renewed, and a person asked to cancel it.
    Cancelling,
    /// Not held any more: stop the handler.
    Lost,
}

impl Partition {
    /// Renews leases.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn heartbeat(
        &self,
        streams: &StreamSet,
        consumer: &str,
        batch: &[Beat],
    ) -> Result<Vec<HeartbeatState>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let call = || {
            self.eval(Script::Heartbeat, streams.len() + batch.len(), |cmd| {
                cmd.arg(streams.keys());
                for beat in batch {
                    cmd.arg(self.keys.task(beat.id));
                }
                cmd.arg(GROUP).arg(consumer).arg(streams.len());
                for beat in batch {
                    cmd.arg(lua_index(beat.stream)).arg(&beat.entry);
                    cmd.arg(beat.fence.attempt).arg(beat.fence.holder.as_str());
                }
            })
        };
        let reply = match call().await {
            Err(error) if error.is_no_group() => {
                self.heal_groups(streams).await?;
                call().await?
            }
            other => other?,
        };
        Reader("heartbeat").words(reply, batch.len(), |word| match word {
            "held" => Some(HeartbeatState::Held),
            "cancelling" => Some(HeartbeatState::Cancelling),
            "lost" => Some(HeartbeatState::Lost),
            _ => None,
        })
    }
}
