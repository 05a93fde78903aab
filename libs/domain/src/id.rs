//! Task ids: ULIDs that carry their partition.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// Number of a partition, 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionIndex(pub u8);

/// Identity of a task: a ULID whose first random byte is the partition the task lives in, so that
/// an id alone leads to its keys.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct TaskId(Ulid);

/// The text is not a ULID in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a task id: 26 characters of Crockford base 32, upper case")]
pub struct IdError;

impl TaskId {
    /// Makes an id from the wall clock (ms since the epoch), its partition and 72 random bits
    /// (the low 9 bytes of `random`).
    #[must_use]
    pub fn new(unix_ms: u64, partition: PartitionIndex, random: u128) -> Self {
        let low = random & ((1 << 72) - 1);
        Self(Ulid::from_parts(
            unix_ms,
            (u128::from(partition.0) << 72) | low,
        ))
    }

    /// The smallest id that could have been minted at a time: a bound for ranges of ids.
    #[must_use]
    pub const fn floor(unix_ms: u64) -> Self {
        Self(Ulid::from_parts(unix_ms, 0))
    }

    /// The partition this task lives in.
    #[must_use]
    pub fn partition(self) -> PartitionIndex {
        PartitionIndex((self.0.random() >> 72) as u8)
    }

    /// When the id was minted, ms since the epoch, by the minter's clock.
    #[must_use]
    pub fn minted_ms(self) -> u64 {
        self.0.timestamp_ms()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TaskId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = Ulid::from_string(text).map_err(|_| IdError)?;
        // One task, one spelling: the id is part of a key, and lower case would name another key.
        if id.to_string() == text {
            Ok(Self(id))
        } else {
            Err(IdError)
        }
    }
}

impl TryFrom<String> for TaskId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{PartitionIndex, TaskId};

    #[test]
    fn an_id_leads_to_its_partition_and_time() {
        for partition in [0, 1, 7, 255] {
            let id = TaskId::new(1_700_000_000_123, PartitionIndex(partition), u128::MAX);
            assert_eq!(id.partition(), PartitionIndex(partition));
            assert_eq!(id.minted_ms(), 1_700_000_000_123);
            assert_eq!(id.to_string().parse::<TaskId>(), Ok(id));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let id = TaskId::new(1_700_000_000_123, PartitionIndex(3), 42).to_string();
        assert!(id.to_lowercase().parse::<TaskId>().is_err());
        assert!("".parse::<TaskId>().is_err());
        assert!(
            format!("8{}", "Z".repeat(25)).parse::<TaskId>().is_err(),
            "above 128 bits"
        );
    }
}
