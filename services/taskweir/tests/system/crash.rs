use std::time::{Duration, Instant};

use serde_json::json;
use taskweir_testkit::{eventually, eventually_within};

use crate::audit::audit;
use crate::fleet::Fleet;

#[tokio::test]
async fn the_tasks_of_a_killed_worker_run_elsewhere_within_lease_and_two_seconds() {
    let fleet = Fleet::start("2").await;
    let mut first = fleet.spawn("worker", &[]);
    // Long enough that all of them are still seen at work on a busy machine.
    let task = json!({ "type": "sleep", "data": { "seconds": 6 } });
    let ids = fleet.submit_batch(&vec![task; 16]).await;
    for id in &ids {
        fleet
            .reaches(id, "processing", Duration::from_secs(20))
            .await;
    }
    let _second = fleet.spawn("worker", &[]);
    eventually("the second worker is there", async || {
        (fleet.get("/workers").await["workers"]
            .as_array()
            .unwrap()
            .len()
            == 2)
            .then_some(())
    })
    .await;
    first.kill();
    let killed = Instant::now();
    for id in &ids {
        eventually_within(Duration::from_secs(20), "runs elsewhere", async || {
            let task = fleet.get(&format!("/tasks/{id}")).await;
            (task["attempt"] == 2).then_some(())
        })
        .await;
    }
    let took = killed.elapsed();
    assert!(
        took < Duration::from_secs(4),
        "lease 2 s + 2 s, took {took:?}"
    );
    for id in &ids {
        let task = fleet
            .reaches(id, "completed", Duration::from_secs(20))
            .await;
        assert_eq!(
            (task["losses"].clone(), task["failures"].clone()),
            (json!(1), json!(0))
        );
        let events = fleet.events(id).await;
        assert!(events.contains(&"LeaseExpired".to_owned()), "{events:?}");
    }
    fleet.settled(Duration::from_secs(10)).await;
    assert_eq!(audit(&fleet.store).await.started_twice, 16);
}

#[tokio::test]
async fn a_worker_frozen_beyond_its_lease_is_refused_when_it_wakes() {
    let fleet = Fleet::start("1").await;
    let frozen = fleet.spawn("worker", &[]);
    let id = fleet
        .submit(&json!({ "type": "process", "data": { "duration_ms": 3_000 } }))
        .await;
    fleet
        .reaches(&id, "processing", Duration::from_secs(20))
        .await;
    frozen.signal("STOP");
    let _second = fleet.spawn("worker", &[]);
    let task = fleet
        .reaches(&id, "completed", Duration::from_secs(20))
        .await;
    assert_eq!(task["attempt"], 2);
    frozen.signal("CONT");
    eventually("the refusal is in the history", async || {
        fleet
            .events(&id)
            .await
            .contains(&"LateCompletionRefused".to_owned())
            .then_some(())
    })
    .await;
    let task = fleet.get(&format!("/tasks/{id}")).await;
    assert_eq!(
        (task["status"].clone(), task["attempt"].clone()),
        (json!("completed"), json!(2))
    );
    fleet.settled(Duration::from_secs(10)).await;
    assert_eq!(audit(&fleet.store).await.late, 1);
}

#[tokio::test]
async fn a_worker_that_wins_its_own_lost_task_again_keeps_the_new_attempt() {
    let fleet = Fleet::start("1").await;
    let worker = fleet.spawn("worker", &[]);
    let id = fleet
        .submit(&json!({ "type": "process", "data": { "duration_ms": 4_000 } }))
        .await;
    fleet
        .reaches(&id, "processing", Duration::from_secs(20))
        .await;
    worker.signal("STOP");
    eventually("the task was taken away", async || {
        fleet
            .events(&id)
            .await
            .contains(&"LeaseExpired".to_owned())
            .then_some(())
    })
    .await;
    worker.signal("CONT");
    let task = fleet
        .reaches(&id, "completed", Duration::from_secs(20))
        .await;
    // The old attempt's end must not take the new one's lease with it.
    assert_eq!(
        (task["attempt"].clone(), task["losses"].clone()),
        (json!(2), json!(1))
    );
    fleet.settled(Duration::from_secs(10)).await;
    audit(&fleet.store).await;
}

#[tokio::test]
async fn workers_with_unequal_leases_do_not_steal_from_each_other() {
    let fleet = Fleet::start("1").await;
    let patient = fleet.spawn("worker", &[("LEASE_SECONDS", "60")]);
    // Frozen, it says nothing for longer than the others' lease, and for less than its own.
    let id = fleet
        .submit(&json!({ "type": "process", "data": { "duration_ms": 5_000 } }))
        .await;
    fleet
        .reaches(&id, "processing", Duration::from_secs(20))
        .await;
    patient.signal("STOP");
    let _hasty = fleet.spawn("worker", &[("LEASE_SECONDS", "1")]);
    // The janitor and the hasty worker have had time for several leases of theirs.
    let others = json!({ "type": "process", "data": { "duration_ms": 1_500 } });
    let other = fleet.submit(&others).await;
    let other_done = fleet
        .reaches(&other, "completed", Duration::from_secs(20))
        .await;
    assert_eq!(
        other_done["attempt"], 1,
        "longer than its lease, renewed while it ran"
    );
    let again = fleet.submit(&others).await;
    fleet
        .reaches(&again, "completed", Duration::from_secs(20))
        .await;
    assert_eq!(
        fleet.get(&format!("/tasks/{id}")).await["status"],
        "processing"
    );
    patient.signal("CONT");
    let task = fleet
        .reaches(&id, "completed", Duration::from_secs(20))
        .await;
    assert_eq!(
        (task["attempt"].clone(), task["losses"].clone()),
        (json!(1), json!(0)),
        "nobody stole it"
    );
}

#[tokio::test]
async fn peer_38_every_process_of_ours_killed_at_once_loses_nothing() {
    let mut fleet = Fleet::start("1").await;
    let mut workers: Vec<_> = (0..2).map(|_| fleet.spawn("worker", &[])).collect();
    let tasks: Vec<_> = (0..500)
        .map(|_| json!({ "type": "process", "data": { "duration_ms": 20 } }))
        .collect();
    fleet.submit_batch(&tasks).await;
    eventually("under way", async || {
        let stats = fleet.get("/stats").await;
        (stats["totals"]["completed"].as_u64().unwrap() > 20).then_some(())
    })
    .await;
    for process in workers.iter_mut().chain(&mut fleet.services) {
        process.kill();
    }
    fleet.redis.kill();
    fleet.redis.restart();
    let address = fleet.base.strip_prefix("http://").unwrap().to_owned();
    let _again: Vec<_> = ["gateway", "scheduler", "projector", "worker", "worker"]
        .map(|service| fleet.spawn(service, &[("GATEWAY_ADDR", &address)]))
        .into();
    eventually_within(Duration::from_secs(60), "all complete", async || {
        let answer = fleet
            .http
            .get(format!("{}/stats", fleet.base))
            .send()
            .await
            .ok()?;
        let stats: serde_json::Value = answer.json().await.ok()?;
        (stats["totals"]["completed"] == 500).then_some(())
    })
    .await;
    fleet.connected().await;
    fleet.settled(Duration::from_secs(10)).await;
    assert_eq!(audit(&fleet.store).await.tasks, 500);
}
