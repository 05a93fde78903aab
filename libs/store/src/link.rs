//! Connections: one multiplexed and reconnecting for scripts, a pool of exclusive ones for
//! commands that block.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::ConnectionManagerConfig;
use redis::{Cmd, Pipeline, RedisError, Value};
use taskweir_domain::{PartitionIndex, TaskId};
use tracing::Instrument;

use crate::address::{self, AddressError};
use crate::diagnose::diagnose;
use crate::durability::Durability;
use crate::error::StoreError;
use crate::info::{ServerInfo, warn_of_clocks};
use crate::keys::{self, Keys};
use crate::memory::MemoryWatch;
use crate::migrate;
use crate::scripts::Script;
use crate::shared::{Link, forgotten, is_broken, misled, redis_span, timed};
use crate::target::{Alone, Connection, Target, shown};
use crate::{clock, entropy};

/// Requests that may wait for one connection's turn.
const PIPELINE_BUFFER: usize = 4_096;
/// Longest wait for the answer of a command that does not block.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Silence after which a connection is asked whether its peer still lives.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(5);
/// Longest time any command of ours blocks.
pub(crate) const MAX_BLOCK: Duration = Duration::from_secs(5);
/// Longest wait for the answer of one that does.
pub(crate) const BLOCK_PATIENCE: Duration = MAX_BLOCK.saturating_mul(2);

/// Where Redis is and how the layout is called.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://[user:password@]host:port/db`, `redis+cluster://host:port,host:port`, or
    /// `redis+sentinel://host:port,host:port/service`; each with `rediss` for TLS. The server's certificate is checked
    /// against the certificates of the machine, or those of `SSL_CERT_FILE` or `SSL_CERT_DIR`.
    pub url: String,
    /// First part of every key.
    pub prefix: String,
    /// Start although the server may throw keys away when its memory is full.
    pub allow_eviction: bool,
}

impl RedisSettings {
    /// First part of every key, where nothing else is asked for.
    pub const PREFIX: &str = "tw";

    /// The server of this URL, with the usual prefix.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: Self::PREFIX.to_owned(),
            allow_eviction: false,
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("RedisSettings")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl RedisSettings {
    /// The server and port of the URL, for people; never the password.
    #[must_use]
    pub fn address(&self) -> String {
        shown(&self.url)
    }

    /// Checks that every part of the address is understood; not whether somebody answers there.
    ///
    /// # Errors
    /// A part is not, and would be ignored.
    pub fn check(&self) -> Result<(), AddressError> {
        address::check(&self.url)?;
        Target::read(&self.url)
            .map(drop)
            .map_err(|_| AddressError::Unreadable)
    }

    pub(crate) fn target(&self) -> Result<Target, StoreError> {
        address::check(&self.url)?;
        Ok(Target::read(&self.url)?)
    }
}

/// What ended tasks leave behind, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long records, payloads and results of ended tasks stay, ms.
    pub retention_ms: u64,
    /// Most ready and parked tasks of a queue; 0 = any number.
    pub max_queue_length: usize,
    /// Most queues of a partition; 0 = any number.
    pub max_queues: usize,
    /// Memory of Redis at which submits are refused, bytes; `None` = any.
    pub memory_budget: Option<u64>,
    /// What a submit waits for before it is acknowledged.
    pub durability: Durability,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retention_ms: 7 * 24 * 3_600 * 1_000,
            max_queue_length: 0,
            max_queues: 0,
            memory_budget: None,
            durability: Durability::Aof,
        }
    }
}

/// A connection that nobody else uses.
#[derive(Debug)]
pub struct Exclusive {
    connection: Alone,
    /// A command was sent and its answer has not come: the pool throws such a connection away.
    busy: bool,
}

/// Makes exclusive connections. Our own, because a pool over multiplexed connections with the
/// default settings cuts every blocking read after half a second.
#[derive(Clone)]
pub(crate) struct ExclusiveManager {
    target: Target,
}

impl bb8::ManageConnection for ExclusiveManager {
    type Connection = Exclusive;
    type Error = RedisError;

    async fn connect(&self) -> Result<Self::Connection, Self::Error> {
        Ok(Exclusive {
            connection: self.target.connect_alone().await?,
            busy: false,
        })
    }

    async fn is_valid(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        connection
            .connection
            .send(&redis::cmd("PING"))
            .await
            .map(drop)
    }

    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        connection.busy
    }
}

/// The store: a layout in a Redis, ready for use. Clones share their connections.
#[derive(Clone)]
pub struct Store {
    pub(crate) link: Link,
    pool: bb8::Pool<ExclusiveManager>,
    partitions: Arc<Vec<Arc<Keys>>>,
    pub(crate) limits: Limits,
    pub(crate) memory: Arc<MemoryWatch>,
    pub(crate) prefix: Arc<str>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("prefix", &self.prefix)
            .field("partitions", &self.partitions.len())
            .finish_non_exhaustive()
    }
}

