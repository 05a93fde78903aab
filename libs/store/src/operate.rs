//! Running a bulk operation: page by page, each page noted before it is acted on, so that who takes over
//! after a crash repeats that page and nothing else. Every task is asked with the operation's id as nonce, and
//! so answers a repeat as it answered the first time.

use std::time::Duration;

use taskweir_domain::{Bulk, Command, Position, Task, TaskId, decide};

use crate::operation::{Claimed, Operation, OperationKind, Order, Saved, bounded};
use crate::ops::{ActionOutcome, CancelOutcome, Cancellation, DlqAction, MAX_BATCH, RetryOutcome};
use crate::{Partition, Store, StoreError};

/// Whoever runs an operation says so that often; silent for so long, it is taken up by another.
const LEASE: Duration = Duration::from_secs(10);
/// Longest wait for the views to have seen what stood in the log when the operation was asked for: well below the
/// lease, which nobody renews meanwhile.
const VIEWS: Duration = Duration::from_secs(3);
/// How long an operation waits for views that are behind, from when it was asked for, ms.
const PATIENCE_MS: u64 = 30_000;
/// How often a cancellation is decided anew because its task changed meanwhile.
const MAX_DECISIONS: usize = 10;

/// What a runner did of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// It came to its end, or was stopped.
    Ended,
    /// Another runner has it.
    Held,
    /// There is more to do.
    More,
}

impl Store {
    /// Does one page of an operation.
    ///
    /// # Errors
    /// Redis is away. The same call again goes on where this one stood.
    pub async fn run_operation(&self, id: TaskId, runner: &str) -> Result<Ran, StoreError> {
        let mut operation = match self.claim_operation(id, runner, LEASE).await? {
            Claimed::Yours(operation) => *operation,
            Claimed::Held => return Ok(Ran::Held),
            Claimed::Ended => return Ok(Ran::Ended),
        };
        let Some(partition) = self.partitions().into_iter().nth(operation.place.partition) else {
            return self.save(&operation, runner, true).await;
        };
        if operation.place.planned.is_empty() {
            if self.views_lag(&partition, &operation).await? {
                // Renews the lease, and comes back.
                return self.save(&operation, runner, false).await;
            }
            if plan(&partition, &mut operation).await? {
                return self.save(&operation, runner, false).await;
            }
            match self.save(&operation, runner, false).await? {
                Ran::More => {}
                // Stopped, or another runner has it: the page is theirs.
                other => return Ok(other),
            }
        }
        let changed = act(&partition, &operation).await?;
        let place = &mut operation.place;
        operation.done += changed;
        operation.skipped += place.planned.len() as u64 - changed;
        place.planned.clear();
        if std::mem::take(&mut place.last) {
            place.partition += 1;
            place.cursor = None;
        }
        let ended = place.partition >= self.partition_count();
        self.save(&operation, runner, ended).await
    }

    /// Whether the views have not come to what stood in a partition's log when its first page is planned; after
    /// [`PATIENCE_MS`] they are taken as they are.
    async fn views_lag(
        &self,
        partition: &Partition,
        operation: &Operation,
    ) -> Result<bool, StoreError> {
        if operation.place.cursor.is_some() {
            return Ok(false);
        }
        let (end, _) = partition.log_end().await?;
        let deadline = tokio::time::Instant::now() + VIEWS;
        if partition.await_views(end, deadline).await? {
            return Ok(false);
        }
        let waited = self.server_time_ms().await?;
        let waited = waited.saturating_sub(operation.order.asked_ms);
        if waited > PATIENCE_MS {
            tracing::warn!(operation = %operation.id, "a bulk operation goes by old views: is a projector running?");
        }
        Ok(waited <= PATIENCE_MS)
    }

    async fn save(
        &self,
        operation: &Operation,
        runner: &str,
        completed: bool,
    ) -> Result<Ran, StoreError> {
        Ok(
            match self
                .save_operation(operation, runner, LEASE, completed)
                .await?
            {
                Saved::Done if completed => {
                    tracing::info!(operation = %operation.id, done = operation.done, skipped = operation.skipped,
                        "bulk operation has ended");
                    Ran::Ended
                }
                Saved::Done => Ran::More,
                Saved::Lost => Ran::Held,
                Saved::Stopped => Ran::Ended,
            },
        )
    }
}

