//! What servers say of themselves: `INFO`, which managed ones answer too, other than `CONFIG`.

use std::collections::BTreeMap;

use redis::Value;
use redis::aio::ConnectionLike;

use crate::error::is_forbidden;
use crate::link::Limits;
use crate::migrate::LayoutError;
use crate::reply::Reader;
use crate::{StoreError, clock};

/// Clocks that differ by more are told.
const CLOCKS_APART_MS: u64 = 2_000;

/// The answer of each server that was asked, many in a cluster, always in the same order; of none where this user
/// may not ask.
#[derive(Debug)]
pub(crate) struct ServerInfo(pub(crate) Vec<String>);

impl ServerInfo {
    /// Asks for one section, or for everything.
    pub(crate) async fn ask(
        connection: &mut (impl ConnectionLike + Send),
        section: Option<&str>,
    ) -> Result<Self, StoreError> {
        let reader = Reader("INFO");
        let answer = redis::cmd("INFO")
            .arg(section)
            .query_async(connection)
            .await;
        let value = match answer {
            Err(error) if is_forbidden(&error) => return Ok(Self::none()),
            answer => answer?,
        };
        let Value::Map(nodes) = value else {
            return Ok(Self(vec![reader.text(value)?]));
        };
        // A cluster's nodes, each with its address.
        let texts = nodes
            .into_iter()
            .map(|(address, text)| Ok((reader.text(address)?, reader.text(text)?)));
        let texts: Result<BTreeMap<String, String>, StoreError> = texts.collect();
        Ok(Self(texts?.into_values().collect()))
    }

    /// Of no server.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether nobody said anything.
    pub(crate) fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    /// A field, of each server that has it.
    pub(crate) fn of<'a>(&'a self, field: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(move |text| field_of(text, field))
    }

    /// Every field of the server that is fullest.
    pub(crate) fn fullest(&self) -> BTreeMap<String, String> {
        let used = |text: &&String| -> u64 {
            let used = field_of(text, "used_memory");
            used.and_then(|used| used.parse().ok()).unwrap_or(0)
        };
        let text = self.0.iter().max_by_key(used).map_or("", String::as_str);
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect()
    }

    /// Refuses servers that throw keys away when memory is short.
    pub(crate) fn refuse_eviction(&self) -> Result<(), LayoutError> {
        let mut policies = self.of("maxmemory_policy");
        policies
            .find(|policy| *policy != "noeviction")
            .map_or(Ok(()), |policy| {
                let policy = policy.to_owned();
                Err(LayoutError::Evicts { policy })
            })
    }

    /// Refuses a memory budget where Redis does not tell what it uses.
    pub(crate) fn refuse_blindness(&self, limits: &Limits) -> Result<(), LayoutError> {
        if limits.memory_budget.is_some() && self.is_unknown() {
            return Err(LayoutError::Blind);
        }
        Ok(())
    }

    /// Tells what an operator should know, and what stops nobody.
    pub(crate) fn warn(&self) {
        if self.is_unknown() {
            tracing::warn!(
                "this user may not ask INFO: whether Redis throws keys away or keeps an append-only file is not known"
            );
        }
        if self.of("aof_enabled").any(|enabled| enabled == "0") {
            tracing::warn!(
                "Redis keeps no append-only file: what it holds is lost with its process (appendonly yes keeps it)"
            );
        }
        let mut versions = self.of("redis_version");
        if let Some(version) = versions.find(|version| !is_at_least(version, (6, 2))) {
            tracing::warn!(
                version,
                "Redis is older than 6.2, the oldest that is supported"
            );
        }
    }
}

/// Tells where this machine's clock and that of Redis differ.
pub(crate) async fn warn_of_clocks(
    connection: &mut (impl ConnectionLike + Send),
) -> Result<(), StoreError> {
    let time = redis::cmd("TIME").query_async(connection).await?;
    let apart = clock::now_ms().abs_diff(clock::redis_ms(time));
    if apart > CLOCKS_APART_MS {
        tracing::warn!(
            apart_ms = apart,
            "this machine's clock and that of Redis differ: ids carry the one, events the other"
        );
    }
    Ok(())
}

/// A field of one server's answer.
pub(crate) fn field_of<'a>(info: &'a str, field: &str) -> Option<&'a str> {
    let mut lines = info.lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim())
}

/// Whether a version, as `7.0.15`, is one (major, minor) or later.
pub(crate) fn is_at_least(version: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse().unwrap_or(0_u32));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (major, minor) >= wanted
}

#[cfg(test)]
mod tests {
    use super::{ServerInfo, is_at_least};

    #[test]
    fn fields_are_found_of_every_server() {
        let texts = [
            "# Memory\r\nused_memory:5\r\nmaxmemory_policy:noeviction\r\n",
            "used_memory:70\r\nmaxmemory_policy:allkeys-lru\r\nrole:master\r\n",
        ];
        let info = ServerInfo(texts.map(str::to_owned).to_vec());
        let used: Vec<&str> = info.of("used_memory").collect();
        assert_eq!(used, ["5", "70"]);
        assert_eq!(info.of("used").count(), 0, "a field is its whole name");
        assert_eq!(info.fullest()["role"], "master");
        let refused = info.refuse_eviction().unwrap_err().to_string();
        assert!(refused.contains("allkeys-lru"), "{refused}");
        assert!(ServerInfo(Vec::new()).refuse_eviction().is_ok());
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, at_least) in [
            ("6.0.16", false),
            ("6.2.0", true),
            ("6.10.1", true),
            ("7", true),
            ("10.0.1", true),
            ("nonsense", false),
        ] {
            assert_eq!(is_at_least(version, (6, 2)), at_least, "{version}");
        }
    }
}
