//! How many connections and event streams a service holds, in all and for one address.

use super::patience::Patience;
use crate::access::trusted_proxies;
use crate::{Env, EnvError};

/// Connections that are kept for what is not HTTP: Redis, log files, probes of others.
const KEPT_FILES: usize = 128;

/// Bounds of a listening service; 0 = any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at once, from `MAX_CONNECTIONS`.
    pub connections: usize,
    /// Connections of one address at once, from `MAX_CONNECTIONS_PER_ADDRESS`; any number behind proxies, whose
    /// connections are those of many.
    pub connections_per_address: usize,
    /// Event streams at once, from `MAX_EVENT_STREAMS`.
    pub streams: usize,
    /// Event streams of one client at once, from `MAX_EVENT_STREAMS_PER_ADDRESS`.
    pub streams_per_address: usize,
    /// How long each is waited for.
    pub patience: Patience,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_address: 1_024,
            streams: 1_000,
            streams_per_address: 200,
            patience: Patience::default(),
        }
    }
}

impl ConnectionLimits {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable is no whole number.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        let usual = Self::default();
        let read = |name, usual| {
            env.parse(
                name,
                usual,
                "a whole number of connections; 0 for any number",
            )
        };
        let behind_proxies = trusted_proxies(env)? > 0;
        let per_address = read("MAX_CONNECTIONS_PER_ADDRESS", usual.connections_per_address)?;
        Ok(Self {
            connections: read("MAX_CONNECTIONS", usual.connections)?,
            connections_per_address: if behind_proxies { 0 } else { per_address },
            streams: read("MAX_EVENT_STREAMS", usual.streams)?,
            streams_per_address: read("MAX_EVENT_STREAMS_PER_ADDRESS", usual.streams_per_address)?,
            patience: usual.patience,
        })
    }

    /// The bound of connections that this process has files for; says so where that is fewer than was asked for.
    pub(super) fn affordable_connections(self) -> usize {
        let wanted = most(self.connections);
        let files = open_files().unwrap_or(usize::MAX);
        let affordable = files.saturating_sub(KEPT_FILES).max(16);
        if affordable < wanted {
            tracing::warn!(
                files,
                connections = affordable,
                "this process may open too few files for MAX_CONNECTIONS (see ulimit -n): it holds fewer"
            );
        }
        wanted.min(affordable)
    }
}

/// A bound of which 0 means any number.
pub(super) const fn most(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

/// How many files this process may open, where the system tells.
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::ConnectionLimits;
    use crate::Env;

    #[test]
    fn limits_are_read_and_one_address_is_not_bounded_behind_proxies() {
        let usual = ConnectionLimits::from_env(&Env::of([])).unwrap();
        assert_eq!(usual, ConnectionLimits::default());
        let env = Env::of([
            ("MAX_CONNECTIONS", "10"),
            ("MAX_CONNECTIONS_PER_ADDRESS", "5"),
            ("TRUSTED_PROXIES", "1"),
        ]);
        let limits = ConnectionLimits::from_env(&env).unwrap();
        assert_eq!(
            (limits.connections, limits.connections_per_address),
            (10, 0)
        );
        let wrong = ConnectionLimits::from_env(&Env::of([("MAX_EVENT_STREAMS", "many")]));
        assert!(wrong.unwrap_err().to_string().contains("MAX_EVENT_STREAMS"));
    }
}
