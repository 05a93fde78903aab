//! From the JSON of a request to a valid [`TaskSpec`], with an error per bad field.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::DeserializeOwned;

use crate::fit::{self, MAX_TIMEOUT_SECONDS, MAX_WAIT_SECONDS};
use crate::json_text::members;
use crate::{Json, RetryPolicy, TaskSpec, parse_rfc3339_ms};

/// A field of a request that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// Path of the field, such as `retry.jitter`.
    pub field: String,
    /// What it takes.
    pub message: String,
}

/// Defaults and limits of whoever submits.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Retry policy of tasks that bring none.
    pub retry: RetryPolicy,
    /// Losses survived by tasks that do not say.
    pub max_deliveries: u32,
    /// Longest payload, bytes of JSON text.
    pub max_payload: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            max_deliveries: TaskSpec::DEFAULT_MAX_DELIVERIES,
            max_payload: 256 * 1024,
        }
    }
}

type Fields = BTreeMap<String, Json>;

struct Reader {
    fields: Fields,
    prefix: &'static str,
    errors: Vec<FieldError>,
}

impl Reader {
    /// The fields of an object; `None` where the text is none. Of two that have the same name, any choice would be a
    /// guess: both are refused.
    fn of(text: &str, prefix: &'static str) -> Option<Self> {
        let (fields, twice) = members(text)?;
        let mut reader = Self {
            fields,
            prefix,
            errors: Vec::new(),
        };
        for field in twice {
            reader.error(&field, "is given twice");
        }
        Some(reader)
    }

    fn error(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(FieldError {
            field: format!("{}{field}", self.prefix),
            message: message.into(),
        });
    }

    /// A field as `T`; absent or null is `None`.
    fn take<T: DeserializeOwned>(&mut self, field: &str, takes: &str) -> Option<T> {
        let json = self.fields.remove(field)?;
        if json.is_null() {
            return None;
        }
        match serde_json::from_str(json.as_str()) {
            Ok(value) => Some(value),
            Err(_) => {
                self.error(field, format!("must be {takes}"));
                None
            }
        }
    }

    fn parse<T: FromStr<Err: std::fmt::Display>>(&mut self, field: &str) -> Option<T> {
        let text: String = self.take(field, "a string")?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(field, error.to_string());
                None
            }
        }
    }

    /// Seconds, decimals allowed, as ms.
    fn seconds(&mut self, field: &str, min: f64, max: f64) -> Option<u64> {
        let seconds: f64 = self.take(field, "a number of seconds")?;
        if (min..=max).contains(&seconds) {
            Some((seconds * 1_000.0).round() as u64)
        } else {
            self.error(field, format!("must be from {min} to {max} seconds"));
            None
        }
    }

    fn refuse_unknown(&mut self, known: &str) {
        for field in std::mem::take(&mut self.fields).into_keys() {
            self.error(&field, format!("is not a field; known are {known}"));
        }
    }
}

const KNOWN: &str = "type, data, queue, priority, max_retries, retry, delay, run_at, timeout, \
     expires_in, unique_key, labels";

