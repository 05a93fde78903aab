//! A worker on a real Redis.

mod bench;
mod failures;
mod life;
mod lottery;
mod shutdown;
