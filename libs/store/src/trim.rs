//! What retention cuts next: the oldest events, folded into the base.

use std::collections::BTreeMap;

use taskweir_domain::{DecodeError, Position, Recorded, TaskDetail, TaskId};

use crate::{BaseHead, Cut, Fold, FoldError, LogEntry, Partition, StoreError};

/// Why nothing can be cut.
#[derive(Debug, thiserror::Error)]
pub enum TrimError {
    /// Redis is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log holds an event this program does not know.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// What may be cut next.
#[derive(Debug)]
pub enum NextCut {
    /// This.
    Ready {
        /// To be handed to [`Partition::cut`].
        cut: Box<Cut>,
        /// Events in it.
        events: usize,
        /// Whether more may be cut at once.
        more: bool,
    },
    /// Nothing yet.
    Nothing {
        /// Time of the oldest event left, ms since the epoch.
        oldest_ms: Option<u64>,
    },
}

impl Partition {
    /// The next cut after a base: up to `most` entries of the log that are older than `before_ms` (ms
    /// since the epoch) and that the views have seen.
    ///
    /// # Errors
    /// See [`TrimError`].
    pub async fn next_cut(
        &self,
        base: &BaseHead,
        before_ms: u64,
        most: usize,
    ) -> Result<NextCut, TrimError> {
        let checkpoint = self.checkpoint().await?;
        let takes = |at: Position| at.ms < before_ms && at <= checkpoint;
        let read = self.read_log(base.position, most).await?;
        let within = read.entries.partition_point(|entry| takes(entry.position));
        let entries = &read.entries[..within];
        // Entries that are no events go with those around them.
        let all = read.last.filter(|last| takes(*last));
        let Some(to) = all.or_else(|| Some(entries.last()?.position)) else {
            return Ok(NextCut::Nothing {
                oldest_ms: read.entries.first().map(|entry| entry.position.ms),
            });
        };
        let cut = self.fold_cut(base, to, entries).await?;
        Ok(NextCut::Ready {
            cut: Box::new(cut),
            events: within,
            more: all.is_some() && within > most / 2,
        })
    }

    async fn fold_cut(
        &self,
        base: &BaseHead,
        to: Position,
        entries: &[LogEntry],
    ) -> Result<Cut, TrimError> {
        let mut fold = Fold::resume(base.last, base.totals.clone());
        let earlier = fold.unknown(entries);
        let earlier: Vec<TaskId> = earlier.into_iter().map(|(id, _)| id).collect();
        let mut tasks = BTreeMap::new();
        for detail in self.base_tasks(&earlier).await?.into_iter().flatten() {
            fold.learn(detail.id, Some(&detail), &[]);
            tasks.insert(detail.id, detail);
        }
        // Counted exactly as the views are.
        fold.fold(&self.keys, entries)?;
        for entry in entries.iter().filter(|entry| !entry.is_of_queue()) {
            match entry.decode() {
                Ok(recorded) => step(&mut tasks, &recorded),
                Err(DecodeError::Malformed(_)) => {}
                Err(source) => return Err(FoldError::unknown(entry, source).into()),
            }
        }
        Ok(Cut {
            from: base.position,
            to: BaseHead {
                position: to,
                last: fold.last(),
                totals: fold.totals().clone(),
            },
            tasks: tasks.into_values().collect(),
        })
    }
}

fn step(tasks: &mut BTreeMap<TaskId, TaskDetail>, recorded: &Recorded) {
    let before = tasks.remove(&recorded.id);
    if before.is_none() && recorded.event.event_type().may_outlive_its_task() {
        return;
    }
    match TaskDetail::evolve(before.clone(), recorded) {
        Ok(after) => {
            tasks.insert(recorded.id, after);
        }
        Err(error) => {
            tracing::warn!(%error, "skipped: it continues no task");
            tasks.extend(before.map(|detail| (detail.id, detail)));
        }
    }
}
