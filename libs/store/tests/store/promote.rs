use taskweir_domain::Status;
use taskweir_store::{PromoteOutcome, Promotion};

use crate::bench::Bench;

#[tokio::test]
async fn only_what_is_due_moves_and_only_once() {
    let bench = Bench::new().await;
    let soon = bench.submit_with(|spec| spec.run_at_ms = Some(1)).await;
    let late = bench
        .submit_with(|spec| spec.delay_ms = Some(3_600_000))
        .await;
    let (due, next) = bench.partition.due(10).await.unwrap();
    assert_eq!(due.iter().map(|p| p.id).collect::<Vec<_>>(), [soon]);
    assert!(next.unwrap() > 3_500_000);
    let early = Promotion {
        id: late,
        ..due[0].clone()
    };
    let batch = [due[0].clone(), early];
    let first = bench.partition.promote(&batch).await.unwrap();
    assert_eq!(first, [PromoteOutcome::Done, PromoteOutcome::Early]);
    let again = bench.partition.promote(&batch).await.unwrap();
    assert_eq!(again, [PromoteOutcome::Absent, PromoteOutcome::Early]);
    assert_eq!(bench.status(soon).await, Status::Pending);
    bench.check(soon).await;
    bench.check(late).await;
}

#[tokio::test]
async fn an_id_without_a_waiting_task_is_taken_out() {
    let bench = Bench::new().await;
    let id = bench.mint();
    let _ = bench
        .redis
        .cli(&["ZADD", &bench.partition.keys().due(), "1", &id.to_string()]);
    let (due, _) = bench.partition.due(10).await.unwrap();
    assert_eq!(due[0].place, None);
    assert_eq!(
        bench.partition.promote(&due).await.unwrap(),
        [PromoteOutcome::Stale]
    );
    assert!(bench.partition.due(10).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn the_token_ends_the_wait() {
    let bench = Bench::new().await;
    bench.submit_with(|spec| spec.delay_ms = Some(60_000)).await;
    let began = std::time::Instant::now();
    bench.partition.await_tick(5_000).await.unwrap();
    assert!(began.elapsed().as_secs() < 4);
}
