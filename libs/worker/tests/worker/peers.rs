//! What users of other queues rely on, see docs/PEER-BEHAVIOURS.md.

use std::time::Duration;

use taskweir_domain::{Event, EventType, Status};
use taskweir_testkit::{Persistence, TestRedis, eventually};

use crate::bench::{Bench, Echo, Wait};
use crate::failures::Fails;
use crate::shutdown::Deaf;

#[tokio::test]
async fn peer_01_each_failure_is_kept_and_the_last_one_is_the_end() {
    let bench = Bench::new().await;
    let worker = bench.run(bench.builder().handler(Fails));
    let id = bench
        .submit_with("fails", r#""io""#, |spec| {
            spec.retry.max_retries = 1;
            spec.retry.initial_delay_ms = 0;
        })
        .await;
    bench.reaches(id, Status::Retrying).await;
    // There is no scheduler here.
    let partition = bench.partition_of(id);
    let due = partition.due(10).await.unwrap().0;
    partition.promote(&due).await.unwrap();
    bench.reaches(id, Status::Failed).await;
    let told: Vec<String> = bench
        .history(id)
        .await
        .into_iter()
        .filter_map(|recorded| match recorded.event {
            Event::AttemptFailed(body) => Some(body.error.message),
            Event::DeadLettered(body) => Some(body.error.message),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["disk", "disk"]);
    worker.stop().await;
}

#[tokio::test]
async fn peer_02_who_has_lost_its_lease_ends_without_a_word_be_it_deaf_or_not() {
    let bench = Bench::new().await;
    let lease = Duration::from_millis(1_500);
    let worker = bench.run(bench.builder().handler(Wait).handler(Deaf).lease(lease));
    let hears = bench.submit("wait", "60000").await;
    let deaf = bench.submit("deaf", "null").await;
    for id in [hears, deaf] {
        bench.reaches(id, Status::Processing).await;
    }
    // What it says at its beginning is told within half a second or after the pause, as the machine has time.
    let told = async || bench.events(hears).await.contains(&EventType::Progressed);
    eventually("its progress is told", async || told().await.then_some(())).await;
    // Longer than the lease, shorter than any time-out.
    assert_eq!(bench.redis.cli(&["CLIENT", "PAUSE", "4000"]), "OK");
    eventually("both hands are free", async || {
        let workers = bench.store.workers().await.unwrap().0;
        let running: usize = workers.iter().map(|seen| seen.info.running).sum();
        (!workers.is_empty() && running == 0).then_some(())
    })
    .await;
    let begun = [EventType::Submitted, EventType::Started];
    assert_eq!(bench.events(deaf).await, begun);
    let begun = [begun[0], begun[1], EventType::Progressed];
    assert_eq!(bench.events(hears).await, begun);
    worker.stop().await;
}

#[tokio::test]
async fn peer_22_a_cut_idle_reader_reads_on_without_a_restart() {
    let bench = Bench::new().await;
    let worker = bench.run(bench.builder().handler(Echo));
    for _ in 0..5 {
        let readers: Vec<String> = eventually("a blocked reader", async || {
            let list = bench.redis.cli(&["CLIENT", "LIST"]);
            let readers: Vec<String> = list
                .lines()
                .filter(|line| line.contains("cmd=xreadgroup"))
                .filter_map(|line| Some(line.strip_prefix("id=")?.split(' ').next()?.to_owned()))
                .collect();
            (!readers.is_empty()).then_some(readers)
        })
        .await;
        for reader in &readers {
            let killed = bench.redis.cli(&["CLIENT", "KILL", "ID", reader]);
            assert!(killed == "1" || killed == "0", "{killed}");
        }
        let id = bench.submit("echo", "1").await;
        let done = bench.reaches(id, Status::Completed);
        let done = tokio::time::timeout(Duration::from_secs(3), done).await;
        assert_eq!(done.expect("soon").task.attempt, 1);
    }
    worker.stop().await;
}

/// A delay that a handler asks for is a failure here, as it is documented; given back by a stop it costs
/// nothing, see `peer_28_what_does_not_end_is_given_back_at_no_cost`.
#[tokio::test]
async fn peer_26_a_delay_of_the_handlers_own_counts_as_a_failure() {
    let bench = Bench::new().await;
    let worker = bench.run(bench.builder().handler(Fails));
    let id = bench.submit("fails", r#""later""#).await;
    assert_eq!(bench.reaches(id, Status::Retrying).await.task.failures, 1);
    let last = bench
        .submit_with("fails", r#""later""#, |spec| spec.retry.max_retries = 0)
        .await;
    bench.reaches(last, Status::Failed).await;
    worker.stop().await;
}

#[tokio::test]
async fn peer_37_an_ending_while_redis_is_away_is_told_when_it_is_back() {
    let mut bench = Bench::on(TestRedis::start_with(Persistence::Aof, &[])).await;
    let worker = bench.run(bench.builder().handler(Wait));
    let id = bench.submit("wait", "500").await;
    bench.reaches(id, Status::Processing).await;
    bench.redis.kill();
    // It ends meanwhile: that is what the test is about.
    tokio::time::sleep(Duration::from_millis(900)).await;
    bench.redis.restart();
    bench.connected().await;
    let detail = bench.reaches(id, Status::Completed).await;
    assert_eq!(detail.task.attempt, 1);
    worker.stop().await;
}
