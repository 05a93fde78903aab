use redis::{Cmd, Value};
use taskweir_domain::{
    Limits, Position, Priority, QueueName, Submitted, TaskId, TaskSpec, canonical,
};

use super::{INLINE_LIMIT, lua_index, sha256, stored};
use crate::record::pack_limits;
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError, StreamSet};

/// A task to be made. The id is minted once, before the first try, so that a repeat is harmless.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Its id, of this partition.
    pub id: TaskId,
    /// What it is asked to be.
    pub spec: TaskSpec,
    /// The idempotency key it came with, where its task lives in this partition.
    pub idempotency: Option<Idempotency>,
}

/// An idempotency key, hashed: keys may be long and may tell something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    key: String,
    body: String,
}

impl Idempotency {
    /// Hashes a key within its scope (the name of the API key it came with) and the body that came
    /// with it. Bodies that differ only in white space or in the order of fields are the same.
    #[must_use]
    pub fn new(scope: &str, key: &str, body: &str) -> Self {
        Self {
            key: sha256(&format!("{scope}\0{key}")),
            body: sha256(&canonical(body)),
        }
    }

    /// Hash of the key: places the task.
    #[must_use]
    pub fn key_hash(&self) -> &str {
        &self.key
    }
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// It exists now, from this position on.
    Accepted(Position),
    /// It existed already: an earlier try had succeeded.
    Repeated(Position),
    /// The idempotency key had made this task, from the same body.
    Same(TaskId),
    /// The idempotency key had made this task, from another body.
    Conflict(TaskId),
    /// This task holds the unique key.
    Duplicate(TaskId),
    /// The queue is as long as it may be.
    Full,
    /// Redis uses as much memory as submits may fill.
    OverBudget,
    /// There are as many queues as may be, and it would begin one more.
    Crowded,
}

/// What an idempotency key of another partition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// Ours now.
    Mine,
    /// An earlier try held it and may not have come to an end: submit under its id.
    Reserved(TaskId),
    /// It had made this task, from the same body.
    Same(TaskId),
    /// It had made this task, from another body.
    Conflict(TaskId),
}

struct Prepared {
    /// Index of its queue, and of its class within it.
    queue: usize,
    class: usize,
    unique: Option<String>,
    body: String,
    limits: String,
    /// The payload for the ready entry and for its own key; one of them is empty.
    inline: String,
    apart: String,
}

fn prepare(queues: &mut Vec<QueueName>, spec: &TaskSpec) -> Prepared {
    let mut event = Submitted::from_spec(spec);
    let mut inline = String::new();
    let mut apart = String::new();
    let text = spec.data.as_str();
    if text.len() > INLINE_LIMIT {
        event.data = None;
        event.data_stored = Some(stored(text));
        apart = text.to_owned();
    } else {
        inline = text.to_owned();
    }
    let queue = queues.iter().position(|known| *known == spec.queue);
    let queue = queue.unwrap_or_else(|| {
        queues.push(spec.queue.clone());
        queues.len() - 1
    });
    Prepared {
        queue,
        class: Priority::ALL
            .iter()
            .position(|class| *class == spec.priority)
            .unwrap_or(1),
        unique: spec.unique_key.as_deref().map(sha256),
        body: taskweir_domain::Event::from(event).body(),
        limits: pack_limits(&Limits {
            retry: spec.retry,
            max_deliveries: spec.max_deliveries,
            timeout_ms: spec.timeout_ms,
        }),
        inline,
        apart,
    }
}

/// What became of each task of a batch.
pub(crate) fn read_outcomes(reply: Value) -> Result<Vec<SubmitOutcome>, StoreError> {
    let reader = Reader("submit");
    let outcome = |answer| {
        let [word, rest] = reader.tuple::<2>(answer)?;
        Ok(match reader.text(word)?.as_str() {
            "accepted" => SubmitOutcome::Accepted(reader.position(rest)?),
            "repeated" => SubmitOutcome::Repeated(reader.position(rest)?),
            "same" => SubmitOutcome::Same(reader.id(rest)?),
            "conflict" => SubmitOutcome::Conflict(reader.id(rest)?),
            "duplicate" => SubmitOutcome::Duplicate(reader.id(rest)?),
            "full" => SubmitOutcome::Full,
            "over" => SubmitOutcome::OverBudget,
            "crowded" => SubmitOutcome::Crowded,
            other => return Err(reader.error(format!("unknown answer {other:?}"))),
        })
    };
    reader.list(reply)?.into_iter().map(outcome).collect()
}

