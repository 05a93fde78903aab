//! Measures bulk enqueue and the drain of no-op tasks by one worker process.
//!
//! `drain REDIS_URL TASKS CONCURRENCY`, on a migrated layout; run a projector beside it to measure
//! with views. A concurrency of 0 enqueues only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use taskweir_worker::{Context, Handler, Producer, RedisSettings, TaskError, TaskSpec, Worker};
use tokio_util::sync::CancellationToken;

struct NoOp {
    left: Arc<AtomicUsize>,
    done: CancellationToken,
}

impl Handler for NoOp {
    const TYPE: &'static str = "noop";
    type Payload = u64;
    type Output = ();

    async fn run(&self, _: &Context, _: u64) -> Result<(), TaskError> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.cancel();
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let tasks: usize = arguments
        .next()
        .unwrap_or_else(|| "50000".to_owned())
        .parse()?;
    let concurrency: usize = arguments
        .next()
        .unwrap_or_else(|| "100".to_owned())
        .parse()?;
    let redis = RedisSettings::at(url);

    let producer = Producer::connect(&redis).await?;
    let spec = TaskSpec::new("default".parse()?, "noop".parse()?);
    let specs = (0..tasks).map(|n| {
        let data = taskweir_worker::Json::of(&n)?;
        Ok(TaskSpec {
            data,
            ..spec.clone()
        })
    });
    let specs: Vec<TaskSpec> = specs.collect::<Result<_, serde_json::Error>>()?;
    let began = Instant::now();
    producer.submit_all(specs).await?;
    let enqueue = tasks as f64 / began.elapsed().as_secs_f64();
    if concurrency == 0 {
        println!("enqueue {enqueue:.0}/s");
        return Ok(());
    }

    let (left, done) = (Arc::new(AtomicUsize::new(tasks)), CancellationToken::new());
    let handler = NoOp {
        left,
        done: done.clone(),
    };
    let worker = Worker::builder(redis)
        .concurrency(concurrency)
        .handler(handler)
        .build()?;
    let began = Instant::now();
    // The last handler ends the worker, which settles what is left before it returns.
    worker.run(done).await?;
    let drain = tasks as f64 / began.elapsed().as_secs_f64();
    println!("enqueue {enqueue:.0}/s drain {drain:.0}/s (concurrency {concurrency})");
    Ok(())
}
