//! A worker, as a program sees it.

use std::sync::Arc;
use std::time::Duration;

use taskweir_domain::{NameError, QueueName, Redaction, TaskType};
use taskweir_store::{Limits, RedisSettings, StoreError, clock, entropy};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::Handler;
use crate::engine::{self, Config, OnContact};
use crate::registry::Registry;

/// Why a worker does not run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A handler's type is no valid name.
    #[error("task type {name:?} {source}")]
    Type {
        /// The name.
        name: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
    /// Two handlers have the same type.
    #[error("two handlers have the type {0:?}")]
    Twice(&'static str),
    /// No handler.
    #[error("a worker needs a handler at least")]
    NoHandler,
    /// A setting is out of range.
    #[error("{0}")]
    Setting(&'static str),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine's thread could not start, or died.
    #[error("the engine of the worker: {0}")]
    Engine(String),
}

/// Builds a [`Worker`].
#[must_use]
pub struct WorkerBuilder {
    redis: RedisSettings,
    limits: Limits,
    queues: Vec<QueueName>,
    concurrency: usize,
    lease: Duration,
    grace: Duration,
    registry: Registry,
    redaction: Arc<Redaction>,
    on_contact: Option<OnContact>,
    error: Option<WorkerError>,
}

/// Shortest lease: a beat must fit into a third of it.
const MIN_LEASE: Duration = Duration::from_millis(300);
/// Most tasks at once.
const MAX_CONCURRENCY: usize = 10_000;

impl WorkerBuilder {
    /// Adds a handler for its type.
    pub fn handler<H: Handler>(mut self, handler: H) -> Self {
        match H::TYPE.parse::<TaskType>() {
            Err(source) => {
                self.error.get_or_insert(WorkerError::Type {
                    name: H::TYPE,
                    source,
                });
            }
            Ok(task_type) => {
                if !self.registry.add(task_type, Arc::new(handler)) {
                    self.error.get_or_insert(WorkerError::Twice(H::TYPE));
                }
            }
        }
        self
    }

    /// Queues to take from, all alike; `default` unless told.
    pub fn queues(mut self, queues: Vec<QueueName>) -> Self {
        self.queues = queues;
        self
    }

    /// Tasks to run at once; 16 unless told.
    pub const fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Silence after which its tasks run elsewhere; 30 s unless told.
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Time for running tasks at shutdown; 25 s unless told.
    pub const fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long ended tasks stay.
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What is hidden of payloads: where an error or a progress of a handler quotes it, it is replaced before it is
    /// written anywhere.
    pub fn redaction(mut self, redaction: Redaction) -> Self {
        self.redaction = Arc::new(redaction);
        self
    }

    /// Calls `heard` whenever Redis has answered, about once a second: food for a watchdog.
    pub fn on_contact(mut self, heard: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_contact = Some(Arc::new(heard));
        self
    }

    /// The worker.
    ///
    /// # Errors
    /// A handler or a setting is not valid.
    pub fn build(self) -> Result<Worker, WorkerError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.registry.is_empty() {
            return Err(WorkerError::NoHandler);
        }
        if self.queues.is_empty() {
            return Err(WorkerError::Setting("a worker needs a queue at least"));
        }
        if self.concurrency == 0 || self.concurrency > MAX_CONCURRENCY {
            return Err(WorkerError::Setting("concurrency must be from 1 to 10000"));
        }
        if self.lease < MIN_LEASE {
            return Err(WorkerError::Setting("the lease must be at least 0.3 s"));
        }
        let host = host();
        Ok(Worker {
            config: Config {
                id: format!("{host}-{}-{}", std::process::id(), &entropy::nonce()[..6]),
                host,
                redis: self.redis,
                limits: self.limits,
                queues: self.queues,
                concurrency: self.concurrency,
                lease: self.lease,
                grace: self.grace,
                registry: self.registry,
                redaction: self.redaction,
                on_contact: self.on_contact,
                started_ms: clock::now_ms(),
            },
        })
    }
}

/// The machine's name, cut to what fits into a holder and needs no escaping.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '.')
        .take(24)
        .collect();
    if name.is_empty() {
        "host".to_owned()
    } else {
        name
    }
}

/// Runs tasks.
pub struct Worker {
    config: Config,
}

impl Worker {
    /// Begins a worker on this Redis.
    pub fn builder(redis: RedisSettings) -> WorkerBuilder {
        WorkerBuilder {
            redis,
            limits: Limits::default(),
            queues: vec![QueueName::default()],
            concurrency: 16,
            lease: Duration::from_secs(30),
            grace: Duration::from_secs(25),
            registry: Registry::default(),
            redaction: Arc::default(),
            on_contact: None,
            error: None,
        }
    }

    /// Its id, new with every start of a process: the consumer name in Redis.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.config.id
    }

    /// Runs until `stop` is cancelled and what runs is finished or given back. Handlers run on the
    /// runtime this is called from; everything else on a thread of its own.
    ///
    /// # Errors
    /// The layout is not usable, or Redis refuses for good. Redis being away is waited out.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WorkerError> {
        let handlers = Handle::current();
        // Whoever drops this future stops the worker, which would go on alone on its thread.
        let stop = stop.child_token();
        let _stops = stop.clone().drop_guard();
        let (done, finished) = oneshot::channel();
        let engine = std::thread::Builder::new()
            .name("taskweir-engine".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let result = match runtime {
                    Ok(runtime) => runtime
                        .block_on(engine::run(self.config, handlers, stop))
                        .map_err(WorkerError::from),
                    Err(error) => Err(WorkerError::Engine(error.to_string())),
                };
                // Nobody waits any more: then nobody asks.
                done.send(result).ok();
            })
            .map_err(|error| WorkerError::Engine(error.to_string()))?;
        let result = finished
            .await
            .unwrap_or_else(|_| Err(WorkerError::Engine("its thread died".to_owned())));
        // It has said its last word: joining does not wait.
        engine
            .join()
            .map_err(|_| WorkerError::Engine("its thread died".to_owned()))?;
        result
    }
}