impl Partition {
    /// Makes up to [`super::MAX_BATCH`] tasks, all or none.
    ///
    /// # Errors
    /// Redis is away or out of memory, or what was written is not as durable as is asked for.
    pub async fn submit(&self, batch: &[Submission]) -> Result<Vec<SubmitOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut queues: Vec<QueueName> = Vec::new();
        let prepared: Vec<Prepared> = batch
            .iter()
            .map(|submission| prepare(&mut queues, &submission.spec))
            .collect();
        let streams = StreamSet::of_queues(&self.keys, &queues);
        let keys = 6 + streams.len() + 4 * batch.len();
        let over_budget = self.is_over_budget().await;
        let reply = self
            .eval_durably(Script::Submit, keys, |cmd| {
                cmd.arg(self.keys.log())
                    .arg(self.keys.due())
                    .arg(self.keys.tick());
                cmd.arg(self.keys.meta())
                    .arg(self.keys.expiry())
                    .arg(self.keys.queues())
                    .arg(streams.keys());
                for (
                    Submission {
                        id, idempotency, ..
                    },
                    ready,
                ) in batch.iter().zip(&prepared)
                {
                    let record = self.keys.task(*id);
                    cmd.arg(&record).arg(self.keys.data(*id));
                    cmd.arg(self.keys.unique_or(ready.unique.as_deref(), *id));
                    match idempotency {
                        Some(idempotency) => cmd.arg(self.keys.idempotency(&idempotency.key)),
                        None => cmd.arg(record),
                    };
                }
                // Each partition takes its share, rounded up.
                let most = self.limits.max_queue_length.div_ceil(self.count.max(1));
                cmd.arg(queues.len());
                if over_budget {
                    cmd.arg(-1);
                } else {
                    cmd.arg(most);
                }
                cmd.arg(self.limits.max_queues);
                for queue in &queues {
                    cmd.arg(queue.as_str());
                }
                for (
                    Submission {
                        id,
                        spec,
                        idempotency,
                    },
                    ready,
                ) in batch.iter().zip(&prepared)
                {
                    cmd.arg(id.to_string()).arg(lua_index(ready.queue));
                    cmd.arg(lua_index(3 * ready.queue + ready.class))
                        .arg(&ready.body);
                    cmd.arg(spec.task_type.as_str())
                        .arg(spec.priority.as_str())
                        .arg(&ready.limits);
                    cmd.arg(if spec.is_scheduled() {
                        "later"
                    } else {
                        "ready"
                    });
                    cmd.arg(spec.delay_ms.unwrap_or(0))
                        .arg(spec.run_at_ms.unwrap_or(0));
                    cmd.arg(&ready.inline).arg(&ready.apart);
                    cmd.arg(spec.expires_in_ms.unwrap_or(0));
                    cmd.arg(ready.unique.as_deref().unwrap_or_default());
                    cmd.arg(
                        idempotency
                            .as_ref()
                            .map_or("", |idempotency| &idempotency.body),
                    );
                    cmd.arg(spec.trace.as_deref().unwrap_or_default());
                }
            })
            .await;
        read_outcomes(reply?)
    }

    /// Holds an idempotency key of this partition for a task that will live in another one.
    ///
    /// # Errors
    /// Redis is away. The same call again is safe.
    pub async fn reserve(
        &self,
        id: TaskId,
        idempotency: &Idempotency,
    ) -> Result<Reservation, StoreError> {
        self.keep_key(id, idempotency, "before").await
    }

    /// Notes that the task of a held idempotency key has been submitted: from now on the key answers
    /// its id, also when its record is gone.
    ///
    /// # Errors
    /// Redis is away. The same call again is safe.
    pub async fn reserved(&self, id: TaskId, idempotency: &Idempotency) -> Result<(), StoreError> {
        self.keep_key(id, idempotency, "after").await.map(drop)
    }

    /// Frees an idempotency key that was held for a task that was then refused: the same key may come with
    /// another body.
    ///
    /// # Errors
    /// Redis is away. The same call again is safe.
    pub async fn unreserve(&self, id: TaskId, idempotency: &Idempotency) -> Result<(), StoreError> {
        self.keep_key(id, idempotency, "refused").await.map(drop)
    }

    async fn keep_key(
        &self,
        id: TaskId,
        idempotency: &Idempotency,
        when: &str,
    ) -> Result<Reservation, StoreError> {
        let fill = |cmd: &mut Cmd| {
            cmd.arg(self.keys.idempotency(&idempotency.key));
            cmd.arg(id.to_string()).arg(&idempotency.body).arg(when);
        };
        // What the caller is told rests on the last word alone.
        let reply = if when == "after" {
            self.eval_durably(Script::Reserve, 1, fill).await?
        } else {
            self.eval(Script::Reserve, 1, fill).await?
        };
        let reader = Reader("reserve");
        let [word, held] = reader.tuple::<2>(reply)?;
        let held = reader.id(held)?;
        Ok(match reader.text(word)?.as_str() {
            "mine" => Reservation::Mine,
            // Our own earlier call, its reply lost.
            "reserved" if held == id => Reservation::Mine,
            "reserved" => Reservation::Reserved(held),
            "same" => Reservation::Same(held),
            "conflict" => Reservation::Conflict(held),
            other => return Err(reader.error(format!("unknown answer {other:?}"))),
        })
    }
}