/// Reads one task request. `text` is JSON.
///
/// # Errors
/// Every field that cannot be taken, each named; an unknown field too.
pub fn draft_from_json(text: &str, limits: &Limits) -> Result<TaskSpec, Vec<FieldError>> {
    let fault = |field: String, message: &str| FieldError {
        field,
        message: message.to_owned(),
    };
    let mut reader =
        Reader::of(text, "").ok_or_else(|| vec![fault(String::new(), "must be a JSON object")])?;
    let task_type = if reader.fields.get("type").is_none_or(Json::is_null) {
        reader.fields.remove("type");
        reader.error("type", "is required");
        None
    } else {
        reader.parse("type")
    };
    let data = data(&mut reader, limits.max_payload);
    let queue = reader.parse("queue").unwrap_or_default();
    let priority = reader.parse("priority").unwrap_or_default();
    let retry = retry(&mut reader, limits.retry);
    let delay_ms = reader.seconds("delay", 0.0, MAX_WAIT_SECONDS);
    let run_at: Option<String> = reader.take("run_at", "an RFC 3339 time");
    let run_at_ms = run_at.and_then(|text| {
        let parsed = parse_rfc3339_ms(&text);
        parsed
            .map_err(|fault| reader.error("run_at", fault.to_string()))
            .ok()
    });
    if delay_ms.is_some() && run_at_ms.is_some() {
        reader.error("run_at", "cannot stand beside delay: give one of them");
    }
    let timeout_ms = reader.seconds("timeout", 0.001, MAX_TIMEOUT_SECONDS);
    let expires_in_ms = reader.seconds("expires_in", 0.001, MAX_WAIT_SECONDS);
    let unique_key = unique_key(&mut reader);
    let labels = labels(&mut reader);
    reader.refuse_unknown(KNOWN);
    match task_type {
        Some(task_type) if reader.errors.is_empty() => Ok(TaskSpec {
            queue,
            task_type,
            priority,
            data,
            retry,
            max_deliveries: limits.max_deliveries,
            // A delay of zero is no delay: the task is ready at once.
            delay_ms: delay_ms.filter(|ms| *ms > 0),
            run_at_ms,
            timeout_ms,
            expires_in_ms,
            unique_key,
            labels,
            actor: None,
            trace: None,
        }),
        _ => Err(reader.errors),
    }
}

fn data(reader: &mut Reader, max: usize) -> Json {
    let data = reader.fields.remove("data").unwrap_or_else(Json::null);
    reader.errors.extend(fit::of_data(data.as_str(), max));
    data
}

fn unique_key(reader: &mut Reader) -> Option<String> {
    let key: String = reader.take("unique_key", "a string")?;
    if let Some(fault) = fit::of_unique_key(&key) {
        reader.errors.push(fault);
        return None;
    }
    Some(key)
}

fn retry(reader: &mut Reader, defaults: RetryPolicy) -> RetryPolicy {
    let max_retries = reader.take::<u32>("max_retries", "a whole number from 0 to 1000");
    let given = reader.take::<Json>("retry", "an object");
    let mut policy = defaults;
    let inner = given.and_then(|given| {
        let inner = Reader::of(given.as_str(), "retry.");
        if inner.is_none() {
            reader.error("retry", "must be an object");
        }
        inner
    });
    if let Some(mut inner) = inner {
        if let Some(ms) = inner.seconds("initial_delay", 0.0, MAX_TIMEOUT_SECONDS) {
            policy.initial_delay_ms = ms;
        }
        if let Some(ms) = inner.seconds("max_delay", 0.0, MAX_TIMEOUT_SECONDS) {
            policy.max_delay_ms = ms;
        }
        if let Some(factor) = inner.take("multiplier", "a number from 1 to 1000") {
            policy.multiplier = factor;
        }
        if let Some(share) = inner.take("jitter", "a number from 0 to 1") {
            policy.jitter = share;
        }
        inner.refuse_unknown("initial_delay, multiplier, max_delay, jitter");
        reader.errors.append(&mut inner.errors);
    }
    if let Some(max) = max_retries {
        policy.max_retries = max;
    }
    match policy.checked() {
        Ok(policy) => policy,
        Err(error) => {
            reader.errors.push(fit::of_retry(error));
            defaults
        }
    }
}

fn labels(reader: &mut Reader) -> BTreeMap<String, String> {
    let given = reader.take::<Json>("labels", "an object of strings");
    let twice = given.as_ref().and_then(|given| members(given.as_str()));
    for name in twice.into_iter().flat_map(|(_, twice)| twice) {
        reader.error(&format!("labels.{name}"), "is given twice");
    }
    let labels = given.map(|given| serde_json::from_str(given.as_str()));
    let labels: BTreeMap<String, String> = match labels.transpose() {
        Ok(labels) => labels.unwrap_or_default(),
        Err(_) => {
            reader.error("labels", "must be an object of strings");
            BTreeMap::new()
        }
    };
    reader.errors.extend(fit::of_labels(&labels));
    labels
}
