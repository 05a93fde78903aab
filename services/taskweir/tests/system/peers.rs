//! What users of other queues rely on, see docs/PEER-BEHAVIOURS.md.

use std::time::Duration;

use serde_json::{Value, json};
use taskweir_store::RedisSettings;
use taskweir_testkit::{eventually, eventually_within};
use taskweir_worker::{Json, Producer, TaskSpec};

use crate::audit::audit;
use crate::fleet::{Fleet, Process};

const SOON: Duration = Duration::from_secs(20);

/// Starts services of ours anew, the gateway where it was.
fn restart(fleet: &Fleet, services: &[&str]) -> Vec<Process> {
    let address = fleet.base.strip_prefix("http://").unwrap();
    let spawn = |service: &&str| fleet.spawn(service, &[("GATEWAY_ADDR", address)]);
    services.iter().map(spawn).collect()
}

async fn probe(fleet: &Fleet, path: &str) -> Option<u16> {
    status(fleet, &format!("{}{path}", fleet.base)).await
}

async fn status(fleet: &Fleet, url: &str) -> Option<u16> {
    let request = fleet.http.get(url).timeout(Duration::from_secs(2));
    Some(request.send().await.ok()?.status().as_u16())
}

async fn ready(fleet: &Fleet) {
    eventually("the gateway is ready", async || {
        (probe(fleet, "/health/ready").await? == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn peer_01_every_failure_is_counted() {
    let fleet = Fleet::start("10").await;
    let address = format!("127.0.0.1:{}", taskweir_testkit::free_port());
    let _worker = fleet.spawn("worker", &[("METRICS_ADDR", &address)]);
    let task = json!({ "type": "fail", "max_retries": 2, "retry": { "initial_delay": 0.05 } });
    let id = fleet.submit(&task).await;
    fleet.reaches(&id, "failed", SOON).await;
    eventually("the counters say so", async || {
        let url = format!("http://{address}/metrics");
        let text = fleet.http.get(url).send().await.ok()?.text().await.ok()?;
        let count = |name: &str| {
            let of = |line: &&str| line.starts_with(name) && line.contains(r#"type="fail""#);
            text.lines()
                .find(of)?
                .rsplit(' ')
                .next()?
                .parse::<u64>()
                .ok()
        };
        let counts = (count("task_failures_total")?, count("task_retries_total")?);
        (counts == (3, 2)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn peer_03_lost_tasks_are_retried_or_given_up_and_those_with_a_lease_are_left() {
    let fleet = Fleet::start("4").await;
    let mut victim = fleet.spawn("worker", &[("WORKER_QUEUES", "a,b")]);
    let _other = fleet.spawn("worker", &[("WORKER_QUEUES", "c")]);
    let settings = RedisSettings::at(fleet.redis.url());
    let producer = Producer::connect(&settings).await.unwrap();
    let submit = async |queue: &str, most| {
        let mut spec = TaskSpec::new(queue.parse().unwrap(), "process".parse().unwrap());
        spec.max_deliveries = most;
        spec.data = Json::of(&json!({ "duration_ms": 12_000 })).unwrap();
        producer.submit(spec).await.unwrap().to_string()
    };
    let again = submit("a", 5).await;
    let dead = submit("b", 0).await;
    let live = submit("c", 0).await;
    for id in [&again, &dead, &live] {
        fleet.reaches(id, "processing", SOON).await;
    }
    victim.kill();
    assert_eq!(fleet.reaches(&again, "pending", SOON).await["losses"], 1);
    let error = fleet.reaches(&dead, "failed", SOON).await["error"].clone();
    assert_eq!(error["kind"], "crash_loop");
    assert_eq!(fleet.reaches(&live, "completed", SOON).await["losses"], 0);
}

#[tokio::test]
async fn peer_09_what_is_started_while_redis_is_away_waits_for_it_and_then_works() {
    let mut fleet = Fleet::start("2").await;
    let due = fleet.submit(&json!({ "type": "echo", "delay": 1 })).await;
    for service in &mut fleet.services {
        service.kill();
    }
    fleet.redis.kill();
    let _again = restart(&fleet, &["gateway", "scheduler", "worker"]);
    let address = format!("127.0.0.1:{}", taskweir_testkit::free_port());
    let _projector = fleet.spawn("projector", &[("METRICS_ADDR", &address)]);
    // It lives, and says that it cannot serve.
    eventually("the gateway lives", async || {
        (probe(&fleet, "/health/live").await? == 200).then_some(())
    })
    .await;
    let live = format!("http://{address}/health/live");
    eventually("the projector lives", async || {
        (status(&fleet, &live).await? == 200).then_some(())
    })
    .await;
    let ready_url = format!("http://{address}/health/ready");
    assert_eq!(status(&fleet, &ready_url).await, Some(503));
    assert_eq!(probe(&fleet, "/health/ready").await, Some(503));
    assert_eq!(probe(&fleet, "/tasks").await, Some(503));
    fleet.redis.restart();
    ready(&fleet).await;
    fleet.reaches(&due, "completed", SOON).await;
    fleet.connected().await;
    fleet.settled(Duration::from_secs(10)).await;
    audit(&fleet.store).await;
}

#[tokio::test]
async fn peer_17_filters_of_the_dead_letters_give_the_matches_alone() {
    let fleet = Fleet::start("10").await;
    let _worker = fleet.spawn("worker", &[]);
    let dead = |tenant: &str| json!({ "type": "fail", "data": { "fatal": true }, "labels": { "tenant": tenant } });
    let ids = fleet.submit_batch(&[dead("a"), dead("b"), dead("a")]).await;
    for id in &ids {
        fleet.reaches(id, "failed", SOON).await;
    }
    fleet.settled(Duration::from_secs(10)).await;
    let path = "/dlq/failed-tasks?label=tenant%3Da&type=fail";
    let found = fleet.get(path).await["tasks"].as_array().unwrap().clone();
    assert_eq!(found.len(), 2);
    for task in found {
        let id = task["id"].as_str().unwrap();
        let path = format!("{}/dlq/failed-tasks/{id}", fleet.base);
        let removed = fleet.http.delete(path).send().await.unwrap();
        assert!(removed.status().is_success());
    }
    for (id, status) in ids.iter().zip(["removed", "failed", "removed"]) {
        assert_eq!(fleet.get(&format!("/tasks/{id}")).await["status"], status);
    }
}

#[tokio::test]
async fn peer_18_a_restart_of_every_service_leaves_running_tasks_alone() {
    let mut fleet = Fleet::start("2").await;
    let _worker = fleet.spawn("worker", &[]);
    let task = json!({ "type": "process", "data": { "duration_ms": 6_000 } });
    let id = fleet.submit(&task).await;
    let before = fleet.reaches(&id, "processing", SOON).await;
    for service in &mut fleet.services {
        service.kill();
    }
    let _again = restart(&fleet, &["gateway", "scheduler", "projector"]);
    ready(&fleet).await;
    let after = fleet.get(&format!("/tasks/{id}")).await;
    assert_eq!(after["worker"], before["worker"]);
    let done = fleet.reaches(&id, "completed", SOON).await;
    assert_eq!((&done["attempt"], &done["losses"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn peer_19_what_kills_its_workers_ends_as_a_crash_loop() {
    let fleet = Fleet::with_env("1", &[("MAX_DELIVERIES", "1")]).await;
    let task = json!({ "type": "process", "data": { "duration_ms": 60_000 } });
    let id = fleet.submit(&task).await;
    for attempt in 1..=2 {
        let mut worker = fleet.spawn("worker", &[]);
        eventually("it runs", async || {
            let task = fleet.get(&format!("/tasks/{id}")).await;
            (task["status"] == "processing" && task["attempt"] == attempt).then_some(())
        })
        .await;
        worker.kill();
    }
    let dead = fleet.reaches(&id, "failed", SOON).await;
    assert_eq!(dead["error"]["kind"], "crash_loop");
    assert_eq!(dead["attempt"], 2);
    fleet.settled(Duration::from_secs(10)).await;
    let letters = fleet.get("/dlq/failed-tasks").await;
    assert_eq!(letters["tasks"][0]["id"], *id);
}

#[tokio::test]
async fn peer_33_a_second_scheduler_goes_on_where_the_first_died_and_scripts_were_forgotten() {
    let mut fleet = Fleet::start("10").await;
    let _second = fleet.spawn("scheduler", &[]);
    let _worker = fleet.spawn("worker", &[]);
    let task = |n: u32| json!({ "type": "echo", "delay": 0.5 + f64::from(n) * 0.1 });
    let tasks: Vec<Value> = (0..40).map(task).collect();
    let ids = fleet.submit_batch(&tasks).await;
    fleet.reaches(&ids[0], "completed", SOON).await;
    // Gateway, scheduler, projector.
    fleet.services[1].kill();
    assert_eq!(fleet.redis.cli(&["SCRIPT", "FLUSH"]), "OK");
    for id in &ids {
        fleet.reaches(id, "completed", SOON).await;
        let events = ["Submitted", "Requeued", "Started", "Completed"];
        assert_eq!(fleet.events(id).await, events);
    }
}

#[tokio::test]
async fn peer_40_many_producers_and_workers_leave_balanced_books_and_empty_queues() {
    let fleet = Fleet::start("10").await;
    let _workers: Vec<Process> = (0..3).map(|_| fleet.spawn("worker", &[])).collect();
    let good = json!({ "type": "echo" });
    let bad = json!({ "type": "fail", "data": { "fatal": true } });
    let produce = async |task: &Value| {
        for _ in 0..10 {
            fleet.submit_batch(&vec![task.clone(); 50]).await;
        }
    };
    tokio::join!(produce(&good), produce(&bad), produce(&good), produce(&bad));
    eventually_within(Duration::from_secs(60), "all have ended", async || {
        let totals = fleet.get("/stats").await["totals"].clone();
        (totals["completed"] == 1_000 && totals["failed"] == 1_000).then_some(())
    })
    .await;
    fleet.settled(Duration::from_secs(10)).await;
    let queue = fleet.get("/queues/default").await;
    for class in ["high", "normal", "low"] {
        let empty = json!({ "ready": 0, "held": 0 });
        assert_eq!(queue["depth"][class], empty, "{class}");
    }
    assert_eq!(queue["parked"], 0);
    assert_eq!(fleet.get("/stats").await["ledger"]["balanced"], true);
    assert_eq!(audit(&fleet.store).await.tasks, 2_000);
}
