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

/// Pending entries read at once.
const PAGE: usize = 500;
/// Most silent entries looked at per stream and round.
const MAX_SILENT: usize = 10_000;

impl Partition {
    /// Every entry of the streams that is silent for at least `idle_ms`, up to 10,000 per
    /// stream.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn silent(
        &self,
        streams: &StreamSet,
        idle_ms: u64,
    ) -> Result<Vec<SilentEntry>, StoreError> {
        let mut found = Vec::new();
        // Where each stream's next page begins; `None` once it is read through.
        let mut from: Vec<Option<String>> = vec![Some("-".to_owned()); streams.len()];
        for _ in 0..MAX_SILENT / PAGE {
            if from.iter().all(Option::is_none) {
                break;
            }
            self.silent_page(streams, idle_ms, &mut from, &mut found)
                .await?;
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
        let entries: Vec<Value> = pipe.query_async(&mut self.link.get()).await?;
        for (silent, value) in found.iter_mut().zip(entries) {
            let entry = Reader("ready stream").entries(value)?.pop();
            silent.id = entry.and_then(|entry| Some(read_work(&entry.id, &entry.fields)?.id));
        }
        Ok(found)
    }

    /// One more page of each stream that is not read through.
    async fn silent_page(
        &self,
        streams: &StreamSet,
        idle_ms: u64,
        from: &mut [Option<String>],
        found: &mut Vec<SilentEntry>,
    ) -> Result<(), StoreError> {
        let reader = Reader("XPENDING");
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        let mut asked = Vec::new();
        for (stream, from) in from.iter().enumerate() {
            if let Some(from) = from {
                pipe.cmd("XPENDING").arg(&streams.keys()[stream]).arg(GROUP);
                pipe.arg("IDLE").arg(idle_ms).arg(from).arg("+").arg(PAGE);
                asked.push(stream);
            }
        }
        let answers: Vec<Value> = pipe.query_async(&mut self.link.get()).await?;
        for (stream, answer) in asked.into_iter().zip(answers) {
            // No group: nothing is pending.
            let rows = match answer {
                Value::ServerError(_) => Vec::new(),
                answer => reader.list(answer)?,
            };
            let full = rows.len() == PAGE;
            for row in rows {
                let [entry, consumer, idle, _deliveries] = reader.tuple::<4>(row)?;
                found.push(SilentEntry {
                    stream,
                    entry: reader.text(entry)?,
                    consumer: reader.text(consumer)?,
                    idle_ms: reader.number(idle)?,
                    id: None,
                });
            }
            from[stream] = found
                .last()
                .filter(|_| full)
                .map(|last| format!("({}", last.entry));
        }
        Ok(())
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
        let keys = 2 + 2 * streams.len() + 3 * batch.len();
        let reply = self
            .eval(Script::Reclaim, keys, |cmd| {
                cmd.arg(self.keys.log())
                    .arg(streams.keys())
                    .arg(streams.dead_letters());
                cmd.arg(self.keys.expiry());
                for loss in batch {
                    cmd.arg(self.keys.task(loss.id))
                        .arg(self.keys.data(loss.id));
                    let unique = loss
                        .decided
                        .as_ref()
                        .and_then(|(record, _)| record.unique.as_deref());
                    cmd.arg(self.keys.unique_or(unique, loss.id));
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
