use taskweir_domain::{EventType, Holder};
use taskweir_store::{Claimed, ParkOutcome, Parking, UnparkOutcome};

use crate::bench::{Bench, started};

fn parking(claimed: &Claimed) -> [Parking; 1] {
    let work = claimed.work.as_ref().unwrap();
    [Parking {
        id: work.id,
        task_type: work.task_type.clone(),
        stream: claimed.stream,
        entry: claimed.entry.clone(),
    }]
}

async fn park(bench: &Bench, claimed: &Claimed) -> ParkOutcome {
    bench
        .partition
        .park(&bench.streams, &parking(claimed))
        .await
        .unwrap()[0]
}

async fn unpark(bench: &Bench) -> Vec<UnparkOutcome> {
    let (queue, kind) = ("default".parse().unwrap(), "work".parse().unwrap());
    bench.partition.unpark(&queue, &kind, 100).await.unwrap()
}

#[tokio::test]
async fn an_unknown_type_waits_aside_with_one_event_and_comes_back_as_old_as_before() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let first = bench.claim_one("w").await;
    assert_eq!(park(&bench, &first).await, ParkOutcome::Done);
    assert_eq!(park(&bench, &first).await, ParkOutcome::Repeated);
    assert!(bench.record(id).await.unwrap().is_parked());
    bench.check(id).await;
    assert_eq!(unpark(&bench).await, [UnparkOutcome::Done]);
    assert!(unpark(&bench).await.is_empty());
    bench.check(id).await;
    let again = bench.claim_one("w").await;
    assert_eq!(
        again.work.as_ref().unwrap().since_ms,
        first.work.as_ref().unwrap().since_ms
    );
    assert_eq!(park(&bench, &again).await, ParkOutcome::Done);
    assert_eq!(
        bench.events(id).await,
        [EventType::Submitted, EventType::Released]
    );
    bench.check(id).await;
}

#[tokio::test]
async fn what_runs_or_is_not_named_is_not_parked() {
    let bench = Bench::new().await;
    bench.submit().await;
    let mut claimed = bench.claim_one("w").await;
    started(bench.start_as(&claimed, &Holder::new("w", "1")).await);
    assert_eq!(park(&bench, &claimed).await, ParkOutcome::Held);
    claimed.entry = "1-1".to_owned();
    assert_eq!(park(&bench, &claimed).await, ParkOutcome::Stale);
}

#[tokio::test]
async fn a_parked_id_without_a_parked_task_is_taken_out() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let parked = bench
        .partition
        .keys()
        .parked(&"default".parse().unwrap(), &"work".parse().unwrap());
    let _ = bench.redis.cli(&["ZADD", &parked, "1", &id.to_string()]);
    assert_eq!(unpark(&bench).await, [UnparkOutcome::Stale]);
    bench.check(id).await;
}
