use std::time::Duration;

use taskweir_domain::{EventType, Position, Priority, Status};
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
    for priority in Priority::ALL {
        let mut spec = TaskSpec::new("default".parse().unwrap(), "echo".parse().unwrap());
        spec.priority = priority;
        specs.extend(std::iter::repeat_n(spec, 9_000));
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
    let backlogged = bench.partition.log_end().await.unwrap().0;
    let starts = eventually_within(Duration::from_secs(60), "10,000 starts", async || {
        let mut starts = Vec::new();
        let mut at = backlogged;
        loop {
            let read = bench.partition.read_log(at, 5_000).await.unwrap();
            let Some(last) = read.last else { break };
            at = last;
            let started =
                |e: &&taskweir_store::LogEntry| e.event_type().unwrap() == EventType::Started;
            starts.extend(read.entries.iter().filter(started).map(|e| e.i.clone()));
        }
        (starts.len() >= 10_000).then_some(starts)
    })
    .await;
    worker.stop.cancel();
    let ids: Vec<_> = starts[..10_000]
        .iter()
        .map(|id| id.parse().unwrap())
        .collect();
    let mut shares = [0_u32; 3];
    for batch in ids.chunks(500) {
        for record in bench.partition.records(batch).await.unwrap() {
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
    assert!(backlogged > Position::ZERO);
    worker.task.await.unwrap().unwrap();
}
