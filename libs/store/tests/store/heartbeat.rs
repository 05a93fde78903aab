use taskweir_domain::{Fence, Holder, Json};
use taskweir_store::{Beat, HeartbeatState, Presence, ProgressReport, WorkerInfo};

use crate::bench::{Bench, Running};

fn beat(running: &Running) -> Beat {
    Beat {
        id: running.id,
        stream: running.stream,
        entry: running.entry.clone(),
        fence: running.fence.clone(),
    }
}

async fn say(bench: &Bench, beat: &Beat) -> HeartbeatState {
    let batch = std::slice::from_ref(beat);
    bench
        .partition
        .heartbeat(&bench.streams, "w", batch)
        .await
        .unwrap()[0]
}

fn info() -> WorkerInfo {
    WorkerInfo {
        host: "here".to_owned(),
        pid: 1,
        queues: vec!["default".to_owned()],
        types: vec!["work".to_owned()],
        concurrency: 4,
        running: 1,
        lease_ms: 30_000,
        started_ms: 5,
        draining: false,
        version: "0".to_owned(),
    }
}

#[tokio::test]
async fn only_the_holder_renews() {
    let bench = Bench::new().await;
    bench.submit().await;
    let running = bench.run("w").await;
    let mine = beat(&running);
    assert_eq!(say(&bench, &mine).await, HeartbeatState::Held);
    assert_eq!(
        say(&bench, &mine).await,
        HeartbeatState::Held,
        "as often as it likes"
    );
    let mut zombie = beat(&running);
    zombie.fence = Fence {
        attempt: 1,
        holder: Holder::new("zombie", "x"),
    };
    assert_eq!(say(&bench, &zombie).await, HeartbeatState::Lost);
    bench.complete(&running).await;
    assert_eq!(say(&bench, &mine).await, HeartbeatState::Lost);
}

#[tokio::test]
async fn a_group_made_anew_is_healed_by_the_next_beat() {
    let bench = Bench::new().await;
    bench.submit().await;
    let running = bench.run("w").await;
    let ready = bench.partition.keys().ready(
        &"default".parse().unwrap(),
        taskweir_domain::Priority::Normal,
    );
    let _ = bench.redis.cli(&["XGROUP", "DESTROY", &ready, "workers"]);
    assert_eq!(say(&bench, &beat(&running)).await, HeartbeatState::Held);
    let mine = bench
        .partition
        .own_pending(&bench.streams, "w", 0, 10)
        .await
        .unwrap();
    assert_eq!(mine, [(running.stream, running.entry.clone())]);
}

#[tokio::test]
async fn cancellations_arrive_by_beat_and_by_presence_and_are_cleared_by_name() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let cancellation = bench.cancellation(id, "n").await;
    bench.partition.cancel(&[cancellation]).await.unwrap();
    assert_eq!(
        say(&bench, &beat(&running)).await,
        HeartbeatState::Cancelling
    );
    let presence = bench.partition.presence("w", &info(), &[]).await.unwrap();
    let signal = &presence.signals[0];
    assert_eq!(
        Presence::read_signal(signal),
        Some((id, running.fence.holder.clone()))
    );
    let again = bench
        .partition
        .presence("w", &info(), &presence.signals)
        .await
        .unwrap();
    assert!(again.signals.is_empty());
}

#[tokio::test]
async fn a_worker_is_forgotten_only_when_nothing_is_pending_under_its_name() {
    let bench = Bench::new().await;
    bench.submit().await;
    let running = bench.run("w").await;
    bench.partition.presence("w", &info(), &[]).await.unwrap();
    let (workers, now) = bench.partition.workers().await.unwrap();
    assert_eq!(workers[0].info, info());
    assert!(now - workers[0].seen_ms < 5_000);
    assert!(
        !bench
            .partition
            .forget_worker("w", &bench.streams)
            .await
            .unwrap()
    );
    bench.complete(&running).await;
    assert!(
        bench
            .partition
            .forget_worker("w", &bench.streams)
            .await
            .unwrap()
    );
    assert!(
        bench
            .partition
            .forget_worker("w", &bench.streams)
            .await
            .unwrap(),
        "again is harmless"
    );
    assert!(bench.partition.workers().await.unwrap().0.is_empty());
}

#[tokio::test]
async fn progress_is_heard_from_the_holder_alone() {
    let bench = Bench::new().await;
    let id = bench.submit_with(|spec| spec.data = Json::null()).await;
    let running = bench.run("w").await;
    let report = |fence: Fence| ProgressReport {
        id,
        fence,
        percent: 40.0,
        message: Some("half".to_owned()),
    };
    assert_eq!(
        bench
            .partition
            .progress(&[report(running.fence.clone())])
            .await
            .unwrap(),
        [true]
    );
    let zombie = Fence {
        attempt: 1,
        holder: Holder::new("z", "z"),
    };
    assert_eq!(
        bench.partition.progress(&[report(zombie)]).await.unwrap(),
        [false]
    );
    let detail = bench.check(id).await;
    assert_eq!(detail.progress.unwrap().message.as_deref(), Some("half"));
}

#[tokio::test]
async fn a_history_of_many_thousand_events_is_read_whole() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let report = ProgressReport {
        id,
        fence: running.fence.clone(),
        percent: 1.0,
        message: None,
    };
    let reports = vec![report; 100];
    for _ in 0..55 {
        bench.partition.progress(&reports).await.unwrap();
    }
    bench.complete(&running).await;
    let other = bench.submit().await;
    let histories = bench.partition.histories(&[id, other]).await.unwrap();
    assert_eq!(histories[0].entries.len(), 5_503);
    assert!(
        histories
            .iter()
            .all(|history| history.entries[0].b.is_empty())
    );
    assert_eq!(
        bench
            .store
            .story(id)
            .await
            .unwrap()
            .unwrap()
            .detail
            .task
            .version,
        5_503
    );
}
