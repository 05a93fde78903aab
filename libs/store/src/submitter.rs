//! Group commit: submits that arrive while a call is on its way share the next one.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::ops::{MAX_BATCH, Submission, SubmitOutcome};
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
    partitions: Arc<[mpsc::Sender<Waiting>]>,
}

impl std::fmt::Debug for Submitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submitter").finish_non_exhaustive()
    }
}

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
            tokio::spawn(commit(partition, receiver));
            sender
        });
        Self {
            partitions: partitions.collect(),
        }
    }

    /// Submits a task.
    ///
    /// # Errors
    /// What the shared call gave; repeating with the same id is safe.
    ///
    /// # Panics
    /// The id is of a partition that this layout does not have.
    pub async fn submit(&self, submission: Submission) -> Answer {
        let (answer, answered) = oneshot::channel();
        let queue = &self.partitions[usize::from(submission.id.partition().0)];
        let waiting = Waiting { submission, answer };
        queue.send(waiting).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

fn stopped() -> Arc<StoreError> {
    Arc::new(StoreError::reply("submit", "the runtime is shutting down"))
}

async fn commit(partition: Partition, mut queue: mpsc::Receiver<Waiting>) {
    let mut waiting = Vec::with_capacity(MAX_BATCH);
    while queue.recv_many(&mut waiting, MAX_BATCH).await > 0 {
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
