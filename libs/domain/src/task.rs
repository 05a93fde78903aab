//! The state of a task, as far as decisions need it: exactly what its record holds.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::Fence;
use crate::{Position, Priority, QueueName, RetryPolicy, Status, TaskType};

/// Who holds a task: `<worker id>/<nonce>`. The nonce is new with every start, because after a
/// failover that lost a `Started` the same attempt number is issued twice.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Holder(String);

impl Holder {
    /// Joins a worker's id and the nonce of a start.
    #[must_use]
    pub fn new(worker: &str, nonce: &str) -> Self {
        Self(format!("{worker}/{nonce}"))
    }

    /// Takes the text of a record or event.
    #[must_use]
    pub fn from_text(text: String) -> Self {
        Self(text)
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The worker's id.
    #[must_use]
    pub fn worker(&self) -> &str {
        self.0
            .rsplit_once('/')
            .map_or(&self.0, |(worker, _)| worker)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The limits a task carries from its submit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// What happens after a failed attempt.
    pub retry: RetryPolicy,
    /// Losses it survives.
    pub max_deliveries: u32,
    /// Longest run of one attempt, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Where a task is, with what only this place knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for its first moment.
    Scheduled {
        /// When, ms since the epoch.
        due_ms: u64,
    },
    /// Waits for a worker.
    Pending,
    /// A worker holds it.
    Processing {
        /// The worker and its nonce.
        holder: Holder,
        /// That worker's lease, ms.
        lease_ms: u64,
        /// A person asked to cancel it.
        cancelling: bool,
    },
    /// Waits for its next attempt.
    Retrying {
        /// When, ms since the epoch.
        due_ms: u64,
    },
    /// Ended well.
    Completed,
    /// In the dead-letter queue.
    Failed,
    /// Ended by a person.
    Cancelled,
    /// Not started in time.
    Expired,
    /// Out of the dead-letter queue.
    Removed,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Queue it belongs to.
    pub queue: QueueName,
    /// Which handler runs it.
    pub task_type: TaskType,
    /// Urgency class.
    pub priority: Priority,
    /// Limits of its submit.
    pub limits: Limits,
    /// Number of events so far.
    pub version: u64,
    /// Position of its first event.
    pub first: Position,
    /// Position of its latest event.
    pub last: Position,
    /// Starts so far; only grows.
    pub attempt: u32,
    /// Failed attempts since it was submitted or came back from the dead letters.
    pub failures: u32,
    /// Lost workers since then.
    pub losses: u32,
    /// Whether it was released for an unknown type in this life.
    pub parked_once: bool,
    /// Where it is.
    pub phase: Phase,
}

impl Task {
    /// The word for where it is.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self.phase {
            Phase::Scheduled { .. } => Status::Scheduled,
            Phase::Pending => Status::Pending,
            Phase::Processing { .. } => Status::Processing,
            Phase::Retrying { .. } => Status::Retrying,
            Phase::Completed => Status::Completed,
            Phase::Failed => Status::Failed,
            Phase::Cancelled => Status::Cancelled,
            Phase::Expired => Status::Expired,
            Phase::Removed => Status::Removed,
        }
    }

    /// Whether a person asked to cancel it while it runs.
    #[must_use]
    pub const fn cancelling(&self) -> bool {
        matches!(
            self.phase,
            Phase::Processing {
                cancelling: true,
                ..
            }
        )
    }

    /// Whether `fence` is the right to settle the running attempt.
    #[must_use]
    pub fn is_held_by(&self, fence: &Fence) -> bool {
        matches!(&self.phase, Phase::Processing { holder, .. } if *holder == fence.holder)
            && self.attempt == fence.attempt
    }
}
