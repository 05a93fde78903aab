//! Removes dead letters that are older than `DLQ_RETENTION`, each by an event that says so.

use std::collections::HashMap;
use std::time::Duration;

use taskweir_domain::{Actor, Ask, QueueName, TaskId};
use taskweir_runtime::Feeder;
use taskweir_store::{
    ActionOutcome, DeadEntry, DlqAction, MAX_BATCH, Partition, Record, StoreError, entropy,
};
use tokio_util::sync::CancellationToken;

use crate::wait;

/// Time between two turns where nothing is old enough.
const PERIOD: Duration = Duration::from_secs(2);
/// Queues that are looked at in one turn: there may be thousands.
const QUEUES: usize = 100;

struct Aging {
    partition: Partition,
    keep_ms: u64,
    /// The queue that the latest turn ended with.
    after: Option<QueueName>,
}

/// Runs until `stop`; dead letters are kept for `keep_ms`.
pub(crate) async fn run(
    partition: Partition,
    keep_ms: u64,
    readiness: Feeder,
    stop: CancellationToken,
) {
    let mut aging = Aging {
        partition,
        keep_ms,
        after: None,
    };
    let mut pause = PERIOD;
    while wait(pause, &stop).await {
        pause = match aging.turn().await {
            // There may be more of what was found.
            Ok(removed) if removed > 0 => {
                readiness.feed();
                Duration::ZERO
            }
            Ok(_) => {
                readiness.feed();
                PERIOD
            }
            Err(error) => {
                tracing::warn!(%error, "the aging of dead letters waits for Redis");
                PERIOD
            }
        };
    }
}

impl Aging {
    /// Looks at some queues and removes what is old there; gives how many that were.
    async fn turn(&mut self) -> Result<usize, StoreError> {
        let after = self.after.take();
        let queues = self.partition.queues_after(after.as_ref(), QUEUES).await?;
        let before_ms = self.partition.server_time_ms().await?;
        let before_ms = before_ms.saturating_sub(self.keep_ms);
        let old = self
            .partition
            .dead_before(&queues, before_ms, MAX_BATCH)
            .await?;
        let removed = self.remove(&old).await?;
        // Once more at the same queues, until nothing old is there.
        self.after = if removed > 0 {
            after
        } else {
            queues.into_iter().last()
        };
        Ok(removed)
    }

    /// Gives how many entries went, those of nobody included.
    async fn remove(&self, old: &[DeadEntry]) -> Result<usize, StoreError> {
        if old.is_empty() {
            return Ok(0);
        }
        let reason = "older than DLQ_RETENTION".to_owned();
        let ask = Ask::new(Actor("scheduler".to_owned()), Some(reason));
        let ids: Vec<TaskId> = old.iter().filter_map(|entry| entry.id).collect();
        let records = self.partition.records(&ids).await?;
        let records: HashMap<TaskId, Record> = ids
            .into_iter()
            .zip(records)
            .filter_map(|(id, record)| Some((id, record?)))
            .collect();
        let (mut actions, mut strays) = (Vec::new(), Vec::new());
        for entry in old {
            let known = entry.id.and_then(|id| Some((id, records.get(&id)?)));
            match known.filter(|(_, record)| record.work == entry.entry) {
                Some((id, record)) => actions.push(DlqAction {
                    id,
                    queue: record.task.queue.clone(),
                    priority: record.task.priority,
                    unique: record.unique.clone(),
                    nonce: entropy::nonce(),
                    ask: ask.clone(),
                    bulk: None,
                }),
                // Left by hand or by a failover: it would stand before all that comes behind it.
                None => strays.push(entry.clone()),
            }
        }
        self.partition.drop_dead(&strays).await?;
        let outcomes = self.partition.dlq_remove(&actions).await?;
        let done = actions
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| *outcome == ActionOutcome::Done);
        let mut removed = strays.len();
        for (action, _) in done {
            removed += 1;
            tracing::info!(task.id = %action.id, queue = %action.queue, "dead letter removed: older than DLQ_RETENTION");
        }
        Ok(removed)
    }
}
