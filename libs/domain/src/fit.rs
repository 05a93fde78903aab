//! What a task may be, whoever submits it: by a request or from a program.

use std::collections::BTreeMap;

use crate::draft::{FieldError, Limits};
use crate::time::LAST_MS;
use crate::{RetryPolicyError, TaskSpec};

const MAX_LABELS: usize = 16;
const MAX_LABEL_KEY: usize = 64;
const MAX_LABEL_VALUE: usize = 256;
const MAX_UNIQUE_KEY: usize = 256;
/// Ten years, seconds: later than any task should wait, and safe in ms arithmetic.
pub(crate) const MAX_WAIT_SECONDS: f64 = 315_360_000.0;
/// Thirty days, seconds.
pub(crate) const MAX_TIMEOUT_SECONDS: f64 = 2_592_000.0;

fn fault(field: impl Into<String>, message: impl Into<String>) -> FieldError {
    let (field, message) = (field.into(), message.into());
    FieldError { field, message }
}

/// What is wrong with the text of a payload.
pub(crate) fn of_data(text: &str, max: usize) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if text.len() > max {
        let bytes = text.len();
        faults.push(fault(
            "data",
            format!(
                "is {bytes} bytes; at most {max} are taken: store it elsewhere and pass its address"
            ),
        ));
    }
    // What a scan for JSON lets through and no reader takes: a lone surrogate, a number beyond every
    // range, nesting without end.
    if serde_json::from_str::<serde_json::Value>(text).is_err() {
        faults.push(fault(
            "data",
            "holds something no reader takes: an escape that is no character, a number out of range, or more than 127 levels",
        ));
    }
    faults
}

/// What is wrong with a unique key.
pub(crate) fn of_unique_key(key: &str) -> Option<FieldError> {
    let wrong = key.is_empty() || key.len() > MAX_UNIQUE_KEY;
    wrong.then(|| fault("unique_key", format!("takes 1 to {MAX_UNIQUE_KEY} bytes")))
}

/// What is wrong with labels.
pub(crate) fn of_labels(labels: &BTreeMap<String, String>) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if labels.len() > MAX_LABELS {
        let most = format!("may hold at most {MAX_LABELS} labels");
        faults.push(fault("labels", most));
    }
    let readable = |text: &str| !text.chars().any(char::is_control);
    for (key, value) in labels {
        if key.is_empty() || key.len() > MAX_LABEL_KEY || key.contains('=') || !readable(key) {
            let takes = format!("names take 1 to {MAX_LABEL_KEY} printable bytes without '='");
            faults.push(fault("labels", takes));
        }
        if value.len() > MAX_LABEL_VALUE || !readable(value) {
            let takes = format!("takes at most {MAX_LABEL_VALUE} printable bytes");
            faults.push(fault(format!("labels.{key}"), takes));
        }
    }
    faults
}

/// What is wrong with a retry policy, by the name of its field in a request.
pub(crate) fn of_retry(error: RetryPolicyError) -> FieldError {
    let field = match error {
        RetryPolicyError::MaxRetries => error.field().to_owned(),
        _ => format!("retry.{}", error.field()),
    };
    fault(field, error.to_string())
}

fn of_span(field: &str, ms: Option<u64>, min: u64, max_seconds: f64) -> Option<FieldError> {
    let max = max_seconds as u64 * 1_000;
    let wrong = ms.is_some_and(|ms| !(min..=max).contains(&ms));
    wrong.then(|| fault(field, format!("must be from {min} to {max} ms")))
}

impl TaskSpec {
    /// The task, if it is one that every reader of the log can take, with the factors of its retry policy rounded.
    ///
    /// # Errors
    /// The first field that cannot be taken.
    pub fn checked(mut self, limits: &Limits) -> Result<Self, FieldError> {
        self.retry = self.retry.checked().map_err(of_retry)?;
        let late = self.run_at_ms.is_some_and(|at| at > LAST_MS);
        let faults = of_data(self.data.as_str(), limits.max_payload)
            .into_iter()
            .chain(self.unique_key.as_deref().and_then(of_unique_key))
            .chain(of_labels(&self.labels))
            .chain(of_span("delay", self.delay_ms, 0, MAX_WAIT_SECONDS))
            .chain(of_span("timeout", self.timeout_ms, 1, MAX_TIMEOUT_SECONDS))
            .chain(of_span(
                "expires_in",
                self.expires_in_ms,
                1,
                MAX_WAIT_SECONDS,
            ))
            .chain(late.then(|| {
                fault(
                    "run_at",
                    "is too far ahead: the last time that is taken is 9999-12-30T22:00:00Z",
                )
            }));
        faults.into_iter().next().map_or(Ok(self), Err)
    }
}

#[cfg(test)]
mod tests {
    use crate::{DraftLimits, Json, TaskSpec};

    #[test]
    fn what_no_reader_takes_is_refused_by_the_name_of_its_field() {
        let sound = || TaskSpec::new("q".parse().unwrap(), "t".parse().unwrap());
        let limits = DraftLimits {
            max_payload: 10,
            ..DraftLimits::default()
        };
        assert_eq!(sound().checked(&limits), Ok(sound()));
        type Change = fn(&mut TaskSpec);
        let broken: [(&str, Change); 10] = [
            ("retry.jitter", |spec| spec.retry.jitter = f64::NAN),
            ("retry.multiplier", |spec| {
                spec.retry.multiplier = f64::INFINITY;
            }),
            ("max_retries", |spec| spec.retry.max_retries = u32::MAX),
            ("data", |spec| {
                spec.data = Json::of(&"x".repeat(10)).unwrap();
            }),
            ("unique_key", |spec| spec.unique_key = Some(String::new())),
            ("labels", |spec| {
                spec.labels.insert("a=b".to_owned(), String::new());
            }),
            ("delay", |spec| spec.delay_ms = Some(u64::MAX)),
            ("timeout", |spec| spec.timeout_ms = Some(0)),
            ("expires_in", |spec| spec.expires_in_ms = Some(u64::MAX)),
            ("run_at", |spec| spec.run_at_ms = Some(u64::MAX)),
        ];
        for (field, change) in broken {
            let mut spec = sound();
            change(&mut spec);
            assert_eq!(spec.checked(&limits).unwrap_err().field, field);
        }
    }
}
