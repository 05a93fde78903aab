//! Submitting tasks from a program, without HTTP.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use taskweir_domain::{
    DraftLimits, PartitionIndex, Priority, QueueName, TaskId, TaskSpec, TaskType,
};
use taskweir_settings::{Env, EnvError};
use taskweir_store::{
    Limits, MAX_BATCH, RedisSettings, Store, StoreError, Submission, SubmitOutcome,
    count_submitted, log_submitted,
};

/// How long a submit is repeated while Redis is away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls on their way at once.
const IN_FLIGHT: usize = 4;

/// Why a task was not taken; nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field is none that every reader of the log can take.
    #[error("{field} {message}")]
    Invalid {
        /// The field, as HTTP names it.
        field: String,
        /// What it takes.
        message: String,
    },
    /// Another task that has not ended holds its unique key.
    #[error("task {0} holds the unique key")]
    Duplicate(TaskId),
    /// The queue holds as many tasks as `MAX_QUEUE_LENGTH` allows.
    #[error("the queue is full")]
    QueueFull,
    /// Redis uses as much memory as `MEMORY_BUDGET` allows.
    #[error("the memory budget is reached")]
    OverBudget,
    /// It would begin one more queue than `MAX_QUEUES` allows.
    #[error("there are as many queues as may be, and this would be one more")]
    Crowded,
}

/// Why a submit did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Redis was away for long, or out of memory: it may have been taken or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a producer could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// A variable of the environment cannot be used.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// Redis is away, or its layout is not usable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Submits tasks straight to Redis.
#[derive(Debug, Clone)]
pub struct Producer {
    store: Store,
    defaults: DraftLimits,
}

impl Producer {
    /// Connects as the environment says: `REDIS_URL` and `TASKWEIR_PREFIX`; `MAX_QUEUE_LENGTH`, `MEMORY_BUDGET` and
    /// `DURABILITY` for what is submitted; `MAX_RETRIES` and its kin for tasks of [`Producer::task`].
    ///
    /// # Errors
    /// A variable cannot be used, Redis is away, or its layout is not usable.
    pub async fn from_env() -> Result<Self, ProducerError> {
        let env = Env::process();
        let (redis, limits) = (
            taskweir_settings::redis(&env)?,
            taskweir_settings::limits(&env)?,
        );
        let defaults = taskweir_settings::submit(&env)?;
        Ok(Self::connect_with(&redis, limits, defaults).await?)
    }

    /// Connects, without limits but that of a payload and with the documented defaults, whatever the environment says.
    ///
    /// # Errors
    /// Redis is away, or its layout is not usable.
    pub async fn connect(redis: &RedisSettings) -> Result<Self, StoreError> {
        Self::connect_with(redis, Limits::default(), DraftLimits::default()).await
    }

