use std::time::{Duration, Instant};

use serde_json::{Value, json};
use taskweir_domain::format_ms;
use taskweir_testkit::{eventually_within, free_port};

use crate::fleet::Fleet;

/// How long the load goes on.
const LOAD: Duration = Duration::from_secs(60);
/// Until then retention has come to its balance.
const BALANCE: Duration = Duration::from_secs(20);

/// What was seen once a second under load.
#[derive(Default)]
struct Seen {
    /// Memory of Redis, bytes, before and after the middle of the time that counts.
    early: Vec<u64>,
    late: Vec<u64>,
    verified: u32,
}

impl Seen {
    fn flat(&self) -> bool {
        let most = |samples: &[u64]| samples.iter().copied().max().unwrap_or(0);
        let (early, late) = (most(&self.early), most(&self.late));
        println!(
            "memory: {early} bytes, later {late}; verified {} times",
            self.verified
        );
        late as f64 <= early as f64 * 1.15
    }
}

/// Waits until retention has cut every event. A verification would make it wait.
async fn cut_whole(fleet: &Fleet) {
    eventually_within(
        Duration::from_secs(30),
        "the log holds no more",
        async || {
            let mut events = 0;
            for partition in fleet.store.partitions() {
                events += partition.log_end().await.unwrap().1;
            }
            (events == 0).then_some(())
        },
    )
    .await;
}

async fn load(fleet: &Fleet) -> Seen {
    let quick = json!({ "initial_delay": 0.05, "jitter": 0.5 });
    let kinds = [
        json!({ "type": "echo", "data": { "n": 1 }, "labels": { "tenant": "a" } }),
        json!({ "type": "fail", "data": { "times": 1 }, "retry": quick }),
        json!({ "type": "echo", "data": "x".repeat(1_500) }),
    ];
    let tasks: Vec<Value> = kinds.iter().cycle().take(90).cloned().collect();
    let began = Instant::now();
    let mut seen = Seen::default();
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    // After a stall, no burst: it would look like memory that grows.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = 0_u32;
    while began.elapsed() < LOAD {
        tick.tick().await;
        fleet.submit_batch(&tasks).await;
        round += 1;
        if round.is_multiple_of(4) {
            let used = fleet.store.used_memory().await.unwrap();
            if began.elapsed() > (LOAD + BALANCE) / 2 {
                seen.late.push(used);
            } else if began.elapsed() > BALANCE {
                seen.early.push(used);
            }
        }
        if round.is_multiple_of(20) {
            let report = taskweir_projector::verify(&fleet.store).await.unwrap();
            assert_eq!(report.differences, []);
            let ledger = fleet.get("/stats").await["ledger"].clone();
            assert_eq!(ledger["balanced"], true, "{ledger}");
            seen.verified += 1;
        }
    }
    seen
}

#[tokio::test]
async fn a_short_retention_keeps_memory_flat_and_every_proof_holds() {
    let fleet = Fleet::with_env("10", &[("RETENTION", "5s")]).await;
    let _workers: Vec<_> = (0..2).map(|_| fleet.spawn("worker", &[])).collect();
    let first = fleet.submit(&json!({ "type": "echo" })).await;
    // It waits beyond the horizon, and is among those that complete.
    fleet
        .submit(&json!({ "type": "echo", "data": { "far": "ahead" }, "delay": 30 }))
        .await;
    let dead = json!({ "type": "fail", "data": { "fatal": true } });
    let dead = fleet.submit(&dead).await;
    let submitted = fleet.get(&format!("/tasks/{dead}")).await["created_at"].clone();
    let submitted = submitted.as_str().unwrap().to_owned();

    let seen = load(&fleet).await;
    assert!(seen.verified >= 5);
    assert!(seen.flat());

    // Beyond the horizon: what ended is gone, what lives on begins with its base.
    for path in ["", "/history", "?as_of=2020-01-01T00:00:00Z"] {
        assert_eq!(fleet.status(&format!("/tasks/{first}{path}")).await, 404);
    }
    assert_eq!(
        fleet.status(&format!("/stats?as_of={submitted}")).await,
        410
    );
    assert_eq!(
        fleet
            .status(&format!("/tasks/{dead}?as_of={submitted}"))
            .await,
        410
    );
    assert_eq!(
        fleet
            .status(&format!("/tasks/{dead}?as_of=2020-01-01T00:00:00Z"))
            .await,
        404,
        "it did not exist then"
    );
    let history = fleet.get(&format!("/tasks/{dead}/history")).await;
    assert_eq!(history["base"]["status"], "failed");
    assert_eq!(
        (&history["complete"], &history["events"]),
        (&json!(false), &json!([]))
    );
    let retried = fleet
        .http
        .post(format!("{}/dlq/failed-tasks/{dead}/retry", fleet.base))
        .send()
        .await
        .unwrap();
    assert_eq!(retried.status(), 202);
    fleet
        .reaches(&dead, "failed", Duration::from_secs(10))
        .await;
    assert_eq!(
        fleet.events(&dead).await,
        ["DlqRetried", "Started", "DeadLettered"]
    );

    // All of the load ends, and then leaves.
    eventually_within(
        Duration::from_secs(60),
        "only the dead letter is left",
        async || {
            let tasks = fleet.get("/tasks?limit=10").await;
            (tasks["tasks"].as_array()?.len() == 1).then_some(())
        },
    )
    .await;
    fleet.settled(Duration::from_secs(10)).await;
    let stats = fleet.get("/stats").await;
    assert_eq!(stats["totals"]["failed"], 1);
    assert_eq!(
        stats["ledger"]["submitted"],
        stats["totals"]["completed"].as_u64().unwrap() + 1
    );
    cut_whole(&fleet).await;
    let report = taskweir_projector::verify(&fleet.store).await.unwrap();
    assert_eq!(report.differences, []);
    assert_eq!(report.tasks, 1);
}

