use redis::Value;
use taskweir_domain::{Position, TaskId, TaskType};

use super::GROUP;
use crate::reply::{Reader, StreamEntry};
use crate::scripts::Script;
use crate::{Partition, StoreError, StreamSet};

/// What to take: streams in lottery order with the number each gives first.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// Index of a stream and its share of `most`.
    pub shares: Vec<(usize, usize)>,
    /// Most entries in all.
    pub most: usize,
}

/// A ready entry that this consumer holds now.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// Index of its stream.
    pub stream: usize,
    /// Its entry id.
    pub entry: String,
    /// Its task, type and payload; `None` where the entry is malformed.
    pub work: Option<ClaimedWork>,
}

/// What a well-formed ready entry holds.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedWork {
    /// The task.
    pub id: TaskId,
    /// Its type.
    pub task_type: TaskType,
    /// Since when it is ready, ms since the epoch.
    pub since_ms: u64,
    /// The payload, where the entry carries it.
    pub data: Option<String>,
    /// Workers that died with the task.
    pub losses: u32,
}

pub(crate) fn read_work(entry: &str, fields: &[(String, String)]) -> Option<ClaimedWork> {
    let field = |name: &str| {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    };
    let added: Position = entry.parse().ok()?;
    Some(ClaimedWork {
        id: field("i")?.parse().ok()?,
        task_type: field("t")?.parse().ok()?,
        since_ms: field("s")
            .and_then(|since| since.parse().ok())
            .unwrap_or(added.ms),
        data: field("d")
            .filter(|data| !data.is_empty())
            .map(ToOwned::to_owned),
        losses: field("l")
            .and_then(|losses| losses.parse().ok())
            .unwrap_or(0),
    })
}

fn claimed(stream: usize, entry: StreamEntry) -> Claimed {
    Claimed {
        stream,
        work: read_work(&entry.id, &entry.fields),
        entry: entry.id,
    }
}

/// What a claim took of these streams.
pub(crate) fn read_claimed(reply: Value, streams: &[usize]) -> Result<Vec<Claimed>, StoreError> {
    let reader = Reader("claim");
    let mut found = Vec::new();
    for read in reader.list(reply)? {
        let [index, entries] = reader.tuple::<2>(read)?;
        let index = reader.number(index)? as usize;
        let stream = index
            .checked_sub(1)
            .and_then(|index| streams.get(index))
            .ok_or_else(|| reader.error("unknown stream"))?;
        let entries = reader.entries(entries)?.into_iter();
        found.extend(entries.map(|entry| claimed(*stream, entry)));
    }
    Ok(found)
}

/// What a waiting reader of these streams was given.
pub(crate) fn read_waiting(value: Value, keys: &[String]) -> Result<Vec<Claimed>, StoreError> {
    let reader = Reader("XREADGROUP");
    let reads: Vec<(Value, Value)> = match value {
        Value::Map(pairs) => pairs,
        other => reader
            .list(other)?
            .into_iter()
            .map(|read| reader.tuple::<2>(read).map(|[key, entries]| (key, entries)))
            .collect::<Result<_, _>>()?,
    };
    let mut found = Vec::new();
    for (key, entries) in reads {
        let key = reader.text(key)?;
        let stream = keys
            .iter()
            .position(|known| *known == key)
            .ok_or_else(|| reader.error(format!("unknown stream {key:?}")))?;
        let entries = reader.entries(entries)?.into_iter();
        found.extend(entries.map(|entry| claimed(stream, entry)));
    }
    Ok(found)
}

impl Partition {
    /// Takes ready entries for a consumer, without waiting. A missing group is made.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn claim(
        &self,
        streams: &StreamSet,
        consumer: &str,
        claim: &Claim,
    ) -> Result<Vec<Claimed>, StoreError> {
        if claim.most == 0 || claim.shares.is_empty() {
            return Ok(Vec::new());
        }
        let call = || {
            self.eval(Script::Claim, claim.shares.len(), |cmd| {
                for (stream, _) in &claim.shares {
                    cmd.arg(&streams.keys()[*stream]);
                }
                cmd.arg(GROUP).arg(consumer).arg(claim.most);
                for (_, share) in &claim.shares {
                    cmd.arg(*share);
                }
            })
        };
        let reply = match call().await {
            Err(error) if error.is_no_group() => {
                self.heal_groups(streams).await?;
                call().await?
            }
            other => other?,
        };
        let shares = claim.shares.iter().map(|(stream, _)| *stream);
        read_claimed(reply, &shares.collect::<Vec<_>>())
    }

    /// Waits for a ready entry on any of the streams and takes it; up to one per stream may come.
    /// `wait_ms` is 5 s at most.
    ///
    /// # Errors
    /// Redis is away. Entries may have been delivered nevertheless: compare with
    /// [`Partition::own_pending`].
    pub async fn claim_waiting(
        &self,
        streams: &StreamSet,
        open: &[usize],
        consumer: &str,
        wait_ms: u64,
    ) -> Result<Vec<Claimed>, StoreError> {
        let mut cmd = redis::cmd("XREADGROUP");
        cmd.arg("GROUP").arg(GROUP).arg(consumer);
        // COUNT 1: a higher one would let one worker take a whole burst.
        cmd.arg("COUNT")
            .arg(1)
            .arg("BLOCK")
            .arg(wait_ms.clamp(1, 5_000))
            .arg("STREAMS");
        for stream in open {
            cmd.arg(&streams.keys()[*stream]);
        }
        for _ in open {
            cmd.arg(">");
        }
        let value = match self.blocking(&cmd).await {
            Err(error) if error.is_no_group() => {
                self.heal_groups(streams).await?;
                return Ok(Vec::new());
            }
            // The key was deleted while we waited.
            Err(StoreError::Refused(error)) if error.code() == Some("UNBLOCKED") => {
                self.heal_groups(streams).await?;
                return Ok(Vec::new());
            }
            other => other?,
        };
        read_waiting(value, streams.keys())
    }

    /// Entries pending under a consumer's own name for at least `idle_ms`, up to `count` per
    /// stream. Unlike a read of one's own history this neither counts a delivery nor resets the
    /// idle time.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn own_pending(
        &self,
        streams: &StreamSet,
        consumer: &str,
        idle_ms: u64,
        count: usize,
    ) -> Result<Vec<(usize, String)>, StoreError> {
        let reader = Reader("XPENDING");
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for key in streams.keys() {
            pipe.cmd("XPENDING")
                .arg(key)
                .arg(GROUP)
                .arg("IDLE")
                .arg(idle_ms);
            pipe.arg("-").arg("+").arg(count).arg(consumer);
        }
        let mut connection = self.link.get();
        let answers: Vec<Value> = pipe.query_async(&mut connection).await?;
        let mut found = Vec::new();
        for (stream, answer) in answers.into_iter().enumerate() {
            if matches!(answer, Value::ServerError(_)) {
                continue; // No group yet: nothing is pending.
            }
            for row in reader.list(answer)? {
                let entry = reader.list(row)?.into_iter().next();
                found.push((stream, reader.text(entry.unwrap_or(Value::Nil))?));
            }
        }
        Ok(found)
    }
}
