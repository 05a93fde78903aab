//! Hands that all partitions of a worker share.

use std::time::Duration;

use taskweir_domain::{EventType, Position};
use taskweir_store::Partition;
use taskweir_testkit::{TestRedis, eventually_within};
use taskweir_worker::{Producer, TaskSpec};

use crate::bench::{Bench, Echo, settings};

/// Positions of the completions of a partition.
async fn completions(partition: &Partition) -> Vec<Position> {
    let read = partition.read_log(Position::ZERO, 10_000).await.unwrap();
    let completed =
        |entry: &&taskweir_store::LogEntry| entry.event_type().unwrap() == EventType::Completed;
    let completed = read.entries.iter().filter(completed);
    completed.map(|entry| entry.position).collect()
}

/// Loops of partitions that wait for the same hand must neither pass it round without an end nor keep it from
/// one another.
#[tokio::test]
async fn a_single_hand_serves_every_partition_in_turn() {
    const TASKS: usize = 400;
    let bench = Bench::with_partitions(TestRedis::start(), 4).await;
    let producer = Producer::connect(&settings(&bench.redis)).await.unwrap();
    let spec = TaskSpec::new("default".parse().unwrap(), "echo".parse().unwrap());
    producer.submit_all(vec![spec; TASKS]).await.unwrap();
    let worker = bench.run(bench.builder().concurrency(1).handler(Echo));
    let all = eventually_within(Duration::from_secs(30), "all are done", async || {
        let mut all = Vec::new();
        for partition in bench.store.partitions() {
            all.push(completions(&partition).await);
        }
        (all.iter().flatten().count() == TASKS).then_some(all)
    })
    .await;
    // While all had a backlog, none got less than half of its share.
    let shortest = all.iter().map(Vec::len).min().unwrap();
    let end = all.iter().map(|of_one| of_one[shortest - 1]).min().unwrap();
    for of_one in &all {
        let until_then = of_one.iter().filter(|position| **position <= end).count();
        assert!(until_then >= shortest / 2, "{until_then} of {shortest}");
    }
    worker.stop().await;
}
