//! A failover that loses the end of the log: the same attempt number is issued twice, and the holder
//! tells the two apart.

use taskweir_domain::{EventType, Holder};
use taskweir_store::{Finish, FinishOutcome};
use taskweir_testkit::{Persistence, TestRedis, eventually};

use crate::bench::{Bench, Running, complete};

/// A replica that has what the bench's Redis has, and took over before it heard of anything more.
async fn promoted(bench: &Bench) -> TestRedis {
    let port = bench.redis.port().to_string();
    let replica = TestRedis::start_with(Persistence::None, &["--replicaof", "127.0.0.1", &port]);
    let end = bench.redis.cli(&["INFO", "keyspace"]);
    eventually("the replica has everything", async || {
        let up = replica
            .cli(&["INFO", "replication"])
            .contains("master_link_status:up");
        (up && replica.cli(&["INFO", "keyspace"]) == end).then_some(())
    })
    .await;
    assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    replica
}

/// What a worker sends that does not know of the failover.
fn completion(running: &Running, holder: Holder) -> Finish {
    let event = taskweir_domain::Completed {
        attempt: running.fence.attempt,
        holder: holder.clone(),
        result: None,
        result_stored: None,
        duration_ms: 1,
        trace: None,
    };
    let mut fence = running.fence.clone();
    fence.holder = holder;
    Finish {
        id: running.id,
        stream: running.stream,
        fence,
        unique: running.unique.clone(),
        event: event.into(),
    }
}

#[tokio::test]
async fn an_attempt_that_a_failover_issues_twice_is_settled_by_one() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let replica = promoted(&bench).await;
    let lost = bench.run("a").await;
    let after = Bench::on(replica).await;
    let again = after.run("b").await;
    assert_eq!((again.id, again.fence.attempt), (id, lost.fence.attempt));

    let late = completion(&lost, lost.fence.holder.clone());
    assert_eq!(after.finish(&late).await, FinishOutcome::Late);
    let finish = after.finishing(&again, &complete(&again)).await;
    assert_eq!(after.finish(&finish).await, FinishOutcome::Done);
    let events = [
        EventType::Submitted,
        EventType::Started,
        EventType::LateCompletionRefused,
        EventType::Completed,
    ];
    assert_eq!(after.events(id).await, events);
    after.check(id).await;
}

/// The attempt number alone would not do: this is what the nonce is for.
#[tokio::test]
async fn without_its_nonce_the_other_start_could_settle_the_attempt() {
    let bench = Bench::new().await;
    bench.submit().await;
    let replica = promoted(&bench).await;
    let lost = bench.run("a").await;
    let after = Bench::on(replica).await;
    let again = after.run("b").await;
    let alike = completion(&lost, again.fence.holder.clone());
    assert_eq!(after.finish(&alike).await, FinishOutcome::Done);
}
