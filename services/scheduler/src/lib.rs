//! The scheduler: promotes what is due, takes tasks from workers that fell silent, runs bulk operations,
//! and cuts what is older than the retention. Any number of instances may run; races between them are harmless, because each script lets one win.

mod aging;
mod expirer;
mod janitor;
pub mod metrics;
mod operator;
mod promoter;
mod trimmer;

use std::time::Duration;

use taskweir_runtime::{Env, EnvError, Readiness};
use taskweir_store::{Limits, RedisSettings, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a scheduler is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Redis is.
    pub redis: RedisSettings,
    /// How long ended tasks stay.
    pub limits: Limits,
    /// Lease of entries that were received and never started, from `LEASE_SECONDS`.
    pub lease: Duration,
    /// How long dead letters are kept, from `DLQ_RETENTION`; `None` = until somebody removes them.
    pub keep_dead: Option<Duration>,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable cannot be used.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            redis: taskweir_settings::redis(env)?,
            limits: taskweir_settings::limits(env)?,
            lease: taskweir_settings::lease(env)?,
            keep_dead: taskweir_settings::keep_dead(env)?,
        })
    }

    /// Connects, waiting while Redis is away; `readiness` will tell whether it gets on.
    ///
    /// # Errors
    /// The layout is not usable.
    pub async fn build(self, readiness: Readiness) -> Result<App, StoreError> {
        let store = Store::connect_waiting(&self.redis, self.limits).await?;
        Ok(App {
            store,
            retention_ms: self.limits.retention_ms,
            lease: self.lease,
            keep_dead: self.keep_dead,
            readiness,
        })
    }
}

/// A scheduler, connected.
#[derive(Debug)]
pub struct App {
    store: Store,
    retention_ms: u64,
    lease: Duration,
    keep_dead: Option<Duration>,
    readiness: Readiness,
}

impl App {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// The layout is gone.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let stop = stop.child_token();
        // All of them before the first begins: a part that comes later would take back that we are ready.
        let parts = self.store.partitions().into_iter().map(|partition| {
            let number = partition.keys().partition().0;
            let part = |role: &str| self.readiness.part(format!("{role} of partition {number}"));
            let roles = ["promotion", "expiry", "retention", "redelivery"].map(part);
            (partition, roles)
        });
        let parts: Vec<_> = parts.collect();
        let operations = self.readiness.part("bulk operations");
        let agings = self.keep_dead.map(|keep| {
            let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
            let partitions = self.store.partitions().into_iter();
            let aging = partitions.map(|partition| {
                let number = partition.keys().partition().0;
                let part = self
                    .readiness
                    .part(format!("aging of dead letters of partition {number}"));
                (partition, keep_ms, part)
            });
            aging.collect::<Vec<_>>()
        });
        let loops = TaskTracker::new();
        for (partition, keep_ms, part) in agings.into_iter().flatten() {
            loops.spawn(aging::run(partition, keep_ms, part, stop.clone()));
        }
        for (partition, [promotion, expiry, retention, redelivery]) in parts {
            loops.spawn(promoter::run(partition.clone(), promotion, stop.clone()));
            loops.spawn(expirer::run(partition.clone(), expiry, stop.clone()));
            loops.spawn(trimmer::run(
                self.store.clone(),
                partition.clone(),
                self.retention_ms,
                retention,
                stop.clone(),
            ));
            loops.spawn(janitor::run(
                self.store.clone(),
                partition,
                self.lease,
                redelivery,
                stop.clone(),
            ));
        }
        loops.spawn(operator::run(self.store.clone(), operations, stop.clone()));
        tracing::info!("scheduler runs");
        loops.close();
        self.store
            .while_layout_stands(loops.wait(), || stop.cancel())
            .await
    }
}

/// Waits, or gives false where `stop` came first.
async fn wait(span: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(span) => true,
    }
}
