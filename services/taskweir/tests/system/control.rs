//! What people do while the system runs: cancel, pause, time limits.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use taskweir_testkit::{eventually, eventually_within};

use crate::audit::audit;
use crate::fleet::Fleet;

async fn post(fleet: &Fleet, path: &str) -> (u16, Value) {
    let answer = fleet
        .http
        .post(format!("{}{path}", fleet.base))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_running_task_is_cancelled_within_a_second_and_a_waiting_one_at_once() {
    let fleet = Fleet::start("10").await;
    let _worker = fleet.spawn("worker", &[]);
    let runs = fleet
        .submit(&json!({ "type": "sleep", "data": { "seconds": 600 } }))
        .await;
    let waits = fleet
        .submit(&json!({ "type": "sleep", "data": { "seconds": 600 }, "delay": 600 }))
        .await;
    fleet
        .reaches(&runs, "processing", Duration::from_secs(20))
        .await;
    let asked = Instant::now();
    let (status, task) = post(&fleet, &format!("/tasks/{runs}/cancel")).await;
    assert_eq!((status, task["cancelling"].clone()), (202, json!(true)));
    fleet
        .reaches(&runs, "cancelled", Duration::from_secs(5))
        .await;
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(post(&fleet, &format!("/tasks/{waits}/cancel")).await.0, 200);
    assert_eq!(post(&fleet, &format!("/tasks/{runs}/cancel")).await.0, 409);
    let events = fleet.events(&runs).await;
    assert!(events.contains(&"CancelRequested".to_owned()));
    assert_eq!(events.last().unwrap(), "AttemptFailed");
    fleet.settled(Duration::from_secs(10)).await;
    audit(&fleet.store).await;
}

#[tokio::test]
async fn a_cancelled_task_whose_worker_dies_is_cancelled_and_not_run_again() {
    let fleet = Fleet::start("1").await;
    let mut worker = fleet.spawn("worker", &[]);
    // `process` does not listen to cancellation.
    let id = fleet
        .submit(&json!({ "type": "process", "data": { "duration_ms": 60_000 } }))
        .await;
    fleet
        .reaches(&id, "processing", Duration::from_secs(20))
        .await;
    assert_eq!(post(&fleet, &format!("/tasks/{id}/cancel")).await.0, 202);
    worker.kill();
    let task = fleet
        .reaches(&id, "cancelled", Duration::from_secs(20))
        .await;
    assert_eq!(task["attempt"], 1);
    fleet.settled(Duration::from_secs(10)).await;
    audit(&fleet.store).await;
}

#[tokio::test]
async fn peer_06_a_paused_queue_starts_nothing_and_others_go_on() {
    let fleet = Fleet::start("10").await;
    let _workers: Vec<_> = (0..2)
        .map(|_| fleet.spawn("worker", &[("WORKER_QUEUES", "default,mail")]))
        .collect();
    let warm = fleet
        .submit(&json!({ "type": "echo", "queue": "mail" }))
        .await;
    fleet
        .reaches(&warm, "completed", Duration::from_secs(20))
        .await;
    assert_eq!(post(&fleet, "/queues/mail/pause").await.0, 200);
    let mut paused = Vec::new();
    for _ in 0..50 {
        paused.push(
            fleet
                .submit(&json!({ "type": "echo", "queue": "mail" }))
                .await,
        );
        let other = fleet.submit(&json!({ "type": "echo" })).await;
        fleet
            .reaches(&other, "completed", Duration::from_secs(20))
            .await;
    }
    for id in &paused {
        assert_eq!(
            fleet.get(&format!("/tasks/{id}")).await["status"],
            "pending"
        );
    }
    assert_eq!(fleet.get("/queues/mail").await["paused"], true);
    assert_eq!(post(&fleet, "/queues/mail/resume").await.0, 200);
    for id in &paused {
        let task = fleet
            .reaches(id, "completed", Duration::from_secs(20))
            .await;
        assert_eq!(
            (task["attempt"].clone(), task["losses"].clone()),
            (json!(1), json!(0))
        );
    }
    fleet.settled(Duration::from_secs(10)).await;
    audit(&fleet.store).await;
}

#[tokio::test]
async fn what_no_worker_takes_in_time_expires_and_is_counted_apart() {
    let fleet = Fleet::start("10").await;
    let late = fleet
        .submit(&json!({ "type": "echo", "expires_in": 0.2 }))
        .await;
    let task = fleet
        .reaches(&late, "expired", Duration::from_secs(20))
        .await;
    assert_eq!(task["attempt"], 0);
    let _worker = fleet.spawn("worker", &[]);
    let timely = fleet
        .submit(&json!({ "type": "echo", "expires_in": 60 }))
        .await;
    fleet
        .reaches(&timely, "completed", Duration::from_secs(20))
        .await;
    let slow = fleet.submit(&json!({ "type": "sleep", "data": { "seconds": 60 }, "timeout": 0.2, "max_retries": 0 })).await;
    let slow = fleet
        .reaches(&slow, "failed", Duration::from_secs(20))
        .await;
    assert_eq!(slow["error"]["kind"], "timeout");
    fleet.settled(Duration::from_secs(10)).await;
    let totals = fleet.get("/stats").await["totals"].clone();
    assert_eq!(
        (totals["expired"].clone(), totals["failed"].clone()),
        (json!(1), json!(1))
    );
    audit(&fleet.store).await;
}

#[tokio::test]
async fn four_partitions_do_the_same_work() {
    let fleet = Fleet::with_partitions("2", 4).await;
    let mut workers: Vec<_> = (0..2).map(|_| fleet.spawn("worker", &[])).collect();
    let quick = json!({ "initial_delay": 0.05 });
    let kinds = [
        json!({ "type": "echo" }),
        json!({ "type": "fail", "data": { "times": 1 }, "retry": quick }),
        json!({ "type": "fail", "data": { "fatal": true } }),
        json!({ "type": "process", "data": { "duration_ms": 200 }, "delay": 0.1 }),
        json!({ "type": "nobody-knows" }),
    ];
    let tasks: Vec<_> = kinds.iter().cycle().take(1_000).cloned().collect();
    fleet.submit_batch(&tasks).await;
    eventually("under way", async || {
        (fleet.get("/stats").await["totals"]["completed"].as_u64()? > 50).then_some(())
    })
    .await;
    workers[0].kill();
    eventually_within(Duration::from_secs(60), "all rest", async || {
        let totals = fleet.get("/stats").await["totals"].clone();
        (totals["completed"] == 600 && totals["failed"] == 200 && totals["pending"] == 200)
            .then_some(())
    })
    .await;
    fleet.settled(Duration::from_secs(10)).await;
    assert_eq!(audit(&fleet.store).await.tasks, 1_000);
    assert_eq!(
        fleet.get("/stats").await["positions"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    assert!(fleet.get("/queues/default").await["parked"] == 200);
}

#[tokio::test]
async fn dead_letters_take_the_filters_of_any_list() {
    let fleet = Fleet::start("10").await;
    let _worker = fleet.spawn("worker", &[]);
    let tasks = [
        json!({ "type": "fail", "data": { "fatal": true }, "priority": "high" }),
        // A sleep without seconds is an invalid payload.
        json!({ "type": "sleep", "labels": { "customer": "7" } }),
        json!({ "type": "echo" }),
    ];
    let ids = fleet.submit_batch(&tasks).await;
    for (id, end) in ids.iter().zip(["failed", "failed", "completed"]) {
        fleet.reaches(id, end, Duration::from_secs(20)).await;
    }
    fleet.settled(Duration::from_secs(10)).await;
    let list = async |path: String| -> BTreeSet<String> {
        let list = fleet.get(&path).await;
        let tasks = list["tasks"].as_array().unwrap().iter();
        tasks
            .map(|task| task["id"].as_str().unwrap().to_owned())
            .collect()
    };
    for (filter, count) in [
        ("", 2),
        ("&queue=default", 2),
        ("&queue=mail", 0),
        ("&type=fail", 1),
        ("&priority=high", 1),
        ("&label=customer%3D7", 1),
        ("&error=invalid_payload", 1),
        ("&worker=nobody", 0),
        ("&created_after=2020-01-01T00:00:00Z", 2),
        ("&created_before=2020-01-01T00:00:00Z", 0),
        ("&q=slee", 1),
    ] {
        let dead = list(format!("/dlq/failed-tasks?limit=500{filter}")).await;
        assert_eq!(dead.len(), count, "{filter}");
        for path in ["/dlq/failed-tasks", "/tasks"] {
            let same = list(format!("{path}?status=failed{filter}")).await;
            assert_eq!(same, dead, "{path} {filter}");
        }
        for status in ["pending", "completed", "expired"] {
            let none = list(format!("/dlq/failed-tasks?status={status}{filter}")).await;
            assert!(none.is_empty(), "{status} {filter}");
        }
    }
}
