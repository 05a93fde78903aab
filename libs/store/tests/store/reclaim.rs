use taskweir_domain::{
    Actor, Command, ErrorKind, Event, EventType, Fence, LossSeen, Phase, Status, decide,
};
use taskweir_store::{FinishOutcome, Loss, ReclaimOutcome, SilentEntry};

use crate::bench::{Bench, complete, fail};

async fn silent(bench: &Bench) -> SilentEntry {
    bench
        .partition
        .silent(&bench.streams, 0)
        .await
        .unwrap()
        .remove(0)
}

async fn loss(bench: &Bench, silent: &SilentEntry) -> Loss {
    let id = silent.id.unwrap();
    let record = bench.record(id).await.unwrap();
    let seen = match &record.task.phase {
        Phase::Processing { holder, .. } => LossSeen::Started(Fence {
            attempt: record.task.attempt,
            holder: holder.clone(),
        }),
        _ => LossSeen::NotStarted,
    };
    let event = decide(Some(&record.task), &Command::Lose(seen), 0)
        .unwrap()
        .remove(0);
    Loss {
        id,
        stream: silent.stream,
        entry: silent.entry.clone(),
        decided: Some((record, event)),
    }
}

async fn reclaim(bench: &Bench, loss: &Loss, lease_ms: u64) -> ReclaimOutcome {
    let batch = std::slice::from_ref(loss);
    bench
        .partition
        .reclaim(&bench.streams, "janitor", lease_ms, batch)
        .await
        .unwrap()[0]
}

/// Takes everything away from everybody.
pub async fn reclaim_all(bench: &Bench) {
    for silent in bench.partition.silent(&bench.streams, 0).await.unwrap() {
        let loss = loss(bench, &silent).await;
        assert_eq!(reclaim(bench, &loss, 0).await, ReclaimOutcome::Done);
    }
}

#[tokio::test]
async fn a_silent_worker_loses_its_task_and_its_late_completion_is_refused() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run_with_lease("w", 0).await;
    let late = bench.finishing(&running, &complete(&running)).await;
    let loss = loss(&bench, &silent(&bench).await).await;
    assert_eq!(reclaim(&bench, &loss, 30_000).await, ReclaimOutcome::Done);
    assert_eq!(bench.status(id).await, Status::Pending);
    let detail = bench.check(id).await;
    assert_eq!((detail.task.losses, detail.task.failures), (1, 0));
    assert_ne!(
        reclaim(&bench, &loss, 30_000).await,
        ReclaimOutcome::Done,
        "once only"
    );
    assert_eq!(bench.finish(&late).await, FinishOutcome::Late);
    let second = bench.run("w2").await;
    assert_eq!(second.fence.attempt, 2);
    assert_eq!(bench.complete(&second).await, FinishOutcome::Done);
    bench.check(id).await;
}

#[tokio::test]
async fn the_lease_in_the_record_counts_and_not_the_janitors_own() {
    let bench = Bench::new().await;
    bench.submit().await;
    bench.run_with_lease("w", 60_000).await;
    let loss = loss(&bench, &silent(&bench).await).await;
    assert_eq!(reclaim(&bench, &loss, 0).await, ReclaimOutcome::Busy);
}

#[tokio::test]
async fn an_entry_received_and_never_started_is_a_loss_by_the_janitors_lease() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let claimed = bench.claim_one("w").await;
    let loss = loss(&bench, &silent(&bench).await).await;
    assert_eq!(reclaim(&bench, &loss, 60_000).await, ReclaimOutcome::Busy);
    assert_eq!(reclaim(&bench, &loss, 0).await, ReclaimOutcome::Done);
    let Event::LeaseExpired(body) = &loss.decided.as_ref().unwrap().1 else {
        panic!()
    };
    assert!(!body.started);
    bench.check(id).await;
    let again = bench.claim_one("w2").await;
    assert_eq!(
        again.work.unwrap().since_ms,
        claimed.work.unwrap().since_ms,
        "as old as before"
    );
}

#[tokio::test]
async fn one_loss_too_many_is_a_crash_loop() {
    let bench = Bench::new().await;
    let id = bench.submit_with(|spec| spec.max_deliveries = 1).await;
    for expected in [Status::Pending, Status::Failed] {
        bench.run_with_lease("w", 0).await;
        let loss = loss(&bench, &silent(&bench).await).await;
        assert_eq!(reclaim(&bench, &loss, 0).await, ReclaimOutcome::Done);
        assert_eq!(bench.status(id).await, expected);
        bench.check(id).await;
    }
}

