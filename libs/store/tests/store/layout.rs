use taskweir_store::{
    LayoutError, Limits, MigrateOptions, RedisSettings, Store, StoreError, migrate,
};
use taskweir_testkit::{Persistence, TestRedis};

use crate::bench::{Bench, settings};

async fn refusal(settings: &RedisSettings) -> LayoutError {
    match Store::connect(settings, Limits::default()).await {
        Err(StoreError::Layout(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_service_needs_a_layout_of_its_own_version() {
    let redis = TestRedis::start();
    let settings = settings(&redis);
    assert!(matches!(
        refusal(&settings).await,
        LayoutError::Absent { .. }
    ));
    let made = migrate(&settings, MigrateOptions { partitions: 4 })
        .await
        .unwrap();
    assert_eq!((made.from, made.to, made.partitions), (0, 1, 4));
    let again = migrate(&settings, MigrateOptions { partitions: 9 })
        .await
        .unwrap();
    assert_eq!(
        (again.from, again.partitions),
        (1, 4),
        "idempotent; the number stays"
    );
    let store = Store::connect(&settings, Limits::default()).await.unwrap();
    assert_eq!(store.partition_count(), 4);
    for _ in 0..20 {
        let id = store.mint();
        assert_eq!(
            store.partition_of(id).unwrap().keys().partition(),
            id.partition()
        );
    }
    let _ = redis.cli(&["HSET", "tw:schema", "version", "99"]);
    assert_eq!(
        refusal(&settings).await,
        LayoutError::New {
            found: 99,
            known: 1
        }
    );
    // It has grown, and its migration says that this program may go on with it.
    let _ = redis.cli(&["HSET", "tw:schema", "oldest", "1"]);
    let store = Store::connect(&settings, Limits::default()).await.unwrap();
    assert_eq!(store.partition_count(), 4);
    // The next step takes away what this program needs.
    let _ = redis.cli(&["HSET", "tw:schema", "oldest", "2"]);
    assert_eq!(
        refusal(&settings).await,
        LayoutError::New {
            found: 99,
            known: 1
        }
    );
    let _ = redis.cli(&["HSET", "tw:schema", "version", "x"]);
    assert!(matches!(
        refusal(&settings).await,
        LayoutError::Damaged { .. }
    ));
}

/// As if the program had died after the change and before its number was noted.
#[tokio::test]
async fn a_migration_whose_number_was_not_noted_is_made_again_and_changes_nothing() {
    let bench = Bench::with_partitions(4).await;
    let id = bench.submit().await;
    let before = bench.redis.cli(&["HGETALL", "tw:schema"]);
    assert_eq!(bench.redis.cli(&["HDEL", "tw:schema", "version"]), "1");
    let settings = settings(&bench.redis);
    let again = migrate(&settings, MigrateOptions { partitions: 9 })
        .await
        .unwrap();
    assert_eq!((again.from, again.to, again.partitions), (0, 1, 4));
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    };
    let after = bench.redis.cli(&["HGETALL", "tw:schema"]);
    assert_eq!(sorted(after), sorted(before));
    bench.check(id).await;
}

/// The proof that every script keeps to one slot can fail: on a node of a cluster Redis itself refuses another one.
#[tokio::test]
async fn a_marked_script_cannot_reach_into_another_slot_of_a_cluster() {
    let redis = TestRedis::start();
    let reach = "#!lua\nreturn redis.call('EXISTS', 'of-another-slot')";
    let answer = redis.cli(&["EVAL", reach, "1", "a-key"]);
    let clustered = redis
        .cli(&["INFO", "cluster"])
        .contains("cluster_enabled:1");
    // Before Redis 7 there were no marks.
    let refused = answer.contains("do not hash to the same slot");
    let old = answer.contains("ERR Error compiling script");
    assert_eq!(refused, clustered && !old, "{answer}");
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_with_the_mend() {
    let redis = TestRedis::start_with(Persistence::None, &["--maxmemory-policy", "allkeys-lru"]);
    let error = refusal(&settings(&redis)).await;
    assert!(
        error
            .to_string()
            .contains("CONFIG SET maxmemory-policy noeviction"),
        "{error}"
    );
}

/// Managed servers may forbid `INFO`: that stops nobody.
#[tokio::test]
async fn a_user_who_may_not_ask_info_works_all_the_same() {
    let bench = Bench::new().await;
    let user = [
        "ACL",
        "SETUSER",
        "app",
        "on",
        ">a-secret",
        "~*",
        "&*",
        "+@all",
        "-info",
    ];
    assert_eq!(bench.redis.cli(&user), "OK");
    let url = format!("redis://app:a-secret@127.0.0.1:{}", bench.redis.port());
    let store = Store::connect(&RedisSettings::at(url), Limits::default())
        .await
        .unwrap();
    let partition = store.partitions().remove(0);
    assert_eq!(partition.run_id().await.unwrap(), "unknown");
    assert_eq!(store.memory().await.unwrap().limit, None);
    let id = bench.submit().await;
    assert!(store.story(id).await.unwrap().is_some());
}

#[tokio::test]
async fn scripts_forgotten_by_redis_are_loaded_again() {
    let bench = Bench::new().await;
    let first = bench.submit().await;
    let _ = bench.redis.cli(&["SCRIPT", "FLUSH"]);
    let second = bench.submit().await;
    bench.check(first).await;
    bench.check(second).await;
}

#[tokio::test]
async fn away_is_told_from_refused() {
    let mut bench = Bench::new().await;
    bench.redis.kill();
    let error = bench.store.ping().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    bench.redis.restart();
    taskweir_testkit::eventually("Redis is back", async || bench.store.ping().await.ok()).await;
}

#[tokio::test]
async fn with_memory_full_submits_are_refused_and_the_queue_drains() {
    let bench = Bench::new().await;
    let first = bench.submit().await;
    let second = bench.submit().await;
    let running = bench.run("w").await;
    let _ = bench.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = taskweir_store::Submission {
        id: bench.mint(),
        spec: bench.spec(),
        idempotency: None,
    };
    let error = bench.partition.submit(&[refused]).await.unwrap_err();
    assert!(matches!(error, StoreError::OutOfMemory), "{error}");
    bench.complete(&running).await;
    let running = bench.run("w").await;
    bench.complete(&running).await;
    bench.check(first).await;
    bench.check(second).await;
}
