use taskweir_domain::{ErrorKind, EventType, Status};
use taskweir_store::{CancelOutcome, Cancellation, FinishOutcome};

use crate::bench::Bench;

async fn cancel(bench: &Bench, cancellation: &Cancellation) -> CancelOutcome {
    bench
        .partition
        .cancel(std::slice::from_ref(cancellation))
        .await
        .unwrap()[0]
}

#[tokio::test]
async fn waiting_tasks_end_at_once_and_the_same_request_again_answers_the_same() {
    let bench = Bench::new().await;
    let scheduled = bench.submit_with(|spec| spec.delay_ms = Some(60_000)).await;
    let failed_once = bench.submit().await;
    let running = bench.run("w").await;
    bench.fail(&running, ErrorKind::Error).await;
    let pending = bench.submit().await;
    for id in [pending, scheduled, failed_once] {
        let request = bench.cancellation(id, "n1").await;
        assert_eq!(cancel(&bench, &request).await, CancelOutcome::Cancelled);
        assert_eq!(cancel(&bench, &request).await, CancelOutcome::Cancelled);
        let other = Cancellation {
            nonce: "n2".to_owned(),
            ..request
        };
        assert_eq!(cancel(&bench, &other).await, CancelOutcome::Changed);
        assert_eq!(bench.status(id).await, Status::Cancelled);
        bench.check(id).await;
    }
}

#[tokio::test]
async fn a_parked_task_is_cancelled_where_it_stands() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let claimed = bench.claim_one("w").await;
    let work = claimed.work.unwrap();
    let parking = taskweir_store::Parking {
        id,
        task_type: work.task_type,
        stream: claimed.stream,
        entry: claimed.entry,
    };
    bench
        .partition
        .park(&bench.streams, &[parking])
        .await
        .unwrap();
    let request = bench.cancellation(id, "n").await;
    assert_eq!(cancel(&bench, &request).await, CancelOutcome::Cancelled);
    let parked = bench
        .partition
        .keys()
        .parked(&"default".parse().unwrap(), &"work".parse().unwrap());
    assert_eq!(bench.redis.cli(&["ZCARD", &parked]), "0");
    bench.check(id).await;
}

#[tokio::test]
async fn a_running_task_is_asked_and_a_completion_that_wins_stays_one() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let request = bench.cancellation(id, "n").await;
    assert_eq!(cancel(&bench, &request).await, CancelOutcome::Requested);
    assert_eq!(cancel(&bench, &request).await, CancelOutcome::Requested);
    assert_eq!(
        bench.events(id).await.last(),
        Some(&EventType::CancelRequested)
    );
    assert!(bench.check(id).await.task.cancelling());
    assert_eq!(bench.complete(&running).await, FinishOutcome::Done);
    assert_eq!(bench.status(id).await, Status::Completed);
    bench.check(id).await;
}
