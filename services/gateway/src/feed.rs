//! The feed: one reader of each log per gateway, however many listen. Who listens catches up from the log by
//! itself, and then hears what the reader hears.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use taskweir_domain::{Position, TaskId};
use taskweir_store::{LogEntry, Partition, Store, StoreError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio_util::task::TaskTracker;

use crate::metrics::LOG_REWINDS;

/// Events that a listener may be behind before it is dropped.
const BEHIND: usize = 16_384;
/// Entries per read.
const BATCH: usize = 1_000;
/// Longest wait for an event.
const IDLE_MS: u64 = 2_000;
/// Listeners that read at once to catch up.
const CATCHING_UP: usize = 4;
/// Tasks whose queue and type a reader remembers.
const REMEMBERED: usize = 100_000;

/// An event with what listeners choose by.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) partition: usize,
    pub(crate) entry: LogEntry,
    /// The queue it belongs to, where that is still known.
    pub(crate) queue: Option<String>,
    /// The type of its task, where that is still known.
    pub(crate) task_type: Option<String>,
}

/// Where the reader of a partition is; `None` while nobody listens.
type At = watch::Sender<Option<Position>>;

struct Shared {
    store: Store,
    /// `None`: retention cut what the readers had not read.
    sender: broadcast::Sender<Option<Arc<Heard>>>,
    at: Vec<At>,
    /// Who begins or ends to listen does so with this in hand, so that no reader stops in between.
    door: Mutex<()>,
    wake: Notify,
    /// Who catches up reads by turns: submits go over the same connection.
    catching_up: Semaphore,
    readers: TaskTracker,
}

/// The feed of a gateway.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Shared>);

/// Queue and type of tasks.
#[derive(Default)]
struct Kinds(HashMap<TaskId, (String, String)>);

