use std::collections::BTreeSet;

use redis::Value;
use taskweir_domain::{Holder, QueueName, TaskId};

use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError, WorkerInfo};

/// What people want of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// Tasks to cancel, as they were told; name them in the next call once handled.
    pub signals: Vec<String>,
    /// Those of its queues that are paused.
    pub paused: BTreeSet<QueueName>,
}

impl Presence {
    pub(crate) fn read(reply: Value) -> Result<Self, StoreError> {
        let reader = Reader("presence");
        let [signals, paused] = reader.tuple::<2>(reply)?;
        let paused = reader.texts(paused)?;
        Ok(Self {
            signals: reader.texts(signals)?,
            paused: paused.iter().filter_map(|name| name.parse().ok()).collect(),
        })
    }

    /// What a signal asks to cancel: the task and its holder.
    #[must_use]
    pub fn read_signal(signal: &str) -> Option<(TaskId, Holder)> {
        let (id, holder) = signal.split_once(' ')?;
        Some((id.parse().ok()?, Holder::from_text(holder.to_owned())))
    }
}

impl Partition {
    /// Says that a worker lives, clears the signals it handled, and hears what people want.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn presence(
        &self,
        worker: &str,
        info: &WorkerInfo,
        handled: &[String],
    ) -> Result<Presence, StoreError> {
        let text = serde_json::to_string(info)
            .map_err(|error| Reader("presence").error(error.to_string()))?;
        let reply = self
            .eval(Script::Presence, 4, |cmd| {
                cmd.arg(self.keys.log()).arg(self.keys.workers());
                cmd.arg(self.keys.signal(worker)).arg(self.keys.meta());
                cmd.arg(worker).arg(&text);
                cmd.arg(info.queues.len()).arg(&info.queues).arg(handled);
            })
            .await?;
        Presence::read(reply)
    }
}
