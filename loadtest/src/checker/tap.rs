//! A copy of every event, taken while the run goes on: retention may cut what the check needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
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
    /// `None` where its position cannot be read. What cannot be read otherwise stays as it is: the
    /// check will not know what to make of it, and say so.
    fn read((position, fields): Entry) -> Option<Self> {
        let field = |index: usize, name: &str| {
            let found = fields.get(index).filter(|(found, _)| found == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        Some(Self {
            position: position.parse().ok()?,
            kind: field(0, "t").trim_end_matches(".1").to_owned(),
            id: field(1, "i"),
            version: field(2, "n").parse().unwrap_or(0),
            previous: field(3, "b"),
            body: serde_json::from_str(&field(4, "d")).unwrap_or_default(),
            seen: Instant::now(),
        })
    }
}

type Logs = BTreeMap<String, BTreeMap<Position, RawEvent>>;

/// Everything that was ever seen in the logs.
#[derive(Debug, Clone)]
pub struct Tap {
    url: Arc<Mutex<String>>,
    seen: Arc<Mutex<Logs>>,
    trouble: Arc<Mutex<String>>,
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

/// Position of the last event of a log.
pub(crate) async fn end_of(
    connection: &mut MultiplexedConnection,
    log: &str,
) -> redis::RedisResult<Option<Position>> {
    let last: Vec<Entry> = redis::cmd("XREVRANGE")
        .arg(log)
        .arg(&["+", "-", "COUNT", "1"])
        .query_async(connection)
        .await?;
    Ok(last.first().and_then(|(position, _)| position.parse().ok()))
}

impl Tap {
    /// A tap on a Redis.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self {
            url: Arc::new(Mutex::new(url)),
            seen: Arc::default(),
            trouble: Arc::default(),
        }
    }

    fn url(&self) -> String {
        let url = self.url.lock().unwrap_or_else(PoisonError::into_inner);
        url.clone()
    }

    /// Goes over to another server, and forgets what its logs do not hold: that is lost.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn rewind(&self, url: String) -> anyhow::Result<()> {
        let mut connection = connect(&url).await?;
        // Nothing is read until what is lost has been forgotten.
        self.point_to(String::new());
        let known: Vec<String> = self.logs().keys().cloned().collect();
        for log in known {
            let entries: Vec<Entry> = redis::cmd("XRANGE")
                .arg(&log)
                .arg(&["-", "+"])
                .query_async(&mut connection)
                .await?;
            let there: BTreeSet<Position> = entries
                .iter()
                .filter_map(|(position, _)| position.parse().ok())
                .collect();
            let base: Option<String> = redis::cmd("HGET")
                .arg(format!("{}base", log.trim_end_matches("log")))
                .arg("position")
                .query_async(&mut connection)
                .await?;
            let cut = base.and_then(|position| position.parse().ok());
            let cut: Position = cut.unwrap_or_default();
            if let Some(events) = self.logs().get_mut(&log) {
                // What was cut before stays; beyond it only what is there.
                events.retain(|position, _| *position <= cut || there.contains(position));
            }
        }
        self.point_to(url);
        Ok(())
    }

    fn point_to(&self, url: String) {
        // With the logs in hand, so that no event of the old server comes after this.
        let _logs = self.logs();
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = url;
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
                read = self.read_on() => {
                    // Redis is away, or frozen: it goes on where it was.
                    self.note_trouble(read.err());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
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
            let mut connection = connect(&self.url()).await?;
            let mut behind = false;
            for log in keys(&mut connection, "*:log").await? {
                let end = end_of(&mut connection, &log).await?;
                behind |= end.is_some_and(|end| self.last(&log) < end);
            }
            if !behind {
                return Ok(());
            }
            if Instant::now() > deadline {
                let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                bail!("the tap does not come to the end of the log: {trouble}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Why it does not get on, for whoever waits for it.
    fn note_trouble(&self, error: Option<anyhow::Error>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = error.map(|error| format!("{error:#}")).unwrap_or_default();
    }

    fn last(&self, log: &str) -> Position {
        let logs = self.logs();
        let last = logs.get(log).and_then(|events| events.last_key_value());
        last.map_or_else(Position::default, |(position, _)| *position)
    }

    async fn read_on(&self) -> anyhow::Result<()> {
        let url = self.url();
        let mut connection = connect(&url).await?;
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
                let mut logs = self.logs();
                // Read from a server that is gone meanwhile.
                if self.url() != url {
                    return Ok(());
                }
                let log = logs.entry(log).or_default();
                for event in entries.into_iter().filter_map(RawEvent::read) {
                    log.insert(event.position, event);
                }
            }
            if read == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
