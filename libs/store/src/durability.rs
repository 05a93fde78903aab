//! What a submit waits for before it is acknowledged.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use redis::{Cmd, RedisError, Value};

use crate::info::{ServerInfo, is_at_least};
use crate::link::MAX_BLOCK;
use crate::migrate::LayoutError;
use crate::scripts::Script;
use crate::shared::{forgotten, timed};
use crate::{Partition, StoreError};

/// Longest wait for the disk or for replicas; then the caller is told that it is not confirmed.
const LIMIT: Duration = MAX_BLOCK;
/// The version of Redis that has `WAITAOF`.
const WAITAOF_SINCE: (u32, u32) = (7, 2);

/// What an acknowledged submit has survived: `DURABILITY` of the environment.
///
/// `aof` stands for what Redis itself does before it answers: with `appendfsync always` the file is
/// on disk, with `everysec` the operating system has it. The others ask Redis, in the same round trip,
/// to hold back its answer (`WAIT`, `WAITAOF`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Redis has written it to its append-only file, synced as `appendfsync` says.
    #[default]
    Aof,
    /// So many replicas have it in memory.
    Replicas(u8),
    /// It is on the disk of the primary, and on that of so many replicas.
    Fsync(u8),
}

impl FromStr for Durability {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let count = |text: &str| text.parse().ok().filter(|count| *count > 0).ok_or(());
        match text {
            "aof" => Ok(Self::Aof),
            "fsync" => Ok(Self::Fsync(0)),
            _ => {
                if let Some(replicas) = text.strip_prefix("replicas:") {
                    count(replicas).map(Self::Replicas)
                } else {
                    count(text.strip_prefix("fsync+replicas:").ok_or(())?).map(Self::Fsync)
                }
            }
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aof => f.write_str("aof"),
            Self::Fsync(0) => f.write_str("fsync"),
            Self::Fsync(replicas) => write!(f, "fsync+replicas:{replicas}"),
            Self::Replicas(replicas) => write!(f, "replicas:{replicas}"),
        }
    }
}

impl Durability {
    /// Whether an acknowledgement takes longer than Redis' own answer.
    #[must_use]
    pub const fn waits(self) -> bool {
        !matches!(self, Self::Aof)
    }

    /// Whether a server's disk is waited for.
    pub(crate) const fn needs_disk(self) -> bool {
        matches!(self, Self::Fsync(_))
    }

    /// What Redis is asked besides its own answer.
    fn command(self) -> Option<Cmd> {
        let limit = u64::try_from(LIMIT.as_millis()).unwrap_or(0);
        match self {
            Self::Aof => None,
            Self::Replicas(replicas) => Some(redis::cmd("WAIT").arg(replicas).arg(limit).take()),
            Self::Fsync(replicas) => {
                Some(redis::cmd("WAITAOF").arg(1).arg(replicas).arg(limit).take())
            }
        }
    }

    /// Whether a reply of the command says that it is so.
    pub(crate) fn is_met(self, reply: &Value) -> bool {
        let at_least = |value: &Value, wanted: u8| matches!(value, Value::Int(count) if *count >= i64::from(wanted));
        match (self, reply) {
            (Self::Aof, _) => true,
            (Self::Replicas(wanted), count) => at_least(count, wanted),
            (Self::Fsync(wanted), Value::Array(counts)) => {
                matches!(&counts[..], [disk, replicas] if at_least(disk, 1) && at_least(replicas, wanted))
            }
            (Self::Fsync(_), _) => false,
        }
    }

    /// Whether the servers can do it.
    pub(crate) fn check(self, info: &ServerInfo) -> Result<(), LayoutError> {
        if !self.needs_disk() {
            return Ok(());
        }
        // Of a cluster, every node must be able to.
        let unknown = info.of("redis_version").next().is_none();
        let mut versions = info.of("redis_version");
        let old = versions.find(|version| !is_at_least(version, WAITAOF_SINCE));
        let old = old.or(unknown.then_some("of no known version"));
        let why = if let Some(version) = old {
            format!("WAITAOF, which Redis has from 7.2 on; this is {version}")
        } else if info.of("aof_enabled").any(|enabled| enabled == "0") {
            "an append-only file: run `redis-cli -u \"$REDIS_URL\" CONFIG SET appendonly yes` (or set it in redis.conf)"
                .to_owned()
        } else {
            return Ok(());
        };
        let wanted = self.to_string();
        Err(LayoutError::Durability { wanted, why })
    }
}

