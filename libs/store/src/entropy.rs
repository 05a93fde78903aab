//! The only place that draws random numbers; they enter the core as values.

use rand::RngExt;
use taskweir_domain::{Holder, PartitionIndex, TaskId};

/// A number from 0 to 1, for jitter.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn unit() -> f64 {
    rand::rng().random()
}

/// Sixty random bits as twelve letters and digits: a nonce for holders, requests and worker ids.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn nonce() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let bits: u64 = rand::rng().random();
    (0..12)
        .map(|i| char::from(ALPHABET[(bits >> (i * 5)) as usize & 31]))
        .collect()
}

/// 256 random bits as 64 hexadecimal digits: a secret that nobody has to type.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn secret() -> String {
    let bits: [u128; 2] = rand::rng().random();
    format!("{:032x}{:032x}", bits[0], bits[1])
}

/// Who holds what a worker starts now: with a nonce, so that attempts which a failover has made equal
/// are told apart.
#[must_use]
pub fn holder(worker: &str) -> Holder {
    if crate::sabotage::holders_are_alike() {
        return Holder::new("worker", "x");
    }
    Holder::new(worker, &nonce())
}

/// A whole number below `bound`, for placing tasks.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn below(bound: usize) -> usize {
    rand::rng().random_range(0..bound.max(1))
}

/// A new task id in a partition.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn task_id(now_ms: u64, partition: PartitionIndex) -> TaskId {
    TaskId::new(now_ms, partition, rand::rng().random())
}
