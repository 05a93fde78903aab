use taskweir_domain::{Holder, Status};
use taskweir_store::{ExpireOutcome, StartOutcome};
use taskweir_testkit::eventually;

use crate::bench::{Bench, started};

#[tokio::test]
async fn what_was_not_started_in_time_expires_wherever_it_waits() {
    let bench = Bench::new().await;
    let pending = bench.submit_with(|spec| spec.expires_in_ms = Some(1)).await;
    let parked = bench.submit_with(|spec| spec.expires_in_ms = Some(1)).await;
    bench.claim_one("w").await;
    let claimed = bench.claim_one("w").await;
    let work = claimed.work.unwrap();
    let parking = taskweir_store::Parking {
        id: work.id,
        task_type: work.task_type,
        stream: claimed.stream,
        entry: claimed.entry,
    };
    bench
        .partition
        .park(&bench.streams, &[parking])
        .await
        .unwrap();
    let scheduled = bench
        .submit_with(|spec| {
            spec.run_at_ms = Some(1);
            spec.expires_in_ms = Some(1);
        })
        .await;
    let later = bench
        .submit_with(|spec| {
            spec.delay_ms = Some(60_000);
            spec.expires_in_ms = Some(1);
        })
        .await;
    let expiring = eventually("three are too late", async || {
        let expiring = bench.partition.expiring(100).await.unwrap();
        (expiring.len() == 3).then_some(expiring)
    })
    .await;
    assert_eq!(
        bench.partition.expire(&expiring).await.unwrap(),
        [ExpireOutcome::Done; 3]
    );
    assert_eq!(
        bench.partition.expire(&expiring).await.unwrap(),
        [ExpireOutcome::Absent; 3],
        "the repeat"
    );
    for id in [pending, parked, scheduled] {
        assert_eq!(bench.status(id).await, Status::Expired);
        bench.check(id).await;
    }
    assert_eq!(
        bench.status(later).await,
        Status::Scheduled,
        "it counts from its due time"
    );
    let detail = bench.check(later).await;
    assert!(detail.expires_ms.unwrap() > detail.task.first.ms + 60_000);
}

#[tokio::test]
async fn a_started_task_does_not_expire_and_a_late_start_is_refused() {
    let bench = Bench::new().await;
    let runs = bench
        .submit_with(|spec| spec.expires_in_ms = Some(60_000))
        .await;
    let claimed = bench.claim_one("w").await;
    started(bench.start_as(&claimed, &Holder::new("w", "1")).await);
    assert_eq!(
        bench
            .redis
            .cli(&["ZCARD", &bench.partition.keys().expiry()]),
        "0"
    );
    bench.check(runs).await;

    let late = bench.submit_with(|spec| spec.expires_in_ms = Some(1)).await;
    let claimed = bench.claim_one("w").await;
    eventually("too late", async || {
        (bench.partition.expiring(1).await.unwrap().len() == 1).then_some(())
    })
    .await;
    assert_eq!(
        bench.start_as(&claimed, &Holder::new("w", "2")).await,
        StartOutcome::Expired
    );
    let expiring = bench.partition.look_up(&[late]).await.unwrap();
    assert_eq!(
        bench.partition.expire(&expiring).await.unwrap(),
        [ExpireOutcome::Done]
    );
    bench.check(late).await;
}

#[tokio::test]
async fn an_ended_task_is_no_longer_watched() {
    let bench = Bench::new().await;
    let id = bench
        .submit_with(|spec| spec.expires_in_ms = Some(60_000))
        .await;
    let request = bench.cancellation(id, "n").await;
    bench.partition.cancel(&[request]).await.unwrap();
    assert_eq!(
        bench
            .redis
            .cli(&["ZCARD", &bench.partition.keys().expiry()]),
        "0"
    );
    let _ = bench.redis.cli(&[
        "ZADD",
        &bench.partition.keys().expiry(),
        "1",
        &id.to_string(),
    ]);
    let expiring = bench.partition.expiring(10).await.unwrap();
    assert_eq!(
        bench.partition.expire(&expiring).await.unwrap(),
        [ExpireOutcome::Stale]
    );
    assert_eq!(bench.status(id).await, Status::Cancelled);
}
