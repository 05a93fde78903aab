//! The loop of a partition: read, fold, apply.

use std::sync::Arc;
use std::time::Duration;

use taskweir_domain::Position;
use taskweir_runtime::Feeder;
use taskweir_store::{Applied, Fold, FoldError, Keys, Partition, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::begin::{BeginError, begin};

/// Entries per step.
const BATCH: usize = 1_000;
/// Longest wait for a new event; also how often readiness is fed while nothing happens.
const IDLE_MS: u64 = 2_000;

#[derive(Debug, thiserror::Error)]
enum ProjectError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error(transparent)]
    Begin(#[from] BeginError),
}

struct Projector {
    partition: Partition,
    keys: Arc<Keys>,
    /// The fold and where the views are; `None` until Redis has told.
    begun: Option<(Fold, Position)>,
    /// Steps so far: of so many, one is traced.
    steps: u64,
}

/// One step of so many is traced: they are all alike.
const TRACED: u64 = 100;

pub(crate) async fn run(partition: Partition, readiness: Feeder, stop: CancellationToken) {
    let mut projector = Projector {
        keys: Arc::new(partition.keys().clone()),
        partition,
        begun: None,
        steps: 0,
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
            Err(ProjectError::Store(error) | ProjectError::Begin(BeginError::Store(error))) => {
                tracing::warn!(%error, "projection waits for Redis");
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            Err(ProjectError::Begin(BeginError::Raced)) => {}
            Err(error) => {
                tracing::error!(%error, "projection stopped");
                readiness.alarm(error.to_string());
                pause = Duration::from_secs(5);
            }
        }
        // Whatever failed may have been applied: the checkpoint tells.
        projector.begun = None;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Projector {
    /// One step of the views, or a wait for the next event.
    async fn step(&mut self) -> Result<(), ProjectError> {
        if self.begun.is_none() {
            let begun = begin(&self.partition, None).await?;
            self.begun = Some((begun.fold, begun.at));
        }
        let Some((fold, at)) = &mut self.begun else {
            return Ok(());
        };
        let read = self.partition.read_log(*at, BATCH).await?;
        let Some(next) = read.last else {
            self.partition.await_event(*at, IDLE_MS).await?;
            // Views may have been taken away meanwhile, by hand or by a failover.
            if self.partition.checkpoint().await? != *at {
                self.begun = None;
            }
            return Ok(());
        };
        let skipped = fold.skipped();
        self.partition.learn(fold, &read.entries).await?;
        let mut delta = fold.fold(&self.keys, &read.entries)?;
        let malformed = read.malformed + fold.skipped() - skipped;
        if malformed > 0 {
            tracing::warn!(count = malformed, after = %at, "skipped: entries of the log that are no events or continue no task");
            delta.malformed(malformed, next);
        }
        let span = if self.steps.is_multiple_of(TRACED) {
            tracing::info_span!(target: taskweir_trace::TARGET, parent: None, "project", otel.kind = "consumer",
                messaging.system = "taskweir", messaging.operation.name = "project",
                messaging.batch.message_count = read.entries.len(), taskweir.log.from = %at, taskweir.log.to = %next)
        } else {
            tracing::Span::none()
        };
        self.steps += 1;
        match self
            .partition
            .apply(*at, next, &delta)
            .instrument(span)
            .await?
        {
            Applied::Done => *at = next,
            // Another instance was faster, or a reply was lost: go on from where the views are.
            Applied::Moved(_) => self.begun = None,
        }
        Ok(())
    }
}
