use taskweir_domain::{Holder, Json, Limits, Submitted, TaskId};

use super::{GROUP, lua_index};
use crate::record::unpack_limits;
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError, StreamSet};

/// A received entry to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starting {
    /// Its task.
    pub id: TaskId,
    /// Index of its stream.
    pub stream: usize,
    /// Its entry id.
    pub entry: String,
    /// The entry did not carry the payload.
    pub needs_payload: bool,
}

/// The payload that `start` found.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// Not asked for: the entry carried it.
    InHand,
    /// Here it is.
    Json(Json),
    /// It was asked for and is nowhere: the log was cut without keeping it.
    Missing,
}

/// A started attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Begun {
    /// Its number.
    pub attempt: u32,
    /// Failures before it.
    pub failures: u32,
    /// Losses before it.
    pub losses: u32,
    /// What the task allows.
    pub limits: Limits,
    /// The payload.
    pub payload: Payload,
    /// Hash of the task's unique key.
    pub unique: Option<String>,
    /// W3C `traceparent` of the span that submitted it.
    pub trace: Option<String>,
}

/// What became of a start.
#[derive(Debug, Clone, PartialEq)]
pub enum StartOutcome {
    /// The attempt runs.
    Started(Begun),
    /// Too late to start: to be ended by [`Partition::expire`].
    Expired,
    /// Its queue is paused: give the entry back.
    Paused,
    /// Another holder runs it: leave the entry alone.
    Held,
    /// Its record does not name this entry: removed.
    Stale,
}

impl Partition {
    /// Begins an attempt of each task.
    ///
    /// # Errors
    /// Redis is away. The same call again, with the same holder, is safe.
    pub async fn start(
        &self,
        streams: &StreamSet,
        holder: &Holder,
        lease_ms: u64,
        batch: &[Starting],
    ) -> Result<Vec<StartOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        // Holders are made of names that need no escaping, see `Holder` and `nonce`.
        let rest = format!(r#","holder":"{holder}","lease_ms":{lease_ms}}}"#);
        let keys = 3 + streams.len() + 2 * batch.len();
        let reply = self
            .eval(Script::Start, keys, |cmd| {
                cmd.arg(self.keys.log()).arg(self.keys.meta());
                cmd.arg(self.keys.expiry()).arg(streams.keys());
                for task in batch {
                    cmd.arg(self.keys.task(task.id))
                        .arg(self.keys.data(task.id));
                }
                cmd.arg(GROUP).arg(holder.as_str()).arg(lease_ms).arg(&rest);
                cmd.arg(streams.len());
                for stream in streams.streams() {
                    cmd.arg(stream.queue.as_str());
                }
                for task in batch {
                    cmd.arg(task.id.to_string())
                        .arg(lua_index(task.stream))
                        .arg(&task.entry);
                    cmd.arg(u8::from(task.needs_payload));
                }
            })
            .await?;
        let reader = Reader("start");
        let answers = reader.list(reply)?;
        if answers.len() != batch.len() {
            return Err(reader.error("an answer per task was expected"));
        }
        answers
            .into_iter()
            .map(|answer| read(reader, answer))
            .collect()
    }
}

pub(crate) fn read(reader: Reader, answer: redis::Value) -> Result<StartOutcome, StoreError> {
    let mut parts = reader.list(answer)?.into_iter();
    let mut next = || parts.next().unwrap_or(redis::Value::Nil);
    Ok(match reader.text(next())?.as_str() {
        "started" => StartOutcome::Started(Begun {
            attempt: reader.small(next())?,
            failures: reader.small(next())?,
            losses: reader.small(next())?,
            limits: unpack_limits(&reader.text(next())?)?,
            payload: payload(reader, next(), next())?,
            unique: Some(reader.text(next())?).filter(|hash| !hash.is_empty()),
            trace: Some(reader.text(next())?).filter(|trace| !trace.is_empty()),
        }),
        "expired" => StartOutcome::Expired,
        "paused" => StartOutcome::Paused,
        "held" => StartOutcome::Held,
        "stale" => StartOutcome::Stale,
        other => return Err(reader.error(format!("unknown answer {other:?}"))),
    })
}

fn payload(
    reader: Reader,
    source: redis::Value,
    text: redis::Value,
) -> Result<Payload, StoreError> {
    let source = reader.text(source)?;
    let text = reader.text(text)?;
    // What cannot be read is as good as lost: the task fails by itself, and those begun beside it run.
    Ok(match source.as_str() {
        "data" => Json::parse(text).map_or(Payload::Missing, Payload::Json),
        "body" => match serde_json::from_str::<Submitted>(&text) {
            Ok(first) if first.data_stored.is_none() => {
                Payload::Json(first.data.unwrap_or_else(Json::null))
            }
            _ => Payload::Missing,
        },
        "lost" => Payload::Missing,
        _ => Payload::InHand,
    })
}
