//! A worker on a real Redis.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod bench;
mod example;
mod failures;
mod faults;
mod life;
mod lottery;
mod peers;
mod producer;
mod shutdown;
mod slots;
