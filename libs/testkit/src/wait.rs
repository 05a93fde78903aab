//! Waiting for a condition, with a deadline, instead of sleeping.

use std::time::{Duration, Instant};

/// Waits until `condition` gives a value, at most 20 s.
///
/// # Panics
/// The deadline passes; the message says what was waited for.
#[track_caller]
pub fn eventually<T, F>(what: &str, condition: F) -> impl Future<Output = T>
where
    F: AsyncFnMut() -> Option<T>,
{
    eventually_within(Duration::from_secs(20), what, condition)
}

/// Waits until `condition` gives a value, at most `limit`.
///
/// # Panics
/// The deadline passes; the message says what was waited for.
pub async fn eventually_within<T, F>(limit: Duration, what: &str, mut condition: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
