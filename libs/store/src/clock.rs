//! The only place that reads the wall clock.
//!
//! It mints ids and names actors' times; deadlines are decided by Redis' clock inside the scripts.

use std::time::{SystemTime, UNIX_EPOCH};

/// Ms since the epoch; 0 where the clock stands before it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// Ms of what Redis answers to `TIME`: seconds, and microseconds of the next one.
pub(crate) const fn redis_ms((seconds, micros): (u64, u64)) -> u64 {
    seconds * 1_000 + micros / 1_000
}
