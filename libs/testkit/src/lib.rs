#![doc = include_str!("../README.md")]

mod redis_server;
mod wait;

pub use redis_server::{Persistence, TestRedis, free_port};
pub use wait::{eventually, eventually_within};

/// A variable that one process of a test set for another.
///
/// # Panics
/// It is not set.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no Env; this is their one place"
)]
pub fn variable(name: &str) -> String {
    std::env::var(name).expect("set by the process that started this one")
}

/// How much a test does, where a variable does not ask for more.
///
/// # Panics
/// The variable is no number.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no Env; this is their one place"
)]
pub fn scale(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// Partitions of the layouts that tests make where they do not care: `PARTITIONS` of the environment,
/// so that the same suite runs with one and with several.
///
/// # Panics
/// It is no number.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no Env; this is their one place"
)]
pub fn partitions() -> usize {
    std::env::var("PARTITIONS").map_or(1, |text| text.parse().expect("PARTITIONS is a number"))
}
