//! The projector: folds the log into the views, each step with its checkpoint in one script. A
//! second instance is harmless: a step from any other place than the checkpoint changes nothing.

mod begin;
mod difference;
mod rebuild;
mod run;
mod verify;

use taskweir_runtime::{Env, EnvError, Readiness};
use taskweir_store::{Limits, RedisSettings, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use difference::Difference;
pub use rebuild::{RebuildError, Rebuilt, rebuild};
pub use verify::{Report, VerifyError, verify};

/// What a projector is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Redis is.
    pub redis: RedisSettings,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable cannot be used.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            redis: taskweir_settings::redis(env)?,
        })
    }

    /// Connects, waiting while Redis is away; `readiness` will tell whether it gets on.
    ///
    /// # Errors
    /// The layout is not usable.
    pub async fn build(self, readiness: Readiness) -> Result<App, StoreError> {
        Ok(App {
            store: Store::connect_waiting(&self.redis, Limits::default()).await?,
            readiness,
        })
    }
}

/// A projector, connected.
#[derive(Debug)]
pub struct App {
    store: Store,
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
            let part = self
                .readiness
                .part(format!("projection of partition {number}"));
            (partition, part)
        });
        let parts: Vec<_> = parts.collect();
        let loops = TaskTracker::new();
        for (partition, part) in parts {
            loops.spawn(run::run(partition, part, stop.clone()));
        }
        tracing::info!("projector runs");
        loops.close();
        self.store
            .while_layout_stands(loops.wait(), || stop.cancel())
            .await
    }
}