#[tokio::test]
async fn what_changed_since_it_was_seen_is_decided_again() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let claimed = bench.claim_one("w").await;
    let before = loss(&bench, &silent(&bench).await).await;
    bench
        .start_with_lease(&claimed, &taskweir_domain::Holder::new("w", "1"), 0)
        .await;
    assert_eq!(reclaim(&bench, &before, 0).await, ReclaimOutcome::Changed);
    let started = loss(&bench, &silent(&bench).await).await;
    let cancellation = bench.cancellation(id, "n").await;
    bench.partition.cancel(&[cancellation]).await.unwrap();
    assert_eq!(reclaim(&bench, &started, 0).await, ReclaimOutcome::Changed);
    let cancelling = loss(&bench, &silent(&bench).await).await;
    assert_eq!(reclaim(&bench, &cancelling, 0).await, ReclaimOutcome::Done);
    assert_eq!(bench.status(id).await, Status::Cancelled);
    bench.check(id).await;
    assert_eq!(
        bench.events(id).await.last(),
        Some(&EventType::LeaseExpired)
    );
}

#[tokio::test]
async fn an_entry_no_record_names_is_removed() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    bench.claim_one("w").await;
    let silent = silent(&bench).await;
    let _ = bench.redis.cli(&["DEL", &bench.partition.keys().task(id)]);
    let loss = Loss {
        id,
        stream: silent.stream,
        entry: silent.entry,
        decided: None,
    };
    assert_eq!(reclaim(&bench, &loss, 0).await, ReclaimOutcome::Stale);
    assert!(
        bench
            .partition
            .silent(&bench.streams, 0)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn peer_14_a_beat_between_look_and_claim_saves_the_task() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    // Long enough that the beat counts still when the claim comes.
    let running = bench.run_with_lease("w", 2_000).await;
    taskweir_testkit::eventually("idle beyond the lease", async || {
        (silent(&bench).await.idle_ms > 2_000).then_some(())
    })
    .await;
    let loss = loss(&bench, &silent(&bench).await).await;
    let beat = taskweir_store::Beat {
        id,
        stream: running.stream,
        entry: running.entry.clone(),
        fence: running.fence.clone(),
    };
    bench
        .partition
        .heartbeat(&bench.streams, "w", &[beat])
        .await
        .unwrap();
    assert_eq!(reclaim(&bench, &loss, 0).await, ReclaimOutcome::Busy);
    let cancel = bench
        .decide(id, &Command::Cancel(Actor::anonymous().into()))
        .await;
    assert!(matches!(cancel, Event::CancelRequested(_)));
}

#[tokio::test]
async fn peer_29_after_a_crash_loop_neither_failure_nor_success_of_the_lost_attempt_counts() {
    let bench = Bench::new().await;
    let id = bench.submit_with(|spec| spec.max_deliveries = 0).await;
    let running = bench.run_with_lease("w", 0).await;
    let failed = bench
        .finishing(&running, &fail(&running, ErrorKind::Error))
        .await;
    let done = bench.finishing(&running, &complete(&running)).await;
    reclaim_all(&bench).await;
    let detail = bench.check(id).await;
    assert_eq!(detail.error.unwrap().kind, ErrorKind::CrashLoop);
    for late in [&failed, &done] {
        assert_eq!(bench.finish(late).await, FinishOutcome::Late);
    }
    let detail = bench.check(id).await;
    assert_eq!(detail.task.status(), Status::Failed);
    assert_eq!(detail.task.failures, 0);
    let events = bench.events(id).await;
    let refused = |event: &&EventType| **event == EventType::LateCompletionRefused;
    assert_eq!(events.iter().filter(refused).count(), 1);
}

#[tokio::test]
async fn a_task_brought_back_after_its_time_to_start_has_passed_is_run() {
    let bench = Bench::new().await;
    let id = bench
        .submit_with(|spec| {
            spec.max_deliveries = 0;
            spec.expires_in_ms = Some(1);
        })
        .await;
    bench.claim_one("w").await;
    let loss = loss(&bench, &silent(&bench).await).await;
    assert_eq!(reclaim(&bench, &loss, 0).await, ReclaimOutcome::Done);
    assert_eq!(bench.status(id).await, Status::Failed, "a crash loop");
    let retried = bench
        .store
        .act_on_dead(id, taskweir_store::DlqVerb::Retry, Actor::anonymous());
    retried.await.unwrap();
    let running = bench.run("w2").await;
    assert_eq!(bench.complete(&running).await, FinishOutcome::Done);
    bench.check(id).await;
}
