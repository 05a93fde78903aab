use std::time::Duration;

use serde_json::Value;
use taskweir_worker::{Context, Handler, Json, TaskError};

/// `process`: takes `data.duration_ms` (100 where absent) and gives its data back.
#[derive(Debug)]
pub struct Process;

const DEFAULT_MS: u64 = 100;

impl Handler for Process {
    const TYPE: &'static str = "process";
    type Payload = Json;
    type Output = Json;

    async fn run(&self, _: &Context, data: Json) -> Result<Json, TaskError> {
        let told: Value = serde_json::from_str(data.as_str()).unwrap_or_default();
        let ms = match told.get("duration_ms") {
            None => DEFAULT_MS,
            Some(value) => value
                .as_u64()
                .ok_or_else(|| TaskError::fatal("data.duration_ms must be a whole number of ms"))?,
        };
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(data)
    }
}
