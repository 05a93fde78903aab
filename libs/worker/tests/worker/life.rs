use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use taskweir_domain::{Actor, Command, EventType, Status, decide};
use taskweir_store::Cancellation;
use taskweir_testkit::eventually;
use taskweir_worker::{Context, Handler, Producer, TaskError, TaskSpec};

use crate::bench::{Bench, Echo, Wait, settings};

#[tokio::test]
async fn tasks_complete_with_their_result() {
    let bench = Bench::new().await;
    let before = bench.submit("echo", r#"{"a":1}"#).await;
    let worker = bench.run(bench.builder().handler(Echo));
    let detail = bench.reaches(before, Status::Completed).await;
    assert_eq!(detail.result.unwrap().as_str(), r#"{"a":1}"#);
    // Also what comes while it waits.
    let after = bench.submit("echo", "2").await;
    bench.reaches(after, Status::Completed).await;
    let large = format!("\"{}\"", "x".repeat(100_000));
    let large = bench.submit("echo", &large).await;
    assert!(
        bench
            .reaches(large, Status::Completed)
            .await
            .result_stored
            .is_some()
    );
    worker.stop().await;
    assert!(
        bench.partition.workers().await.unwrap().0.is_empty(),
        "it said good-bye"
    );
}

struct Gauge(Arc<AtomicUsize>, Arc<AtomicUsize>);

impl Handler for Gauge {
    const TYPE: &'static str = "gauge";
    type Payload = ();
    type Output = ();

    async fn run(&self, _: &Context, (): ()) -> Result<(), TaskError> {
        let now = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.1.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(3)).await;
        self.0.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn a_library_submits_in_bulk_and_no_more_run_at_once_than_allowed() {
    let bench = Bench::new().await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let producer = Producer::connect(&settings(&bench.redis)).await.unwrap();
    let spec = TaskSpec::new("default".parse().unwrap(), "gauge".parse().unwrap());
    let ids = producer.submit_all(vec![spec; 1_234]).await.unwrap();
    let worker = bench.run(
        bench
            .builder()
            .concurrency(7)
            .handler(Gauge(now, Arc::clone(&most))),
    );
    for id in ids {
        bench.reaches(id.unwrap(), Status::Completed).await;
    }
    assert_eq!(most.load(Ordering::SeqCst), 7);
    let end = bench.events_in_all().await;
    assert_eq!(end, 3 * 1_234, "three events each, and no more");
    worker.stop().await;
}

#[tokio::test]
async fn a_cancelled_handler_is_told_within_a_second_or_so_and_the_task_ends() {
    let bench = Bench::new().await;
    let id = bench.submit("wait", "60000").await;
    let worker = bench.run(bench.builder().handler(Wait));
    bench.reaches(id, Status::Processing).await;
    let record = bench
        .partition
        .records(&[id])
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let event = decide(
        Some(&record.task),
        &Command::Cancel(Actor::anonymous().into()),
        0,
    )
    .unwrap()
    .remove(0);
    let request = Cancellation {
        id,
        nonce: "n".to_owned(),
        record,
        event,
    };
    let asked = std::time::Instant::now();
    bench.partition.cancel(&[request]).await.unwrap();
    let detail = bench.reaches(id, Status::Cancelled).await;
    assert!(asked.elapsed() < Duration::from_secs(3));
    assert!(detail.error.unwrap().message.contains("Cancelled"));
    worker.stop().await;
}

#[tokio::test]
async fn progress_is_recorded() {
    let bench = Bench::new().await;
    let id = bench.submit("wait", "60000").await;
    let worker = bench.run(bench.builder().handler(Wait).shutdown_grace(Duration::ZERO));
    eventually("progress", async || {
        bench
            .events(id)
            .await
            .contains(&EventType::Progressed)
            .then_some(())
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn peer_35_an_unknown_type_waits_for_a_worker_that_knows_it() {
    let bench = Bench::new().await;
    let id = bench.submit("echo", "1").await;
    let ignorant = bench.run(bench.builder().handler(Wait));
    eventually("parked", async || {
        let record = bench
            .partition
            .records(&[id])
            .await
            .unwrap()
            .remove(0)
            .unwrap();
        record.is_parked().then_some(())
    })
    .await;
    let knowing = bench.run(bench.builder().handler(Echo));
    let detail = bench.reaches(id, Status::Completed).await;
    assert_eq!(detail.task.attempt, 1, "being unknown costs no attempt");
    ignorant.stop().await;
    knowing.stop().await;
}

#[tokio::test]
async fn a_lost_reply_of_the_claim_is_found_and_given_back() {
    let bench = Bench::new().await;
    let worker = bench.builder().handler(Echo);
    let built = worker.build().unwrap();
    let id = bench.submit("echo", "1").await;
    // As if the worker's own claim had succeeded and its reply had been lost.
    let streams =
        taskweir_store::StreamSet::of_queues(bench.partition.keys(), &["default".parse().unwrap()]);
    let claim = taskweir_store::Claim {
        shares: vec![(0, 0), (1, 1), (2, 0)],
        most: 1,
    };
    let claimed = bench
        .partition
        .claim(&streams, built.id(), &claim)
        .await
        .unwrap();
    assert_eq!(claimed.len(), 1);
    let stop = tokio_util::sync::CancellationToken::new();
    let running = built.run(stop.clone());
    tokio::pin!(running);
    tokio::select! {
        _ = &mut running => panic!("it runs on"),
        _ = bench.reaches(id, Status::Completed) => stop.cancel(),
    }
    running.await.unwrap();
}
