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

impl<H: Handler> AnyHandler for H {
    fn run<'a>(&'a self, context: &'a Context, payload: &'a str) -> Running<'a> {
        Box::pin(async move {
            let payload = serde_json::from_str(payload).map_err(|error| {
                let message = format!("the data is not what {} takes: {error}", H::TYPE);
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
