use taskweir_domain::{ErrorKind, Event, EventType, Fence, Holder, Json, Status};
use taskweir_store::FinishOutcome;

use crate::bench::{Bench, complete};

#[tokio::test]
async fn completed_once_whatever_is_repeated() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let finish = bench.finishing(&running, &complete(&running)).await;
    assert_eq!(bench.finish(&finish).await, FinishOutcome::Done);
    assert_eq!(bench.finish(&finish).await, FinishOutcome::Repeated);
    assert_eq!(
        bench.events(id).await,
        [
            EventType::Submitted,
            EventType::Started,
            EventType::Completed
        ]
    );
    bench.check(id).await;
    let ttl = bench.redis.cli(&["PTTL", &bench.partition.keys().task(id)]);
    assert!(
        ttl.parse::<i64>().unwrap() > 0,
        "the record of an ended task goes in time"
    );
}

#[tokio::test]
async fn a_failure_waits_in_due_and_its_repeat_is_known_even_after_promotion_and_restart() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let finish = bench
        .finishing(&running, &crate::bench::fail(&running, ErrorKind::Error))
        .await;
    assert_eq!(bench.finish(&finish).await, FinishOutcome::Done);
    assert_eq!(bench.status(id).await, Status::Retrying);
    bench.check(id).await;
    assert_eq!(bench.finish(&finish).await, FinishOutcome::Repeated);
    let due = bench.partition.due(10).await.unwrap().0;
    bench.partition.promote(&due).await.unwrap();
    assert_eq!(bench.finish(&finish).await, FinishOutcome::Repeated);
    let second = bench.run("w").await;
    assert_eq!(second.fence.attempt, 2);
    assert_eq!(bench.finish(&finish).await, FinishOutcome::Repeated);
    let detail = bench.check(id).await;
    assert_eq!(detail.task.failures, 1);
}

#[tokio::test]
async fn the_dead_stand_in_the_dlq_without_a_time_to_live() {
    let bench = Bench::new().await;
    let id = bench.dead().await;
    let detail = bench.check(id).await;
    assert_eq!(detail.error.unwrap().kind, ErrorKind::Fatal);
    assert_eq!(
        bench.redis.cli(&["PTTL", &bench.partition.keys().task(id)]),
        "-1"
    );
}

#[tokio::test]
async fn peer_21_a_worker_that_lost_the_task_is_refused_with_one_event() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let mut finish = bench.finishing(&running, &complete(&running)).await;
    // Same attempt number, other nonce: as after a failover that lost a Started.
    finish.fence = Fence {
        attempt: 1,
        holder: Holder::new("zombie", "x"),
    };
    assert_eq!(bench.finish(&finish).await, FinishOutcome::Late);
    assert_eq!(bench.finish(&finish).await, FinishOutcome::Late);
    finish.fence = Fence {
        attempt: 7,
        holder: running.fence.holder.clone(),
    };
    assert_eq!(bench.finish(&finish).await, FinishOutcome::Late);
    assert_eq!(bench.status(id).await, Status::Processing);
    assert_eq!(bench.complete(&running).await, FinishOutcome::Done);
    let events = bench.events(id).await;
    let refusals = events
        .iter()
        .filter(|e| **e == EventType::LateCompletionRefused)
        .count();
    assert_eq!(refusals, 2, "one for each (attempt, holder)");
    bench.check(id).await;
}

#[tokio::test]
async fn without_a_record_a_completion_is_only_answered() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let finish = bench.finishing(&running, &complete(&running)).await;
    let _ = bench.redis.cli(&["DEL", &bench.partition.keys().task(id)]);
    assert_eq!(bench.finish(&finish).await, FinishOutcome::Gone);
}

#[tokio::test]
async fn a_cancel_request_in_between_makes_a_failure_decide_again() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let failing = crate::bench::fail(&running, ErrorKind::Fatal);
    let before = bench.finishing(&running, &failing).await;
    let cancellation = bench.cancellation(id, "n").await;
    bench.partition.cancel(&[cancellation]).await.unwrap();
    assert_eq!(bench.finish(&before).await, FinishOutcome::Changed);
    let after = bench.finishing(&running, &failing).await;
    assert!(
        matches!(after.event, Event::AttemptFailed(_)),
        "no dead letter while cancelling"
    );
    assert_eq!(bench.finish(&after).await, FinishOutcome::Done);
    assert_eq!(bench.status(id).await, Status::Cancelled);
    bench.check(id).await;
}

#[tokio::test]
async fn large_results_stand_beside_the_log() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let text = format!("\"{}\"", "r".repeat(4_000));
    let taskweir_domain::Command::Complete {
        fence, duration_ms, ..
    } = complete(&running)
    else {
        unreachable!()
    };
    let command = taskweir_domain::Command::Complete {
        fence,
        duration_ms,
        result: Some(Json::parse(text.clone()).unwrap()),
    };
    let finish = bench.finishing(&running, &command).await;
    assert_eq!(bench.finish(&finish).await, FinishOutcome::Done);
    let detail = bench.check(id).await;
    assert_eq!(detail.result_stored.unwrap().bytes as usize, text.len());
    assert_eq!(
        bench.partition.stored_result(id).await.unwrap().unwrap(),
        text
    );
}

#[tokio::test]
async fn an_old_and_the_present_attempt_in_one_batch_keep_the_log_lawful() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let present = bench.finishing(&running, &complete(&running)).await;
    let mut old = present.clone();
    old.fence = Fence {
        attempt: 1,
        holder: Holder::new("w", "older"),
    };
    for batch in [
        [present.clone(), old.clone()],
        [old.clone(), present.clone()],
    ] {
        bench
            .partition
            .finish(&bench.streams, &batch)
            .await
            .unwrap();
        bench.check(id).await;
    }
    let second = bench.submit().await;
    let running = bench.run("w").await;
    let present = bench.finishing(&running, &complete(&running)).await;
    let mut old = present.clone();
    old.fence = Fence {
        attempt: 1,
        holder: Holder::new("w", "older"),
    };
    let outcomes = bench
        .partition
        .finish(&bench.streams, &[old, present])
        .await
        .unwrap();
    assert_eq!(outcomes, [FinishOutcome::Late, FinishOutcome::Done]);
    bench.check(second).await;
}
