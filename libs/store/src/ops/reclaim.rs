use redis::Value;
use taskweir_domain::{Event, Phase, TaskId};

use super::claim::read_work;
use super::{GROUP, lua_index};
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, Record, StoreError, StreamSet};

/// An entry whose consumer said nothing for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilentEntry {
    /// Index of its stream.
    pub stream: usize,
    /// Its entry id.
    pub entry: String,
    /// Who has it.
    pub consumer: String,
    /// For how long nothing was said, ms.
    pub idle_ms: u64,
    /// Its task; `None` where the entry is malformed or deleted.
    pub id: Option<TaskId>,
}

/// A silent entry with what the caller saw and decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// Its task.
    pub id: TaskId,
    /// Index of its stream.
    pub stream: usize,
    /// Its entry id.
    pub entry: String,
    /// The record as seen, and `LeaseExpired` or `DeadLettered` as decided from it; `None` where
    /// no record names the entry.
    pub decided: Option<(Record, Event)>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReclaimOutcome {
    /// Taken away: requeued, dead-lettered or cancelled, as decided.
    Done,
    /// Its holder spoke meanwhile.
    Busy,
    /// The record changed meanwhile: decide again.
    Changed,
    /// No record names the entry: removed.
    Stale,
}

impl Partition {
    /// Entries of the streams that are silent for at least `idle_ms`, up to `count` per stream.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn silent(
        &self,
        streams: &StreamSet,
        idle_ms: u64,
        count: usize,
    ) -> Result<Vec<SilentEntry>, StoreError> {
        let reader = Reader("XPENDING");
        let mut connection = self.connection.clone();
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for key in streams.keys() {
            pipe.cmd("XPENDING")
                .arg(key)
                .arg(GROUP)
                .arg("IDLE")
                .arg(idle_ms);
            pipe.arg("-").arg("+").arg(count);
        }
        let answers: Vec<Value> = pipe.query_async(&mut connection).await?;
        let mut found = Vec::new();
        for (stream, answer) in answers.into_iter().enumerate() {
            if matches!(answer, Value::ServerError(_)) {
                continue; // No group: nothing is pending.
            }
            for row in reader.list(answer)? {
                let [entry, consumer, idle, _deliveries] = reader.tuple::<4>(row)?;
                found.push(SilentEntry {
                    stream,
                    entry: reader.text(entry)?,
                    consumer: reader.text(consumer)?,
                    idle_ms: reader.number(idle)?,
                    id: None,
                });
            }
        }
        if found.is_empty() {
            return Ok(found);
        }
        let mut pipe = redis::pipe();
        for silent in &found {
            let key = &streams.keys()[silent.stream];
            pipe.cmd("XRANGE")
                .arg(key)
                .arg(&silent.entry)
                .arg(&silent.entry);
        }
        let entries: Vec<Value> = pipe.query_async(&mut connection).await?;
        for (silent, value) in found.iter_mut().zip(entries) {
            let entry = Reader("ready stream").entries(value)?.pop();
            silent.id = entry.and_then(|entry| Some(read_work(&entry.id, &entry.fields)?.id));
        }
        Ok(found)
    }

    /// Takes tasks from silent workers. `lease_ms` holds for entries that were never started; a
    /// started task is judged by the lease in its record.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn reclaim(
        &self,
        streams: &StreamSet,
        consumer: &str,
        lease_ms: u64,
        batch: &[Loss],
    ) -> Result<Vec<ReclaimOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let keys = 1 + 2 * streams.len() + 2 * batch.len();
        let reply = self
            .eval(Script::Reclaim, keys, |cmd| {
                cmd.arg(self.keys.log())
                    .arg(streams.keys())
                    .arg(streams.dead_letters());
                for loss in batch {
                    cmd.arg(self.keys.task(loss.id))
                        .arg(self.keys.data(loss.id));
                }
                cmd.arg(GROUP)
                    .arg(consumer)
                    .arg(lease_ms)
                    .arg(self.limits.retention_ms);
                cmd.arg(streams.len());
                for loss in batch {
                    cmd.arg(loss.id.to_string())
                        .arg(lua_index(loss.stream))
                        .arg(&loss.entry);
                    match &loss.decided {
                        Some((record, event)) => expect(cmd, record, event),
                        None => {
                            for _ in 0..7 {
                                cmd.arg("");
                            }
                        }
                    }
                }
            })
            .await?;
        Reader("reclaim").words(reply, batch.len(), |word| match word {
            "done" => Some(ReclaimOutcome::Done),
            "busy" => Some(ReclaimOutcome::Busy),
            "changed" => Some(ReclaimOutcome::Changed),
            "stale" => Some(ReclaimOutcome::Stale),
            _ => None,
        })
    }
}

fn expect(cmd: &mut redis::Cmd, record: &Record, event: &Event) {
    let task = &record.task;
    let (holder, cancelling) = match &task.phase {
        Phase::Processing {
            holder, cancelling, ..
        } => (holder.as_str(), *cancelling),
        _ => ("", false),
    };
    let mode = match event {
        Event::DeadLettered(_) => "D",
        _ if cancelling => "K",
        _ => "Q",
    };
    cmd.arg(task.status().as_str())
        .arg(task.attempt)
        .arg(holder);
    cmd.arg(task.losses)
        .arg(u8::from(cancelling))
        .arg(mode)
        .arg(event.body());
}
