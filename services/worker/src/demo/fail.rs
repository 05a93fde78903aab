use serde_json::Value;
use taskweir_worker::{Context, Handler, Json, TaskError};

/// `fail`: always fails; with `data.times: n` on attempts 1 to n only; with `data.fatal: true` for
/// good.
#[derive(Debug)]
pub struct Fail;

impl Handler for Fail {
    const TYPE: &'static str = "fail";
    type Payload = Json;
    type Output = Json;

    async fn run(&self, context: &Context, data: Json) -> Result<Json, TaskError> {
        let told: Value = serde_json::from_str(data.as_str()).unwrap_or_default();
        let attempt = context.attempt();
        if let Some(times) = told.get("times").and_then(Value::as_u64)
            && u64::from(attempt) > times
        {
            return Ok(data);
        }
        let message = format!("asked to fail, in attempt {attempt}");
        if told.get("fatal").and_then(Value::as_bool) == Some(true) {
            return Err(TaskError::fatal(message));
        }
        Err(TaskError::retry(message))
    }
}
