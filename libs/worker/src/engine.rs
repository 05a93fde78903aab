//! The engine: everything of a worker but the handlers, on a thread of its own, so that handlers
//! which block their threads starve neither leases nor settlements.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use taskweir_domain::{QueueName, Redaction};
use taskweir_store::{Limits, Partition, RedisSettings, Store, StoreError, StreamSet};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hands::Hands;
use crate::registry::Registry;
use crate::suspects::Suspects;
use crate::{fetch, upkeep};

/// Time to be forgotten; without it the janitor forgets us later.
const FAREWELL: Duration = Duration::from_secs(2);

/// Called whenever Redis has answered.
pub(crate) type OnContact = Arc<dyn Fn() + Send + Sync>;

/// What a worker is told to be.
pub(crate) struct Config {
    pub(crate) redis: RedisSettings,
    pub(crate) limits: Limits,
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) queues: Vec<QueueName>,
    pub(crate) concurrency: usize,
    pub(crate) lease: Duration,
    pub(crate) grace: Duration,
    pub(crate) registry: Registry,
    /// What the words of handlers must not tell.
    pub(crate) redaction: Arc<Redaction>,
    pub(crate) on_contact: Option<OnContact>,
    pub(crate) started_ms: u64,
}

/// One partition as a worker sees it.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) config: Arc<Config>,
    pub(crate) partition: Partition,
    pub(crate) streams: Arc<StreamSet>,
    pub(crate) hands: Hands,
    /// Free hands of the whole process, shared by its lanes.
    pub(crate) slots: Arc<Semaphore>,
    /// One suspect at a time runs in the whole process: see [`crate::suspects`].
    pub(crate) suspects: Suspects,
    pub(crate) paused: Arc<Mutex<BTreeSet<QueueName>>>,
    /// Where handlers run.
    pub(crate) handlers: Handle,
    /// The worker stops.
    pub(crate) stop: CancellationToken,
}

impl Lane {
    /// Streams of queues that are not paused.
    pub(crate) fn open_streams(&self) -> Vec<usize> {
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = self.streams.streams().iter().enumerate();
        streams
            .filter(|(_, stream)| !paused.contains(&stream.queue))
            .map(|(index, _)| index)
            .collect()
    }

    pub(crate) fn set_paused(&self, paused: BTreeSet<QueueName>) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = paused;
    }

    pub(crate) fn lease_ms(&self) -> u64 {
        u64::try_from(self.config.lease.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Runs until `stop`, then finishes or gives back what runs.
pub(crate) async fn run(
    config: Config,
    handlers: Handle,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let connecting = Store::connect_waiting(&config.redis, config.limits);
    let store = tokio::select! {
        store = connecting => store?,
        () = stop.cancelled() => return Ok(()),
    };
    let config = Arc::new(config);
    let slots = Arc::new(Semaphore::new(config.concurrency));
    let suspects = Suspects::default();
    let fetching = TaskTracker::new();
    let upkeep = TaskTracker::new();
    let done = CancellationToken::new();
    let mut lanes = Vec::new();
    for partition in store.partitions() {
        let lane = Lane {
            streams: Arc::new(StreamSet::of_queues(partition.keys(), &config.queues)),
            config: Arc::clone(&config),
            partition,
            hands: Hands::default(),
            slots: Arc::clone(&slots),
            suspects: suspects.clone(),
            paused: Arc::default(),
            handlers: handlers.clone(),
            stop: stop.clone(),
        };
        // Before the first claim: a stream without its group would spoil it for the others, and what
        // is paused must not start.
        lane.partition.ensure_groups(&lane.streams).await.ok();
        upkeep::say_present(&lane, &mut Vec::new()).await.ok();
        upkeep.spawn(upkeep::beat(lane.clone(), done.clone()));
        upkeep.spawn(upkeep::watch(lane.clone(), done.clone()));
        lanes.push(lane.clone());
        upkeep.spawn(upkeep::presence(lane.clone(), done.clone()));
        upkeep.spawn(upkeep::unpark(lane.clone(), done.clone()));
        let (ended_sender, ended) = mpsc::unbounded_channel();
        fetching.spawn(fetch::run(lane, ended_sender, ended));
    }
    tracing::info!(worker = %config.id, concurrency = config.concurrency, "worker runs");
    fetching.close();
    let worked = store
        .while_layout_stands(fetching.wait(), || stop.cancel())
        .await;
    done.cancel();
    upkeep.close();
    upkeep.wait().await;
    // Only now: until here the worker has said that it lives.
    let farewell = async {
        for lane in &lanes {
            lane.partition
                .forget_worker(&config.id, &lane.streams)
                .await
                .ok();
        }
    };
    tokio::time::timeout(FAREWELL, farewell).await.ok();
    tracing::info!(worker = %config.id, "worker stopped");
    worked
}