impl Kinds {
    /// Adds queue and type to entries.
    async fn name(
        &mut self,
        partition: &Partition,
        entries: Vec<LogEntry>,
    ) -> Result<Vec<Heard>, StoreError> {
        let index = usize::from(partition.keys().partition().0);
        if self.0.len() > REMEMBERED {
            self.0.clear();
        }
        let mut unknown = Vec::new();
        for entry in &entries {
            let Ok(id) = entry.i.parse::<TaskId>() else {
                continue;
            };
            if let Some(kind) = submitted(entry) {
                self.0.insert(id, kind);
            } else if !self.0.contains_key(&id) {
                unknown.push(id);
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        for ids in unknown.chunks(500) {
            for (id, record) in ids.iter().zip(partition.records(ids).await?) {
                if let Some(record) = record {
                    let task = record.task;
                    let kind = (task.queue.to_string(), task.task_type.to_string());
                    self.0.insert(*id, kind);
                }
            }
        }
        let heard = entries.into_iter().map(|entry| {
            let kind = entry.i.parse().ok().and_then(|id: TaskId| self.0.get(&id));
            let (queue, task_type) = kind.cloned().unzip();
            Heard {
                partition: index,
                queue: queue.or_else(|| entry.i.strip_prefix("q:").map(ToOwned::to_owned)),
                task_type,
                entry,
            }
        });
        Ok(heard.collect())
    }
}

/// Queue and type as a first event tells them.
fn submitted(entry: &LogEntry) -> Option<(String, String)> {
    if !entry.t.starts_with("Submitted.") {
        return None;
    }
    let body: Value = serde_json::from_str(&entry.d).ok()?;
    let text = |name: &str| body[name].as_str().map(ToOwned::to_owned);
    Some((text("queue")?, text("type")?))
}

impl Feed {
    pub(crate) fn new(store: &Store) -> Self {
        let (sender, _) = broadcast::channel(BEHIND);
        let partitions = store.partitions();
        let shared = Arc::new(Shared {
            store: store.clone(),
            sender,
            at: partitions.iter().map(|_| At::new(None)).collect(),
            door: Mutex::default(),
            wake: Notify::new(),
            catching_up: Semaphore::new(CATCHING_UP),
            readers: TaskTracker::new(),
        });
        for (index, partition) in partitions.into_iter().enumerate() {
            shared
                .readers
                .spawn(read(Arc::downgrade(&shared), index, partition));
        }
        Self(shared)
    }

    /// Listens from positions on, one per partition; `None` = from now.
    ///
    /// # Errors
    /// Redis is away.
    pub(crate) async fn listen(&self, from: Option<Vec<Position>>) -> Result<Listener, StoreError> {
        let mut ends = Vec::new();
        for partition in self.0.store.partitions() {
            ends.push(end(&partition).await?);
        }
        let from = match from {
            // What lies behind the end was lost: it goes on with what comes instead.
            Some(from) => from
                .into_iter()
                .zip(ends)
                .map(|(at, end)| at.min(end))
                .collect(),
            None => ends,
        };
        let receiver = {
            let _door = self.0.door();
            self.0.sender.subscribe()
        };
        self.0.wake.notify_waiters();
        Ok(Listener {
            feed: self.clone(),
            at: from,
            receiver,
            catching_up: Some(0),
            ready: Vec::new().into_iter(),
            kinds: Kinds::default(),
            has_heard: false,
        })
    }
}

impl Shared {
    fn door(&self) -> MutexGuard<'_, ()> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader of a partition.
async fn read(shared: std::sync::Weak<Shared>, index: usize, partition: Partition) {
    let mut kinds = Kinds::default();
    loop {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let woken = shared.wake.notified();
        let listens = {
            let _door = shared.door();
            let listens = shared.sender.receiver_count() > 0;
            if !listens {
                shared.at[index].send_replace(None);
            }
            listens
        };
        if !listens {
            // Looks up now and then all the same, so that it ends with the feed.
            tokio::time::timeout(Duration::from_millis(IDLE_MS), woken)
                .await
                .ok();
            continue;
        }
        if let Err(error) = step(&shared, index, &partition, &mut kinds).await {
            tracing::debug!(%error, "the feed waits for Redis");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Where the next event comes after: the end of the log, or the base where retention has emptied the log.
async fn end(partition: &Partition) -> Result<Position, StoreError> {
    let (end, _) = partition.log_end().await?;
    Ok(end.max(partition.base_position().await?))
}

async fn step(
    shared: &Shared,
    index: usize,
    partition: &Partition,
    kinds: &mut Kinds,
) -> Result<(), StoreError> {
    let at = *shared.at[index].borrow();
    let Some(at) = at else {
        let end = end(partition).await?;
        shared.at[index].send_replace(Some(end));
        return Ok(());
    };
    let read = partition.read_log(at, BATCH).await?;
    let Some(last) = read.last else {
        let end = end(partition).await?;
        if end < at {
            // A replica took over that had not been told the last events. Who listens comes back, and hears what
            // took their places, whatever the clock of the new primary says.
            metrics::counter!(LOG_REWINDS).increment(1);
            tracing::warn!(partition = index, was = %at, is = %end, "the log has lost its end");
            shared.at[index].send_replace(Some(end));
            shared.sender.send(None).ok();
            return Ok(());
        }
        return partition.await_event(at, IDLE_MS).await;
    };
    let base = partition.base_position().await?;
    if base > at {
        // Away from Redis for long: some of what comes after `at` may be gone. Who listens comes back with the place
        // it had, and is told.
        shared.at[index].send_replace(Some(base));
        shared.sender.send(None).ok();
        return Ok(());
    }
    let heard = kinds.name(partition, read.entries).await?;
    // First the place, then the events: whoever begins to listen in between hears an event twice rather
    // than never, and knows by its position which ones it had.
    shared.at[index].send_replace(Some(last));
    for heard in heard {
        shared.sender.send(Some(Arc::new(heard))).ok();
    }
    Ok(())
}

/// Somebody who listens.
pub(crate) struct Listener {
    feed: Feed,
    /// Up to where it has heard, by partition.
    pub(crate) at: Vec<Position>,
    receiver: broadcast::Receiver<Option<Arc<Heard>>>,
    /// The partition whose log it reads to catch up; `None` once it has.
    catching_up: Option<usize>,
    ready: std::vec::IntoIter<Heard>,
    kinds: Kinds,
    /// Whether it has heard the reader since it caught up.
    has_heard: bool,
}

impl Listener {
    /// The next event; `None` where the listener fell too far behind, where retention cut what it had not read
    /// yet, or where the feed has ended.
    pub(crate) async fn next(&mut self) -> Option<Arc<Heard>> {
        loop {
            if let Some(heard) = self.ready.next() {
                self.at[heard.partition] = heard.entry.position;
                return Some(Arc::new(heard));
            }
            if let Some(index) = self.catching_up {
                match self.catch_up(index).await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => {
                        tracing::debug!(%error, "a listener waits for Redis");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
                continue;
            }
            let heard = match self.receiver.recv().await {
                Ok(heard) => heard?,
                // It missed some while it caught up, and reads those from the log too.
                Err(RecvError::Lagged(_)) if !self.has_heard => {
                    self.catching_up = Some(0);
                    continue;
                }
                Err(_) => return None,
            };
            self.has_heard = true;
            let at = &mut self.at[heard.partition];
            if heard.entry.position > *at {
                *at = heard.entry.position;
                return Some(heard);
            }
        }
    }

    /// Reads a partition's log up to where its reader is, then goes on to the next; false where retention has
    /// cut what it had not read.
    async fn catch_up(&mut self, index: usize) -> Result<bool, StoreError> {
        let Some(partition) = self.feed.0.store.partitions().into_iter().nth(index) else {
            self.catching_up = None;
            self.has_heard = false;
            self.kinds = Kinds::default();
            return Ok(true);
        };
        let mut reader = self.feed.0.at[index].subscribe();
        let until = reader.wait_for(Option::is_some).await;
        let until = until.ok().and_then(|at| *at).unwrap_or(Position::ZERO);
        let from = self.at[index];
        if from >= until {
            self.catching_up = Some(index + 1);
            return Ok(true);
        }
        // Never closed.
        let turn = self.feed.0.catching_up.acquire().await;
        let read = partition.read_log(from, BATCH).await?;
        drop(turn);
        // It comes back with its `Last-Event-ID`, and is told.
        if partition.base_position().await? > from {
            return Ok(false);
        }
        match read.last {
            None => self.at[index] = until,
            Some(last) => {
                let heard = self.kinds.name(&partition, read.entries).await?;
                // Where all of them are malformed, none moves us on.
                if heard.is_empty() {
                    self.at[index] = last;
                }
                self.ready = heard.into_iter();
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use taskweir_domain::TaskSpec;
    use taskweir_store::{Limits, MigrateOptions, RedisSettings, Submission, migrate};
    use taskweir_testkit::TestRedis;

    use super::*;

    /// A listener from the beginning on, of a log of a few events.
    async fn listener() -> (TestRedis, Partition, Listener) {
        let redis = TestRedis::start();
        let settings = RedisSettings::at(redis.url());
        migrate(&settings, MigrateOptions { partitions: 1 })
            .await
            .expect("a layout");
        let store = Store::connect(&settings, Limits::default())
            .await
            .expect("a store");
        let partition = store.partitions().remove(0);
        let submissions: Vec<Submission> = (0..3)
            .map(|_| Submission {
                id: store.mint(),
                spec: TaskSpec::new(
                    "default".parse().expect("a name"),
                    "work".parse().expect("a type"),
                ),
                idempotency: None,
            })
            .collect();
        partition.submit(&submissions).await.expect("submitted");
        let feed = Feed::new(&store);
        let listener = feed.listen(Some(vec![Position::ZERO])).await;
        (redis, partition, listener.expect("a listener"))
    }

    fn heard(partition: usize, position: Position) -> Arc<Heard> {
        Arc::new(Heard {
            partition,
            entry: LogEntry {
                position,
                t: "Progressed.1".to_owned(),
                i: String::new(),
                n: String::new(),
                b: String::new(),
                d: String::new(),
            },
            queue: None,
            task_type: None,
        })
    }

    #[tokio::test]
    async fn who_missed_events_while_catching_up_reads_them_from_the_log() {
        let (_redis, _, mut listener) = listener().await;
        let first = listener.next().await.expect("an event");
        for seq in 0..=BEHIND as u64 {
            let position = Position { ms: 1, seq };
            listener.feed.0.sender.send(Some(heard(0, position))).ok();
        }
        let second = listener.next().await.expect("an event");
        let third = listener.next().await.expect("and not the end");
        assert!(first.entry.position < second.entry.position);
        assert!(second.entry.position < third.entry.position);
        let more = tokio::time::timeout(Duration::from_millis(300), listener.next());
        assert!(more.await.is_err(), "it listens on");
    }

    #[tokio::test]
    async fn who_heard_what_a_failover_lost_hears_what_comes_instead() {
        let (redis, partition, mut listener) = listener().await;
        let mut last = Position::ZERO;
        for _ in 0..3 {
            last = listener.next().await.expect("an event").entry.position;
        }
        // The log as a replica has it that was not told of them, on a machine whose clock is behind.
        let log = partition.keys().log();
        let fields = ["t", "Progressed.1", "i", "", "n", "1", "b", "", "d", "{}"];
        let add = |at: &str| redis.cli(&[&["XADD", &log, at], &fields[..]].concat());
        assert_eq!(redis.cli(&["DEL", &log]), "1");
        assert_eq!(add("5-1"), "5-1");
        assert!(listener.next().await.is_none(), "it is told by the end");
        let feed = listener.feed.clone();
        let again = feed.listen(Some(vec![last])).await;
        let mut again = again.expect("a listener");
        assert_eq!(add("5-2"), "5-2");
        let heard = again.next().await.expect("what comes instead");
        assert_eq!(heard.entry.position.to_string(), "5-2");
    }

    #[tokio::test]
    async fn who_had_not_read_what_retention_cut_is_let_go() {
        let (redis, partition, mut listener) = listener().await;
        let (end, _) = partition.log_end().await.expect("a log");
        let base = partition.keys().base();
        assert_eq!(
            redis.cli(&["HSET", &base, "position", &end.to_string()]),
            "1"
        );
        assert!(listener.next().await.is_none(), "no gap without a word");
    }

    #[tokio::test]
    async fn who_hears_a_reader_that_retention_overtook_is_let_go() {
        let (redis, partition, mut listener) = listener().await;
        for _ in 0..3 {
            assert!(listener.next().await.is_some());
        }
        // The reader was away while events came and went.
        let later = Position {
            ms: partition.log_end().await.expect("a log").0.ms + 60_000,
            seq: 0,
        };
        let add = |at: &str| {
            let fields = ["t", "Progressed.1", "i", "", "n", "1", "b", "", "d", "{}"];
            let log = partition.keys().log();
            redis.cli(&[&["XADD", &log, at], &fields[..]].concat())
        };
        let base = partition.keys().base();
        assert_eq!(
            redis.cli(&["HSET", &base, "position", &later.to_string()]),
            "1"
        );
        assert!(!add(&format!("{}-1", later.ms)).is_empty());
        assert!(listener.next().await.is_none(), "no gap without a word");
    }
}
