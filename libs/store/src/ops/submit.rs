use taskweir_domain::{Limits, Position, Submitted, TaskId, TaskSpec};

use super::{INLINE_LIMIT, lua_index, stored};
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
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// It exists now, from this position on.
    Accepted(Position),
    /// It existed already: an earlier try had succeeded.
    Repeated(Position),
}

impl SubmitOutcome {
    /// Where the task begins.
    #[must_use]
    pub const fn position(self) -> Position {
        match self {
            Self::Accepted(position) | Self::Repeated(position) => position,
        }
    }
}

struct Prepared {
    stream: usize,
    body: String,
    limits: String,
    /// The payload for the ready entry and for its own key; one of them is empty.
    inline: String,
    apart: String,
}

fn prepare(set: &mut StreamSet, partition: &Partition, spec: &TaskSpec) -> Prepared {
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
    Prepared {
        stream: set.index_of(&partition.keys, &spec.queue, spec.priority),
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

impl Partition {
    /// Makes up to [`super::MAX_BATCH`] tasks, all or none.
    ///
    /// # Errors
    /// Redis is away or out of memory.
    pub async fn submit(&self, batch: &[Submission]) -> Result<Vec<SubmitOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut set = StreamSet::default();
        let prepared: Vec<Prepared> = batch
            .iter()
            .map(|submission| prepare(&mut set, self, &submission.spec))
            .collect();
        let mut queues: Vec<&str> = set.streams().iter().map(|s| s.queue.as_str()).collect();
        queues.sort_unstable();
        queues.dedup();
        let keys = 4 + set.len() + 2 * batch.len();
        let reply = self
            .eval(Script::Submit, keys, |cmd| {
                cmd.arg(self.keys.log()).arg(self.keys.due());
                cmd.arg(self.keys.tick()).arg(self.keys.meta());
                cmd.arg(set.keys());
                for submission in batch {
                    cmd.arg(self.keys.task(submission.id));
                    cmd.arg(self.keys.data(submission.id));
                }
                cmd.arg(set.len()).arg(queues.len()).arg(&queues);
                for (Submission { id, spec }, ready) in batch.iter().zip(&prepared) {
                    cmd.arg(id.to_string()).arg(lua_index(ready.stream));
                    cmd.arg(&ready.body);
                    cmd.arg(spec.queue.as_str()).arg(spec.task_type.as_str());
                    cmd.arg(spec.priority.as_str()).arg(&ready.limits);
                    cmd.arg(if spec.is_scheduled() {
                        "later"
                    } else {
                        "ready"
                    });
                    cmd.arg(spec.delay_ms.unwrap_or(0))
                        .arg(spec.run_at_ms.unwrap_or(0));
                    cmd.arg(&ready.inline).arg(&ready.apart);
                }
            })
            .await?;
        let reader = Reader("submit");
        reader
            .list(reply)?
            .into_iter()
            .map(|answer| {
                let [word, position] = reader.tuple::<2>(answer)?;
                let position = reader.position(position)?;
                match reader.text(word)?.as_str() {
                    "accepted" => Ok(SubmitOutcome::Accepted(position)),
                    "repeated" => Ok(SubmitOutcome::Repeated(position)),
                    other => Err(reader.error(format!("unknown answer {other:?}"))),
                }
            })
            .collect()
    }
}
