//! The gateway's metrics.

use metrics::{Unit, describe_counter, describe_histogram};
use taskweir_store::SUBMISSIONS;

pub(crate) const HTTP: &str = "http_request_duration_seconds";
pub(crate) const REDIS_UP: &str = "taskweir_redis_up";
pub(crate) const REDIS_MEMORY: &str = "redis_memory_used_bytes";
pub(crate) const REDIS_LIMIT: &str = "redis_memory_limit_bytes";
pub(crate) const MALFORMED: &str = "taskweir_malformed_entries";
pub(crate) const OPERATIONS: &str = "taskweir_operations_running";
pub(crate) const PAUSED: &str = "taskweir_queue_paused";
pub(crate) const PARKED: &str = "taskweir_parked_tasks";
pub(crate) const VERIFY_DIFFERENCES: &str = "taskweir_verify_differences";
pub(crate) const VERIFY_TIME: &str = "taskweir_verify_timestamp_seconds";
pub(crate) const BY_STATUS: &str = "tasks_by_status";
pub(crate) const IN_DLQ: &str = "tasks_in_dlq_total";
pub(crate) const PENDING: &str = "pending_tasks_total";
pub(crate) const OLDEST: &str = "oldest_pending_age_seconds";
pub(crate) const WORKERS: &str = "active_workers_total";
pub(crate) const LAG_EVENTS: &str = "projection_lag_events";
pub(crate) const LAG_SECONDS: &str = "projection_lag_seconds";
pub(crate) const STREAM_BYTES: &str = "stream_bytes";
pub(crate) const LEDGER: &str = "taskweir_ledger_difference";
pub(crate) const STARTED_TWICE: &str = "taskweir_tasks_started_twice";
pub(crate) const LOG_REWINDS: &str = "taskweir_log_rewinds_total";

/// Gives the gateway's metrics their help texts.
pub fn describe() {
    describe_counter!(SUBMISSIONS, Unit::Count, "Tasks accepted by this process.");
    describe_histogram!(HTTP, Unit::Seconds, "Time to answer HTTP requests.");
    describe_histogram!(
        taskweir_store::REDIS_DURATION,
        Unit::Seconds,
        "Time of calls to Redis by script or command, queueing in this process included."
    );
    describe_counter!(
        LOG_REWINDS,
        Unit::Count,
        "Times that a log was found without the end it had had, as after a failover."
    );
}

/// What each gauge about the system tells.
const HELP: [(&str, &str); 19] = [
    (
        BY_STATUS,
        "Tasks by status, from the views; of 100 queues, the rest as other.",
    ),
    (IN_DLQ, "Tasks in the dead-letter queue, from the views."),
    (PENDING, "Tasks ready and not received by a worker."),
    (
        OLDEST,
        "Age of the oldest task that no worker has received.",
    ),
    (WORKERS, "Workers that spoke within the last ten seconds."),
    (LAG_EVENTS, "Events the views have not seen yet."),
    (
        LAG_SECONDS,
        "How long the oldest event that the views have not seen has waited.",
    ),
    (
        LEDGER,
        "Tasks ever submitted less those of every status: 0, or tasks are missing.",
    ),
    (
        STARTED_TWICE,
        "Tasks that were started more than once, ever.",
    ),
    (STREAM_BYTES, "Memory of streams in Redis."),
    (
        REDIS_UP,
        "1 where Redis answered when this gateway was scraped; where it is 0, the gauges of the system are absent.",
    ),
    (REDIS_MEMORY, "Memory that Redis uses."),
    (
        REDIS_LIMIT,
        "Memory that Redis may use: its maxmemory, else MEMORY_BUDGET, else that of its machine.",
    ),
    (
        MALFORMED,
        "Entries that were none of ours, skipped since the first start.",
    ),
    (OPERATIONS, "Bulk operations under way."),
    (PAUSED, "1 where a queue is paused."),
    (
        PARKED,
        "Tasks that wait for a worker that knows their type.",
    ),
    (
        VERIFY_DIFFERENCES,
        "Differences that the latest `taskweir verify` found.",
    ),
    (
        VERIFY_TIME,
        "When the latest `taskweir verify` ended, seconds since the epoch.",
    ),
];

/// What a gauge about the system tells.
pub(crate) fn help(name: &str) -> &'static str {
    let found = HELP.iter().find(|(known, _)| *known == name);
    found.map_or("", |(_, help)| help)
}
