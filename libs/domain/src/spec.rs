//! What a submit asks for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Actor, Json, Priority, QueueName, RetryPolicy, TaskType};

/// Stands in an event for a payload or result that is too large to be written inline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stored {
    /// Length of the JSON text in bytes.
    pub bytes: u64,
    /// SHA-256 of the JSON text, lower-case hex.
    pub sha256: String,
}

/// Everything a task is asked to be, resolved and valid: defaults are filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSpec {
    /// Queue it waits in.
    pub queue: QueueName,
    /// Which handler runs it.
    pub task_type: TaskType,
    /// Urgency class.
    pub priority: Priority,
    /// The handler's input.
    pub data: Json,
    /// What happens after a failed attempt.
    pub retry: RetryPolicy,
    /// Losses (crashes of workers) it survives.
    pub max_deliveries: u32,
    /// Time to wait before it is ready, ms.
    pub delay_ms: Option<u64>,
    /// Time at which it becomes ready, ms since the epoch.
    pub run_at_ms: Option<u64>,
    /// Longest run of one attempt, ms.
    pub timeout_ms: Option<u64>,
    /// Time within which it must start, ms from its submit or its `run_at`; else it expires.
    pub expires_in_ms: Option<u64>,
    /// At most one task that has not ended carries a unique key, over all queues and types.
    pub unique_key: Option<String>,
    /// Free words for searching.
    pub labels: BTreeMap<String, String>,
    /// Who submits it, where known.
    pub actor: Option<Actor>,
    /// W3C `traceparent` of the span that submits it, where traces are exported.
    pub trace: Option<String>,
}

impl TaskSpec {
    /// Losses a task survives unless told otherwise.
    pub const DEFAULT_MAX_DELIVERIES: u32 = 5;

    /// A task with null data and every default.
    #[must_use]
    pub fn new(queue: QueueName, task_type: TaskType) -> Self {
        Self {
            queue,
            task_type,
            priority: Priority::default(),
            data: Json::null(),
            retry: RetryPolicy::default(),
            max_deliveries: Self::DEFAULT_MAX_DELIVERIES,
            delay_ms: None,
            run_at_ms: None,
            timeout_ms: None,
            expires_in_ms: None,
            unique_key: None,
            labels: BTreeMap::new(),
            actor: None,
            trace: None,
        }
    }

    /// Whether it first waits in `due`.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        self.delay_ms.is_some() || self.run_at_ms.is_some()
    }
}
