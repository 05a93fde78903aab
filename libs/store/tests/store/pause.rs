use taskweir_domain::{Actor, Position};
use taskweir_store::{Partition, Pause, PauseOutcome};

use crate::bench::Bench;

fn request(paused: bool, nonce: &str, epoch: Option<Position>) -> Pause {
    Pause {
        queue: "default".parse().unwrap(),
        paused,
        nonce: nonce.to_owned(),
        epoch,
        ask: Actor::anonymous().into(),
    }
}

async fn set(
    partition: &Partition,
    paused: bool,
    nonce: &str,
    epoch: Option<Position>,
) -> PauseOutcome {
    partition
        .pause(&[request(paused, nonce, epoch)])
        .await
        .unwrap()[0]
}

#[tokio::test]
async fn the_flag_is_set_once_and_cleared_once() {
    let bench = Bench::new().await;
    let PauseOutcome::Done(epoch) = set(&bench.partition, true, "a", None).await else {
        panic!()
    };
    assert_eq!(
        set(&bench.partition, true, "a", None).await,
        PauseOutcome::Repeated(epoch)
    );
    assert_eq!(
        set(&bench.partition, true, "b", None).await,
        PauseOutcome::Unchanged
    );
    let flags = bench.partition.queue_flags().await.unwrap();
    assert_eq!(
        flags.paused[&"default".parse::<taskweir_domain::QueueName>().unwrap()],
        epoch
    );
    let PauseOutcome::Done(later) = set(&bench.partition, false, "c", None).await else {
        panic!()
    };
    assert!(later > epoch);
    assert!(
        bench
            .partition
            .queue_flags()
            .await
            .unwrap()
            .paused
            .is_empty()
    );
    let log = bench
        .partition
        .read_log(Position::ZERO, 10)
        .await
        .unwrap()
        .entries;
    let seen: Vec<_> = log
        .iter()
        .map(|e| (e.t.as_str(), e.i.as_str(), e.n.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("QueuePaused.1", "q:default", "1"),
            ("QueueResumed.1", "q:default", "2")
        ]
    );
    assert_eq!(log[1].b, log[0].position.to_string());
}

#[tokio::test]
async fn other_partitions_take_only_a_higher_epoch() {
    let bench = Bench::new().await;
    let at = |ms| Some(Position { ms, seq: 2 });
    assert_eq!(
        set(&bench.partition, true, "a", at(10)).await,
        PauseOutcome::Done(at(10).unwrap())
    );
    assert_eq!(
        set(&bench.partition, false, "b", at(9)).await,
        PauseOutcome::Repeated(at(10).unwrap())
    );
    assert_eq!(
        set(&bench.partition, false, "c", at(10)).await,
        PauseOutcome::Repeated(at(10).unwrap())
    );
    assert_eq!(
        set(&bench.partition, false, "d", at(11)).await,
        PauseOutcome::Done(at(11).unwrap())
    );
    assert!(
        bench
            .partition
            .queue_flags()
            .await
            .unwrap()
            .paused
            .is_empty()
    );
}

/// As a failover leaves it that took the latest decision from partition 0, and not from another.
#[tokio::test]
async fn a_decision_that_partition_0_has_lost_is_learned_and_can_be_taken_back() {
    let bench = Bench::with_partitions(3).await;
    let queue: taskweir_domain::QueueName = "default".parse().unwrap();
    let partitions = bench.store.partitions();
    let lost = Some(Position { ms: 10, seq: 2 });
    let paused_in = async || {
        let mut paused = Vec::new();
        for partition in &partitions {
            let flags = partition.queue_flags().await.unwrap();
            paused.push(flags.paused.contains_key(&queue));
        }
        paused
    };
    set(&partitions[1], true, "a", lost).await;
    assert_eq!(paused_in().await, [false, true, false]);
    let actor = Actor::anonymous();
    bench.store.pause(&queue, false, &actor).await.unwrap();
    assert_eq!(paused_in().await, [false; 3], "resumed everywhere");
    let lost = Position {
        ms: u64::from(u32::MAX) * 1_000,
        seq: 0,
    };
    set(&partitions[2], true, "b", Some(lost)).await;
    bench.store.repair_pauses().await.unwrap();
    assert_eq!(paused_in().await, [true; 3], "the latest decision holds");
    // However far ahead the clock was by which it was made, the next one comes behind it.
    bench.store.pause(&queue, false, &actor).await.unwrap();
    assert_eq!(paused_in().await, [false; 3]);
    bench.store.repair_pauses().await.unwrap();
    assert_eq!(paused_in().await, [false; 3], "and stays");
}
