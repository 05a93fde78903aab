//! The shared connection: who hears how each call went, and takes a new one where the old one is of no more use.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, ConnectionManager};
use redis::{Cmd, Pipeline, RedisError, RedisFuture, Value};

use tracing::{Instrument, Span};

use crate::error::is_misled;
use crate::link::manager_config;
use crate::target::{Connection, Target};

/// The histogram of calls to Redis, by script or command.
pub const REDIS_DURATION: &str = "redis_command_duration_seconds";

/// Time-outs in a row after which a connection is given up, however healthy it looks.
const MAX_TIMEOUTS: u32 = 3;

/// The shared connection. It reconnects by itself when it breaks; what does not break it but makes it
/// useless (a primary that became a replica, a peer that answers no more) makes us take a new one.
#[derive(Clone)]
pub(crate) struct Link {
    target: Target,
    current: Arc<RwLock<Connection>>,
    timeouts: Arc<AtomicU32>,
    /// Tells who follows the primary that the one we speak to is of no more use.
    lost: Arc<AtomicBool>,
}

/// How often Sentinels are asked where the primary is.
const LOOK: Duration = Duration::from_millis(500);

/// Follows the primary that Sentinels name, until the link is gone. `known` is the one we speak to; a call that
/// found it useless asks for a new connection, be the address the same.
async fn follow(
    target: Target,
    current: Weak<RwLock<Connection>>,
    mut known: Option<String>,
    lost: Arc<AtomicBool>,
) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(current) = current.upgrade() else {
            return;
        };
        if lost.swap(false, Ordering::Relaxed) {
            known = None;
        }
        let Ok(named) = target.address().await else {
            continue;
        };
        if known.is_some() && known == named {
            continue;
        }
        if let Ok((fresh, address)) = target.connect().await {
            tracing::warn!(
                primary = address,
                "the connection to the primary is made anew"
            );
            *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
            known = address;
        }
    }
}

impl Link {
    #[expect(
        clippy::disallowed_methods,
        reason = "what follows the primary ends with the last handle, and holds nothing that must be saved"
    )]
    pub(crate) fn new(target: Target, connection: Connection, address: Option<String>) -> Self {
        let current = Arc::new(RwLock::new(connection));
        let lost = Arc::<AtomicBool>::default();
        if target.wanders() {
            let (watched, lost) = (Arc::downgrade(&current), Arc::clone(&lost));
            tokio::spawn(follow(target.clone(), watched, address, lost));
        }
        Self {
            target,
            current,
            timeouts: Arc::default(),
            lost,
        }
    }

    pub(crate) fn get(&self) -> Shared {
        Shared {
            connection: self.current(),
            link: self.clone(),
        }
    }

    pub(crate) fn current(&self) -> Connection {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Hears how a call went.
    pub(crate) fn note(&self, result: Result<&Value, &RedisError>) {
        let misled = misled(result);
        let timed_out = result.is_err_and(RedisError::is_timeout);
        let timeouts = if timed_out {
            self.timeouts.fetch_add(1, Ordering::Relaxed) + 1
        } else {
            self.timeouts.store(0, Ordering::Relaxed);
            0
        };
        if !misled && timeouts < MAX_TIMEOUTS {
            return;
        }
        self.timeouts.store(0, Ordering::Relaxed);
        // A cluster's connection finds its way by itself.
        let Target::Single(client) = &self.target else {
            self.lost.store(true, Ordering::Relaxed);
            return;
        };
        if let Ok(fresh) =
            ConnectionManager::new_lazy_with_config(redis::Client::clone(client), manager_config())
        {
            tracing::warn!(misled, "the connection to Redis is replaced");
            let fresh = Connection::Single(fresh);
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }
}

/// The shared connection for a few commands: the link hears how each of them went.
pub(crate) struct Shared {
    connection: Connection,
    link: Link,
}

impl ConnectionLike for Shared {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let began = Instant::now();
            let command = name(cmd);
            let span = redis_span(command, "");
            let mut result = self.connection.send(cmd).instrument(span.clone()).await;
            // Whatever goes this way may be sent again.
            if result.as_ref().is_err_and(is_broken) {
                result = self.connection.send(cmd).instrument(span).await;
            }
            timed(command, began);
            self.link.note(result.as_ref());
            result
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipe: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let began = Instant::now();
            let span = redis_span("pipeline", "");
            let sent = self.connection.send_pipe(pipe, offset, count);
            let mut result = sent.instrument(span.clone()).await;
            if result.as_ref().is_err_and(is_broken) {
                let sent = self.connection.send_pipe(pipe, offset, count);
                result = sent.instrument(span).await;
            }
            timed("pipeline", began);
            match &result {
                Ok(values) => {
                    let wrong = values.iter().find(|value| misled(Ok(value)));
                    self.link.note(Ok(wrong.unwrap_or(&Value::Nil)));
                }
                Err(error) => self.link.note(Err(error)),
            }
            result
        })
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

/// A span for a call of Redis, within a span of ours; else none. By the conventions for databases.
pub(crate) fn redis_span(operation: &'static str, what: &'static str) -> Span {
    if Span::current().is_disabled() {
        return Span::none();
    }
    tracing::info_span!(target: "taskweir_trace", "redis", otel.name = format!("{operation} {what}"), otel.kind = "client",
        db.system.name = "redis", db.operation.name = operation, db.stored_procedure.name = what,
        messaging.destination.name = tracing::field::Empty)
}

/// Notes how long a call took, queueing in this process included.
pub(crate) fn timed(command: &'static str, began: Instant) {
    metrics::histogram!(REDIS_DURATION, "command" => command).record(began.elapsed().as_secs_f64());
}

/// The name of a command as a label: those that are read with, and `other`.
fn name(cmd: &Cmd) -> &'static str {
    const KNOWN: [&str; 14] = [
        "get",
        "hget",
        "hgetall",
        "hmget",
        "info",
        "memory",
        "ping",
        "smembers",
        "time",
        "xrange",
        "xrevrange",
        "zrange",
        "zrevrange",
        "zrevrangebylex",
    ];
    let Some(redis::Arg::Simple(word)) = cmd.args_iter().next() else {
        return "other";
    };
    let mut known = KNOWN.into_iter();
    known
        .find(|known| word.eq_ignore_ascii_case(known.as_bytes()))
        .unwrap_or("other")
}

/// Whether a connection broke, as one does that died while nobody spoke; not where an answer is waited for in vain.
pub(crate) fn is_broken(error: &RedisError) -> bool {
    !error.is_timeout() && (error.is_connection_dropped() || error.is_io_error())
}

/// Whether the server that answered is the wrong one, so that its connection is of no more use.
pub(crate) fn misled(result: Result<&Value, &RedisError>) -> bool {
    match result {
        Ok(Value::ServerError(error)) => is_misled(&RedisError::from(error.clone())),
        Ok(_) => false,
        Err(error) => is_misled(error),
    }
}

/// Whether Redis does not know the script that was called.
pub(crate) fn forgotten(result: Result<&Value, &RedisError>) -> bool {
    match result {
        Ok(Value::ServerError(error)) => error.code() == "NOSCRIPT",
        Ok(_) => false,
        Err(error) => error.code() == Some("NOSCRIPT"),
    }
}
