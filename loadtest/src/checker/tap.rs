//! A copy of every event, taken while the run goes on: retention may cut what the check needs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// A place in a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Time, ms.
    pub ms: u64,
    /// Order within the ms.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ms, seq) = text.split_once('-').ok_or(())?;
        Ok(Self {
            ms: ms.parse().map_err(drop)?,
            seq: seq.parse().map_err(drop)?,
        })
    }
}

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct RawEvent {
    /// Its place.
    pub position: Position,
    /// Type without its version.
    pub kind: String,
    /// Task id, or `q:<queue>`.
    pub id: String,
    /// Number within its subject.
    pub version: u64,
    /// Position of the subject's event before, or nothing.
    pub previous: String,
    /// Body.
    pub body: Value,
    /// When it was seen, by the clock of this process.
    pub seen: Instant,
}

pub(crate) type Entry = (String, Vec<(String, String)>);

impl RawEvent {
    fn read((position, fields): Entry) -> anyhow::Result<Self> {
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        if names != ["t", "i", "n", "b", "d"] {
            bail!("entry {position} of the log has the fields {names:?}");
        }
        let field = |index: usize| fields[index].1.clone();
        Ok(Self {
            position: position.parse().ok().context("a position")?,
            kind: field(0).trim_end_matches(".1").to_owned(),
            id: field(1),
            version: field(2).parse().context("a version")?,
            previous: field(3),
            body: serde_json::from_str(&field(4)).context("a body")?,
            seen: Instant::now(),
        })
    }
}

type Logs = BTreeMap<String, BTreeMap<Position, RawEvent>>;

/// Everything that was ever seen in the logs.
#[derive(Debug, Clone)]
pub struct Tap {
    url: String,
    seen: Arc<Mutex<Logs>>,
}

/// A connection of the checker's own.
pub(crate) async fn connect(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    let config = redis::AsyncConnectionConfig::new()
        .set_response_timeout(Some(Duration::from_secs(10)))
        .set_connection_timeout(Some(Duration::from_secs(2)));
    redis::Client::open(url)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Keys that match a pattern.
pub(crate) async fn keys(
    connection: &mut MultiplexedConnection,
    pattern: &str,
) -> redis::RedisResult<Vec<String>> {
    let mut keys = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(&cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(1_000);
        let (next, found): (String, Vec<String>) = scan.query_async(connection).await?;
        keys.extend(found);
        if next == "0" {
            keys.sort();
            keys.dedup();
            return Ok(keys);
        }
        cursor = next;
    }
}

impl Tap {
    /// A tap on a Redis.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self {
            url,
            seen: Arc::default(),
        }
    }

    fn logs(&self) -> std::sync::MutexGuard<'_, Logs> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen, by log.
    #[must_use]
    pub fn taken(&self) -> BTreeMap<String, BTreeMap<Position, RawEvent>> {
        self.logs().clone()
    }

    /// Follows every log until `stop`.
    pub async fn follow(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                // Redis is away, or frozen: it goes on where it was.
                _ = self.read_on() => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until everything that stands in the logs now has been seen.
    ///
    /// # Errors
    /// Redis is away, or the tap does not get on.
    pub async fn catch_up(&self, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let mut connection = connect(&self.url).await?;
            let mut behind = false;
            for log in keys(&mut connection, "*:log").await? {
                let last: Vec<Entry> = redis::cmd("XREVRANGE")
                    .arg(&log)
                    .arg(&["+", "-", "COUNT", "1"])
                    .query_async(&mut connection)
                    .await?;
                let last = last.first().and_then(|(position, _)| position.parse().ok());
                behind |= last.is_some_and(|last: Position| self.last(&log) < last);
            }
            if !behind {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the tap does not come to the end of the log");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn last(&self, log: &str) -> Position {
        let logs = self.logs();
        let last = logs.get(log).and_then(|events| events.last_key_value());
        last.map_or_else(Position::default, |(position, _)| *position)
    }

    async fn read_on(&self) -> anyhow::Result<()> {
        let mut connection = connect(&self.url).await?;
        loop {
            let mut read = 0;
            for log in keys(&mut connection, "*:log").await? {
                let entries: Vec<Entry> = redis::cmd("XRANGE")
                    .arg(&log)
                    .arg(format!("({}", self.last(&log)))
                    .arg(&["+", "COUNT", "2000"])
                    .query_async(&mut connection)
                    .await?;
                read += entries.len();
                for entry in entries {
                    let event = RawEvent::read(entry)?;
                    self.logs()
                        .entry(log.clone())
                        .or_default()
                        .insert(event.position, event);
                }
            }
            if read == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
