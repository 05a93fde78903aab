use taskweir_worker::{Context, Handler, Json, TaskError};

/// `echo`: gives its data back at once, as it came.
#[derive(Debug)]
pub struct Echo;

impl Handler for Echo {
    const TYPE: &'static str = "echo";
    type Payload = Json;
    type Output = Json;

    async fn run(&self, _: &Context, data: Json) -> Result<Json, TaskError> {
        Ok(data)
    }
}
