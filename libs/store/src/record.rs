//! The record: the inline projection of a task that the scripts write and check.
//!
//! | field | what |
//! | --- | --- |
//! | `s` | status word |
//! | `v` | version: number of events |
//! | `e`, `o` | position of the latest and of the first event |
//! | `w` | entry in the ready or dead-letter stream, or `parked` |
//! | `q`, `t`, `p` | queue, type, priority |
//! | `r` | limits: max_retries, initial delay, multiplier, max delay, jitter, max_deliveries, timeout (0 = none) |
//! | `a`, `f`, `l` | attempts, failures, losses; absent = 0 |
//! | `h`, `L` | holder and its lease, ms |
//! | `x` | a person asked to cancel |
//! | `d` | due time, ms |
//! | `j` | was parked in this life |
//! | `u` | hash of the unique key |
//! | `T` | W3C traceparent of its submit |
//! | `y` | when it expires unless it has started, ms |
//! | `k` | latest settled attempt whose task went on: `attempt:holder` |
//! | `c` | nonce and outcome of the latest command of a person |
//! | `z<attempt>:<holder>` | a late completion of this holder was refused |

use std::collections::HashMap;
use std::str::FromStr;

use taskweir_domain::{Holder, Limits, Phase, RetryPolicy, Status, Task};

use crate::StoreError;

/// A task's record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What decisions need.
    pub task: Task,
    /// Entry in the ready or dead-letter stream, or [`Record::PARKED`].
    pub work: String,
    /// Who holds or last settled it.
    pub holder: Option<Holder>,
    /// Hash of its unique key.
    pub unique: Option<String>,
    /// Nonce and outcome of the latest command of a person.
    pub(crate) command: Option<String>,
}

const WHAT: &str = "task record";

impl Record {
    /// The work entry of parked tasks.
    pub const PARKED: &'static str = "parked";

    /// Whether it waits for a worker that knows its type.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.work == Self::PARKED && self.task.status() == Status::Pending
    }

    /// Whether a request with this nonce was the latest to change it.
    pub(crate) fn commanded_by(&self, nonce: &str) -> bool {
        let command = self.command.as_deref().unwrap_or_default();
        command
            .strip_prefix(nonce)
            .is_some_and(|rest| rest.starts_with(':'))
    }

    /// Reads the fields of a record; `None` where there are none.
    pub(crate) fn read(fields: Vec<(String, String)>) -> Result<Option<Self>, StoreError> {
        if fields.is_empty() {
            return Ok(None);
        }
        let fields = Fields(fields.into_iter().collect());
        let status: Status = fields.parse("s")?;
        let holder = fields
            .optional("h")
            .filter(|holder| !holder.is_empty())
            .map(|holder| Holder::from_text(holder.to_owned()));
        let phase = match status {
            Status::Scheduled => Phase::Scheduled {
                due_ms: fields.parse("d")?,
            },
            Status::Pending => Phase::Pending,
            Status::Processing => Phase::Processing {
                holder: holder
                    .clone()
                    .ok_or_else(|| StoreError::reply(WHAT, "processing without a holder"))?,
                lease_ms: fields.parse("L")?,
                cancelling: fields.optional("x").is_some(),
            },
            Status::Retrying => Phase::Retrying {
                due_ms: fields.parse("d")?,
            },
            Status::Completed => Phase::Completed,
            Status::Failed => Phase::Failed,
            Status::Cancelled => Phase::Cancelled,
            Status::Expired => Phase::Expired,
            Status::Removed => Phase::Removed,
        };
        let task = Task {
            queue: fields.parse("q")?,
            task_type: fields.parse("t")?,
            priority: fields.parse("p")?,
            limits: unpack_limits(fields.required("r")?)?,
            version: fields.parse("v")?,
            first: fields.parse("o")?,
            last: fields.parse("e")?,
            attempt: fields.count("a")?,
            failures: fields.count("f")?,
            losses: fields.count("l")?,
            parked_once: fields.optional("j").is_some(),
            phase,
        };
        Ok(Some(Self {
            task,
            work: fields.optional("w").unwrap_or_default().to_owned(),
            holder,
            unique: fields.optional("u").map(ToOwned::to_owned),
            command: fields.optional("c").map(ToOwned::to_owned),
        }))
    }
}

struct Fields(HashMap<String, String>);

impl Fields {
    fn optional(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&str, StoreError> {
        self.optional(name)
            .ok_or_else(|| StoreError::reply(WHAT, format!("field {name} is missing")))
    }

    fn parse<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        let text = self.required(name)?;
        text.parse()
            .map_err(|_| StoreError::reply(WHAT, format!("field {name} is {text:?}")))
    }

    fn count(&self, name: &str) -> Result<u32, StoreError> {
        if self.optional(name).is_some() {
            self.parse(name)
        } else {
            Ok(0)
        }
    }
}

/// Packs limits into one short value: they are never read by a script, and one value costs less
/// memory than seven.
pub(crate) fn pack_limits(limits: &Limits) -> String {
    let retry = &limits.retry;
    format!(
        "{} {} {} {} {} {} {}",
        retry.max_retries,
        retry.initial_delay_ms,
        retry.multiplier,
        retry.max_delay_ms,
        retry.jitter,
        limits.max_deliveries,
        limits.timeout_ms.unwrap_or(0),
    )
}

pub(crate) fn unpack_limits(text: &str) -> Result<Limits, StoreError> {
    let broken = || StoreError::reply(WHAT, format!("limits are {text:?}"));
    let mut parts = text.split(' ');
    let mut next = || parts.next().ok_or_else(broken);
    fn parse<T: FromStr>(text: &str) -> Option<T> {
        text.parse().ok()
    }
    let retry = RetryPolicy {
        max_retries: parse(next()?).ok_or_else(broken)?,
        initial_delay_ms: parse(next()?).ok_or_else(broken)?,
        multiplier: parse(next()?).ok_or_else(broken)?,
        max_delay_ms: parse(next()?).ok_or_else(broken)?,
        jitter: parse(next()?).ok_or_else(broken)?,
    };
    let max_deliveries = parse(next()?).ok_or_else(broken)?;
    let timeout: u64 = parse(next()?).ok_or_else(broken)?;
    Ok(Limits {
        retry,
        max_deliveries,
        timeout_ms: (timeout > 0).then_some(timeout),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use taskweir_domain::{Limits, RetryPolicy};

    use super::{Record, pack_limits, unpack_limits};

    proptest! {
        #[test]
        fn limits_survive_packing_and_stay_short(
            max_retries in 0_u32..=1_000, initial in 0_u64..=2_592_000_000, multiplier in 1.0..=1_000.0_f64,
            cap in 0_u64..=2_592_000_000, jitter in 0.0..=1.0_f64, max_deliveries in 0_u32..=1_000,
            timeout in 0_u64..=2_592_000_000,
        ) {
            let retry = RetryPolicy {
                max_retries, initial_delay_ms: initial, multiplier, max_delay_ms: cap, jitter,
            }.checked().expect("in range");
            let limits = Limits { retry, max_deliveries, timeout_ms: (timeout > 0).then_some(timeout) };
            let packed = pack_limits(&limits);
            prop_assert!(packed.len() <= 64, "{packed} leaves the compact encoding");
            prop_assert_eq!(unpack_limits(&packed).expect("our own"), limits);
        }

        #[test]
        fn odd_records_are_errors(fields in proptest::collection::vec((".{0,2}", ".{0,20}"), 1..12)) {
            Record::read(fields).ok();
        }
    }
}
