use std::time::Duration;

use serde_json::json;
use taskweir_store::RedisSettings;
use taskweir_testkit::eventually_within;
use taskweir_worker::{Context, Handler, TaskError, Worker};
use tokio_util::sync::CancellationToken;

use crate::fleet::Fleet;

/// Blocks its thread, as no handler should and some do.
struct Block;

const LEASE: Duration = Duration::from_secs(2);

impl Handler for Block {
    const TYPE: &'static str = "block";
    type Payload = ();
    type Output = ();

    async fn run(&self, _: &Context, (): ()) -> Result<(), TaskError> {
        std::thread::sleep(LEASE * 3 / 2);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_20_sixteen_handlers_that_block_their_threads_lose_no_lease() {
    let fleet = Fleet::start("1").await;
    let ids = fleet
        .submit_batch(&vec![json!({ "type": "block", "data": null }); 16])
        .await;
    let redis = RedisSettings::at(fleet.redis.url());
    let worker = Worker::builder(redis)
        .lease(LEASE)
        .concurrency(16)
        .handler(Block)
        .build()
        .unwrap();
    // Handlers get a runtime of their own: they block its threads, not those of this test.
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(worker.run(stopped)).unwrap();
    });
    for id in &ids {
        let task = eventually_within(Duration::from_secs(60), "completed", async || {
            let task = fleet.get(&format!("/tasks/{id}")).await;
            (task["status"] == "completed").then_some(task)
        })
        .await;
        assert_eq!(
            (task["attempt"].clone(), task["losses"].clone()),
            (json!(1), json!(0))
        );
    }
    fleet.settled(Duration::from_secs(10)).await;
    assert_eq!(fleet.get("/stats").await["ledger"]["redeliveries"], 0);
    stop.cancel();
    thread.join().unwrap();
}
