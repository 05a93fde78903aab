//! What can go wrong between us and Redis.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::address::AddressError;
use crate::durability::Durability;
use crate::migrate::LayoutError;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Redis cannot be reached or does not take commands now; whether a script ran is unknown.
    /// Repeating the call is safe.
    #[error("Redis is away: {0}")]
    Unavailable(RedisError),
    /// Redis is out of memory and refuses what would need more.
    #[error("Redis is out of memory")]
    OutOfMemory,
    /// It is written, and not yet as durable as `DURABILITY` asks for. Repeating the call is safe.
    #[error("written, but DURABILITY={0} was not confirmed in time")]
    Unconfirmed(Durability),
    /// Redis answered with an error that repeating will not mend.
    #[error("Redis refused: {0}")]
    Refused(RedisError),
    /// Redis answered something we cannot read: another program wrote to our keys, or a bug.
    #[error("unexpected reply of {what}: {detail}")]
    Reply {
        /// The command or key.
        what: &'static str,
        /// What was wrong with it.
        detail: String,
    },
    /// The address of Redis cannot be used.
    #[error("the address of Redis cannot be used: {0}")]
    Address(#[from] AddressError),
    /// The server answers, and not as one that can be used: waiting does not mend it.
    #[error("Redis cannot be used: {0}")]
    Unusable(String),
    /// The layout in Redis is absent or not ours.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::OutOfMemory | Self::Unconfirmed(_)
        )
    }

    /// Whether a migration mends it.
    pub(crate) const fn wants_migration(&self) -> bool {
        matches!(
            self,
            Self::Layout(LayoutError::Absent { .. } | LayoutError::Old { .. })
        )
    }

    /// Nobody answered in the time that somebody had.
    #[must_use]
    pub fn away() -> Self {
        Self::Unavailable(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
    }

    pub(crate) fn reply(what: &'static str, detail: impl Into<String>) -> Self {
        Self::Reply {
            what,
            detail: detail.into(),
        }
    }

    /// Whether a consumer group is missing, so that it must be made first.
    pub(crate) fn is_no_group(&self) -> bool {
        match self {
            // Inside a script the code is part of the message.
            Self::Refused(error) => {
                error.code() == Some("NOGROUP") || error.to_string().contains("NOGROUP")
            }
            _ => false,
        }
    }
}

/// Whether this user may not ask that.
pub(crate) fn is_forbidden(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

/// Whether the server is not, or no more, the one that takes our commands: a replica, one that has lost
/// its primary, a node of a cluster without our slots. Inside a script of Redis 6.2 the code is part of the
/// message, and a stale replica has words of its own.
pub(crate) fn is_misled(error: &RedisError) -> bool {
    if let ErrorKind::Server(
        ServerErrorKind::ReadOnly
        | ServerErrorKind::MasterDown
        | ServerErrorKind::Moved
        | ServerErrorKind::ClusterDown,
    ) = error.kind()
    {
        return true;
    }
    let text = error.to_string();
    text.contains("READONLY") || text.contains("MASTERDOWN") || text.contains("stale replica")
}

/// What a server says that takes no writes for now: its disk is full or its snapshot failed, too few replicas are
/// there, a script of somebody else runs too long.
const UNWELL: [&str; 3] = ["MISCONF", "NOREPLICAS", "BUSY"];

/// Inside a script of Redis 6.2 the code is part of the message.
fn is_unwell(error: &RedisError) -> bool {
    let text = error.to_string();
    let within = |code: &str| text.contains(&format!("-{code} "));
    error.code().is_some_and(|code| UNWELL.contains(&code))
        || UNWELL.iter().any(|code| within(code))
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        if error.code() == Some("OOM") || error.to_string().contains("OOM command not allowed") {
            return Self::OutOfMemory;
        }
        if error.to_string().contains("LAYOUTGONE") {
            return LayoutError::Gone.into();
        }
        // A cluster's client tells of it as of a node that is away.
        if error.to_string().contains("AuthenticationFailed") {
            return Self::Refused(error);
        }
        let away = match error.kind() {
            ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => true,
            // From when a primary is taken for dead until the next one is named.
            ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::NoValidReplicasFoundBySentinel => {
                true
            }
            ErrorKind::Server(kind) => {
                matches!(
                    kind,
                    ServerErrorKind::BusyLoading
                        | ServerErrorKind::ReadOnly
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::ClusterDown
                        | ServerErrorKind::TryAgain
                        | ServerErrorKind::Moved
                        | ServerErrorKind::Ask
                ) || is_unwell(&error)
            }
            _ => error.is_io_error() || is_unwell(&error),
        };
        if away || is_misled(&error) || error.is_timeout() || error.is_connection_dropped() {
            Self::Unavailable(error)
        } else {
            Self::Refused(error)
        }
    }
}
