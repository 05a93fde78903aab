use std::time::Duration;

use taskweir_domain::{Priority, Status};
use taskweir_store::{Claim, UnclaimOutcome, Unclaiming};

use crate::bench::{Bench, started};

fn unclaiming(claimed: &taskweir_store::Claimed) -> Unclaiming {
    Unclaiming {
        id: claimed.work.as_ref().unwrap().id,
        stream: claimed.stream,
        entry: claimed.entry.clone(),
    }
}

#[tokio::test]
async fn never_more_than_asked_for_over_all_streams() {
    let bench = Bench::new().await;
    for priority in Priority::ALL {
        for _ in 0..10 {
            bench.submit_with(|spec| spec.priority = priority).await;
        }
    }
    let claim = Claim {
        shares: vec![(0, 4), (1, 2), (2, 1)],
        most: 7,
    };
    let claimed = bench
        .partition
        .claim(&bench.streams, "w", &claim)
        .await
        .unwrap();
    let of = |stream| claimed.iter().filter(|c| c.stream == stream).count();
    assert_eq!((of(0), of(1), of(2)), (4, 2, 1));
    // What one stream cannot give, the others do.
    let claim = Claim {
        shares: vec![(2, 12), (1, 0), (0, 0)],
        most: 12,
    };
    let claimed = bench
        .partition
        .claim(&bench.streams, "w", &claim)
        .await
        .unwrap();
    assert_eq!(claimed.len(), 12);
    assert_eq!(claimed.iter().filter(|c| c.stream == 2).count(), 9);
}

#[tokio::test]
async fn what_was_added_before_the_group_is_delivered() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let claimed = bench.claim_one("w").await;
    assert_eq!(claimed.work.unwrap().id, id);
}

#[tokio::test]
async fn a_waiting_reader_gets_what_comes() {
    let bench = Bench::new().await;
    bench.partition.ensure_groups(&bench.streams).await.unwrap();
    let (partition, streams) = (bench.partition.clone(), bench.streams.clone());
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let waiting = tokio::task::spawn(async move {
        partition
            .claim_waiting(&streams, &[0, 1, 2], "w", 5_000)
            .await
            .unwrap()
    });
    taskweir_testkit::eventually("a blocked reader", async || {
        bench
            .redis
            .cli(&["CLIENT", "LIST"])
            .contains("cmd=xreadgroup")
            .then_some(())
    })
    .await;
    let id = bench.submit().await;
    let claimed = tokio::time::timeout(Duration::from_secs(2), waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(claimed[0].work.as_ref().unwrap().id, id);
}

#[tokio::test]
async fn waiting_past_the_usual_time_out_is_no_error() {
    let bench = Bench::new().await;
    bench.partition.ensure_groups(&bench.streams).await.unwrap();
    let claimed = bench
        .partition
        .claim_waiting(&bench.streams, &[0], "w", 1_200)
        .await
        .unwrap();
    assert!(claimed.is_empty());
}

#[tokio::test]
async fn unclaimed_work_is_ready_again_as_old_as_before() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let claimed = bench.claim_one("w").await;
    let batch = [unclaiming(&claimed)];
    let unclaim = async |worker: &str| {
        bench
            .partition
            .unclaim(&bench.streams, worker, &batch)
            .await
            .unwrap()[0]
    };
    assert_eq!(unclaim("other").await, UnclaimOutcome::NotMine);
    assert_eq!(unclaim("w").await, UnclaimOutcome::Done);
    assert_eq!(
        unclaim("w").await,
        UnclaimOutcome::Stale,
        "the repeat finds nothing"
    );
    bench.check(id).await;
    let again = bench.claim_one("w").await;
    assert_eq!(again.work, claimed.work, "same task, payload and since");
    assert_eq!(bench.events(id).await.len(), 1, "no event");
}

#[tokio::test]
async fn running_work_cannot_be_unclaimed() {
    let bench = Bench::new().await;
    bench.submit().await;
    let claimed = bench.claim_one("w").await;
    started(
        bench
            .start_as(&claimed, &taskweir_domain::Holder::new("w", "1"))
            .await,
    );
    let batch = [unclaiming(&claimed)];
    let outcome = bench
        .partition
        .unclaim(&bench.streams, "w", &batch)
        .await
        .unwrap();
    assert_eq!(outcome, [UnclaimOutcome::Held]);
    assert_eq!(bench.status(batch[0].id).await, Status::Processing);
}

#[tokio::test]
async fn malformed_entries_are_recognised_and_discarded() {
    let bench = Bench::new().await;
    let ready = bench
        .partition
        .keys()
        .ready(&"default".parse().unwrap(), Priority::Normal);
    let _ = bench.redis.cli(&["XADD", &ready, "*", "hello", "world"]);
    let claimed = bench.claim_one("w").await;
    assert!(claimed.work.is_none());
    bench
        .partition
        .discard(&bench.streams, &[(claimed.stream, claimed.entry)])
        .await
        .unwrap();
    assert_eq!(bench.redis.cli(&["XLEN", &ready]), "0");
}

#[tokio::test]
async fn own_pending_shows_what_lost_replies_left() {
    let bench = Bench::new().await;
    bench.submit().await;
    let claimed = bench.claim_one("w").await;
    let mine = bench
        .partition
        .own_pending(&bench.streams, "w", 0, 100)
        .await
        .unwrap();
    assert_eq!(mine, [(claimed.stream, claimed.entry.clone())]);
    let id = bench
        .partition
        .task_of_entry(&bench.streams, claimed.stream, &claimed.entry)
        .await
        .unwrap();
    assert_eq!(id, Some(claimed.work.unwrap().id));
    assert!(
        bench
            .partition
            .own_pending(&bench.streams, "other", 0, 100)
            .await
            .unwrap()
            .is_empty()
    );
}
