use serde_json::Value;
use taskweir_worker::{Context, Handler, TaskError};

/// `echo`: gives its data back at once.
#[derive(Debug)]
pub struct Echo;

impl Handler for Echo {
    const TYPE: &'static str = "echo";
    type Payload = Value;
    type Output = Value;

    async fn run(&self, _: &Context, data: Value) -> Result<Value, TaskError> {
        Ok(data)
    }
}
