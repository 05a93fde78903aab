//! Hands that all partitions of a worker share.

use std::time::Duration;

use taskweir_domain::{EventType, Position, Priority, QueueName, Status};
use taskweir_store::Partition;
use taskweir_testkit::{TestRedis, eventually_within};
use taskweir_worker::{Producer, TaskSpec};

use crate::bench::{Bench, Echo, Wait, settings};

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

#[tokio::test]
async fn an_entry_that_a_lost_reply_hid_is_given_back_though_another_stream_has_one_of_the_same_id()
{
    let bench = Bench::new().await;
    let worker = bench.builder().handler(Wait).handler(Echo).concurrency(1);
    let worker = worker.build().unwrap();
    let consumer = worker.id().to_owned();
    let stop = tokio_util::sync::CancellationToken::new();
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let running = tokio::spawn(worker.run(stop.clone()));
    let busy = bench.submit("wait", "4000").await;
    bench.reaches(busy, Status::Processing).await;
    let keys = bench.partition.keys();
    let queue = QueueName::default();
    let (normal, high) = (
        keys.ready(&queue, Priority::Normal),
        keys.ready(&queue, Priority::High),
    );
    let held = bench.redis.cli(&["XRANGE", &normal, "-", "+"]);
    let held = held.lines().next().unwrap().to_owned();
    // A task whose entry has the id of the one that is held, received in a reply that never came.
    let urgent = |spec: &mut TaskSpec| spec.priority = Priority::High;
    let lost = bench.submit_with("echo", "1", urgent).await;
    let own = bench.redis.cli(&["XRANGE", &high, "-", "+"]);
    let own = own.lines().next().unwrap();
    assert_eq!(bench.redis.cli(&["DEL", &high]), "1");
    let (id, record) = (lost.to_string(), keys.task(lost));
    assert!(!own.is_empty());
    let fields = ["i", &id, "t", "echo", "s", "", "d", "1"];
    let add = [&["XADD", &high, &held], &fields[..]].concat();
    assert_eq!(bench.redis.cli(&add), held);
    assert_eq!(bench.redis.cli(&["HSET", &record, "w", &held]), "0");
    let group = ["XGROUP", "CREATE", &high, "workers", "0"];
    assert_eq!(bench.redis.cli(&group), "OK");
    let read = [
        "XREADGROUP",
        "GROUP",
        "workers",
        &consumer,
        "STREAMS",
        &high,
        ">",
    ];
    assert!(bench.redis.cli(&read).contains(&id));
    bench.reaches(lost, Status::Completed).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}