    /// Connects with limits and defaults of one's own.
    ///
    /// # Errors
    /// Redis is away, or its layout is not usable.
    pub async fn connect_with(
        redis: &RedisSettings,
        limits: Limits,
        defaults: DraftLimits,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            store: Store::connect(redis, limits).await?,
            defaults,
        })
    }

    /// A task with this producer's defaults: retries and crashes that it survives.
    #[must_use]
    pub fn task(&self, queue: QueueName, task_type: TaskType) -> TaskSpec {
        TaskSpec {
            retry: self.defaults.retry,
            max_deliveries: self.defaults.max_deliveries,
            ..TaskSpec::new(queue, task_type)
        }
    }

    /// Submits one task and gives its id.
    ///
    /// # Errors
    /// It was refused, or Redis is away for long or out of memory.
    pub async fn submit(&self, spec: TaskSpec) -> Result<TaskId, SubmitError> {
        let submission = self.submission(spec)?;
        let id = submission.id;
        let mut outcomes = self.send(&[submission], id.partition()).await?;
        match outcomes.pop().flatten() {
            Some(refusal) => Err(refusal.into()),
            None => Ok(id),
        }
    }

    /// Submits many tasks in as few calls as possible, and gives in their order the id of each, or why it was
    /// refused. Each batch of 100 is sent whole; an error tells of the first batch whose outcome is not known.
    ///
    /// # Errors
    /// Redis is away for long, or out of memory.
    pub async fn submit_all(
        &self,
        specs: Vec<TaskSpec>,
    ) -> Result<Vec<Result<TaskId, Refusal>>, StoreError> {
        use futures_util::stream::{StreamExt, TryStreamExt};

        type Batch = (Vec<usize>, Vec<Submission>);
        let mut results = Vec::with_capacity(specs.len());
        let mut batches: Vec<(PartitionIndex, Batch)> = Vec::new();
        let mut open: BTreeMap<PartitionIndex, Batch> = BTreeMap::new();
        for (index, spec) in specs.into_iter().enumerate() {
            let submission = match self.submission(spec) {
                Ok(submission) => submission,
                Err(refusal) => {
                    results.push(Err(refusal));
                    continue;
                }
            };
            let id = submission.id;
            results.push(Ok(id));
            let batch = open.entry(id.partition()).or_default();
            batch.0.push(index);
            batch.1.push(submission);
            if batch.1.len() == MAX_BATCH {
                batches.push((id.partition(), std::mem::take(batch)));
            }
        }
        batches.extend(open.into_iter().filter(|(_, batch)| !batch.0.is_empty()));
        let refused: Vec<Vec<(usize, Refusal)>> = futures_util::stream::iter(batches)
            .map(|(partition, (indices, batch))| async move {
                let outcomes = self.send(&batch, partition).await?;
                let outcomes = indices.into_iter().zip(outcomes);
                let refused = outcomes.filter_map(|(index, refusal)| Some((index, refusal?)));
                Ok::<_, StoreError>(refused.collect())
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await?;
        for (index, refusal) in refused.into_iter().flatten() {
            results[index] = Err(refusal);
        }
        Ok(results)
    }

    fn submission(&self, spec: TaskSpec) -> Result<Submission, Refusal> {
        let mut spec = spec
            .checked(&self.defaults)
            .map_err(|fault| Refusal::Invalid {
                field: fault.field,
                message: fault.message,
            })?;
        if spec.trace.is_none() {
            spec.trace = taskweir_trace::current();
        }
        Ok(Submission {
            id: self.store.mint_for(&spec),
            spec,
            idempotency: None,
        })
    }

    /// Sends a batch until its outcome is known: the ids are minted, so a repeat is harmless. Gives what was refused.
    async fn send(
        &self,
        batch: &[Submission],
        partition: PartitionIndex,
    ) -> Result<Vec<Option<Refusal>>, StoreError> {
        let partitions = self.store.partitions();
        let partition = &partitions[usize::from(partition.0)];
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            match partition.submit(batch).await {
                Ok(outcomes) => {
                    tell(batch, &outcomes);
                    return Ok(outcomes.into_iter().map(refusal).collect());
                }
                // Written, or perhaps written: the same ids again make no second task, and wait once more for what
                // DURABILITY asks for.
                Err(StoreError::Unavailable(_) | StoreError::Unconfirmed { .. })
                    if began.elapsed() < PATIENCE =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn refusal(outcome: SubmitOutcome) -> Option<Refusal> {
    match outcome {
        SubmitOutcome::Duplicate(other) => Some(Refusal::Duplicate(other)),
        SubmitOutcome::Full => Some(Refusal::QueueFull),
        SubmitOutcome::OverBudget => Some(Refusal::OverBudget),
        SubmitOutcome::Crowded => Some(Refusal::Crowded),
        // The last two are answers to an idempotency key, which is never sent from here.
        SubmitOutcome::Accepted(_)
        | SubmitOutcome::Repeated(_)
        | SubmitOutcome::Same(_)
        | SubmitOutcome::Conflict(_) => None,
    }
}

/// Logs and counts what was accepted.
fn tell(batch: &[Submission], outcomes: &[SubmitOutcome]) {
    let mut counts: BTreeMap<(&QueueName, &TaskType, Priority), u64> = BTreeMap::new();
    for (submission, outcome) in batch.iter().zip(outcomes) {
        // The id was minted here: what is there already is from a try of ours whose answer was lost.
        if let SubmitOutcome::Accepted(_) | SubmitOutcome::Repeated(_) = outcome {
            let spec = &submission.spec;
            *counts
                .entry((&spec.queue, &spec.task_type, spec.priority))
                .or_default() += 1;
            log_submitted(
                submission.id,
                &spec.queue,
                &spec.task_type,
                spec.trace.as_deref(),
            );
        }
    }
    for ((queue, task_type, priority), count) in counts {
        count_submitted(queue, task_type, priority, count);
    }
}
