//! Many tasks at once: bulk operations and those who run them.

use std::time::Duration;

use serde_json::{Value, json};
use taskweir_testkit::eventually_within;

use crate::audit::audit;
use crate::fleet::Fleet;

const SOON: Duration = Duration::from_secs(200);

async fn post(fleet: &Fleet, path: &str, body: &Value) -> (u16, Value) {
    let answer = fleet
        .http
        .post(format!("{}{path}", fleet.base))
        .json(body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn total(fleet: &Fleet, status: &str) -> u64 {
    fleet.get("/stats").await["totals"][status]
        .as_u64()
        .unwrap()
}

async fn totals_are(fleet: &Fleet, status: &str, count: u64) {
    eventually_within(SOON, &format!("{count} are {status}"), async || {
        (total(fleet, status).await == count).then_some(())
    })
    .await;
}

/// Dead letters of a type, made by a worker.
async fn dead_letters(fleet: &Fleet, count: usize) -> Vec<String> {
    let task = json!({ "type": "fail", "data": { "fatal": true } });
    let mut ids = Vec::new();
    for _ in 0..count / 500 {
        ids.extend(fleet.submit_batch(&vec![task.clone(); 500]).await);
    }
    totals_are(fleet, "failed", count as u64).await;
    ids
}

async fn ended(fleet: &Fleet, id: &str) -> Value {
    eventually_within(SOON, "the operation ends", async || {
        let operation = fleet.get(&format!("/operations/{id}")).await;
        (operation["state"] != "running").then_some(operation)
    })
    .await
}

#[tokio::test]
async fn peer_17_a_bulk_retry_outlives_its_runner_and_retries_each_task_once() {
    let dead = taskweir_testkit::scale("BULK_TASKS", 5_000);
    let fleet = Fleet::start("10").await;
    let worker = fleet.spawn("worker", &[]);
    let ids = dead_letters(&fleet, dead).await;
    // Nobody runs them again meanwhile.
    drop(worker);
    let (status, counted) = post(&fleet, "/dlq/retry", &json!({ "dry_run": true })).await;
    assert_eq!((status, &counted["matching"]), (200, &json!(dead)));
    let wanted = json!({ "type": "fail", "reason": "the provider is back" });
    let (status, begun) = post(&fleet, "/dlq/retry", &wanted).await;
    assert_eq!(status, 202);
    let id = begun["id"].as_str().unwrap();
    let path = format!("/operations/{id}");
    // Its runners are killed again and again, in the middle of it.
    let mut scheduler = fleet.spawn("scheduler", &[]);
    let mut fleet = fleet;
    fleet.services.remove(1).kill();
    for share in 1..=3 {
        let under_way = eventually_within(SOON, "it is under way", async || {
            let operation = fleet.get(&path).await;
            let done = operation["done"].as_u64().unwrap();
            (done >= share * dead as u64 / 8).then_some(operation)
        })
        .await;
        assert_eq!(under_way["state"], "running", "it is killed at work");
        scheduler.kill();
        scheduler = fleet.spawn("scheduler", &[]);
    }
    let operation = ended(&fleet, id).await;
    assert_eq!(operation["state"], "completed");
    assert_eq!(
        (&operation["done"], &operation["skipped"]),
        (&json!(dead), &json!(0))
    );
    for task in ids.iter().step_by(97) {
        let events = fleet.events(task).await;
        let retries = events.iter().filter(|event| *event == "DlqRetried");
        assert_eq!(retries.count(), 1, "{events:?}");
    }
    let history = fleet.get(&format!("/tasks/{}/history", ids[0])).await;
    let last = history["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["actor"], "anonymous");
    let cause = last["cause"].as_str().unwrap();
    assert!(
        cause.contains("the provider is back") && cause.contains(id),
        "{cause}"
    );
    fleet.settled(SOON).await;
    let stats = fleet.get("/stats").await;
    assert_eq!(stats["totals"]["pending"], dead);
    let counted: u64 = audit(&fleet.store).await.retried;
    assert_eq!(counted, dead as u64, "each once");
}

#[tokio::test]
async fn filters_choose_what_is_cancelled_and_a_stop_leaves_the_rest() {
    let fleet = Fleet::start("10").await;
    let task = |kind: &str, queue: &str| json!({ "type": kind, "queue": queue, "labels": { "customer": "7" } });
    fleet.submit_batch(&vec![task("mail", "a"); 300]).await;
    fleet.submit_batch(&vec![task("mail", "b"); 200]).await;
    fleet.submit_batch(&vec![task("report", "a"); 100]).await;
    fleet.settled(SOON).await;
    let filter = json!({ "type": "mail", "queue": "a", "label": "customer=7" });
    let (_, begun) = post(&fleet, "/tasks/cancel", &filter).await;
    let operation = ended(&fleet, begun["id"].as_str().unwrap()).await;
    assert_eq!(
        (&operation["matching"], &operation["done"]),
        (&json!(300), &json!(300))
    );
    totals_are(&fleet, "cancelled", 300).await;
    // Stopped before a scheduler takes it up, it does nothing.
    let mut fleet = fleet;
    fleet.services.remove(1).kill();
    let (_, begun) = post(&fleet, "/tasks/cancel", &json!({})).await;
    let path = format!("/operations/{}", begun["id"].as_str().unwrap());
    let stop = || fleet.http.delete(format!("{}{path}", fleet.base)).send();
    let stopped: Value = stop().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&stopped["state"], &stopped["stopped_by"]),
        (&json!("stopped"), &json!("anonymous"))
    );
    let _scheduler = fleet.spawn("scheduler", &[]);
    fleet.submit(&task("mail", "b")).await;
    let (_, begun) = post(&fleet, "/tasks/cancel", &json!({ "queue": "b" })).await;
    let operation = ended(&fleet, begun["id"].as_str().unwrap()).await;
    assert_eq!(operation["done"], 201);
    totals_are(&fleet, "cancelled", 501).await;
    assert_eq!(total(&fleet, "pending").await, 100);
    let listed = fleet.get("/operations").await;
    assert_eq!(listed["operations"].as_array().unwrap().len(), 3);
    fleet.settled(SOON).await;
    audit(&fleet.store).await;
}
