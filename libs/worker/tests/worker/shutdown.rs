use std::time::Duration;

use taskweir_domain::{EventType, Status};

use crate::bench::{Bench, Wait};

#[tokio::test]
async fn peer_28_what_ends_within_the_grace_is_settled() {
    let bench = Bench::new().await;
    let id = bench.submit("wait", "400").await;
    let worker = bench.run(bench.builder().handler(Wait));
    bench.reaches(id, Status::Processing).await;
    worker.stop.cancel();
    // Told to stop, it takes nothing new.
    let later = bench.submit("wait", "1").await;
    tokio::time::timeout(Duration::from_secs(10), worker.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(bench.status(id).await, Status::Completed);
    assert_eq!(bench.status(later).await, Status::Pending);
}

#[tokio::test]
async fn peer_28_what_does_not_end_is_given_back_at_no_cost() {
    let bench = Bench::new().await;
    let deaf = bench.submit("deaf", "null").await;
    let worker = bench.run(
        bench
            .builder()
            .handler(Deaf)
            .shutdown_grace(Duration::from_millis(100)),
    );
    bench.reaches(deaf, Status::Processing).await;
    worker.stop().await;
    assert_eq!(bench.status(deaf).await, Status::Pending);
    let detail = bench.reaches(deaf, Status::Pending).await;
    assert_eq!((detail.task.failures, detail.task.losses), (0, 0));
    assert_eq!(
        bench.events(deaf).await,
        [
            EventType::Submitted,
            EventType::Started,
            EventType::Released
        ]
    );
    // Nothing is left pending under the old name: another worker gets it at once.
    let worker = bench.run(bench.builder().handler(Deaf).shutdown_grace(Duration::ZERO));
    bench.reaches(deaf, Status::Processing).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_handler_that_stops_when_told_costs_its_task_nothing() {
    let bench = Bench::new().await;
    let id = bench
        .submit_with("wait", "60000", |spec| spec.retry.max_retries = 0)
        .await;
    let worker = bench.run(bench.builder().handler(Wait).shutdown_grace(Duration::ZERO));
    bench.reaches(id, Status::Processing).await;
    worker.stop().await;
    let detail = bench.reaches(id, Status::Pending).await;
    assert_eq!((detail.task.failures, detail.task.losses), (0, 0));
    // Whether its progress was told in time is the machine's affair.
    let mut seen = bench.events(id).await;
    seen.retain(|event| *event != EventType::Progressed);
    let events = [
        EventType::Submitted,
        EventType::Started,
        EventType::Released,
    ];
    assert_eq!(seen, events);
}

/// Never ends and never listens.
pub struct Deaf;

impl taskweir_worker::Handler for Deaf {
    const TYPE: &'static str = "deaf";
    type Payload = ();
    type Output = ();

    async fn run(
        &self,
        _: &taskweir_worker::Context,
        (): (),
    ) -> Result<(), taskweir_worker::TaskError> {
        std::future::pending().await
    }
}
