use taskweir_domain::{Actor, Holder, Status};
use taskweir_store::{Pause, StartOutcome};

use crate::bench::{Bench, started};

#[tokio::test]
async fn a_start_counts_attempts_and_its_repeat_answers_the_same() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let claimed = bench.claim_one("w").await;
    let holder = Holder::new("w", "1");
    let first = started(bench.start_as(&claimed, &holder).await);
    assert_eq!((first.attempt, first.failures, first.losses), (1, 0, 0));
    let again = started(bench.start_as(&claimed, &holder).await);
    assert_eq!(again, first);
    assert_eq!(bench.events(id).await.len(), 2, "one Started");
    bench.check(id).await;
}

#[tokio::test]
async fn another_holder_of_a_running_task_is_turned_away() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let claimed = bench.claim_one("w").await;
    started(bench.start_as(&claimed, &Holder::new("w", "1")).await);
    assert_eq!(
        bench.start_as(&claimed, &Holder::new("w", "2")).await,
        StartOutcome::Held
    );
    bench.check(id).await;
}

#[tokio::test]
async fn an_entry_the_record_does_not_name_is_removed() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let mut claimed = bench.claim_one("w").await;
    let real = claimed.entry.clone();
    claimed.entry = "1-1".to_owned();
    assert_eq!(
        bench.start_as(&claimed, &Holder::new("w", "1")).await,
        StartOutcome::Stale
    );
    claimed.entry = real;
    let running_holder = Holder::new("w", "2");
    started(bench.start_as(&claimed, &running_holder).await);
    let running = crate::bench::Running {
        id,
        stream: claimed.stream,
        entry: claimed.entry.clone(),
        unique: None,
        fence: taskweir_domain::Fence {
            attempt: 1,
            holder: running_holder,
        },
    };
    bench.complete(&running).await;
    assert_eq!(
        bench.start_as(&claimed, &Holder::new("w", "3")).await,
        StartOutcome::Stale
    );
    assert_eq!(bench.status(id).await, Status::Completed);
}

#[tokio::test]
async fn a_paused_queue_starts_nothing() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let claimed = bench.claim_one("w").await;
    let pause = Pause {
        queue: "default".parse().unwrap(),
        paused: true,
        nonce: "n".to_owned(),
        epoch: None,
        ask: Actor::anonymous().into(),
    };
    bench.partition.pause(&[pause]).await.unwrap();
    assert_eq!(
        bench.start_as(&claimed, &Holder::new("w", "1")).await,
        StartOutcome::Paused
    );
    assert_eq!(bench.status(id).await, Status::Pending);
}
