use std::time::Duration;

use serde_json::json;
use taskweir_domain::Status;
use taskweir_testkit::eventually_within;

use crate::audit::audit;
use crate::fleet::Fleet;

#[tokio::test]
async fn ten_thousand_tasks_over_three_workers_each_complete_once() {
    let fleet = Fleet::start("10").await;
    let workers: Vec<_> = (0..3).map(|_| fleet.spawn("worker", &[])).collect();
    let tasks: Vec<_> = (0..1_000)
        .map(|n| json!({ "type": "echo", "data": n, "priority": "low" }))
        .collect();
    for _ in 0..10 {
        fleet.submit_batch(&tasks).await;
    }
    eventually_within(Duration::from_secs(120), "all complete", async || {
        let stats = fleet.get("/stats").await;
        (stats["totals"]["completed"] == 10_000).then_some(())
    })
    .await;
    fleet.settled(Duration::from_secs(10)).await;
    let audit = audit(&fleet.store).await;
    assert_eq!(audit.by_status, [(Status::Completed, 10_000)].into());
    // The fold refuses a second completion: three events a task are one of each.
    assert_eq!(audit.events, 30_000);
    let stats = fleet.get("/stats").await;
    assert_eq!(stats["ledger"]["balanced"], true);
    let mut used = 0;
    for worker in fleet.get("/workers").await["workers"].as_array().unwrap() {
        assert_eq!(worker["running"], 0);
        used += 1;
    }
    assert_eq!(used, 3);
    for worker in workers {
        assert!(worker.stop().await.success());
    }
    assert!(
        fleet.get("/workers").await["workers"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn mixed_traffic_ends_where_it_should_and_everything_agrees() {
    let fleet = Fleet::start("10").await;
    let _workers: Vec<_> = (0..2).map(|_| fleet.spawn("worker", &[])).collect();
    let quick = json!({ "initial_delay": 0.05, "jitter": 0.5 });
    let kinds = [
        json!({ "type": "echo" }),
        json!({ "type": "fail", "data": { "times": 1 }, "retry": quick, "labels": { "tenant": "a" } }),
        json!({ "type": "fail", "max_retries": 2, "retry": quick }),
        json!({ "type": "fail", "data": { "fatal": true } }),
        json!({ "type": "process", "data": { "duration_ms": 5 }, "delay": 0.2, "priority": "high" }),
        json!({ "type": "nobody-knows" }),
    ];
    let tasks: Vec<_> = kinds.iter().cycle().take(600).cloned().collect();
    let ids = fleet.submit_batch(&tasks).await;
    eventually_within(Duration::from_secs(60), "all rest", async || {
        let totals = fleet.get("/stats").await["totals"].clone();
        (totals["completed"] == 300 && totals["failed"] == 200 && totals["pending"] == 100)
            .then_some(())
    })
    .await;
    // Every third dead letter comes back and dies again, every third is removed.
    let dead: Vec<_> = fleet.get("/dlq/failed-tasks?limit=500").await["tasks"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(dead.len(), 200);
    for (index, task) in dead.iter().enumerate() {
        let path = format!(
            "{}/dlq/failed-tasks/{}",
            fleet.base,
            task["id"].as_str().unwrap()
        );
        let answer = match index % 3 {
            0 => fleet
                .http
                .post(format!("{path}/retry"))
                .send()
                .await
                .unwrap(),
            1 => fleet.http.delete(path).send().await.unwrap(),
            _ => continue,
        };
        assert!(answer.status().is_success());
    }
    eventually_within(Duration::from_secs(60), "all rest again", async || {
        let totals = fleet.get("/stats").await["totals"].clone();
        (totals["failed"] == 133 && totals["removed"] == 67).then_some(())
    })
    .await;
    fleet.settled(Duration::from_secs(10)).await;
    let audit = audit(&fleet.store).await;
    assert_eq!(audit.tasks, ids.len());
    let of_label = fleet.get("/tasks?label=tenant%3Da&limit=500").await;
    assert_eq!(of_label["tasks"].as_array().unwrap().len(), 100);
    let of_error = fleet.get("/tasks?error=fatal&limit=500").await;
    let of_error = of_error["tasks"].as_array().unwrap();
    assert!(
        of_error.iter().all(|task| task["status"] == "failed"),
        "lists show nothing that was removed"
    );
    assert!(
        (60..=70).contains(&of_error.len()),
        "two of three are left: {}",
        of_error.len()
    );
    let found = fleet.get("/tasks?q=nobody&limit=500").await;
    assert_eq!(found["tasks"].as_array().unwrap().len(), 100);
    assert_eq!(found["tasks"][0]["waiting_for_worker"], true);
}
