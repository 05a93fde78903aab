//! What people do to tasks and queues, over all partitions and until it is done.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use taskweir_domain::{
    Actor, Ask, Command, Position, QueueName, Rejection, Status, TaskId, decide,
};

use crate::ops::{CancelOutcome, Cancellation, Pause, PauseOutcome};
use crate::{Partition, Store, StoreError, entropy};

/// Longest look at which queues a partition has paused, where all are made to agree.
const LOOK: Duration = Duration::from_secs(1);

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
    pub async fn cancel(&self, id: TaskId, ask: impl Into<Ask>) -> Result<Cancelled, StoreError> {
        let Some(partition) = self.partition_of(id) else {
            return Ok(Cancelled::NotFound);
        };
        let (nonce, command) = (entropy::nonce(), Command::Cancel(ask.into()));
        for _ in 0..MAX_DECISIONS {
            let Some(record) = partition.records(&[id]).await?.remove(0) else {
                return Ok(Cancelled::NotFound);
            };
            let event = match decide(Some(&record.task), &command, 0) {
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
    /// Redis is away, or the server of one partition is: the others know of it then.
    pub async fn pause(
        &self,
        queue: &QueueName,
        paused: bool,
        ask: impl Into<Ask>,
    ) -> Result<(), StoreError> {
        let ask = ask.into();
        let mut partitions = self.partitions();
        let first = partitions.remove(0);
        for _ in 0..2 {
            let mut pause = Pause {
                queue: queue.clone(),
                paused,
                nonce: entropy::nonce(),
                epoch: None,
                ask: ask.clone(),
            };
            if let Some(epoch) = pause_in(&first, &pause).await? {
                pause.epoch = Some(epoch);
                let mut missed = None;
                for partition in &partitions {
                    missed = pause_in(partition, &pause).await.err().or(missed);
                }
                return missed.map_or(Ok(()), Err);
            }
            // It is so already in partition 0. Another may know of a later decision, which a failover took from
            // that one: then it learns of it, and decides once more.
            let repaired = self.repair_pauses().await;
            if first.queue_flags().await?.paused.contains_key(queue) == paused {
                return repaired;
            }
        }
        Err(StoreError::reply(
            "pause",
            "partition 0 does not keep what it is told",
        ))
    }

    /// Makes every partition agree with the latest decision that any of them knows of, on which queues are paused.
    ///
    /// # Errors
    /// Redis is away, or the server of one partition is: the others agree then.
    pub async fn repair_pauses(&self) -> Result<(), StoreError> {
        let mut missed = None;
        let mut known = Vec::new();
        let mut latest: BTreeMap<QueueName, (Position, bool)> = BTreeMap::new();
        // All at once, and not for long: who is away must not hold up the others.
        let looks = self.partitions().into_iter().map(|partition| async move {
            let flags = tokio::time::timeout(LOOK, partition.queue_flags()).await;
            (partition, flags.unwrap_or_else(|_| Err(StoreError::away())))
        });
        for (partition, flags) in join_all(looks).await {
            let flags = match flags {
                Ok(flags) => flags,
                Err(error) => {
                    missed = Some(error);
                    continue;
                }
            };
            for (queue, epoch) in &flags.epochs {
                let told = (*epoch, flags.paused.contains_key(queue));
                let entry = latest.entry(queue.clone()).or_insert(told);
                if *epoch > entry.0 {
                    *entry = told;
                }
            }
            known.push((partition, flags));
        }
        for (partition, flags) in known {
            for (queue, (epoch, paused)) in &latest {
                if flags.epochs.get(queue).is_some_and(|known| known >= epoch) {
                    continue;
                }
                let pause = Pause {
                    queue: queue.clone(),
                    paused: *paused,
                    nonce: entropy::nonce(),
                    epoch: Some(*epoch),
                    ask: Actor("scheduler".to_owned()).into(),
                };
                missed = pause_in(&partition, &pause).await.err().or(missed);
            }
        }
        missed.map_or(Ok(()), Err)
    }
}

/// Pauses or resumes in one partition, once more where the reply was lost; its epoch, or `None` where it is so already.
async fn pause_in(partition: &Partition, pause: &Pause) -> Result<Option<Position>, StoreError> {
    let pause = std::slice::from_ref(pause);
    let outcomes = match partition.pause(pause).await {
        Err(error) if error.is_transient() => partition.pause(pause).await?,
        other => other?,
    };
    Ok(match outcomes.first() {
        Some(PauseOutcome::Done(at) | PauseOutcome::Repeated(at)) => Some(*at),
        _ => None,
    })
}
