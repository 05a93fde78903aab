use std::time::Duration;

use taskweir_domain::{EventType, Position, Priority, Status, TaskId};
use taskweir_testkit::eventually_within;
use taskweir_worker::{Producer, TaskSpec};

use crate::bench::{Bench, Echo, Wait, settings};

/// Each backlogged class gets at least 80 % of its 8:3:1 share over 10,000 starts, also with one
/// long task running.
#[tokio::test]
async fn backlogged_classes_share_by_their_weights() {
    let bench = Bench::new().await;
    let producer = Producer::connect(&settings(&bench.redis)).await.unwrap();
    let mut specs = Vec::new();
    // One of each in turn: all classes are backlogged from the beginning on.
    for _ in 0..9_000 {
        specs.extend(Priority::ALL.map(|priority| {
            let mut spec = TaskSpec::new("default".parse().unwrap(), "echo".parse().unwrap());
            spec.priority = priority;
            spec
        }));
    }
    let long = bench.submit("wait", "3600000").await;
    let worker = bench.run(
        bench
            .builder()
            .handler(Echo)
            .handler(Wait)
            .shutdown_grace(Duration::ZERO),
    );
    bench.reaches(long, Status::Processing).await;
    producer.submit_all(specs).await.unwrap();

    // The classes of the first 10,000 starts once every class is backlogged.
    let mut backlogged = Vec::new();
    for partition in bench.store.partitions() {
        let end = partition.log_end().await.unwrap().0;
        backlogged.push((partition, end));
    }
    let starts = eventually_within(Duration::from_secs(60), "10,000 starts", async || {
        let mut starts = Vec::new();
        for (partition, from) in &backlogged {
            let mut at = *from;
            loop {
                let read = partition.read_log(at, 5_000).await.unwrap();
                let Some(last) = read.last else { break };
                at = last;
                let started =
                    |e: &&taskweir_store::LogEntry| e.event_type().unwrap() == EventType::Started;
                let started = read.entries.iter().filter(started);
                starts.extend(started.map(|e| (e.position, e.i.clone())));
            }
        }
        starts.sort();
        (starts.len() >= 10_000).then_some(starts)
    })
    .await;
    worker.stop.cancel();
    let mut ids: Vec<TaskId> = starts[..10_000]
        .iter()
        .map(|(_, id)| id.parse().unwrap())
        .collect();
    ids.sort_by_key(|id| id.partition());
    let of_one = ids.chunk_by(|a, b| a.partition() == b.partition());
    let mut shares = [0_u32; 3];
    for batch in of_one.flat_map(|ids| ids.chunks(500)) {
        let partition = bench.partition_of(batch[0]);
        for record in partition.records(batch).await.unwrap() {
            shares[record.unwrap().task.priority as usize] += 1;
        }
    }
    for (priority, share) in Priority::ALL.into_iter().zip(shares) {
        let due = 10_000.0 * f64::from(priority.weight()) / 12.0;
        assert!(
            f64::from(share) >= 0.8 * due,
            "{priority}: {share} of {due}"
        );
    }
    assert!(backlogged.iter().any(|(_, end)| *end > Position::ZERO));
    worker.task.await.unwrap().unwrap();
}