pub(crate) fn manager_config() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_pipeline_buffer_size(PIPELINE_BUFFER)
        .set_min_delay(Duration::from_millis(50))
        .set_max_delay(Duration::from_secs(1))
        .set_number_of_retries(3)
}

/// Silence after which a server is asked whether it can be spoken to at all.
const SILENCE: Duration = Duration::from_secs(1);

/// Connects, and says what waiting would not mend, be it that the server only stays silent.
async fn open(
    settings: &RedisSettings,
) -> Result<(Target, Connection, Option<String>), StoreError> {
    let target = settings.target()?;
    let connected = {
        let connecting = target.connect();
        tokio::pin!(connecting);
        let silent = async {
            tokio::time::sleep(SILENCE).await;
            match diagnose(&settings.url, None).await {
                Some(why) => why,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            connected = &mut connecting => connected,
            why = silent => return Err(why),
        }
    };
    match connected {
        Ok((connection, address)) => Ok((target, connection, address)),
        Err(error) => {
            let error = StoreError::from(error);
            let why = if error.is_transient() {
                diagnose(&settings.url, Some(&error)).await
            } else {
                None
            };
            Err(why.unwrap_or(error))
        }
    }
}

pub(crate) async fn connect(settings: &RedisSettings) -> Result<Connection, StoreError> {
    Ok(open(settings).await?.1)
}

impl Store {
    /// Connects, and checks that the server keeps what it is given and that the layout is ours.
    ///
    /// # Errors
    /// Redis is away or loading, evicts keys, or has another layout.
    pub async fn connect(settings: &RedisSettings, limits: Limits) -> Result<Self, StoreError> {
        let (target, mut connection, address) = open(settings).await?;
        let info = match ServerInfo::ask(&mut connection, None).await {
            Ok(info) => {
                info.warn();
                info
            }
            // Of a cluster, a primary that is away must not keep us from the others.
            Err(error)
                if error.is_transient()
                    && target.is_cluster()
                    && !limits.durability.needs_disk() =>
            {
                tracing::warn!(%error, "not every primary answers: whether they keep what they are given is not checked");
                ServerInfo::none()
            }
            Err(error) => return Err(error),
        };
        match info.refuse_eviction() {
            Err(error) if settings.allow_eviction => {
                tracing::warn!(%error, "TASKWEIR_ALLOW_EVICTION takes that risk");
            }
            judged => judged?,
        }
        info.refuse_blindness(&limits)?;
        warn_of_clocks(&mut connection).await?;
        limits.durability.check(&info)?;
        let suffixes = migrate::check(&mut connection, &settings.prefix).await?;
        let suffixes = suffixes.iter().map(String::as_str);
        let partitions = Keys::of_layout(&settings.prefix, suffixes)
            .map(Arc::new)
            .collect();
        let manager = ExclusiveManager {
            target: target.clone(),
        };
        let pool = bb8::Pool::builder()
            .max_size(1_024)
            .test_on_check_out(false)
            .connection_timeout(CONNECT_TIMEOUT * 2)
            .build_unchecked(manager);
        Ok(Self {
            link: Link::new(target, connection, address),
            pool,
            partitions: Arc::new(partitions),
            limits,
            memory: Arc::default(),
            prefix: settings.prefix.as_str().into(),
        })
    }

    /// Connects as [`Store::connect`] does, and waits while Redis is away or loading, or has no layout yet or
    /// an older one: somebody runs `taskweir migrate`.
    ///
    /// # Errors
    /// What waiting does not mend: a server that evicts keys, a layout that is newer or damaged, a
    /// password that is wrong.
    pub async fn connect_waiting(
        settings: &RedisSettings,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let mut wait = Duration::from_millis(50);
        let mut said = None::<Instant>;
        loop {
            match Self::connect(settings, limits).await {
                Err(error) if error.is_transient() || error.wants_migration() => {
                    if said.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
                        tracing::warn!(redis = %settings.address(), %error, "waiting for Redis");
                        said = Some(Instant::now());
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(2));
                }
                other => return other,
            }
        }
    }

    /// The partitions in order.
    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        self.partitions.iter().map(|keys| self.open(keys)).collect()
    }

    fn open(&self, keys: &Arc<Keys>) -> Partition {
        Partition {
            link: self.link.clone(),
            pool: self.pool.clone(),
            keys: Arc::clone(keys),
            limits: self.limits,
            memory: Arc::clone(&self.memory),
            count: self.partitions.len(),
        }
    }

    /// Number of partitions.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// The partition a task lives in; `None` for an id that this layout never made.
    #[must_use]
    pub fn partition_of(&self, id: TaskId) -> Option<Partition> {
        self.partitions
            .get(usize::from(id.partition().0))
            .map(|keys| self.open(keys))
    }

    /// A new id in a partition drawn at random.
    #[must_use]
    pub fn mint(&self) -> TaskId {
        let partition = entropy::below(self.partitions.len());
        let partition = PartitionIndex(u8::try_from(partition).expect("at most 256 partitions"));
        entropy::task_id(clock::now_ms(), partition)
    }

    /// A new id in a partition.
    #[must_use]
    pub fn mint_in(&self, partition: PartitionIndex) -> TaskId {
        entropy::task_id(clock::now_ms(), partition)
    }

    /// Asks whether Redis answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.link.get();
        Ok(redis::cmd("PING").query_async(&mut connection).await?)
    }

    /// A secret that all services on this layout share, made by the first that asks.
    ///
    /// # Errors
    /// Redis is away or refuses.
    pub async fn signing_secret(&self) -> Result<String, StoreError> {
        let key = keys::signing(&self.prefix);
        let mut connection = self.link.get();
        redis::cmd("SET")
            .arg(&key)
            .arg(entropy::secret())
            .arg("NX")
            .query_async::<()>(&mut connection)
            .await?;
        Ok(redis::cmd("GET")
            .arg(&key)
            .query_async(&mut connection)
            .await?)
    }

    /// What the server says of itself, by field of `INFO`; in a cluster, the one that is fullest.
    ///
    /// # Errors
    /// Redis is away or refuses.
    pub async fn server_info(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let info = ServerInfo::ask(&mut self.link.get(), None).await?;
        Ok(info.fullest())
    }
}

