//! Rationing of failed sign-ins.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures an address may have within [`WINDOW`].
const MAX_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered; beyond, those whose window has passed are forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// Counts failures per address.
#[derive(Debug, Clone, Default)]
pub struct Limiter(Arc<Mutex<Failures>>);

/// How often an address failed, since when.
type Failures = HashMap<Option<IpAddr>, (u32, Instant)>;

impl Limiter {
    /// Whether an address has failed so often lately that it is not heard.
    #[must_use]
    pub fn is_barred(&self, address: Option<IpAddr>) -> bool {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures
            .get(&address)
            .is_some_and(|(count, since)| *count >= MAX_FAILURES && since.elapsed() < WINDOW)
    }

    /// Notes a failure.
    pub fn failed(&self, address: Option<IpAddr>) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_ADDRESSES {
            failures.retain(|_, (_, since)| since.elapsed() < WINDOW);
        }
        let (count, since) = failures
            .entry(address)
            .or_insert_with(|| (0, Instant::now()));
        if since.elapsed() >= WINDOW {
            (*count, *since) = (0, Instant::now());
        }
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{Limiter, MAX_FAILURES};

    #[test]
    fn too_many_failures_bar_their_address_alone() {
        let limiter = Limiter::default();
        let (one, other) = ("192.0.2.1".parse().ok(), "192.0.2.2".parse().ok());
        for _ in 0..MAX_FAILURES {
            assert!(!limiter.is_barred(one));
            limiter.failed(one);
        }
        assert!(limiter.is_barred(one));
        assert!(!limiter.is_barred(other));
    }
}
