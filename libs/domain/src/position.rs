//! Positions in a partition's log.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Place of an event in its partition's log: the Redis stream entry id. Its first half is the
/// time of the event, in ms since the epoch.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Position {
    /// Time of the event, ms since the epoch.
    pub ms: u64,
    /// Order within the ms.
    pub seq: u64,
}

/// The text is not `ms-seq`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a position such as 1700000000000-0")]
pub struct PositionError;

impl Position {
    /// Before every event.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

fn number(text: &str) -> Option<u64> {
    // `u64::from_str` takes a leading plus sign; a position has none.
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (ms, seq) = text.split_once('-').ok_or(PositionError)?;
        Ok(Self {
            ms: number(ms).ok_or(PositionError)?,
            seq: number(seq).ok_or(PositionError)?,
        })
    }
}

impl TryFrom<String> for Position {
    type Error = PositionError;
    fn try_from(text: String) -> Result<Self, PositionError> {
        text.parse()
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Position;

    #[test]
    fn positions_order_by_time_then_sequence() {
        let parse = |text: &str| text.parse::<Position>().unwrap();
        assert!(parse("9-5") < parse("10-0"));
        assert!(parse("10-2") < parse("10-11"));
        assert_eq!(parse("10-2").to_string(), "10-2");
        for bad in [
            "",
            "1",
            "-1",
            "1-",
            "+1-0",
            "1-2-3",
            "99999999999999999999-0",
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }
}