/// One partition of the store.
#[derive(Clone)]
pub struct Partition {
    pub(crate) link: Link,
    pool: bb8::Pool<ExclusiveManager>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) limits: Limits,
    pub(crate) memory: Arc<MemoryWatch>,
    /// Number of partitions of the layout.
    pub(crate) count: usize,
}

impl Partition {
    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Runs a script: `fill` appends keys, then arguments.
    pub(crate) async fn eval(
        &self,
        script: Script,
        keys: usize,
        fill: impl Fn(&mut Cmd),
    ) -> Result<Value, StoreError> {
        self.call(script, keys, fill)
            .instrument(redis_span("EVALSHA", script.name()))
            .await
    }

    async fn call(
        &self,
        script: Script,
        keys: usize,
        fill: impl Fn(&mut Cmd),
    ) -> Result<Value, StoreError> {
        let cmd = script.call(keys, &fill);
        let began = Instant::now();
        let mut connection = self.link.current();
        let mut result = connection.send(&cmd).await;
        // The first to meet a connection that died while nobody spoke; it is made anew meanwhile.
        if script.is_read() && result.as_ref().is_err_and(is_broken) {
            result = connection.send(&cmd).await;
        }
        if forgotten(result.as_ref()) {
            result = connection.send(&script.call_whole(keys, &fill)).await;
        }
        timed(script.name(), began);
        self.link.note(result.as_ref());
        match result? {
            Value::ServerError(error) => Err(RedisError::from(error).into()),
            value => Ok(value),
        }
    }

    async fn exclusive(
        &self,
    ) -> Result<bb8::PooledConnection<'static, ExclusiveManager>, StoreError> {
        self.pool.get_owned().await.map_err(|error| match error {
            bb8::RunError::User(error) => StoreError::from(error),
            bb8::RunError::TimedOut => StoreError::away(),
        })
    }

    /// Runs commands of which the last one blocks, as [`Self::blocking`] does.
    pub(crate) async fn blocking_pipe(&self, pipe: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let mut exclusive = self.exclusive().await?;
        exclusive.busy = true;
        let replies = exclusive.connection.send_pipe(pipe).await?;
        exclusive.busy = replies.iter().any(|reply| misled(Ok(reply)));
        Ok(replies)
    }

    /// Runs one blocking command on a connection of its own. A connection on which it failed or was
    /// abandoned is closed, not reused: the server may still be blocked on it, or be the wrong one.
    pub(crate) async fn blocking(&self, cmd: &Cmd) -> Result<Value, StoreError> {
        let mut exclusive = self.exclusive().await?;
        exclusive.busy = true;
        let value = exclusive.connection.send(cmd).await?;
        exclusive.busy = misled(Ok(&value));
        match value {
            Value::ServerError(error) => Err(RedisError::from(error).into()),
            value => Ok(value),
        }
    }
}
