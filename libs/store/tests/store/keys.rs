//! Idempotency keys and unique keys.

use taskweir_domain::{Actor, ErrorKind, PartitionIndex, Status, TaskId};
use taskweir_store::{
    Cancelled, DlqOutcome, DlqVerb, Idempotency, Reservation, Store, Submission, SubmitOutcome,
    Submitter,
};

use crate::bench::{Bench, complete};

fn key(word: &str, body: &str) -> Option<Idempotency> {
    Some(Idempotency::new("somebody", word, body))
}

async fn submit(
    bench: &Bench,
    submitter: &Submitter,
    unique: Option<&str>,
    key: Option<Idempotency>,
) -> (TaskId, SubmitOutcome) {
    let mut spec = bench.spec();
    spec.unique_key = unique.map(ToOwned::to_owned);
    submitter.submit_keyed(spec, key).await.unwrap()
}

#[test]
fn bodies_are_the_same_when_they_say_the_same() {
    let one = Idempotency::new("s", "k", r#"{"type":"a","data":{"x":1,"y":[2]}}"#);
    assert_eq!(
        one,
        Idempotency::new("s", "k", r#" { "data": {"y": [2], "x": 1}, "type": "a" } "#)
    );
    assert_ne!(
        one,
        Idempotency::new("s", "k", r#"{"type":"a","data":{"x":1,"y":[3]}}"#)
    );
    assert_ne!(
        one.key_hash(),
        Idempotency::new("t", "k", "{}").key_hash(),
        "keys are scoped"
    );
    assert_ne!(one.key_hash(), Idempotency::new("s", "l", "{}").key_hash());
}

#[tokio::test]
async fn the_same_key_and_body_is_the_same_task_for_ever_so_long() {
    let bench = Bench::new().await;
    let submitter = Submitter::new(&bench.store);
    let (id, first) = submit(&bench, &submitter, None, key("k", "1")).await;
    assert!(matches!(first, SubmitOutcome::Accepted(_)));
    assert_eq!(
        submit(&bench, &submitter, None, key("k", "1")).await.1,
        SubmitOutcome::Same(id)
    );
    assert_eq!(
        submit(&bench, &submitter, None, key("k", "2")).await.1,
        SubmitOutcome::Conflict(id)
    );
    assert!(matches!(
        submit(&bench, &submitter, None, key("l", "1")).await.1,
        SubmitOutcome::Accepted(_)
    ));
    let record = bench.store.partition_of(id).unwrap().keys().task(id);
    assert_eq!(bench.redis.cli(&["DEL", &record]), "1");
    assert_eq!(
        submit(&bench, &submitter, None, key("k", "1")).await.1,
        SubmitOutcome::Same(id),
        "its record is gone"
    );
    assert_eq!(events(&bench.store).await, 2);
}

#[tokio::test]
async fn a_hundred_concurrent_repeats_are_one_task() {
    for partitions in [1, 4] {
        let bench = Bench::with_partitions(partitions).await;
        let submitter = Submitter::new(&bench.store);
        for unique in [None, Some("u")] {
            let one = || {
                submit(
                    &bench,
                    &submitter,
                    unique,
                    key("k", unique.unwrap_or("none")),
                )
            };
            let outcomes = futures_util::future::join_all((0..100).map(|_| one())).await;
            let mut ids: Vec<TaskId> = outcomes
                .iter()
                .map(|(id, outcome)| match outcome {
                    SubmitOutcome::Same(id)
                    | SubmitOutcome::Duplicate(id)
                    | SubmitOutcome::Conflict(id) => *id,
                    _ => *id,
                })
                .collect();
            ids.sort();
            ids.dedup();
            assert_eq!(
                ids.len(),
                1,
                "{partitions} partitions, unique {unique:?}: {outcomes:?}"
            );
            if unique.is_none() {
                // The next round's key is another one.
                for partition in bench.store.partitions() {
                    let _ = bench.redis.cli(&[
                        "DEL",
                        &partition
                            .keys()
                            .idempotency(key("k", "none").unwrap().key_hash()),
                    ]);
                }
            }
        }
        assert_eq!(events(&bench.store).await, 2);
    }
}

async fn events(store: &Store) -> u64 {
    let mut events = 0;
    for partition in store.partitions() {
        events += partition.log_end().await.unwrap().1;
    }
    events
}

#[tokio::test]
async fn peer_23_a_unique_key_is_held_until_the_task_ends_or_fails() {
    let bench = Bench::about_key("u").await;
    let submitter = Submitter::new(&bench.store);
    let fresh = async || {
        let (id, outcome) = submit(&bench, &submitter, Some("u"), None).await;
        assert!(
            matches!(outcome, SubmitOutcome::Accepted(_)),
            "free again: {outcome:?}"
        );
        assert_eq!(
            submit(&bench, &submitter, Some("u"), None).await.1,
            SubmitOutcome::Duplicate(id)
        );
        id
    };
    let held = async |id| {
        submit(&bench, &submitter, Some("u"), None).await.1 == SubmitOutcome::Duplicate(id)
    };

    let id = fresh().await;
    let running = bench.run("w").await;
    assert!(held(id).await, "while it runs");
    bench.fail(&running, ErrorKind::Error).await;
    assert!(held(id).await, "while it waits for its retry");
    let due = bench.partition.due(10).await.unwrap().0;
    bench.partition.promote(&due).await.unwrap();
    let running = bench.run("w").await;
    bench.complete(&running).await;

    let id = fresh().await;
    assert_eq!(
        bench.store.cancel(id, &Actor::anonymous()).await.unwrap(),
        Cancelled::Now
    );

    let dead = fresh().await;
    let running = bench.run("w").await;
    bench.fail(&running, ErrorKind::Fatal).await;
    let next = fresh().await;
    let retry = async || {
        bench
            .store
            .act_on_dead(dead, DlqVerb::Retry, Actor::anonymous())
            .await
            .unwrap()
    };
    assert_eq!(
        retry().await,
        DlqOutcome::Taken(next),
        "another task has the key now"
    );
    assert_eq!(bench.status(dead).await, Status::Failed);
    let running = bench.run("w").await;
    bench.complete(&running).await;
    assert_eq!(retry().await, DlqOutcome::Done);
    assert!(held(dead).await, "taken again");

    // A late completion of an old attempt frees nothing.
    let running = bench.run("w").await;
    let mut late = bench.finishing(&running, &complete(&running)).await;
    late.fence.attempt = 77;
    bench.finish(&late).await;
    assert!(held(dead).await);
    for id in [id, dead, next] {
        bench.check(id).await;
    }
}

/// A key that one task lost and another has now is not freed by whatever becomes of the first.
#[tokio::test]
async fn peer_33_a_task_frees_no_key_that_another_holds() {
    let bench = Bench::about_key("u").await;
    let submitter = Submitter::new(&bench.store);
    let fresh = async || submit(&bench, &submitter, Some("u"), None).await;
    let (dead, _) = fresh().await;
    let running = bench.run("w").await;
    let late = bench.finishing(&running, &complete(&running)).await;
    bench.fail(&running, ErrorKind::Fatal).await;
    let (holder, outcome) = fresh().await;
    assert!(matches!(outcome, SubmitOutcome::Accepted(_)), "{outcome:?}");
    let still = async |what: &str| {
        assert_eq!(
            fresh().await.1,
            SubmitOutcome::Duplicate(holder),
            "after {what}"
        );
    };
    bench.finish(&late).await;
    still("a late completion").await;
    let removed = bench
        .store
        .act_on_dead(dead, DlqVerb::Remove, Actor::anonymous())
        .await;
    assert_eq!(removed.unwrap(), DlqOutcome::Done);
    still("its removal").await;
    let running = bench.run("w").await;
    still("the start of its holder").await;
    bench.complete(&running).await;
    let (_, outcome) = fresh().await;
    assert!(
        matches!(outcome, SubmitOutcome::Accepted(_)),
        "its holder frees it: {outcome:?}"
    );
}

#[tokio::test]
async fn a_loss_that_ends_a_task_frees_its_key() {
    let bench = Bench::about_key("u").await;
    let submitter = Submitter::new(&bench.store);
    let mut spec = bench.spec();
    spec.unique_key = Some("u".to_owned());
    spec.max_deliveries = 0;
    submitter.submit_keyed(spec, None).await.unwrap();
    bench.run_with_lease("w", 0).await;
    crate::reclaim::reclaim_all(&bench).await;
    assert!(matches!(
        submit(&bench, &submitter, Some("u"), None).await.1,
        SubmitOutcome::Accepted(_)
    ));
}

#[tokio::test]
async fn a_crash_between_reservation_and_submit_is_healed_by_the_repeat() {
    let bench = Bench::with_partitions(4).await;
    let submitter = Submitter::new(&bench.store);
    let idempotency = key("k", "body").unwrap();
    // As if a first try had reserved the key and died.
    let id = bench.store.mint_in(PartitionIndex(2));
    for partition in bench.store.partitions() {
        assert_eq!(
            partition.reserve(id, &idempotency).await.unwrap(),
            Reservation::Mine
        );
    }
    let mut outcomes = Vec::new();
    // A unique key whose partition is not the idempotency key's.
    for n in 0..8 {
        let unique = format!("u{n}");
        let (made, outcome) =
            submit(&bench, &submitter, Some(&unique), Some(idempotency.clone())).await;
        outcomes.push((made, outcome));
    }
    let accepted: Vec<_> = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, SubmitOutcome::Accepted(_)))
        .collect();
    assert!(accepted.len() <= 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|(made, outcome)| *made == id
        || matches!(outcome, SubmitOutcome::Conflict(_) | SubmitOutcome::Same(_))));
}