/// Views made afresh from a base say what the live ones said, by a rebuild and by a projector that finds
/// none.
#[tokio::test]
async fn views_come_back_from_a_base() {
    let fleet = Fleet::with_env("10", &[("RETENTION", "2s")]).await;
    let _worker = fleet.spawn("worker", &[]);
    let mut tasks = vec![json!({ "type": "echo", "delay": 600, "labels": { "tenant": "a" } }); 30];
    tasks.extend(vec![
        json!({ "type": "fail", "data": { "fatal": true } });
        10
    ]);
    tasks.extend(vec![json!({ "type": "echo" }); 50]);
    fleet.submit_batch(&tasks).await;
    eventually_within(Duration::from_secs(20), "the rest has ended", async || {
        let totals = fleet.get("/stats").await["totals"].clone();
        (totals["completed"] == 50 && totals["failed"] == 10).then_some(())
    })
    .await;
    cut_whole(&fleet).await;
    let report = taskweir_projector::verify(&fleet.store).await.unwrap();
    assert_eq!(report.differences, []);
    assert_eq!((report.events, report.tasks), (0, 40));
    let answers = async || {
        let mut answers = vec![fleet.get("/stats").await["totals"].clone()];
        for path in [
            "/tasks?label=tenant%3Da",
            "/tasks?error=fatal",
            "/dlq/failed-tasks",
        ] {
            answers.push(fleet.get(path).await);
        }
        answers
    };
    let before = answers().await;
    assert_eq!(before[0]["completed"], 50);
    assert!(
        taskweir_projector::rebuild(&fleet.store)
            .await
            .unwrap()
            .count
            == 0
    );
    assert_eq!(answers().await, before);
    for partition in fleet.store.partitions() {
        for key in partition.view_keys().await.unwrap() {
            assert_eq!(fleet.redis.cli(&["DEL", &key]), "1");
        }
    }
    assert_ne!(answers().await, before);
    assert!(
        taskweir_projector::rebuild(&fleet.store)
            .await
            .unwrap()
            .count
            > 0
    );
    assert_eq!(answers().await, before);
    for partition in fleet.store.partitions() {
        partition.clear_views().await.unwrap();
    }
    // Its next step finds them gone.
    fleet
        .submit_batch(&vec![json!({ "type": "echo", "queue": "nobody" }); 8])
        .await;
    eventually_within(
        Duration::from_secs(20),
        "the projector made them",
        async || {
            let report = taskweir_projector::verify(&fleet.store).await.unwrap();
            report.is_clean().then_some(())
        },
    )
    .await;
    assert_eq!(answers().await[1..], before[1..]);
}

