//! Group commit: submits that arrive while a call is on its way share the next one.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use taskweir_domain::{PartitionIndex, TaskId, TaskSpec};
use tracing::Instrument;

use crate::ops::{Idempotency, MAX_BATCH, Reservation, Submission, SubmitOutcome, sha256};
use crate::shared::redis_span;
use crate::{Partition, Store, StoreError};

type Answer = Result<SubmitOutcome, Arc<StoreError>>;

struct Waiting {
    submission: Submission,
    answer: oneshot::Sender<Answer>,
}

/// Submits tasks one by one for many callers, in shared calls. There is no timer: the next batch
/// leaves when the last one has returned, so a lone submit waits for nothing.
#[derive(Clone)]
pub struct Submitter {
    store: Store,
    partitions: Arc<[mpsc::Sender<Waiting>]>,
}

impl std::fmt::Debug for Submitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submitter").finish_non_exhaustive()
    }
}

/// Calls of a partition that may be under way at once, where each waits for a disk or a replica.
const WAITING_LOOPS: usize = 16;

/// Submits that may wait for their turn, per partition; further callers wait to hand theirs in.
const QUEUE: usize = 1_024;

impl Submitter {
    /// Starts the commit loops; they end when the last clone is dropped.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the loops end with the last handle, and hold nothing that must be saved"
    )]
    pub fn new(store: &Store) -> Self {
        let partitions = store.partitions().into_iter().map(|partition| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            let receiver = Arc::new(Mutex::new(receiver));
            let loops = if store.limits.durability.waits() {
                WAITING_LOOPS
            } else {
                1
            };
            for _ in 0..loops {
                tokio::spawn(commit(partition.clone(), Arc::clone(&receiver)));
            }
            sender
        });
        Self {
            store: store.clone(),
            partitions: partitions.collect(),
        }
    }

    /// Submits a task where its keys place it: by its unique key, else by its idempotency key, else
    /// anywhere. Repeating with the same idempotency key is safe; without one, a repeat makes another
    /// task.
    ///
    /// # Errors
    /// What the shared call gave.
    pub async fn submit_keyed(
        &self,
        spec: TaskSpec,
        idempotency: Option<Idempotency>,
    ) -> Result<(TaskId, SubmitOutcome), Arc<StoreError>> {
        let count = self.store.partition_count();
        let by_unique = spec
            .unique_key
            .as_deref()
            .map(|key| place(&sha256(key), count));
        let by_key = idempotency
            .as_ref()
            .map(|idempotency| place(idempotency.key_hash(), count));
        let id = match by_unique.or(by_key) {
            Some(partition) => self.store.mint_in(partition),
            None => self.store.mint(),
        };
        match (idempotency, by_unique, by_key) {
            (Some(idempotency), Some(unique), Some(key)) if unique != key => {
                self.submit_apart(id, spec, &idempotency, key).await
            }
            (idempotency, _, _) => {
                let submission = Submission {
                    id,
                    spec,
                    idempotency,
                };
                Ok((id, self.submit_twice(submission).await?))
            }
        }
    }

    /// The unique key and the idempotency key live in different partitions: the latter is held
    /// first, so that a crash in between is healed by the repeat, under the same id.
    async fn submit_apart(
        &self,
        id: TaskId,
        spec: TaskSpec,
        idempotency: &Idempotency,
        key: PartitionIndex,
    ) -> Result<(TaskId, SubmitOutcome), Arc<StoreError>> {
        let partitions = self.store.partitions();
        let keeper = &partitions[usize::from(key.0)];
        let (id, mine) = match keeper.reserve(id, idempotency).await? {
            Reservation::Mine => (id, true),
            Reservation::Reserved(earlier) => (earlier, false),
            Reservation::Same(earlier) => return Ok((earlier, SubmitOutcome::Same(earlier))),
            Reservation::Conflict(earlier) => {
                return Ok((earlier, SubmitOutcome::Conflict(earlier)));
            }
        };
        let submission = Submission {
            id,
            spec,
            idempotency: None,
        };
        let outcome = self.submit_twice(submission).await;
        let refused = match &outcome {
            Ok(SubmitOutcome::Accepted(_) | SubmitOutcome::Repeated(_)) => {
                keeper.reserved(id, idempotency).await?;
                false
            }
            Ok(_) => true,
            Err(error) => matches!(**error, StoreError::OutOfMemory),
        };
        // Whoever finishes the try of another leaves the key to that one: it may be about to be accepted.
        if refused
            && mine
            && let Err(error) = keeper.unreserve(id, idempotency).await
        {
            tracing::debug!(%error, "an idempotency key of a refused task stays held");
        }
        Ok((id, outcome?))
    }

    /// Submits, once more where the connection died between two requests: the id is minted, so that
    /// is safe.
    async fn submit_twice(&self, submission: Submission) -> Answer {
        match self.submit(submission.clone()).await {
            Err(error) if matches!(*error, StoreError::Unavailable(_)) => {
                // What the first call had done before its reply was lost is this request's all the same.
                let outcome = self.submit(submission).await?;
                Ok(match outcome {
                    SubmitOutcome::Repeated(at) => SubmitOutcome::Accepted(at),
                    other => other,
                })
            }
            other => other,
        }
    }

    /// Submits a task under the id it was given.
    ///
    /// # Errors
    /// What the shared call gave; repeating with the same id is safe.
    ///
    /// # Panics
    /// The id is of a partition that this layout does not have.
    pub async fn submit(&self, submission: Submission) -> Answer {
        // As its caller sees it: the wait for its turn, and the shared call.
        let span = redis_span("EVALSHA", "submit");
        span.record("messaging.destination.name", submission.spec.queue.as_str());
        self.hand_in(submission).instrument(span).await
    }

    async fn hand_in(&self, submission: Submission) -> Answer {
        let (answer, answered) = oneshot::channel();
        let queue = &self.partitions[usize::from(submission.id.partition().0)];
        let waiting = Waiting { submission, answer };
        queue.send(waiting).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

impl Store {
    /// A new id where a task belongs: where its unique key places it, else anywhere.
    #[must_use]
    pub fn mint_for(&self, spec: &TaskSpec) -> TaskId {
        match &spec.unique_key {
            Some(key) => self.mint_in(place(&sha256(key), self.partition_count())),
            None => self.mint(),
        }
    }
}

/// The partition of a key, by the first bytes of its hash.
fn place(hash: &str, partitions: usize) -> PartitionIndex {
    let number = u64::from_str_radix(hash.get(..12).unwrap_or_default(), 16).unwrap_or(0);
    let index = number % partitions.max(1) as u64;
    PartitionIndex(u8::try_from(index).unwrap_or(0))
}

fn stopped() -> Arc<StoreError> {
    Arc::new(StoreError::reply("submit", "the runtime is shutting down"))
}

async fn commit(partition: Partition, queue: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    let mut waiting = Vec::with_capacity(MAX_BATCH);
    loop {
        if queue.lock().await.recv_many(&mut waiting, MAX_BATCH).await == 0 {
            return;
        }
        let (batch, answers): (Vec<_>, Vec<_>) = waiting
            .drain(..)
            .map(|waiting| (waiting.submission, waiting.answer))
            .unzip();
        match partition.submit(&batch).await {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    answer.send(Ok(outcome)).ok();
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for answer in answers {
                    answer.send(Err(Arc::clone(&error))).ok();
                }
            }
        }
    }
}
