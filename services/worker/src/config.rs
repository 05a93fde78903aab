//! From the environment to a running worker.

use std::time::Duration;

use taskweir_domain::{QueueName, Redaction};
use taskweir_runtime::{Env, EnvError, Readiness};
use taskweir_store::{Limits, RedisSettings};
use taskweir_worker::{Worker, WorkerError};
use tokio_util::sync::CancellationToken;

use crate::demo;

/// What a worker process is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Redis is.
    pub redis: RedisSettings,
    /// How long ended tasks stay.
    pub limits: Limits,
    /// Queues to take from, from `WORKER_QUEUES`.
    pub queues: Vec<QueueName>,
    /// Tasks at once, from `WORKER_CONCURRENCY`.
    pub concurrency: usize,
    /// Silence after which tasks run elsewhere, from `LEASE_SECONDS`.
    pub lease: Duration,
    /// What errors and progress must not tell of payloads, from `REDACT_FIELDS`.
    pub redaction: Redaction,
    /// Time for running tasks at shutdown, from `SHUTDOWN_GRACE`.
    pub grace: Duration,
    /// Hosts the `http` task may call, from `HTTP_TASK_ALLOW`.
    pub http_allow: Vec<String>,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable cannot be used.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        let queues = env.read(
            "WORKER_QUEUES",
            vec![QueueName::default()],
            "names of queues (1 to 64 of letters, digits, '.', '_', '-', neither '.' nor '..'), separated by commas",
            |text| {
                text.split(',')
                    .map(|name| name.trim().parse().ok())
                    .collect()
            },
        )?;
        let takes = "a whole number from 1 to 10000";
        let concurrency = env.read("WORKER_CONCURRENCY", 16, takes, |text| {
            text.parse()
                .ok()
                .filter(|count| (1..=10_000).contains(count))
        })?;
        let takes = "hosts with or without a port, separated by commas, and no http://";
        let hosts = env.read("HTTP_TASK_ALLOW", Vec::new(), takes, |text| {
            let hosts = text.split(',').map(str::trim);
            let hosts: Vec<String> = hosts
                .filter(|host| !host.is_empty())
                .map(ToOwned::to_owned)
                .collect();
            let wrong = |host: &String| host.contains(['/', ' ', '@']);
            (!hosts.iter().any(wrong)).then_some(hosts)
        })?;
        Ok(Self {
            redis: taskweir_settings::redis(env)?,
            limits: taskweir_settings::limits(env)?,
            queues,
            concurrency,
            lease: taskweir_settings::lease(env)?,
            redaction: taskweir_settings::redaction(env)?,
            grace: env.seconds("SHUTDOWN_GRACE", 25.0)?,
            http_allow: hosts,
        })
    }

    /// The worker with the demo handlers.
    ///
    /// # Errors
    /// A setting is out of range.
    pub fn build(self) -> Result<App, WorkerError> {
        let readiness = Readiness::default();
        let watched = readiness.part("worker");
        let worker = Worker::builder(self.redis)
            .on_contact(move || watched.feed())
            .limits(self.limits)
            .queues(self.queues)
            .concurrency(self.concurrency)
            .lease(self.lease)
            .shutdown_grace(self.grace)
            .redaction(self.redaction)
            .handler(demo::Process)
            .handler(demo::Echo)
            .handler(demo::Fail)
            .handler(demo::Sleep)
            .handler(demo::Http::new(self.http_allow))
            .build()?;
        Ok(App { worker, readiness })
    }
}

/// A worker process.
pub struct App {
    worker: Worker,
    readiness: Readiness,
}

impl App {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.worker.id()
    }

    /// Whether Redis answers it.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Runs until `stop`, then finishes or gives back what runs.
    ///
    /// # Errors
    /// The layout is not usable.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WorkerError> {
        self.worker.run(stop).await
    }
}