/// Notes the next page; true where there is none and the next partition is to be begun.
async fn plan(partition: &Partition, operation: &mut Operation) -> Result<bool, StoreError> {
    let Operation { order, place, .. } = operation;
    let filter = bounded(order.kind, &order.filter, Some(order.asked_ms));
    let below = place.cursor.as_deref();
    let page = if order.kind.is_of_dead() {
        partition.dead_letters(&filter, below, MAX_BATCH).await?
    } else {
        partition.list(&filter, below, MAX_BATCH).await?
    };
    let came_later = |task: &Task| !order.kind.is_of_dead() && task.first.ms > order.asked_ms;
    let matching = page
        .items
        .iter()
        .filter(|item| !came_later(&item.record.task));
    place.planned = matching.map(|item| item.id).collect();
    place.last = page.next.is_none();
    if page.next.is_some() {
        place.cursor = page.next;
    }
    if !place.planned.is_empty() {
        return Ok(false);
    }
    // Nothing to do on this page: the next one, of this partition or of another.
    if std::mem::take(&mut place.last) {
        place.partition += 1;
        place.cursor = None;
    }
    Ok(true)
}

/// Acts on the noted page; gives how many tasks it changed, now or before a crash.
async fn act(partition: &Partition, operation: &Operation) -> Result<u64, StoreError> {
    let (id, order, planned) = (operation.id, &operation.order, &operation.place.planned);
    let nonce = id.to_string();
    let bulk = Bulk {
        operation: nonce.clone(),
        reason: order.reason.clone(),
    };
    if order.kind == OperationKind::TasksCancel {
        return cancel(partition, order, &bulk, planned).await;
    }
    let records = partition.records(planned).await?;
    let actions: Vec<DlqAction> = planned
        .iter()
        .zip(records)
        .filter_map(|(id, record)| {
            let record = record?;
            // A page that is repeated after a crash may name tasks that somebody else brought back meanwhile, and
            // that gave up anew.
            let died: Option<Position> = record.work.parse().ok();
            let later = died.is_some_and(|died| died.ms > order.asked_ms);
            if later && !record.commanded_by(&nonce) {
                return None;
            }
            Some(DlqAction {
                id: *id,
                queue: record.task.queue,
                priority: record.task.priority,
                unique: record.unique,
                nonce: nonce.clone(),
                ask: order.actor.clone().into(),
                bulk: Some(bulk.clone()),
            })
        })
        .collect();
    let changed = if order.kind == OperationKind::DlqRetry {
        let outcomes = partition.dlq_retry(&actions).await?;
        let done = outcomes
            .iter()
            .filter(|outcome| **outcome == RetryOutcome::Done);
        done.count()
    } else {
        let outcomes = partition.dlq_remove(&actions).await?;
        let done = outcomes
            .iter()
            .filter(|outcome| **outcome == ActionOutcome::Done);
        done.count()
    };
    Ok(changed as u64)
}

async fn cancel(
    partition: &Partition,
    order: &Order,
    bulk: &Bulk,
    planned: &[TaskId],
) -> Result<u64, StoreError> {
    let filter = bounded(order.kind, &order.filter, None);
    let mut open = planned.to_vec();
    let mut changed = 0;
    for _ in 0..MAX_DECISIONS {
        let records = partition.records(&open).await?;
        let mut batch = Vec::with_capacity(open.len());
        for (id, record) in open.iter().zip(records) {
            let Some(record) = record else { continue };
            let was_ours = record.commanded_by(&bulk.operation);
            if was_ours {
                changed += 1;
                continue;
            }
            if !filter.takes_status(record.task.status()) {
                continue;
            }
            let command = Command::Cancel(order.actor.clone().into());
            // What cannot be cancelled, or is being cancelled by somebody else, is skipped.
            if let Ok(mut events) = decide(Some(&record.task), &command, 0) {
                batch.push(Cancellation {
                    id: *id,
                    nonce: bulk.operation.clone(),
                    event: events.remove(0).part_of(bulk),
                    record,
                });
            }
        }
        let outcomes = partition.cancel(&batch).await?;
        open.clear();
        for (cancellation, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                CancelOutcome::Cancelled | CancelOutcome::Requested => changed += 1,
                CancelOutcome::Changed => open.push(cancellation.id),
            }
        }
        if open.is_empty() {
            break;
        }
    }
    Ok(changed)
}
