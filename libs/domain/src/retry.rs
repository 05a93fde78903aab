//! Exponential backoff.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Largest retry budget that can be asked for.
const MAX_RETRIES: u32 = 1_000;
/// Longest delay between attempts: 30 days, in ms.
pub(crate) const MAX_DELAY_MS: u64 = 30 * 24 * 3_600 * 1_000;
/// Largest growth factor.
const MAX_MULTIPLIER: f64 = 1_000.0;

/// When and how often a failed task is tried again. Resolved by whoever submits, stored in the
/// task, obeyed by workers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetryPolicy {
    /// Retries after the first attempt; 0 means one attempt only.
    pub max_retries: u32,
    /// Delay before the first retry, ms.
    pub initial_delay_ms: u64,
    /// Factor by which the delay grows per failure.
    pub multiplier: f64,
    /// Longest delay, ms.
    pub max_delay_ms: u64,
    /// Share of the delay that is drawn at random, 0 to 1: 0.1 means ± 10 %.
    pub jitter: f64,
}

/// A rule of [`RetryPolicy`] that a value breaks; names the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetryPolicyError {
    /// Too many retries.
    #[error("must be at most {MAX_RETRIES}")]
    MaxRetries,
    /// Longer than 30 days.
    #[error("must be at most 30 days")]
    InitialDelay,
    /// Not a number from 1 to 1000.
    #[error("must be from 1 to 1000")]
    Multiplier,
    /// Longer than 30 days.
    #[error("must be at most 30 days")]
    MaxDelay,
    /// Not a number from 0 to 1.
    #[error("must be from 0 to 1")]
    Jitter,
}

impl RetryPolicyError {
    /// The field at fault, as HTTP names it.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::MaxRetries => "max_retries",
            Self::InitialDelay => "initial_delay",
            Self::Multiplier => "multiplier",
            Self::MaxDelay => "max_delay",
            Self::Jitter => "jitter",
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 3,
            initial_delay_ms: 5_000,
            multiplier: 2.0,
            max_delay_ms: 3_600_000,
            jitter: 0.1,
        }
    }
}

/// Keeps four decimals: enough for a factor, and its text stays short inside the record.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

impl RetryPolicy {
    /// Checks the policy and rounds its factors to four decimals.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn checked(self) -> Result<Self, RetryPolicyError> {
        if self.max_retries > MAX_RETRIES {
            return Err(RetryPolicyError::MaxRetries);
        }
        if self.initial_delay_ms > MAX_DELAY_MS {
            return Err(RetryPolicyError::InitialDelay);
        }
        if !(1.0..=MAX_MULTIPLIER).contains(&self.multiplier) {
            return Err(RetryPolicyError::Multiplier);
        }
        if self.max_delay_ms > MAX_DELAY_MS {
            return Err(RetryPolicyError::MaxDelay);
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(RetryPolicyError::Jitter);
        }
        Ok(Self {
            multiplier: rounded(self.multiplier),
            jitter: rounded(self.jitter),
            ..self
        })
    }

    /// Delay before the retry that follows failure number `failures` (1-based), in ms:
    /// `initial × multiplier^(failures-1)`, capped, then moved by up to ± `jitter` of itself.
    /// `unit` is the random draw, 0 to 1; 0.5 is the middle. The cap holds after jitter too.
    ///
    /// Source: exponential backoff with bounded jitter, M. Brooker, "Exponential Backoff And
    /// Jitter", AWS Architecture Blog, 2015.
    #[must_use]
    pub fn delay_ms(&self, failures: u32, unit: f64) -> u64 {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let cap = self.max_delay_ms as f64;
        let base = (self.initial_delay_ms as f64 * self.multiplier.powi(exponent)).min(cap);
        let spread = base * self.jitter * (unit.clamp(0.0, 1.0) * 2.0 - 1.0);
        (base + spread).clamp(0.0, cap).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::{RetryPolicy, RetryPolicyError};

    #[test]
    fn default_delays_double_from_five_seconds() {
        let policy = RetryPolicy::default();
        let delays: Vec<u64> = (1..=4).map(|n| policy.delay_ms(n, 0.5)).collect();
        assert_eq!(delays, [5_000, 10_000, 20_000, 40_000]);
        assert_eq!(policy.delay_ms(1, 0.0), 4_500);
        assert_eq!(policy.delay_ms(1, 1.0), 5_500);
        assert_eq!(policy.delay_ms(60, 0.5), 3_600_000);
    }

    #[test]
    fn broken_rules_are_named() {
        let bad = |change: fn(&mut RetryPolicy)| {
            let mut policy = RetryPolicy::default();
            change(&mut policy);
            policy.checked().unwrap_err()
        };
        assert_eq!(bad(|p| p.max_retries = 1_001), RetryPolicyError::MaxRetries);
        assert_eq!(bad(|p| p.multiplier = 0.5), RetryPolicyError::Multiplier);
        assert_eq!(
            bad(|p| p.multiplier = f64::NAN),
            RetryPolicyError::Multiplier
        );
        assert_eq!(bad(|p| p.jitter = 1.5), RetryPolicyError::Jitter);
        assert_eq!(
            bad(|p| p.max_delay_ms = u64::MAX),
            RetryPolicyError::MaxDelay
        );
        assert_eq!(
            bad(|p| p.initial_delay_ms = u64::MAX),
            RetryPolicyError::InitialDelay
        );
    }

    proptest! {
        #[test]
        fn delays_stay_within_cap_and_jitter(
            initial in 0_u64..100_000, multiplier in 1.0..10.0_f64, cap in 0_u64..1_000_000,
            jitter in 0.0..1.0_f64, failures in 1_u32..2_000, unit in 0.0..1.0_f64,
        ) {
            let policy = RetryPolicy {
                max_retries: 3, initial_delay_ms: initial, multiplier, max_delay_ms: cap, jitter,
            };
            let middle = RetryPolicy { jitter: 0.0, ..policy }.delay_ms(failures, unit);
            let delay = policy.delay_ms(failures, unit);
            prop_assert!(delay <= cap);
            prop_assert!(delay as f64 >= middle as f64 * (1.0 - jitter) - 1.0);
            prop_assert!(delay as f64 <= middle as f64 * (1.0 + jitter) + 1.0);
        }
    }
}
