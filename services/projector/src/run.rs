//! The loop of a partition: read, fold, apply.

use std::sync::Arc;
use std::time::Duration;

use taskweir_domain::{Position, TaskId};
use taskweir_runtime::Feeder;
use taskweir_store::{Applied, Keys, LogEntry, Partition, StoreError};
use tokio_util::sync::CancellationToken;

use crate::fold::{Fold, FoldError};

/// Entries per step.
const BATCH: usize = 1_000;
/// Histories asked for in one call.
const HISTORIES: usize = 100;
/// Longest wait for a new event; also how often readiness is fed while nothing happens.
const IDLE_MS: u64 = 2_000;

#[derive(Debug, thiserror::Error)]
enum ProjectError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fold(#[from] FoldError),
}

struct Projector {
    partition: Partition,
    keys: Arc<Keys>,
    fold: Fold,
    /// Where the views are; `None` until Redis has told.
    checkpoint: Option<Position>,
}

pub(crate) async fn run(partition: Partition, readiness: Feeder, stop: CancellationToken) {
    let mut projector = Projector {
        keys: Arc::new(partition.keys().clone()),
        partition,
        fold: Fold::default(),
        checkpoint: None,
    };
    let mut pause = Duration::from_millis(50);
    loop {
        let step = tokio::select! {
            () = stop.cancelled() => return,
            step = projector.step() => step,
        };
        match step {
            Ok(()) => {
                readiness.feed();
                pause = Duration::from_millis(50);
                continue;
            }
            Err(ProjectError::Store(error)) => {
                tracing::warn!(%error, "projection waits for Redis");
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            Err(ProjectError::Fold(error)) => {
                tracing::error!(%error, "projection stopped");
                readiness.alarm(error.to_string());
                pause = Duration::from_secs(5);
            }
        }
        // Whatever failed may have been applied: the checkpoint tells.
        projector.checkpoint = None;
        projector.fold.forget();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Projector {
    /// One step of the views, or a wait for the next event.
    async fn step(&mut self) -> Result<(), ProjectError> {
        let from = match self.checkpoint {
            Some(position) => position,
            None => self.partition.checkpoint().await?,
        };
        self.checkpoint = Some(from);
        let read = self.partition.read_log(from, BATCH).await?;
        let Some(next) = read.last else {
            return Ok(self.partition.await_event(from, IDLE_MS).await?);
        };
        if read.malformed > 0 {
            tracing::warn!(count = read.malformed, after = %from, "skipped: entries of the log that are not events");
        }
        self.learn(&read.entries).await?;
        let delta = self.fold.fold(&self.keys, &read.entries)?;
        match self.partition.apply(from, next, &delta).await? {
            Applied::Done => self.checkpoint = Some(next),
            // Another instance was faster, or a reply was lost: go on from where the views are.
            Applied::Moved(position) => {
                self.checkpoint = Some(position);
                self.fold.forget();
            }
        }
        Ok(())
    }

    /// Tells the fold what it does not remember.
    async fn learn(&mut self, entries: &[LogEntry]) -> Result<(), StoreError> {
        let unknown: Vec<(TaskId, Option<Position>)> = self
            .fold
            .unknown(entries)
            .into_iter()
            .map(|(id, position)| (id, Some(position)))
            .collect();
        for batch in unknown.chunks(HISTORIES) {
            let histories = self.partition.histories_up_to(batch).await?;
            for ((id, _), history) in batch.iter().zip(histories) {
                self.fold.learn(*id, &history.decoded());
            }
        }
        Ok(())
    }
}