#[tokio::test]
async fn a_queue_is_full_of_parked_tasks_too_whatever_their_types() {
    let bench = Bench::limited(taskweir_store::Limits {
        max_queue_length: 3 * 256,
        ..Default::default()
    })
    .await;
    let most = 3 * 256 / bench.store.partition_count();
    let one = async |task_type: String| {
        let mut spec = bench.spec();
        spec.task_type = task_type.parse().unwrap();
        let submission = Submission {
            id: bench.mint(),
            spec,
            idempotency: None,
        };
        let outcomes = bench.partition.submit(&[submission]).await.unwrap();
        outcomes[0]
    };
    let streams = &bench.streams;
    for number in 0..most {
        let outcome = one(format!("odd-{}", number % 7)).await;
        assert!(matches!(outcome, SubmitOutcome::Accepted(_)), "{number}");
        // Nobody knows it: it leaves its stream.
        let claimed = bench.claim("w", 1).await;
        let parking: Vec<_> = claimed
            .into_iter()
            .map(|claimed| {
                let work = claimed.work.unwrap();
                taskweir_store::Parking {
                    id: work.id,
                    task_type: work.task_type,
                    stream: claimed.stream,
                    entry: claimed.entry,
                }
            })
            .collect();
        bench.partition.park(streams, &parking).await.unwrap();
    }
    assert_eq!(one("odd-8".to_owned()).await, SubmitOutcome::Full);
    // Some are known after all: they are ready, and count as that.
    let (queue, known) = ("default".parse().unwrap(), "odd-0".parse().unwrap());
    let back = bench.partition.unpark(&queue, &known, 100).await.unwrap();
    assert!(!back.is_empty());
    assert_eq!(one("odd-0".to_owned()).await, SubmitOutcome::Full);
    let parked = bench.partition.queue_flags().await.unwrap().parked;
    assert_eq!(parked[&queue], (most - back.len()) as u64);
}

