//! A Redis that is full refuses submits alone: what is due becomes pending, and the views follow.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use taskweir_domain::{Actor, Status, TaskId, TaskSpec};
use taskweir_projector::Config;
use taskweir_runtime::Readiness;
use taskweir_store::{
    Cancelled, Limits, MigrateOptions, PromoteOutcome, RedisSettings, Store, StoreError,
    Submission, migrate,
};
use taskweir_testkit::{TestRedis, eventually};
use tokio_util::sync::CancellationToken;

/// Submits a task that is due after a while.
async fn submit(store: &Store, delay_ms: u64) -> Result<TaskId, StoreError> {
    let mut spec = TaskSpec::new("default".parse().unwrap(), "work".parse().unwrap());
    spec.delay_ms = Some(delay_ms);
    let id = store.mint();
    let submission = Submission {
        id,
        spec,
        idempotency: None,
    };
    let partition = store.partition_of(id).unwrap();
    partition.submit(&[submission]).await?;
    Ok(id)
}

/// Waits until the views say how many tasks are scheduled, pending and cancelled.
async fn views_say(store: &Store, wanted: [u64; 3]) {
    let statuses = [Status::Scheduled, Status::Pending, Status::Cancelled];
    eventually(&format!("{wanted:?} in the views"), async || {
        let totals = store.totals().await.unwrap();
        (statuses.map(|status| totals.of_status(status)) == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_memory_full_due_tasks_become_pending_and_the_views_follow() {
    let redis = TestRedis::start();
    let settings = RedisSettings::at(redis.url());
    migrate(&settings, MigrateOptions { partitions: 1 })
        .await
        .unwrap();
    let store = Store::connect(&settings, Limits::default()).await.unwrap();
    let config = Config { redis: settings };
    let projector = config.build(Readiness::default()).await.unwrap();
    let stop = CancellationToken::new();
    let story = async {
        let (due, later) = (submit(&store, 1).await, submit(&store, 3_600_000).await);
        views_say(&store, [2, 0, 0]).await;

        assert_eq!(redis.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
        let refused = submit(&store, 1).await.unwrap_err();
        assert!(matches!(refused, StoreError::OutOfMemory), "{refused}");
        let partition = store.partitions().remove(0);
        let waiting = partition.due(10).await.unwrap().0;
        let ids: Vec<TaskId> = waiting.iter().map(|promotion| promotion.id).collect();
        assert_eq!(ids, [due.unwrap()]);
        let promoted = partition.promote(&waiting).await.unwrap();
        assert_eq!(promoted, [PromoteOutcome::Done]);
        views_say(&store, [1, 1, 0]).await;
        let cancelled = store.cancel(later.unwrap(), &Actor::anonymous()).await;
        assert_eq!(cancelled.unwrap(), Cancelled::Now);
        views_say(&store, [0, 1, 1]).await;
        stop.cancel();
    };
    let (ran, ()) = tokio::join!(projector.run(stop.clone()), story);
    ran.unwrap();
}
