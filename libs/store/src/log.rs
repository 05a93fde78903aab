//! Reading the log.

use redis::Value;
use taskweir_domain::{DecodeError, EventType, Position, Recorded};

use crate::reply::{Reader, StreamEntry};
use crate::{Partition, StoreError, clock};

/// An entry of the log, its body not parsed yet.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Its place.
    pub position: Position,
    /// Type and version, such as `Started.1`.
    pub t: String,
    /// Task id, or `q:<queue>`.
    pub i: String,
    /// Version within its subject.
    pub n: String,
    /// Position of the subject's previous event, or empty.
    pub b: String,
    /// JSON body.
    pub d: String,
}

/// What a read of the log gave.
#[derive(Debug, Default)]
pub struct LogRead {
    /// Well-formed entries in order.
    pub entries: Vec<LogEntry>,
    /// Entries that do not have our five fields: skipped.
    pub malformed: u64,
    /// Position of the last entry read, malformed ones included.
    pub last: Option<Position>,
}

impl LogEntry {
    fn read(entry: StreamEntry) -> Result<Option<Self>, StoreError> {
        let position = entry
            .id
            .parse()
            .map_err(|_| StoreError::reply("log", format!("entry id {:?}", entry.id)))?;
        let names = entry.fields.iter().map(|(name, _)| name.as_str());
        if !names.eq(["t", "i", "n", "b", "d"]) {
            return Ok(None);
        }
        let mut values = entry.fields.into_iter().map(|(_, value)| value);
        let mut next = || values.next().unwrap_or_default();
        Ok(Some(Self {
            position,
            t: next(),
            i: next(),
            n: next(),
            b: next(),
            d: next(),
        }))
    }

    /// The type.
    ///
    /// # Errors
    /// The type or version is unknown to this program.
    pub fn event_type(&self) -> Result<EventType, DecodeError> {
        EventType::from_wire(&self.t)
    }

    /// Whether it tells of a queue, not of a task.
    #[must_use]
    pub fn is_of_queue(&self) -> bool {
        self.i.starts_with("q:")
    }

    /// The event of a task.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(&self) -> Result<Recorded, DecodeError> {
        Recorded::decode(self.position, &self.t, &self.i, &self.n, &self.b, &self.d)
    }
}

pub(crate) fn read_entries(value: Value) -> Result<LogRead, StoreError> {
    let mut read = LogRead::default();
    for entry in Reader("log").entries(value)? {
        read.last = entry.id.parse().ok();
        match LogEntry::read(entry)? {
            Some(entry) => read.entries.push(entry),
            None => read.malformed += 1,
        }
    }
    Ok(read)
}

impl Partition {
    /// Up to `count` entries after a position.
    ///
    /// # Errors
    /// Redis is away, or the log is not a stream.
    pub async fn read_log(&self, after: Position, count: usize) -> Result<LogRead, StoreError> {
        let mut connection = self.link.get();
        let value: Value = redis::cmd("XRANGE")
            .arg(self.keys.log())
            .arg(format!("({after}"))
            .arg("+")
            .arg("COUNT")
            .arg(count)
            .query_async(&mut connection)
            .await?;
        read_entries(value)
    }

    /// Waits until an event stands after a position, at most `wait_ms` (5 s at most).
    ///
    /// # Errors
    /// Redis is away.
    pub async fn await_event(&self, after: Position, wait_ms: u64) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("XREAD");
        cmd.arg("COUNT")
            .arg(1)
            .arg("BLOCK")
            .arg(wait_ms.clamp(1, 5_000));
        cmd.arg("STREAMS")
            .arg(self.keys.log())
            .arg(after.to_string());
        self.blocking(&cmd).await.map(drop)
    }

    /// Position of the latest event, and the number of events.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn log_end(&self) -> Result<(Position, u64), StoreError> {
        let mut connection = self.link.get();
        let (last, length): (Value, u64) = redis::pipe()
            .cmd("XREVRANGE")
            .arg(self.keys.log())
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .cmd("XLEN")
            .arg(self.keys.log())
            .query_async(&mut connection)
            .await?;
        let last = Reader("log").entries(last)?.pop();
        let position = last.and_then(|entry| entry.id.parse().ok());
        Ok((position.unwrap_or(Position::ZERO), length))
    }

    /// Age of the event that follows a position, ms by Redis' clock; 0 where there is none.
    pub(crate) async fn age_of_next(&self, after: Position) -> Result<u64, StoreError> {
        let mut connection = self.link.get();
        let (next, time): (Value, (u64, u64)) = redis::pipe()
            .cmd("XRANGE")
            .arg(self.keys.log())
            .arg(format!("({after}"))
            .arg("+")
            .arg("COUNT")
            .arg(1)
            .cmd("TIME")
            .query_async(&mut connection)
            .await?;
        let next = Reader("log").entries(next)?.pop();
        let next: Option<Position> = next.and_then(|entry| entry.id.parse().ok());
        Ok(next.map_or(0, |next| clock::redis_ms(time).saturating_sub(next.ms)))
    }

    /// The clock of the server that holds this partition, ms since the epoch.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn server_time_ms(&self) -> Result<u64, StoreError> {
        let mut connection = self.link.get();
        // In a cluster the key leads the pipeline to its server; `TIME` alone would be answered by any of them.
        let (_, time): (Value, (u64, u64)) = redis::pipe()
            .cmd("EXISTS")
            .arg(self.keys.log())
            .cmd("TIME")
            .query_async(&mut connection)
            .await?;
        Ok(clock::redis_ms(time))
    }
}
