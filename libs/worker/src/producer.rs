//! Submitting tasks from a program, without HTTP.

use std::time::{Duration, Instant};

use taskweir_domain::{PartitionIndex, TaskId, TaskSpec};
use taskweir_store::{Limits, MAX_BATCH, RedisSettings, Store, StoreError, Submission};

/// How long a submit is repeated while Redis is away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls on their way at once.
const IN_FLIGHT: usize = 4;

/// Submits tasks straight to Redis.
#[derive(Debug, Clone)]
pub struct Producer {
    store: Store,
}

impl Producer {
    /// Connects.
    ///
    /// # Errors
    /// Redis is away, or its layout is not usable.
    pub async fn connect(redis: &RedisSettings) -> Result<Self, StoreError> {
        Ok(Self {
            store: Store::connect(redis, Limits::default()).await?,
        })
    }

    /// Submits one task and gives its id.
    ///
    /// # Errors
    /// Redis is away for long, or out of memory.
    pub async fn submit(&self, spec: TaskSpec) -> Result<TaskId, StoreError> {
        let id = self.store.mint();
        self.send(
            &[Submission {
                id,
                spec,
                idempotency: None,
            }],
            id.partition(),
        )
        .await?;
        Ok(id)
    }

    /// Submits many tasks in as few calls as possible and gives their ids in order. Each batch of
    /// 100 is taken whole or not at all; an error tells of the first batch that was not.
    ///
    /// # Errors
    /// Redis is away for long, or out of memory.
    pub async fn submit_all(&self, specs: Vec<TaskSpec>) -> Result<Vec<TaskId>, StoreError> {
        use futures_util::stream::{StreamExt, TryStreamExt};

        let mut ids = Vec::with_capacity(specs.len());
        let mut batches: Vec<(PartitionIndex, Vec<Submission>)> = Vec::new();
        let mut open: std::collections::BTreeMap<PartitionIndex, Vec<Submission>> =
            Default::default();
        for spec in specs {
            let id = self.store.mint();
            ids.push(id);
            let batch = open.entry(id.partition()).or_default();
            batch.push(Submission {
                id,
                spec,
                idempotency: None,
            });
            if batch.len() == MAX_BATCH {
                batches.push((id.partition(), std::mem::take(batch)));
            }
        }
        batches.extend(open);
        futures_util::stream::iter(batches)
            .map(|(partition, batch)| async move { self.send(&batch, partition).await })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        Ok(ids)
    }

    /// Sends a batch until its outcome is known: the ids are minted, so a repeat is harmless.
    async fn send(
        &self,
        batch: &[Submission],
        partition: PartitionIndex,
    ) -> Result<(), StoreError> {
        let partitions = self.store.partitions();
        let partition = &partitions[usize::from(partition.0)];
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            match partition.submit(batch).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Unavailable(_)) if began.elapsed() < PATIENCE => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(error) => return Err(error),
            }
        }
    }
}
