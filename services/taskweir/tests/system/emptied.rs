//! Redis emptied under running services (FLUSHALL): nothing goes on as if a new system had begun.

use std::time::Duration;

use serde_json::json;
use taskweir_testkit::eventually_within;

use crate::fleet::{Fleet, command};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn services_notice_that_their_layout_is_gone_and_begin_no_other() {
    let mut fleet = Fleet::start("10").await;
    let mut worker = fleet.spawn("worker", &[]);
    let id = fleet.submit(&json!({ "type": "echo" })).await;
    fleet.reaches(&id, "completed", SOON).await;
    assert_eq!(fleet.redis.cli(&["FLUSHALL"]), "OK");

    let submit = fleet.http.post(format!("{}/tasks", fleet.base));
    let answer = submit
        .json(&json!({ "type": "echo" }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 503);
    let told = answer.text().await.unwrap();
    assert!(
        told.contains("layout is gone") && told.contains("taskweir migrate"),
        "{told}"
    );
    assert_eq!(fleet.status("/health/ready").await, 503);
    let health = fleet.http.get(format!("{}/health", fleet.base));
    let health = health.send().await.unwrap();
    assert_eq!(health.status().as_u16(), 503);
    let told = health.text().await.unwrap();
    assert!(told.contains("layout is gone"), "{told}");

    // Who would write by itself ends, so that whoever runs it hears of it.
    let ended = |process: &mut crate::fleet::Process| process.has_ended().then_some(());
    eventually_within(SOON, "the worker ends", async || ended(&mut worker)).await;
    for mut service in fleet.services.drain(1..) {
        eventually_within(SOON, "a service ends", async || ended(&mut service)).await;
    }
    let logs = fleet.redis.cli(&["KEYS", "*:log"]);
    let ready = fleet.redis.cli(&["KEYS", "*:ready:*"]);
    assert_eq!((logs.as_str(), ready.as_str()), ("", ""));

    let dir = tempfile::tempdir().unwrap();
    let migrated = command(dir.path())
        .arg("migrate")
        .env("REDIS_URL", fleet.redis.url())
        .env("PARTITIONS", fleet.store.partition_count().to_string())
        .output()
        .unwrap();
    assert!(migrated.status.success());
    let _services = ["worker", "scheduler", "projector"].map(|name| fleet.spawn(name, &[]));
    let id = fleet.submit(&json!({ "type": "echo" })).await;
    fleet.reaches(&id, "completed", SOON).await;
    assert_eq!(fleet.status("/health/ready").await, 200);
}

#[tokio::test]
async fn one_of_several_partitions_that_is_emptied_is_noticed_too() {
    let mut fleet = Fleet::with_partitions("10", 3).await;
    let mut worker = fleet.spawn("worker", &[]);
    let log = fleet.store.partitions()[1].keys().log().to_owned();
    assert_eq!(fleet.redis.cli(&["DEL", &log]), "1");
    assert_eq!(fleet.status("/health/ready").await, 503);
    assert_eq!(fleet.status("/health").await, 503);
    eventually_within(SOON, "the worker ends", async || {
        worker.has_ended().then_some(())
    })
    .await;
    for mut service in fleet.services.drain(1..) {
        eventually_within(SOON, "a service ends", async || {
            service.has_ended().then_some(())
        })
        .await;
    }
}
