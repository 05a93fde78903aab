//! Every key of the layout, one method each.
//!
//! All keys of a partition share a hash tag, so every script stays in one cluster slot.

use std::fmt::Display;

use taskweir_domain::{PartitionIndex, Priority, QueueName, Status, TaskId, TaskType};

/// Version of the views that this program reads and writes.
pub const VIEW_VERSION: u32 = 2;

/// The key of the layout itself; without a tag, as its lock. Hash.
pub(crate) fn schema(prefix: &str) -> String {
    format!("{prefix}:schema")
}

/// The lock of a migration; in the slot of the layout. String.
pub(crate) fn migrating(prefix: &str) -> String {
    format!("{prefix}:migrating")
}

/// The secret with which services sign what stands for an API key. String.
pub(crate) fn signing(prefix: &str) -> String {
    format!("{prefix}:signing")
}

/// The keys of one partition.
#[derive(Debug, Clone)]
pub struct Keys {
    index: PartitionIndex,
    /// `<prefix>:{p<n>-<suffix>}:`
    base: String,
    /// First part of the names of views: `view`, or `rebuild` for those beside the live ones.
    views: &'static str,
}

impl Keys {
    /// The partitions of a layout, by their suffixes.
    pub(crate) fn of_layout<'a>(
        prefix: &str,
        suffixes: impl Iterator<Item = &'a str>,
    ) -> impl Iterator<Item = Self> {
        (0..=u8::MAX)
            .zip(suffixes)
            .map(move |(index, suffix)| Self::new(prefix, PartitionIndex(index), suffix))
    }

    /// The pattern of keys of this partition whose names are like that.
    pub(crate) fn like(&self, pattern: &str) -> String {
        format!("{}{pattern}", self.base)
    }

    pub(crate) fn new(prefix: &str, index: PartitionIndex, suffix: &str) -> Self {
        Self {
            index,
            base: format!("{prefix}:{{p{}-{suffix}}}:", index.0),
            views: "view",
        }
    }

    /// The same keys, but for views beside the live ones.
    pub(crate) fn beside(&self) -> Self {
        Self {
            views: "rebuild",
            ..self.clone()
        }
    }

    fn key(&self, name: impl Display) -> String {
        format!("{}{name}", self.base)
    }

    /// Which partition.
    #[must_use]
    pub const fn partition(&self) -> PartitionIndex {
        self.index
    }

    /// Stream: every event. Never `XDEL`, never `MAXLEN`.
    #[must_use]
    pub fn log(&self) -> String {
        self.key("log")
    }

    /// Stream with group `workers`: what waits for a worker.
    #[must_use]
    pub fn ready(&self, queue: &QueueName, priority: Priority) -> String {
        self.key(format_args!("ready:{queue}:{priority}"))
    }

    /// Hash, values up to 64 bytes: the record of a task.
    #[must_use]
    pub fn task(&self, id: TaskId) -> String {
        self.key(format_args!("task:{id}"))
    }

    /// String: a payload above 1 KiB.
    #[must_use]
    pub fn data(&self, id: TaskId) -> String {
        self.key(format_args!("data:{id}"))
    }

    /// String: a result above 1 KiB.
    #[must_use]
    pub fn result(&self, id: TaskId) -> String {
        self.key(format_args!("result:{id}"))
    }

    /// Sorted set: ids by due time, ms.
    #[must_use]
    pub fn due(&self) -> String {
        self.key("due")
    }

    /// List: wake-up token of the scheduler.
    #[must_use]
    pub fn tick(&self) -> String {
        self.key("tick")
    }

    /// The queues that there are, by name. Sorted set, every score 0.
    #[must_use]
    pub fn queues(&self) -> String {
        self.key("queues")
    }

    /// Stream: what gave up.
    #[must_use]
    pub fn dlq(&self, queue: &QueueName) -> String {
        self.key(format_args!("dlq:{queue}"))
    }

    /// Sorted set: ids of a type that no worker of the queue knows, by the time since when they wait.
    #[must_use]
    pub fn parked(&self, queue: &QueueName, task_type: &TaskType) -> String {
        self.key(format_args!("parked:{queue}:{task_type}"))
    }

    /// Sorted set: ids of tasks that expire unless they start, by that time, ms.
    #[must_use]
    pub fn expiry(&self) -> String {
        self.key("expiry")
    }

    /// String, 24 h: what was submitted under an idempotency key (its hash).
    #[must_use]
    pub fn idempotency(&self, hash: &str) -> String {
        self.key(format_args!("idem:{hash}"))
    }

    /// String: the task that holds a unique key (its hash).
    #[must_use]
    pub fn unique(&self, hash: &str) -> String {
        self.key(format_args!("unique:{hash}"))
    }

    /// The key of a task's unique key, or its record's where it has none: scripts take one always.
    #[must_use]
    pub fn unique_or(&self, hash: Option<&str>, id: TaskId) -> String {
        hash.map_or_else(|| self.task(id), |hash| self.unique(hash))
    }

    /// List: cancellations for a worker.
    #[must_use]
    pub fn signal(&self, worker: &str) -> String {
        self.key(format_args!("signal:{worker}"))
    }

    /// Hash: workers and when they last spoke.
    #[must_use]
    pub fn workers(&self) -> String {
        self.key("workers")
    }

    /// Hash: known queues, pause flags with their epochs.
    #[must_use]
    pub fn meta(&self) -> String {
        self.key("meta")
    }

    /// String: how far the projection has read.
    #[must_use]
    pub fn checkpoint(&self) -> String {
        self.key(format_args!("checkpoint:{}s-{VIEW_VERSION}", self.views))
    }

    pub(crate) fn view(&self, name: impl Display) -> String {
        self.key(format_args!("{}:{VIEW_VERSION}:{name}", self.views))
    }

    /// The name of a view, without what all its keys begin with.
    pub(crate) fn view_name<'a>(&self, key: &'a str) -> &'a str {
        key.strip_prefix(&self.view("")).unwrap_or(key)
    }

    /// What every view key matches, for `SCAN`. The tag's braces stand for themselves in a pattern.
    #[must_use]
    pub fn view_pattern(&self) -> String {
        self.view("*")
    }

    /// Sorted set, all scores 0: ids of a status, queue and type, in order of id.
    #[must_use]
    pub fn index(&self, status: Status, queue: &str, task_type: &str) -> String {
        self.view(format_args!("index:{status}:{queue}:{task_type}"))
    }

    /// Sorted set, all scores 0: ids that carry a label.
    #[must_use]
    pub fn label_index(&self, key: &str, value: &str) -> String {
        self.view(format_args!("label:{key}={value}"))
    }

    /// Sorted set, all scores 0: ids whose latest error is of a class.
    #[must_use]
    pub fn error_index(&self, class: &str) -> String {
        self.view(format_args!("error:{class}"))
    }

    /// Sorted set: ids in the dead-letter queue by the time they gave up, ms.
    #[must_use]
    pub fn dead(&self) -> String {
        self.view("dead")
    }

    /// Hash: id to what lists show and the record does not hold (error, labels).
    #[must_use]
    pub fn extra(&self) -> String {
        self.view("extra")
    }

    /// Hash: `status|queue|type` to number of tasks.
    #[must_use]
    pub fn counts(&self) -> String {
        self.view("counts")
    }

    /// Hash: `sum|queue` to how many; sums are types of events and tasks started twice.
    #[must_use]
    pub fn totals(&self) -> String {
        self.view("totals")
    }

    /// Hash: position of the latest event in the views, and the queues that are paused.
    #[must_use]
    pub fn tail(&self) -> String {
        self.view("tail")
    }

    /// Sorted set, all scores 0: totals as of the end of each minute and of every so many events,
    /// each member its position and then the totals.
    #[must_use]
    pub fn rows(&self) -> String {
        self.view("rows")
    }

    /// Hash: what retention has cut from the log, folded. Position and totals, and the state of every
    /// task that had not ended there.
    #[must_use]
    pub fn base(&self) -> String {
        self.key("base")
    }

    /// Hash, in the first partition: when the latest verification ended and what it found.
    #[must_use]
    pub fn verified(&self) -> String {
        self.key("verified")
    }

    /// Hash, in the first partition: a bulk operation.
    #[must_use]
    pub fn operation(&self, id: TaskId) -> String {
        self.key(format_args!("operation:{id}"))
    }

    /// Sorted set, all scores 0, in the first partition: ids of bulk operations, in order of id.
    #[must_use]
    pub fn operations(&self) -> String {
        self.key("operations")
    }

    /// Set, in the first partition: ids of bulk operations that have not ended.
    #[must_use]
    pub fn operations_running(&self) -> String {
        self.key("operations:running")
    }

    /// Sorted set: readers of the whole log, by the time until which retention waits for them, ms.
    #[must_use]
    pub fn holds(&self) -> String {
        self.key("holds")
    }
}

#[cfg(test)]
mod tests {
    use taskweir_domain::PartitionIndex;

    use super::Keys;

    #[test]
    fn every_key_carries_the_tag_of_its_partition() {
        let keys = Keys::new("tw", PartitionIndex(2), "ab");
        let queue = "mail".parse().unwrap();
        let kind = "send".parse().unwrap();
        assert_eq!(keys.log(), "tw:{p2-ab}:log");
        for key in [
            keys.ready(&queue, taskweir_domain::Priority::High),
            keys.parked(&queue, &kind),
            keys.counts(),
            keys.rows(),
        ] {
            assert!(key.starts_with("tw:{p2-ab}:"), "{key}");
        }
    }
}
