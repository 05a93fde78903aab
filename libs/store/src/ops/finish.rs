use taskweir_domain::{Completed, Event, Fence, TaskId};

use super::{GROUP, INLINE_LIMIT, lua_index, stored};
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError, StreamSet};

/// An attempt to be settled. A task stands in a batch at most once.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// Its task.
    pub id: TaskId,
    /// Index of its stream.
    pub stream: usize,
    /// The right to settle.
    pub fence: Fence,
    /// Hash of the task's unique key.
    pub unique: Option<String>,
    /// `Completed`, `AttemptFailed` or `DeadLettered`, as decided.
    pub event: Event,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishOutcome {
    /// Settled.
    Done,
    /// Settled before, by the same attempt and holder.
    Repeated,
    /// Refused: another attempt or holder has the task. The refusal is in its history.
    Late,
    /// Refused: there is no record left.
    Gone,
    /// A person asked to cancel meanwhile: decide again.
    Changed,
}

struct Prepared {
    mode: &'static str,
    body: String,
    delay_ms: u64,
    result: String,
}

fn prepare(event: &Event) -> Result<Prepared, StoreError> {
    let mut delay_ms = 0;
    let mut result = String::new();
    let mut body = None;
    let mode = match event {
        Event::Completed(completed) => {
            if let Some(json) = &completed.result
                && json.as_str().len() > INLINE_LIMIT
            {
                json.as_str().clone_into(&mut result);
                body = Some(Event::from(Completed {
                    result: None,
                    result_stored: Some(stored(&result)),
                    ..completed.clone()
                }));
            }
            "C"
        }
        Event::AttemptFailed(failed) => match failed.delay_ms {
            Some(ms) => {
                delay_ms = ms;
                "F"
            }
            None => "K",
        },
        Event::DeadLettered(_) => "D",
        other => {
            let detail = format!("{} settles nothing", other.event_type());
            return Err(StoreError::reply("finish", detail));
        }
    };
    Ok(Prepared {
        mode,
        body: body.as_ref().unwrap_or(event).body(),
        delay_ms,
        result,
    })
}

impl Partition {
    /// Settles attempts.
    ///
    /// # Errors
    /// Redis is away. The same call again is safe.
    pub async fn finish(
        &self,
        streams: &StreamSet,
        batch: &[Finish],
    ) -> Result<Vec<FinishOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let prepared: Vec<Prepared> = batch
            .iter()
            .map(|finish| prepare(&finish.event))
            .collect::<Result<_, _>>()?;
        let keys = 3 + 2 * streams.len() + 4 * batch.len();
        let reply = self
            .eval(Script::Finish, keys, |cmd| {
                cmd.arg(self.keys.log())
                    .arg(self.keys.due())
                    .arg(self.keys.tick());
                cmd.arg(streams.keys()).arg(streams.dead_letters());
                for task in batch {
                    cmd.arg(self.keys.task(task.id));
                    cmd.arg(self.keys.data(task.id))
                        .arg(self.keys.result(task.id));
                    cmd.arg(self.keys.unique_or(task.unique.as_deref(), task.id));
                }
                cmd.arg(GROUP)
                    .arg(self.limits.retention_ms)
                    .arg(streams.len());
                for (task, ready) in batch.iter().zip(&prepared) {
                    cmd.arg(task.id.to_string()).arg(lua_index(task.stream));
                    cmd.arg(task.fence.attempt).arg(task.fence.holder.as_str());
                    cmd.arg(ready.mode)
                        .arg(&ready.body)
                        .arg(ready.delay_ms)
                        .arg(&ready.result);
                }
            })
            .await?;
        Reader("finish").words(reply, batch.len(), |word| match word {
            "done" => Some(FinishOutcome::Done),
            "repeated" => Some(FinishOutcome::Repeated),
            "late" => Some(FinishOutcome::Late),
            "gone" => Some(FinishOutcome::Gone),
            "changed" => Some(FinishOutcome::Changed),
            _ => None,
        })
    }
}
