//! What is left in Redis after a run, read raw.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use tokio_util::sync::CancellationToken;

use super::tap::{Entry, Position, RawEvent, Tap, connect, end_of, keys};
use super::{Claim, Submit, Window};

/// A partition's keys, read raw.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// Everything before the kind of a key, such as `tw:{p0-0}:`.
    pub(crate) prefix: String,
    /// Positions in the log now.
    pub(crate) log: Vec<Position>,
    /// Base: field to value.
    pub(crate) base: BTreeMap<String, String>,
    /// Checkpoint of the views.
    pub(crate) checkpoint: Option<Position>,
    /// Records by task id.
    pub(crate) records: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) due: BTreeMap<String, f64>,
    pub(crate) expiry: BTreeMap<String, f64>,
    /// Streams by name (`ready:<queue>:<priority>`, `dlq:<queue>`).
    pub(crate) streams: BTreeMap<String, Vec<Entry>>,
    /// Entries of ready streams that a consumer holds, by stream.
    pub(crate) held: BTreeMap<String, Vec<String>>,
    /// Members of the parked sets.
    pub(crate) parked: Vec<String>,
    /// The counters of the views: `status|queue|type` to number.
    pub(crate) counts: BTreeMap<String, i64>,
}

/// Everything a check looks at.
#[derive(Debug)]
pub struct Evidence {
    /// Every event ever seen, by log and position.
    pub events: BTreeMap<String, BTreeMap<Position, RawEvent>>,
    /// What clients were told, by idempotency key.
    pub journal: BTreeMap<String, Submit>,
    /// What workers said.
    pub claims: Vec<Claim>,
    /// Whether the system came to rest.
    pub settled: bool,
    /// When what was acknowledged may have been lost, by a failover or a power loss.
    pub losses: Vec<Window>,
    pub(crate) partitions: BTreeMap<String, Partition>,
}

async fn hash(
    connection: &mut MultiplexedConnection,
    key: &str,
) -> redis::RedisResult<BTreeMap<String, String>> {
    redis::cmd("HGETALL").arg(key).query_async(connection).await
}

async fn scores(
    connection: &mut MultiplexedConnection,
    key: &str,
) -> redis::RedisResult<BTreeMap<String, f64>> {
    redis::cmd("ZRANGE")
        .arg(key)
        .arg(&["0", "-1", "WITHSCORES"])
        .query_async(connection)
        .await
}

async fn stream(
    connection: &mut MultiplexedConnection,
    key: &str,
) -> redis::RedisResult<Vec<Entry>> {
    redis::cmd("XRANGE")
        .arg(key)
        .arg(&["-", "+"])
        .query_async(connection)
        .await
}

/// Entries that consumers hold; none where the stream has no group.
async fn held(connection: &mut MultiplexedConnection, key: &str) -> Vec<String> {
    let pending: redis::RedisResult<Vec<(String, String, u64, u64)>> = redis::cmd("XPENDING")
        .arg(key)
        .arg(&["workers", "-", "+", "1000000"])
        .query_async(connection)
        .await;
    pending
        .unwrap_or_default()
        .into_iter()
        .map(|(entry, ..)| entry)
        .collect()
}

