//! `taskweir dev`: the whole system in one process, with a Redis of its own unless told of one.

mod mend;
mod redis;

use std::net::SocketAddr;

use anyhow::Context;
use taskweir_runtime::{Env, EnvError};
use taskweir_store::{MigrateOptions, RedisSettings};
use tokio_util::sync::CancellationToken;

use crate::output::say;
use crate::serve::Process;
use redis::OwnRedis;

/// What every part is told.
struct Settings {
    redis: RedisSettings,
    migrate: MigrateOptions,
    gateway: taskweir_gateway::Config,
    dashboard: taskweir_dashboard::Config,
    worker: taskweir_worker_service::Config,
    scheduler: taskweir_scheduler::Config,
}

impl Settings {
    fn from_env(env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            redis: taskweir_settings::redis(env)?,
            migrate: taskweir_settings::migrate(env)?,
            gateway: taskweir_gateway::Config::from_env(env)?,
            dashboard: taskweir_dashboard::Config::from_env(env)?,
            worker: taskweir_worker_service::Config::from_env(env)?,
            scheduler: taskweir_scheduler::Config::from_env(env)?,
        })
    }
}

/// Runs everything until Ctrl-C.
pub async fn run() -> anyhow::Result<()> {
    let process = Process::start("taskweir")?;
    let env = &process.env;
    let told = env.text("REDIS_URL")?.is_some() || env.text("REDIS_HOST")?.is_some();
    let mut own = None;
    // Before anything is started: a bad value must leave nothing behind.
    let mut settings = Settings::from_env(env)?;
    let usual = env.parse(
        "TASKWEIR_DEV_REDIS_PORT",
        redis::USUAL_PORT,
        "a port number",
    )?;
    if !told {
        let started = tokio::select! {
            started = OwnRedis::start(usual) => started?,
            // It may read a large file for long; it has nothing to lose.
            () = process.stop.cancelled() => {
                process.end().await;
                return Ok(());
            }
        };
        settings.redis.url = started.url();
        own = Some(started);
    }
    let running = system(&process, settings);
    let result = match &mut own {
        None => running.await,
        Some(own) => {
            tokio::pin!(running);
            let kept = tokio::select! {
                result = &mut running => Ok(result),
                error = own.keep_alive() => Err(error),
            };
            match kept {
                Ok(result) => result,
                // Without its Redis the system has nothing to run on: it drains what it can.
                Err(error) => {
                    process.stop.cancel();
                    running.await.and(Err(error))
                }
            }
        }
    };
    process.end().await;
    if let Some(own) = own {
        own.stop().await;
    }
    result
}

async fn system(process: &Process, settings: Settings) -> anyhow::Result<()> {
    let redis = &settings.redis.clone();
    let migrated = taskweir_store::migrate(redis, settings.migrate)
        .await
        .with_context(|| format!("Redis at {}", redis.address()))?;
    tracing::info!(
        version = migrated.to,
        partitions = migrated.partitions,
        "layout"
    );

    let Settings {
        gateway,
        dashboard,
        worker,
        scheduler,
        ..
    } = settings;
    let gateway = taskweir_gateway::Config {
        redis: redis.clone(),
        ..gateway
    };
    let dashboard = taskweir_dashboard::Config {
        redis: redis.clone(),
        ..dashboard
    };
    let worker = taskweir_worker_service::Config {
        redis: redis.clone(),
        ..worker
    };
    let scheduler = taskweir_scheduler::Config {
        redis: redis.clone(),
        ..scheduler
    };
    let projector = taskweir_projector::Config {
        redis: redis.clone(),
    };
    let asks_key = !gateway.doorkeeper.is_open();
    let gateway = gateway.build(process.metrics.clone()).await?;
    let dashboard = dashboard.build().await?;
    let worker = worker.build()?;
    let scheduler = scheduler
        .build(taskweir_runtime::Readiness::default())
        .await?;
    let projector = projector
        .build(taskweir_runtime::Readiness::default())
        .await?;
    greet(gateway.address(), dashboard.address(), redis, asks_key);

    // The worker drains first: while it does, the others go on, so that what it settles is seen.
    let rest = CancellationToken::new();
    let working = async {
        let result = worker.run(process.stop.clone()).await;
        rest.cancel();
        result.context("the worker")
    };
    let listening = async {
        tokio::join!(gateway.run(rest.clone()), dashboard.run(rest.clone()));
    };
    let (worked, (), scheduled, projected) = tokio::join!(
        working,
        listening,
        scheduler.run(rest.clone()),
        projector.run(rest.clone()),
    );
    worked
        .and(scheduled.map_err(Into::into))
        .and(projected.map_err(Into::into))?;
    say("stopped; every task is kept\n");
    Ok(())
}

fn greet(gateway: SocketAddr, dashboard: SocketAddr, redis: &RedisSettings, asks_key: bool) {
    let key = if asks_key {
        " -H \"Authorization: Bearer $TASKWEIR_API_KEY\""
    } else {
        ""
    };
    say(&format!(
        "
Taskweir runs. Ctrl-C stops it; every task is kept.

  REST API     http://{gateway}        (documentation: http://{gateway}/docs)
  Dashboard    http://{dashboard}
  Redis        {}

Try:

  curl -s http://{gateway}/tasks{key} -H 'Content-Type: application/json' \\
    -d '{{\"type\": \"process\", \"data\": \"hello-world\", \"priority\": \"high\"}}'
",
        redis.address()
    ));
}