impl Partition {
    /// Runs a script and gives its answer when what it wrote is as durable as is asked for.
    pub(crate) async fn eval_durably(
        &self,
        script: Script,
        keys: usize,
        fill: impl Fn(&mut Cmd),
    ) -> Result<Value, StoreError> {
        let durability = self.limits.durability;
        let Some(wait) = durability.command() else {
            return self.eval(script, keys, fill).await;
        };
        // Redis waits for what its client wrote last. A repeat writes nothing itself, and must wait all
        // the same for what the first try wrote over another connection.
        let mut mark = redis::cmd("HSET");
        mark.arg(self.keys.meta()).arg("durable").arg(1);
        let waiting = |call: Cmd| {
            let mut pipe = redis::pipe();
            pipe.add_command(call)
                .add_command(mark.clone())
                .add_command(wait.clone());
            pipe
        };
        let began = Instant::now();
        let mut replies = self
            .blocking_pipe(&waiting(script.call(keys, &fill)))
            .await?;
        timed(script.name(), began);
        if replies.first().is_some_and(|answer| forgotten(Ok(answer))) {
            let whole = waiting(script.call_whole(keys, &fill));
            replies = self.blocking_pipe(&whole).await?;
        }
        let mut replies = replies.into_iter();
        let (answer, mark, waited) = (replies.next(), replies.next(), replies.next());
        let answer = match answer.unwrap_or(Value::Nil) {
            Value::ServerError(error) => return Err(RedisError::from(error).into()),
            answer => answer,
        };
        let marked = !matches!(mark, None | Some(Value::ServerError(_)));
        if marked && waited.is_some_and(|reply| durability.is_met(&reply)) {
            Ok(answer)
        } else {
            Err(StoreError::Unconfirmed(durability))
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::Durability;
    use crate::info::ServerInfo;

    #[test]
    fn each_word_is_read_and_said_alike() {
        for word in [
            "aof",
            "fsync",
            "replicas:1",
            "replicas:2",
            "fsync+replicas:1",
        ] {
            assert_eq!(word.parse::<Durability>().unwrap().to_string(), word);
        }
        for word in [
            "",
            "disk",
            "replicas",
            "replicas:0",
            "replicas:x",
            "fsync+replicas:0",
        ] {
            assert!(word.parse::<Durability>().is_err(), "{word}");
        }
    }

    #[test]
    fn only_what_was_asked_for_is_enough() {
        let both = |disk, replicas| Value::Array(vec![Value::Int(disk), Value::Int(replicas)]);
        assert!(Durability::Fsync(0).is_met(&both(1, 0)));
        assert!(!Durability::Fsync(0).is_met(&both(0, 3)));
        assert!(!Durability::Fsync(1).is_met(&both(1, 0)));
        assert!(Durability::Replicas(1).is_met(&Value::Int(2)));
        assert!(!Durability::Replicas(2).is_met(&Value::Int(1)));
        assert!(!Durability::Replicas(1).is_met(&Value::Nil));
    }

    #[test]
    fn the_disk_can_be_waited_for_where_every_server_can() {
        let info = |texts: &[&str]| ServerInfo(texts.iter().map(|&text| text.to_owned()).collect());
        let new = "redis_version:7.2.4\r\naof_enabled:1";
        let check = |texts: &[&str]| Durability::Fsync(1).check(&info(texts));
        assert!(check(&[new]).is_ok());
        for (texts, why) in [
            (
                &[new, "redis_version:7.0.15\r\naof_enabled:1"][..],
                "this is 7.0.15",
            ),
            (
                &[new, "redis_version:8.0.0\r\naof_enabled:0"],
                "appendonly yes",
            ),
            (&["aof_enabled:1"], "of no known version"),
            (&[], "of no known version"),
        ] {
            let refused = check(texts).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
        assert!(Durability::Replicas(2).check(&info(&[])).is_ok());
    }
}
