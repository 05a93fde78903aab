//! More partitions than a layout was made with: a second layout beside the first, as the book tells.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use taskweir_store::{Limits, RedisSettings, Store};
use taskweir_testkit::{eventually_within, free_port};

use crate::audit::audit;
use crate::fleet::{Fleet, command};

const SOON: Duration = Duration::from_secs(60);
/// The new layout.
const WIDER: (&str, &str) = ("TASKWEIR_PREFIX", "tw2");

#[tokio::test]
async fn a_second_layout_takes_over_while_the_first_runs_dry() {
    let fleet = Fleet::with_partitions("5", 1).await;
    let _old_worker = fleet.spawn("worker", &[]);
    let later = json!({ "type": "echo", "data": "old", "delay": 3 });
    let old = fleet.submit_batch(&vec![later; 100]).await;

    let made = command(Path::new("/"))
        .args(["migrate", "--json"])
        .env("REDIS_URL", fleet.redis.url())
        .env("PARTITIONS", "24")
        .env(WIDER.0, WIDER.1)
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!((&made["to"], &made["partitions"]), (&json!(1), &json!(24)));
    let address = format!("127.0.0.1:{}", free_port());
    let spawn = |service: &str| fleet.spawn(service, &[WIDER, ("GATEWAY_ADDR", &address)]);
    let _new = ["gateway", "worker", "scheduler", "projector"].map(spawn);
    let ask = async |base: &str, path: &str| -> Option<Value> {
        let answer = fleet.http.get(format!("{base}{path}")).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    };
    let wider = format!("http://{address}");
    eventually_within(SOON, "the new gateway answers", async || {
        ask(&wider, "/stats").await
    })
    .await;
    let body = json!({ "tasks": vec![json!({ "type": "echo", "data": "new" }); 200] });
    let post = fleet.http.post(format!("{wider}/tasks/batch")).json(&body);
    assert_eq!(post.send().await.unwrap().status().as_u16(), 202);

    // The new one works, and the old one comes to its end; neither counts what is the other's.
    for (base, count) in [(&wider, 200), (&fleet.base, 100)] {
        eventually_within(SOON, "all have completed", async || {
            let stats = ask(base, "/stats").await?;
            let done = stats["totals"]["completed"] == count;
            (done && stats["ledger"]["submitted"] == count).then_some(())
        })
        .await;
    }
    let settings = RedisSettings {
        prefix: WIDER.1.to_owned(),
        ..RedisSettings::at(fleet.redis.url())
    };
    let store = Store::connect(&settings, Limits::default()).await.unwrap();
    assert_eq!(store.partition_count(), 24);
    let mut used = 0;
    for partition in store.partitions() {
        used += usize::from(partition.log_end().await.unwrap().1 > 0);
    }
    assert!(
        used > 12,
        "tasks are spread: {used} of 24 partitions have some"
    );
    fleet.settled(SOON).await;
    audit(&fleet.store).await;
    // Histories stay where they were.
    let history = fleet.get(&format!("/tasks/{}/history", old[0])).await;
    assert_eq!(history["complete"], true);
}
