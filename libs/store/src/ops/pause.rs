use taskweir_domain::{Ask, Event, Position, QueueName, QueuePaused, QueueResumed};

use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError};

/// A queue to be paused or resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// The queue.
    pub queue: QueueName,
    /// True pauses, false resumes.
    pub paused: bool,
    /// Nonce of the request: the same one again answers the first outcome.
    pub nonce: String,
    /// Position of the deciding event on partition 0; `None` where this is partition 0.
    pub epoch: Option<Position>,
    /// Who acts, and why.
    pub ask: Ask,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseOutcome {
    /// The flag changed, in this epoch.
    Done(Position),
    /// This or a later request had changed it before.
    Repeated(Position),
    /// It was so already.
    Unchanged,
}

impl Partition {
    /// Sets or clears pause flags.
    ///
    /// # Errors
    /// Redis is away. The same call again is safe.
    pub async fn pause(&self, batch: &[Pause]) -> Result<Vec<PauseOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let reply = self
            .eval(Script::Pause, 3, |cmd| {
                cmd.arg(self.keys.log()).arg(self.keys.meta());
                cmd.arg(self.keys.queues());
                for pause in batch {
                    let Ask { actor, reason } = pause.ask.clone();
                    let event: Event = if pause.paused {
                        QueuePaused { actor, reason }.into()
                    } else {
                        QueueResumed { actor, reason }.into()
                    };
                    cmd.arg(pause.queue.as_str()).arg(event.event_type().wire());
                    cmd.arg(&pause.nonce);
                    cmd.arg(
                        pause
                            .epoch
                            .map(|epoch| epoch.to_string())
                            .unwrap_or_default(),
                    );
                    cmd.arg(event.body());
                }
            })
            .await?;
        let reader = Reader("pause");
        reader
            .list(reply)?
            .into_iter()
            .map(|answer| {
                let [word, epoch] = reader.tuple::<2>(answer)?;
                Ok(match reader.text(word)?.as_str() {
                    "done" => PauseOutcome::Done(reader.position(epoch)?),
                    "repeated" => PauseOutcome::Repeated(reader.position(epoch)?),
                    "unchanged" => PauseOutcome::Unchanged,
                    other => return Err(reader.error(format!("unknown answer {other:?}"))),
                })
            })
            .collect()
    }
}
