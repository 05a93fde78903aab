//! A worker with one handler of its own. Run `taskweir dev` beside it, then
//! `taskweir submit greet '"Ada"' --queue greetings`.

use taskweir_worker::{Context, Handler, RedisSettings, TaskError, Worker};
use tokio_util::sync::CancellationToken;

struct Greet;

impl Handler for Greet {
    const TYPE: &'static str = "greet";
    type Payload = String;
    type Output = String;

    async fn run(&self, context: &Context, name: String) -> Result<String, TaskError> {
        if name.is_empty() {
            return Err(TaskError::fatal("a name is needed"));
        }
        Ok(format!("hello {name}, in attempt {}", context.attempt()))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let redis = RedisSettings::at(url);
    let stop = CancellationToken::new();
    let worker = Worker::builder(redis)
        .queues(vec!["greetings".parse()?])
        .handler(Greet)
        .build()?;
    let running = worker.run(stop.clone());
    tokio::pin!(running);
    tokio::select! {
        result = &mut running => return Ok(result?),
        _ = tokio::signal::ctrl_c() => stop.cancel(),
    }
    Ok(running.await?)
}