impl Partition {
    async fn read(connection: &mut MultiplexedConnection, log: &str) -> anyhow::Result<Self> {
        let prefix = log.trim_end_matches("log").to_owned();
        let key = |name: &str| format!("{prefix}{name}");
        let mut partition = Self {
            log: stream(connection, log)
                .await?
                .into_iter()
                .filter_map(|(position, _)| position.parse().ok())
                .collect(),
            base: hash(connection, &key("base")).await?,
            due: scores(connection, &key("due")).await?,
            expiry: scores(connection, &key("expiry")).await?,
            ..Self::default()
        };
        // Braces stand for themselves in a pattern.
        for found in keys(connection, &format!("{prefix}*")).await? {
            let Some(name) = found.strip_prefix(&prefix) else {
                continue;
            };
            if let Some(id) = name.strip_prefix("task:") {
                partition
                    .records
                    .insert(id.to_owned(), hash(connection, &found).await?);
            } else if name.starts_with("ready:") {
                let entries = stream(connection, &found).await?;
                partition.streams.insert(name.to_owned(), entries);
                partition
                    .held
                    .insert(name.to_owned(), held(connection, &found).await);
            } else if name.starts_with("dlq:") {
                let entries = stream(connection, &found).await?;
                partition.streams.insert(name.to_owned(), entries);
            } else if name.starts_with("parked:") {
                partition
                    .parked
                    .extend(scores(connection, &found).await?.into_keys());
            } else if name.starts_with("checkpoint:views-") {
                let at: String = redis::cmd("GET")
                    .arg(&found)
                    .query_async(connection)
                    .await?;
                partition.checkpoint = at.parse().ok();
            } else if name.starts_with("view:") && name.ends_with(":counts") {
                let counts = hash(connection, &found).await?;
                let read = |(field, count): (String, String)| Some((field, count.parse().ok()?));
                partition.counts = counts.into_iter().filter_map(read).collect();
            }
        }
        partition.prefix = prefix;
        Ok(partition)
    }

    /// Up to here retention has cut the log.
    pub(crate) fn base_position(&self) -> Position {
        let position = self.base.get("position").and_then(|text| text.parse().ok());
        position.unwrap_or_default()
    }
}

/// A return of Redis.
#[derive(Debug, Clone)]
pub struct Back {
    /// When.
    pub at: Instant,
    /// Where its logs ended.
    pub ends: BTreeMap<String, Position>,
}

impl Back {
    /// Looks where the logs end.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn now(url: &str) -> anyhow::Result<Self> {
        let at = Instant::now();
        let mut connection = connect(url).await?;
        let mut ends = BTreeMap::new();
        for log in keys(&mut connection, "*:log").await? {
            let end = end_of(&mut connection, &log).await?;
            ends.insert(log, end.unwrap_or_default());
        }
        Ok(Self { at, ends })
    }
}

