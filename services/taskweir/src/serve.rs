//! Running one service as a process.

use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use taskweir_runtime::access::Doorkeeper;
use taskweir_runtime::traces::Traces;
use taskweir_runtime::{Env, Readiness, admin, lifecycle, telemetry};
use taskweir_store::{Limits, MigrateOptions, Migrated, RedisSettings, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::Service;
use crate::output::say;

/// What every process of a service begins with.
pub struct Process {
    /// Its environment.
    pub env: Env,
    /// Cancelled when it shall stop.
    pub stop: CancellationToken,
    /// Its metrics.
    pub metrics: PrometheusHandle,
    /// What it runs beside its service.
    pub beside: TaskTracker,
    traces: Option<Traces>,
}

impl Process {
    /// Starts logs, metrics and signals.
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let env = Env::process();
        let traces = telemetry::init(&env, name)?;
        let metrics = telemetry::init_metrics()?;
        taskweir_gateway::metrics::describe();
        taskweir_worker::metrics::describe();
        taskweir_scheduler::metrics::describe();
        let stop = lifecycle::stop_on_signals()?;
        let beside = TaskTracker::new();
        beside.spawn(telemetry::keep_metrics(metrics.clone(), stop.clone()));
        Ok(Self {
            env,
            stop,
            metrics,
            beside,
            traces,
        })
    }

    /// Ends what runs beside the service, and sends the last traces.
    pub async fn end(self) {
        self.stop.cancel();
        self.beside.close();
        self.beside.wait().await;
        if let Some(traces) = self.traces {
            traces.close().await;
        }
    }

    /// Serves probes and metrics where `METRICS_ADDR` says so.
    async fn probe(&self, readiness: Readiness) -> anyhow::Result<()> {
        if let Some(address) = admin::address(&self.env)? {
            let doorkeeper = Doorkeeper::from_env(&self.env)?;
            let serving = admin::serve(
                address,
                doorkeeper,
                self.metrics.clone(),
                readiness,
                self.stop.clone(),
            )
            .await?;
            self.beside.spawn(serving);
        }
        Ok(())
    }
}

/// Runs a service until it is told to stop.
pub async fn run(service: Service) -> anyhow::Result<()> {
    let process = Process::start(service.name())?;
    let (env, stop) = (&process.env, process.stop.clone());
    let stopped = stop.clone();
    let work = async {
        match service {
            Service::Gateway => {
                let config = taskweir_gateway::Config::from_env(env)?;
                config.serve(process.metrics.clone(), stop).await?;
            }
            Service::Dashboard => {
                let config = taskweir_dashboard::Config::from_env(env)?;
                // Its own HTTP tells how it goes on from there.
                let readiness = Readiness::new(Duration::MAX);
                process.probe(readiness.clone()).await?;
                config.serve(readiness.part("dashboard"), stop).await?;
            }
            Service::Worker => {
                let app = taskweir_worker_service::Config::from_env(env)?.build()?;
                process.probe(app.readiness()).await?;
                app.run(stop).await?;
            }
            Service::Projector => {
                let config = taskweir_projector::Config::from_env(env)?;
                let readiness = Readiness::default();
                process.probe(readiness.clone()).await?;
                config.build(readiness).await?.run(stop).await?;
            }
            Service::Scheduler => {
                let config = taskweir_scheduler::Config::from_env(env)?;
                let readiness = Readiness::default();
                process.probe(readiness.clone()).await?;
                config.build(readiness).await?.run(stop).await?;
            }
        }
        anyhow::Ok(())
    };
    // A worker gives back what it runs; the others have nothing to lose while they still connect.
    let worked = if service == Service::Worker {
        work.await
    } else {
        tokio::select! {
            result = work => result,
            () = connecting_abandoned(&stopped) => Ok(()),
        }
    };
    process.end().await;
    worked
}

/// Completes a while after the stop: a service that still waits for Redis is then left.
async fn connecting_abandoned(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_secs(8)).await;
}

/// What a command of upkeep begins with: logs, and the store as it is, without waiting for Redis.
pub async fn store_for_upkeep() -> anyhow::Result<Store> {
    let env = Env::process();
    telemetry::init_logs(&env)?;
    Ok(Store::connect(&taskweir_settings::redis(&env)?, Limits::default()).await?)
}

/// Longest wait of `migrate` for a Redis that is away or still reads its file.
const MIGRATE_PATIENCE: Duration = Duration::from_mins(1);

async fn migrate_waiting(
    redis: &RedisSettings,
    options: MigrateOptions,
) -> Result<Migrated, StoreError> {
    let began = Instant::now();
    let mut said = false;
    loop {
        match taskweir_store::migrate(redis, options).await {
            Err(error) if error.is_transient() && began.elapsed() < MIGRATE_PATIENCE => {
                if !said {
                    tracing::warn!(redis = %redis.address(), %error, "waiting for Redis, for a minute at most");
                    said = true;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            ended => return ended,
        }
    }
}

/// Makes or upgrades the layout, and says so, as JSON where that is asked for.
pub async fn migrate(json: bool) -> anyhow::Result<()> {
    let env = Env::process();
    telemetry::init_logs(&env)?;
    let redis = taskweir_settings::redis(&env)?;
    let Migrated {
        from,
        to,
        partitions,
    } = migrate_waiting(&redis, taskweir_settings::migrate(&env)?).await?;
    if json {
        say(&format!(
            "{}\n",
            serde_json::json!({ "from": from, "to": to, "partitions": partitions })
        ));
    } else if from == to {
        say(&format!(
            "layout version {to}, {partitions} partitions: nothing to do\n"
        ));
    } else {
        say(&format!(
            "layout version {from} -> {to}, {partitions} partitions\n"
        ));
    }
    Ok(())
}
