//! The nine words that say where a task is.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a task is in its life.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits in `due` for its first moment.
    Scheduled,
    /// Waits for a worker, in a ready stream or parked.
    Pending,
    /// A worker holds it.
    Processing,
    /// Failed at least once, waits in `due` for its next attempt.
    Retrying,
    /// Ended well.
    Completed,
    /// Gave up; stands in the dead-letter queue.
    Failed,
    /// Ended by a person.
    Cancelled,
    /// Was not started in time.
    Expired,
    /// Taken out of the dead-letter queue; its history stays.
    Removed,
}

impl Status {
    /// Every status, in the order in which people read them.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Pending,
        Self::Processing,
        Self::Retrying,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Removed,
    ];

    /// The word used in records, events, HTTP and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Retrying => "retrying",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Removed => "removed",
        }
    }

    /// Whether nothing can bring the task back. `failed` is not final: a person may retry it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Cancelled | Self::Expired | Self::Removed
        )
    }

    /// Whether the task stands in a ready stream or is parked.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Pending | Self::Processing)
    }

    /// Whether the task waits in `due`.
    #[must_use]
    pub const fn is_due(self) -> bool {
        matches!(self, Self::Scheduled | Self::Retrying)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is none of the nine status words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a status; one of {}", Status::ALL.map(Status::as_str).join(", "))]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(UnknownStatus)
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn words_round_trip_through_text_and_json() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(
                serde_json::to_value(status).unwrap(),
                serde_json::json!(status.as_str())
            );
        }
        assert!("done".parse::<Status>().is_err());
    }
}
