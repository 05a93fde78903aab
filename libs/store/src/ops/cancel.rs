use taskweir_domain::{Event, TaskId};

use super::GROUP;
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, Record, StoreError};

/// A task to be cancelled, as it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Cancellation {
    /// The task.
    pub id: TaskId,
    /// Nonce of the request: the same one again answers the first outcome.
    pub nonce: String,
    /// The record as seen.
    pub record: Record,
    /// `Cancelled` or `CancelRequested`, as decided from it.
    pub event: Event,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// Ended.
    Cancelled,
    /// Its worker is being told.
    Requested,
    /// The record changed meanwhile: decide again.
    Changed,
}

impl Partition {
    /// Cancels waiting tasks at once, and asks the workers of running ones.
    ///
    /// # Errors
    /// Redis is away. The same call again is safe.
    pub async fn cancel(&self, batch: &[Cancellation]) -> Result<Vec<CancelOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let reply = self
            .eval(Script::Cancel, 4 + 6 * batch.len(), |cmd| {
                cmd.arg(self.keys.log())
                    .arg(self.keys.due())
                    .arg(self.keys.expiry())
                    .arg(self.keys.meta());
                for Cancellation { id, record, .. } in batch {
                    let task = &record.task;
                    let worker = record.holder.as_ref().map_or("", |holder| holder.worker());
                    cmd.arg(self.keys.task(*id)).arg(self.keys.data(*id));
                    cmd.arg(self.keys.ready(&task.queue, task.priority));
                    cmd.arg(self.keys.parked(&task.queue, &task.task_type));
                    cmd.arg(self.keys.signal(worker));
                    cmd.arg(self.keys.unique_or(record.unique.as_deref(), *id));
                }
                cmd.arg(GROUP).arg(self.limits.retention_ms);
                for Cancellation {
                    id,
                    nonce,
                    record,
                    event,
                } in batch
                {
                    let holder = record.holder.as_ref().map_or("", |holder| holder.as_str());
                    cmd.arg(id.to_string()).arg(nonce);
                    cmd.arg(record.task.status().as_str()).arg(&record.work);
                    cmd.arg(event.body()).arg(format!("{id} {holder}"));
                }
            })
            .await?;
        Reader("cancel").words(reply, batch.len(), |word| match word {
            "cancelled" => Some(CancelOutcome::Cancelled),
            "requested" => Some(CancelOutcome::Requested),
            "changed" => Some(CancelOutcome::Changed),
            _ => None,
        })
    }
}
