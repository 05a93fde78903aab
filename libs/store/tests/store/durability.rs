//! What a submit waits for, against real replicas and a real disk.

use taskweir_store::{
    Durability, LayoutError, Limits, MigrateOptions, Store, StoreError, Submission, SubmitOutcome,
    migrate,
};
use taskweir_testkit::{Persistence, TestRedis, eventually};

use crate::bench::{Bench, settings};

fn wanting(durability: &str) -> Limits {
    Limits {
        durability: durability.parse().unwrap(),
        ..Limits::default()
    }
}

/// A replica that follows.
async fn replica(redis: &TestRedis) -> TestRedis {
    // A replica is not kept waiting for others.
    let told = redis.cli(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    assert_eq!(told, "OK");
    let replica = TestRedis::start_with(
        Persistence::Aof,
        &["--replicaof", "127.0.0.1", &redis.port().to_string()],
    );
    eventually("the replica follows", async || {
        let info = replica.cli(&["INFO", "replication"]);
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    replica
}

async fn submit(bench: &Bench, submission: &Submission) -> Result<SubmitOutcome, StoreError> {
    let outcomes = bench
        .partition
        .submit(std::slice::from_ref(submission))
        .await;
    outcomes.map(|mut outcomes| outcomes.remove(0))
}

fn submission(bench: &Bench) -> Submission {
    Submission {
        id: bench.mint(),
        spec: bench.spec(),
        idempotency: None,
    }
}

#[tokio::test]
async fn what_a_replica_was_waited_for_it_has() {
    let bench = Bench::limited(wanting("replicas:1")).await;
    let replica = replica(&bench.redis).await;
    // Scripts that Redis does not know yet, or knows no more, are no trouble.
    for _ in 0..2 {
        let submission = submission(&bench);
        let outcome = submit(&bench, &submission).await.unwrap();
        assert!(matches!(outcome, SubmitOutcome::Accepted(_)), "{outcome:?}");
        let record = bench.partition.keys().task(submission.id);
        assert_eq!(replica.cli(&["EXISTS", &record]), "1");
        assert_eq!(bench.redis.cli(&["SCRIPT", "FLUSH"]), "OK");
    }
}

#[tokio::test]
async fn without_its_replica_nothing_is_acknowledged_and_a_repeat_makes_one_task() {
    let bench = Bench::limited(wanting("replicas:1")).await;
    let submission = submission(&bench);
    for _ in 0..2 {
        // The second time the task is there already, and no replica has it all the same.
        let error = submit(&bench, &submission).await.unwrap_err();
        let wanted = Durability::Replicas(1);
        assert!(
            matches!(error, StoreError::Unconfirmed(found) if found == wanted),
            "{error}"
        );
        assert!(error.is_transient());
    }
    let _replica = replica(&bench.redis).await;
    let outcome = submit(&bench, &submission).await.unwrap();
    assert!(matches!(outcome, SubmitOutcome::Repeated(_)), "{outcome:?}");
    assert_eq!(bench.events(submission.id).await.len(), 1);
}

#[tokio::test]
async fn a_disk_is_waited_for_where_the_server_can() {
    let redis = TestRedis::start_with(Persistence::Aof, &["--appendfsync", "everysec"]);
    let settings = settings(&redis);
    migrate(&settings, MigrateOptions { partitions: 1 })
        .await
        .unwrap();
    let unknown = redis
        .cli(&["WAITAOF", "1", "0", "1"])
        .starts_with("ERR unknown command");
    match Store::connect(&settings, wanting("fsync")).await {
        Err(StoreError::Layout(error @ LayoutError::Durability { .. })) => {
            assert!(unknown, "{error}");
            assert!(error.to_string().contains("7.2"), "{error}");
        }
        Err(error) => panic!("{error}"),
        Ok(store) => {
            assert!(!unknown);
            let id = store.mint();
            let submission = Submission {
                id,
                spec: taskweir_domain::TaskSpec::new(
                    "default".parse().unwrap(),
                    "work".parse().unwrap(),
                ),
                idempotency: None,
            };
            let partition = store.partition_of(id).unwrap();
            let batch = [submission];
            let outcome = partition.submit(&batch).await.unwrap().remove(0);
            assert!(matches!(outcome, SubmitOutcome::Accepted(_)));
            // What is never synced is never confirmed: the answer waits, and is none.
            assert_eq!(redis.cli(&["CONFIG", "SET", "appendfsync", "no"]), "OK");
            let error = partition.submit(&batch).await.unwrap_err();
            let wanted = Durability::Fsync(0);
            assert!(
                matches!(error, StoreError::Unconfirmed(found) if found == wanted),
                "{error}"
            );
            // Without a file there is no disk to wait for.
            assert_eq!(redis.cli(&["CONFIG", "SET", "appendonly", "no"]), "OK");
            let refused = Store::connect(&settings, wanting("fsync"))
                .await
                .unwrap_err();
            assert!(refused.to_string().contains("append-only"), "{refused}");
        }
    }
}