#[tokio::test]
async fn a_task_far_ahead_of_the_horizon_runs_and_shows_its_base() {
    let fleet = Fleet::with_env("10", &[("RETENTION", "4s")]).await;
    let _worker = fleet.spawn("worker", &[]);
    let task = json!({ "type": "echo", "data": { "far": "ahead" }, "delay": 16 });
    let id = fleet.submit(&task).await;
    let cut = async || {
        let base = fleet.store.base_position().await.unwrap();
        (base.ms > 0).then_some(())
    };
    eventually_within(Duration::from_secs(12), "its first event is cut", cut).await;
    let waiting = fleet.get(&format!("/tasks/{id}")).await;
    assert_eq!(
        (&waiting["status"], &waiting["data"]),
        (&json!("scheduled"), &task["data"])
    );
    let history = fleet.get(&format!("/tasks/{id}/history")).await;
    assert_eq!(history["base"]["version"], 1);
    assert_eq!(history["base"]["time"], waiting["created_at"]);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let _dashboard = fleet.spawn("dashboard", &[("DASHBOARD_ADDR", &address)]);
    let page = eventually_within(
        Duration::from_secs(10),
        "the page of the task",
        async || {
            let page = fleet
                .http
                .get(format!("http://{address}/tasks/{id}"))
                .send();
            // At first it waits for Redis, and says so.
            let page = page.await.ok()?;
            if !page.status().is_success() {
                return None;
            }
            page.text().await.ok()
        },
    )
    .await;
    assert!(page.contains("Earlier events were cut"), "{page}");
    let done = fleet
        .reaches(&id, "completed", Duration::from_secs(20))
        .await;
    assert_eq!(done["result"], task["data"]);
    assert_eq!(done["created_at"], waiting["created_at"]);
    let now = format_ms(fleet.store.server_time_ms().await.unwrap());
    let at = fleet.get(&format!("/tasks/{id}?as_of={now}")).await;
    assert_eq!(at["status"], "completed");
}

/// Submits alone are refused: what is due is promoted and runs, and the views say so.
#[tokio::test]
async fn with_memory_full_due_tasks_run_and_the_views_follow() {
    let fleet = Fleet::start("10").await;
    let _worker = fleet.spawn("worker", &[]);
    // Nothing is promoted before the limit is set.
    let scheduler = &fleet.services[1];
    scheduler.signal("STOP");
    let later = json!({ "type": "echo", "delay": 0.5 });
    let mut ids = fleet.submit_batch(&vec![later; 20]).await;
    let quick = json!({ "initial_delay": 0.5, "jitter": 0 });
    let again = json!({ "type": "fail", "data": { "times": 1 }, "retry": quick });
    ids.push(fleet.submit(&again).await);
    let soon = Duration::from_secs(20);
    fleet.reaches(&ids[20], "retrying", soon).await;
    fleet.settled(soon).await;
    let totals = fleet.get("/stats").await["totals"].clone();
    assert_eq!(
        (&totals["scheduled"], &totals["retrying"]),
        (&json!(20), &json!(1))
    );

    let full = ["CONFIG", "SET", "maxmemory", "1"];
    assert_eq!(fleet.redis.cli(&full), "OK");
    let refused = fleet.http.post(format!("{}/tasks", fleet.base));
    let refused = refused.json(&json!({ "type": "echo" })).send().await;
    assert_eq!(refused.unwrap().status().as_u16(), 507);
    scheduler.signal("CONT");
    for id in &ids {
        fleet.reaches(id, "completed", soon).await;
        let events = fleet.events(id).await;
        assert!(events.contains(&"Requeued".to_owned()), "{events:?}");
    }
    fleet.settled(soon).await;
    let totals = fleet.get("/stats").await["totals"].clone();
    assert_eq!(totals["completed"], 21, "{totals}");
    let report = taskweir_projector::verify(&fleet.store).await.unwrap();
    assert_eq!(report.differences, []);
}

#[tokio::test]
async fn dead_letters_go_with_their_age_where_that_is_asked_for_and_by_an_event() {
    let fleet = Fleet::with_env("10", &[("DLQ_RETENTION", "2s")]).await;
    let _worker = fleet.spawn("worker", &[]);
    // What nobody knows of stands before all of them.
    for partition in fleet.store.partitions() {
        let dlq = partition.keys().dlq(&"default".parse().unwrap());
        let strays = "for i = 1, 150 do redis.call('XADD', KEYS[1], i .. '-1', 'i', 'nobody') end return 150";
        assert_eq!(fleet.redis.cli(&["EVAL", strays, "1", &dlq]), "150");
    }
    let dead = json!({ "type": "fail", "max_retries": 0, "queue": "default" });
    let ids = fleet.submit_batch(&vec![dead; 120]).await;
    let last = ids.last().unwrap();
    let soon = Duration::from_secs(30);
    fleet.reaches(last, "failed", soon).await;
    for id in [&ids[0], last] {
        fleet.reaches(id, "removed", soon).await;
        let history = fleet.get(&format!("/tasks/{id}/history")).await;
        let event = history["events"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
        assert_eq!(event["type"], "DlqRemoved");
        assert_eq!(event["actor"], "scheduler");
        assert_eq!(event["cause"], "older than DLQ_RETENTION");
    }
    let left = async || {
        fleet.settled(soon).await;
        let page = fleet.get("/dlq/failed-tasks").await;
        page["tasks"].as_array().unwrap().is_empty().then_some(())
    };
    eventually_within(soon, "all are gone", left).await;
}
