//! The feed: one reader of each log per gateway, however many listen. Who listens catches up from the log by
//! itself, and then hears what the reader hears.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use taskweir_domain::{Position, TaskId};
use taskweir_store::{LogEntry, Partition, Store, StoreError};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::task::TaskTracker;

/// Events that a listener may be behind before it is dropped.
const BEHIND: usize = 16_384;
/// Entries per read.
const BATCH: usize = 1_000;
/// Longest wait for an event.
const IDLE_MS: u64 = 2_000;
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
    sender: broadcast::Sender<Arc<Heard>>,
    at: Vec<At>,
    /// Who begins or ends to listen does so with this in hand, so that no reader stops in between.
    door: Mutex<()>,
    wake: Notify,
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
            readers: TaskTracker::new(),
        });
        for (index, partition) in partitions.into_iter().enumerate() {
            // They end with the runtime.
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
        let from = match from {
            Some(from) => from,
            None => {
                let mut from = Vec::new();
                for partition in self.0.store.partitions() {
                    from.push(partition.log_end().await?.0);
                }
                from
            }
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

async fn step(
    shared: &Shared,
    index: usize,
    partition: &Partition,
    kinds: &mut Kinds,
) -> Result<(), StoreError> {
    let at = *shared.at[index].borrow();
    let Some(at) = at else {
        let (end, _) = partition.log_end().await?;
        shared.at[index].send_replace(Some(end));
        return Ok(());
    };
    let read = partition.read_log(at, BATCH).await?;
    let Some(last) = read.last else {
        return partition.await_event(at, IDLE_MS).await;
    };
    let heard = kinds.name(partition, read.entries).await?;
    // First the place, then the events: whoever begins to listen in between hears an event twice rather
    // than never, and knows by its position which ones it had.
    shared.at[index].send_replace(Some(last));
    for heard in heard {
        shared.sender.send(Arc::new(heard)).ok();
    }
    Ok(())
}

/// Somebody who listens.
pub(crate) struct Listener {
    feed: Feed,
    /// Up to where it has heard, by partition.
    pub(crate) at: Vec<Position>,
    receiver: broadcast::Receiver<Arc<Heard>>,
    /// The partition whose log it reads to catch up; `None` once it has.
    catching_up: Option<usize>,
    ready: std::vec::IntoIter<Heard>,
    kinds: Kinds,
}

impl Listener {
    /// The next event; `None` where the listener fell too far behind, or the feed has ended.
    pub(crate) async fn next(&mut self) -> Option<Arc<Heard>> {
        loop {
            if let Some(heard) = self.ready.next() {
                self.at[heard.partition] = heard.entry.position;
                return Some(Arc::new(heard));
            }
            if let Some(index) = self.catching_up {
                if let Err(error) = self.catch_up(index).await {
                    tracing::debug!(%error, "a listener waits for Redis");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                continue;
            }
            let heard = self.receiver.recv().await.ok()?;
            let at = &mut self.at[heard.partition];
            if heard.entry.position > *at {
                *at = heard.entry.position;
                return Some(heard);
            }
        }
    }

    /// Reads a partition's log up to where its reader is, then goes on to the next.
    async fn catch_up(&mut self, index: usize) -> Result<(), StoreError> {
        let Some(partition) = self.feed.0.store.partitions().into_iter().nth(index) else {
            self.catching_up = None;
            return Ok(());
        };
        let mut reader = self.feed.0.at[index].subscribe();
        let until = reader.wait_for(Option::is_some).await;
        let until = until.ok().and_then(|at| *at).unwrap_or(Position::ZERO);
        if self.at[index] >= until {
            self.catching_up = Some(index + 1);
            return Ok(());
        }
        let read = partition.read_log(self.at[index], BATCH).await?;
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
        Ok(())
    }
}
