//! What a user writes: one handler per task type.

use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;
use taskweir_domain::{ErrorKind, Json};

use crate::{Context, TaskError};

/// Runs the tasks of one type.
pub trait Handler: Send + Sync + 'static {
    /// The task type it runs.
    const TYPE: &'static str;
    /// What the task's data must be; a task with other data fails for good.
    type Payload: DeserializeOwned + Send;
    /// What it gives back; kept with the task (256 KiB of JSON at most). `()` keeps nothing.
    type Output: Serialize + Send;

    /// Runs one attempt.
    ///
    /// # Errors
    /// Says whether another attempt may help, see [`TaskError`].
    fn run(
        &self,
        context: &Context,
        payload: Self::Payload,
    ) -> impl Future<Output = Result<Self::Output, TaskError>> + Send;
}

/// Longest result, bytes of JSON text.
const MAX_RESULT: usize = 256 * 1024;

pub(crate) type Running<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Json>, TaskError>> + Send + 'a>>;

/// A handler whose types are behind JSON.
pub(crate) trait AnyHandler: Send + Sync {
    fn run<'a>(&'a self, context: &'a Context, payload: &'a str) -> Running<'a>;
}

/// What is wrong with a payload, and where, without anything that stands in it: errors are logged, and shown where
/// payloads are hidden.
fn mismatch(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // These name fields of the handler's own type.
    let own = ["missing field `", "duplicate field `"];
    if own.iter().any(|words| text.starts_with(words)) {
        return text;
    }
    // What was found stands before what was expected, and is the caller's.
    match text.rfind(", expected ") {
        Some(at) => text[at + 2..].to_owned(),
        None => format!("line {} column {}", error.line(), error.column()),
    }
}

impl<H: Handler> AnyHandler for H {
    fn run<'a>(&'a self, context: &'a Context, payload: &'a str) -> Running<'a> {
        Box::pin(async move {
            let payload = serde_json::from_str(payload).map_err(|error| {
                let what = mismatch(&error);
                let message = format!("the data is not what {} takes: {what}", H::TYPE);
                TaskError::of_kind(ErrorKind::InvalidPayload, message)
            })?;
            let output = Handler::run(self, context, payload).await?;
            let json = Json::of(&output).map_err(|error| {
                TaskError::fatal(format!("the result cannot be written as JSON: {error}"))
            })?;
            if json.as_str().len() > MAX_RESULT {
                let message = format!(
                    "the result has {} bytes, at most {MAX_RESULT} are kept",
                    json.as_str().len()
                );
                return Err(TaskError::of_kind(ErrorKind::ResultTooLarge, message));
            }
            Ok((!json.is_null()).then_some(json))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::mismatch;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Card {
        #[expect(dead_code, reason = "only read")]
        number: u64,
        #[expect(dead_code, reason = "only read")]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Debit,
    }

    #[test]
    fn a_payload_that_does_not_fit_is_not_quoted() {
        for (payload, told) in [
            (r#"{"number": "4111"}"#, "expected u64 at line 1 column 17"),
            (
                r#"{"number": "4111, expected"}"#,
                "expected u64 at line 1 column 27",
            ),
            (
                r#"{"4111": 1}"#,
                "expected `number` or `kind` at line 1 column 7",
            ),
            (
                r#"{"number": 1, "kind": "4111"}"#,
                "expected `debit` at line 1 column 28",
            ),
            ("{}", "missing field `number` at line 1 column 2"),
            (r#"{"number": 4111"#, "line 1 column 15"),
        ] {
            let error = serde_json::from_str::<Card>(payload).unwrap_err();
            assert_eq!(mismatch(&error), told, "{payload}");
            assert!(!mismatch(&error).contains("4111"));
        }
    }
}