#[tokio::test]
async fn a_full_queue_takes_no_more_and_drains() {
    let bench = Bench::limited(taskweir_store::Limits {
        max_queue_length: 3,
        ..Default::default()
    })
    .await;
    // This partition's share of three, rounded up.
    let most = 3_usize.div_ceil(bench.store.partition_count());
    let one = async || {
        let submission = Submission {
            id: bench.mint(),
            spec: bench.spec(),
            idempotency: None,
        };
        bench
            .partition
            .submit(&[submission])
            .await
            .unwrap()
            .remove(0)
    };
    let outcomes = futures_util::future::join_all((0..10).map(|_| one())).await;
    let count = |wanted: fn(&SubmitOutcome) -> bool| {
        outcomes.iter().filter(|outcome| wanted(outcome)).count()
    };
    assert_eq!(count(|o| matches!(o, SubmitOutcome::Accepted(_))), most);
    assert_eq!(count(|o| *o == SubmitOutcome::Full), 10 - most);
    let running = bench.run("w").await;
    bench.complete(&running).await;
    assert!(matches!(one().await, SubmitOutcome::Accepted(_)));
}

#[tokio::test]
async fn a_refused_submit_leaves_its_idempotency_key_free() {
    for partitions in [1, 4] {
        let bench = Bench::with_partitions(partitions).await;
        let submitter = Submitter::new(&bench.store);
        submit(&bench, &submitter, Some("taken"), None).await;
        for n in 0..8 {
            let word = format!("k{n}");
            // Some keys are kept in the partition of the unique key, and some in another.
            let refused = submit(&bench, &submitter, Some("taken"), key(&word, "one")).await;
            assert!(
                matches!(refused.1, SubmitOutcome::Duplicate(_)),
                "{refused:?}"
            );
            let unique = format!("u{n}");
            let other = submit(&bench, &submitter, Some(&unique), key(&word, "two")).await;
            assert!(
                matches!(other.1, SubmitOutcome::Accepted(_)),
                "{partitions} partitions: {other:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_workers_run_fills_no_queue() {
    let limits = taskweir_store::Limits {
        max_queue_length: 2 * taskweir_testkit::partitions(),
        ..Default::default()
    };
    let bench = Bench::limited(limits).await;
    let one = async || {
        let submission = Submission {
            id: bench.mint(),
            spec: bench.spec(),
            idempotency: None,
        };
        bench.partition.submit(&[submission]).await.unwrap()[0]
    };
    for _ in 0..2 {
        assert!(matches!(one().await, SubmitOutcome::Accepted(_)));
    }
    assert_eq!(one().await, SubmitOutcome::Full);
    bench.run("w").await;
    assert!(matches!(one().await, SubmitOutcome::Accepted(_)));
    assert_eq!(one().await, SubmitOutcome::Full);
}