/// Waits until nothing waits or runs and the views have come to the end of the log.
pub async fn rest(url: &str) {
    loop {
        if is_at_rest(url).await.unwrap_or(false) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn is_at_rest(url: &str) -> anyhow::Result<bool> {
    let mut connection = connect(url).await?;
    for log in keys(&mut connection, "*:log").await? {
        let prefix = log.trim_end_matches("log");
        let due: u64 = redis::cmd("ZCARD")
            .arg(format!("{prefix}due"))
            .query_async(&mut connection)
            .await?;
        let mut waiting = due;
        for ready in keys(&mut connection, &format!("{prefix}ready:*")).await? {
            let length: u64 = redis::cmd("XLEN")
                .arg(ready)
                .query_async(&mut connection)
                .await?;
            waiting += length;
        }
        for parked in keys(&mut connection, &format!("{prefix}parked:*")).await? {
            let length: u64 = redis::cmd("ZCARD")
                .arg(parked)
                .query_async(&mut connection)
                .await?;
            waiting += length;
        }
        let mut seen = true;
        if let Some(end) = end_of(&mut connection, &log).await? {
            let checkpoints = keys(&mut connection, &format!("{prefix}checkpoint:views-*")).await?;
            seen = false;
            for checkpoint in checkpoints {
                let at: String = redis::cmd("GET")
                    .arg(checkpoint)
                    .query_async(&mut connection)
                    .await?;
                seen |= at == end.to_string();
            }
        }
        if waiting > 0 || !seen {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Evidence {
    /// Reads what is left.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn gather(url: &str, tap: &Tap) -> anyhow::Result<Self> {
        let mut connection = connect(url).await?;
        let mut partitions = BTreeMap::new();
        for log in keys(&mut connection, "*:log").await? {
            partitions.insert(log.clone(), Partition::read(&mut connection, &log).await?);
        }
        Ok(Self {
            events: tap.taken(),
            journal: BTreeMap::new(),
            claims: Vec::new(),
            settled: true,
            losses: Vec::new(),
            partitions,
        })
    }

    /// Reads what is left on the primaries of a cluster, when nothing was cut and all has come to rest.
    ///
    /// # Errors
    /// One of them is away.
    pub async fn of_cluster(urls: &[String]) -> anyhow::Result<Self> {
        let mut whole: Option<Self> = None;
        for url in urls {
            let tap = Tap::new(url.clone());
            tokio::select! {
                () = tap.clone().follow(CancellationToken::new()) => {}
                read = tap.catch_up(Duration::from_secs(30)) => read?,
            }
            let part = Self::gather(url, &tap).await?;
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => {
                    whole.events.extend(part.events);
                    whole.partitions.extend(part.partitions);
                }
            }
        }
        whole.context("no servers")
    }

    /// Whether anything that was acknowledged may have been lost.
    pub(crate) fn is_lossy(&self) -> bool {
        !self.losses.is_empty()
    }

    /// Whether a submit was acknowledged within two seconds before something was lost.
    pub(crate) fn is_late(&self, submit: &Submit) -> bool {
        let late = |window: &Window| {
            let from = window.end.checked_sub(Duration::from_secs(2));
            let at = submit.at.filter(|at| *at <= window.end);
            window.submits && at.is_some_and(|at| from.is_none_or(|from| at >= from))
        };
        self.losses.iter().any(late)
    }

    /// Whether an event ends the life of its task: ended or failed.
    pub(crate) fn ends(&self, event: &RawEvent) -> bool {
        match event.kind.as_str() {
            "Completed" | "DeadLettered" | "Cancelled" | "Expired" => true,
            // Where a cancel was asked for, a failure, a loss or a release is the end.
            "AttemptFailed" | "LeaseExpired" | "Released" => self.asked_before(event),
            _ => false,
        }
    }

    /// Whether a cancel was asked for in the attempt that an event settles.
    fn asked_before(&self, event: &RawEvent) -> bool {
        let events = self
            .events
            .values()
            .find(|events| events.contains_key(&event.position));
        let mut previous = event.previous.clone();
        while let Some(before) = previous
            .parse()
            .ok()
            .and_then(|position: Position| events?.get(&position))
        {
            match before.kind.as_str() {
                "CancelRequested" => return true,
                "Progressed" | "LateCompletionRefused" => previous.clone_from(&before.previous),
                _ => return false,
            }
        }
        false
    }

    /// Events that were seen and that retention has cut since.
    pub(crate) fn cut(&self) -> u64 {
        let cut = self.events.iter().map(|(log, events)| {
            let base = self
                .partitions
                .get(log)
                .map_or_else(Position::default, Partition::base_position);
            events.range(..=base).count() as u64
        });
        cut.sum()
    }

    /// How long after a return of Redis the first completion was seen that its logs did not hold by then.
    #[must_use]
    pub fn first_completion_after(&self, back: &Back) -> Option<Duration> {
        let later = self.events.iter().flat_map(|(log, events)| {
            let end = back.ends.get(log).copied().unwrap_or_default();
            events.range((Bound::Excluded(end), Bound::Unbounded))
        });
        later
            .filter(|(_, event)| event.kind == "Completed")
            .map(|(_, event)| event.seen.saturating_duration_since(back.at))
            .min()
    }

    /// The longest time from a start that was lost to the next start, ms.
    pub(crate) fn longest_redelivery_ms(&self) -> u64 {
        let mut longest = 0;
        for events in self.events.values() {
            let mut lost: BTreeMap<&str, Instant> = BTreeMap::new();
            let mut started: BTreeMap<&str, Instant> = BTreeMap::new();
            for event in events.values() {
                match event.kind.as_str() {
                    "Started" => {
                        if let Some(at) = lost.remove(event.id.as_str()) {
                            let span = event.seen.saturating_duration_since(at).as_millis();
                            longest = longest.max(u64::try_from(span).unwrap_or(u64::MAX));
                        }
                        started.insert(&event.id, event.seen);
                    }
                    "LeaseExpired" if event.body["started"] == true => {
                        if let Some(at) = started.get(event.id.as_str()) {
                            lost.entry(&event.id).or_insert(*at);
                        }
                    }
                    _ => {
                        lost.remove(event.id.as_str());
                    }
                }
            }
        }
        longest
    }
}
