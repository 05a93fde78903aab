//! What people do to tasks and queues, over all partitions and until it is done.

use taskweir_domain::{Actor, Command, Position, QueueName, Rejection, Status, TaskId, decide};

use crate::ops::{CancelOutcome, Cancellation, Pause, PauseOutcome};
use crate::{Store, StoreError, entropy};

/// What became of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// Ended.
    Now,
    /// It runs; its handler is told within a second.
    Requested,
    /// It has ended already.
    Ended(Status),
    /// No such task.
    NotFound,
}

/// How often a decision is made anew because the task changed meanwhile.
const MAX_DECISIONS: usize = 20;

impl Store {
    /// Cancels a task.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn cancel(&self, id: TaskId, actor: &Actor) -> Result<Cancelled, StoreError> {
        let Some(partition) = self.partition_of(id) else {
            return Ok(Cancelled::NotFound);
        };
        let nonce = entropy::nonce();
        for _ in 0..MAX_DECISIONS {
            let Some(record) = partition.records(&[id]).await?.remove(0) else {
                return Ok(Cancelled::NotFound);
            };
            let event = match decide(Some(&record.task), &Command::Cancel(actor.clone()), 0) {
                Ok(mut events) => events.remove(0),
                Err(Rejection::AlreadyCancelling) => return Ok(Cancelled::Requested),
                Err(_) => return Ok(Cancelled::Ended(record.task.status())),
            };
            let batch = [Cancellation {
                id,
                nonce: nonce.clone(),
                record,
                event,
            }];
            // The nonce makes a second try safe where the first one's reply was lost.
            let outcomes = match partition.cancel(&batch).await {
                Err(error) if error.is_transient() => partition.cancel(&batch).await?,
                other => other?,
            };
            match outcomes.first() {
                Some(CancelOutcome::Cancelled) => return Ok(Cancelled::Now),
                Some(CancelOutcome::Requested) => return Ok(Cancelled::Requested),
                // It moved on meanwhile: decide again.
                Some(CancelOutcome::Changed) | None => {}
            }
        }
        Err(StoreError::reply(
            "cancel",
            "the task changed faster than it could be cancelled",
        ))
    }

    /// Pauses or resumes a queue in every partition. Partition 0 decides; what the others miss through
    /// a crash in between is repaired by [`Store::repair_pauses`].
    ///
    /// # Errors
    /// Redis is away.
    pub async fn pause(
        &self,
        queue: &QueueName,
        paused: bool,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        let nonce = entropy::nonce();
        let mut epoch = None;
        for partition in self.partitions() {
            let pause = [Pause {
                queue: queue.clone(),
                paused,
                nonce: nonce.clone(),
                epoch,
                actor: actor.clone(),
            }];
            let outcomes = match partition.pause(&pause).await {
                Err(error) if error.is_transient() => partition.pause(&pause).await?,
                other => other?,
            };
            if epoch.is_none() {
                epoch = match outcomes.first() {
                    Some(PauseOutcome::Done(at) | PauseOutcome::Repeated(at)) => Some(*at),
                    // It is so already: the others are made to agree by the repair.
                    _ => return self.repair_pauses().await,
                };
            }
        }
        Ok(())
    }

    /// Makes every partition agree with partition 0 on which queues are paused.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn repair_pauses(&self) -> Result<(), StoreError> {
        let mut partitions = self.partitions();
        let first = partitions.remove(0).queue_flags().await?;
        for partition in partitions {
            let flags = partition.queue_flags().await?;
            let behind = |queue: &&QueueName| first.epochs.get(*queue) > flags.epochs.get(*queue);
            let behind: Vec<QueueName> = first.epochs.keys().filter(behind).cloned().collect();
            for queue in behind {
                let epoch: Option<Position> = first.epochs.get(&queue).copied();
                let pause = Pause {
                    paused: first.paused.contains_key(&queue),
                    nonce: entropy::nonce(),
                    epoch,
                    actor: Actor("scheduler".to_owned()),
                    queue,
                };
                partition.pause(&[pause]).await?;
            }
        }
        Ok(())
    }
}
