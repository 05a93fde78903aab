//! Tasks and entries that harm who takes them.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use taskweir_store::RedisSettings;
use taskweir_testkit::{eventually, eventually_within};
use taskweir_worker::{Context, Handler, TaskError, Worker};
use tokio_util::sync::CancellationToken;

use crate::fleet::{Fleet, Process};

/// Takes its process with it.
struct Abort;

impl Handler for Abort {
    const TYPE: &'static str = "abort";
    type Payload = ();
    type Output = ();

    async fn run(&self, _: &Context, (): ()) -> Result<(), TaskError> {
        std::process::abort();
    }
}

/// Takes so long that it is at work when its process dies.
struct Slow;

impl Handler for Slow {
    const TYPE: &'static str = "slow";
    type Payload = ();
    type Output = ();

    async fn run(&self, _: &Context, (): ()) -> Result<(), TaskError> {
        tokio::time::sleep(Duration::from_millis(400)).await;
        Ok(())
    }
}

/// Gives its data back.
struct Echo;

impl Handler for Echo {
    const TYPE: &'static str = "echo";
    type Payload = serde_json::Value;
    type Output = serde_json::Value;

    async fn run(
        &self,
        _: &Context,
        data: serde_json::Value,
    ) -> Result<serde_json::Value, TaskError> {
        Ok(data)
    }
}

/// Not a test: the worker process of the test below, which is this same program.
#[tokio::test]
#[ignore = "a worker process of the tests here"]
async fn worker_process() {
    let url = taskweir_testkit::variable("WORKER_REDIS_URL");
    let redis = RedisSettings::at(url);
    let worker = Worker::builder(redis)
        .lease(Duration::from_secs(1))
        .handler(Abort)
        .handler(Echo)
        .handler(Slow)
        .build()
        .unwrap();
    worker.run(CancellationToken::new()).await.unwrap();
}

fn worker(fleet: &Fleet) -> Process {
    let program = std::env::current_exe().unwrap();
    let child = Command::new(program)
        .args(["--exact", "poison::worker_process", "--ignored"])
        .env("WORKER_REDIS_URL", fleet.redis.url())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Process::of(child)
}

#[tokio::test]
async fn a_handler_that_aborts_its_process_ends_as_a_crash_loop_and_holds_up_nobody() {
    let fleet = Fleet::with_env("1", &[("MAX_DELIVERIES", "2")]).await;
    let poison = json!({ "type": "abort", "data": null });
    // Innocents before and behind it, which die with it and must not be given up with it.
    let slow = json!({ "type": "slow", "data": null });
    fleet.submit_batch(&vec![slow.clone(); 8]).await;
    let poisoned = fleet.submit(&poison).await;
    fleet.submit_batch(&vec![slow; 7]).await;
    let echoes = fleet
        .submit_batch(&vec![json!({ "type": "echo", "data": 1 }); 35])
        .await;
    // As any supervisor would: what ended is started again.
    let mut process = worker(&fleet);
    let mut deaths = 0;
    eventually_within(Duration::from_secs(60), "all have ended", async || {
        if process.has_ended() {
            deaths += 1;
            process = worker(&fleet);
        }
        let totals = fleet.get("/stats").await["totals"].clone();
        (totals["failed"] == 1 && totals["completed"] == 50).then_some(())
    })
    .await;
    let dead = fleet.get(&format!("/tasks/{poisoned}")).await;
    assert_eq!(dead["status"], "failed");
    assert_eq!(dead["error"]["kind"], "crash_loop");
    assert_eq!(
        (&dead["losses"], &dead["attempt"], &dead["failures"]),
        (&json!(2), &json!(3), &json!(0)),
        "MAX_DELIVERIES losses are redelivered; the next one is the end"
    );
    assert!(deaths >= 3, "{deaths}");
    // Nobody had to wait until it was given up.
    let given_up = dead["ended_at"].as_str().or(dead["updated_at"].as_str());
    for id in &echoes {
        let echo = fleet.get(&format!("/tasks/{id}")).await;
        assert!(echo["ended_at"].as_str() < given_up, "{echo} {given_up:?}");
    }
    fleet.settled(Duration::from_secs(10)).await;
    let letters = fleet.get("/dlq/failed-tasks").await;
    assert_eq!(letters["tasks"].as_array().unwrap().len(), 1);
    crate::audit::audit(&fleet.store).await;
}

#[tokio::test]
async fn entries_written_by_hand_are_skipped_counted_once_and_named_in_the_health() {
    let fleet = Fleet::start("1").await;
    let keys = fleet.store.partitions()[0].keys().clone();
    let ready = keys.ready(
        &"default".parse().unwrap(),
        taskweir_domain::Priority::Normal,
    );
    let add = |key: &str, fields: &[&str]| {
        let id = fleet.redis.cli(&[&["XADD", key, "*"], fields].concat());
        assert!(id.contains('-'), "{id}");
    };
    add(&ready, &["hello", "world"]);
    add(&ready, &["i", "not an id", "t", "echo", "s", "", "d", "1"]);
    add(&keys.log(), &["hello", "world"]);
    // Bytes that are no text, which must not take what is read with them along.
    for key in [&ready, &keys.log()] {
        let add = "return redis.call('XADD', KEYS[1], '*', 'i', '\\255\\254', 't', '\\255')";
        let id = fleet.redis.cli(&["EVAL", add, "1", key]);
        assert!(id.contains('-'), "{id}");
    }
    for key in [keys.due(), keys.expiry()] {
        assert_eq!(fleet.redis.cli(&["ZADD", &key, "1", "no id"]), "1");
    }
    // Five fields, and a task that nobody made.
    let id = fleet.store.mint().to_string();
    add(
        &keys.log(),
        &["t", "Started.1", "i", &id, "n", "2", "b", "1-1", "d", "{}"],
    );
    let _worker = fleet.spawn("worker", &[]);
    let due = json!({ "type": "fail", "data": { "times": 1 }, "retry": { "initial_delay": 0.1 } });
    let due = fleet.submit(&due).await;
    fleet
        .reaches(&due, "completed", Duration::from_secs(20))
        .await;
    let late = json!({ "type": "echo", "queue": "nobody", "expires_in": 0.1 });
    let late = fleet.submit(&late).await;
    fleet
        .reaches(&late, "expired", Duration::from_secs(20))
        .await;
    let task = fleet.submit(&json!({ "type": "echo", "data": 1 })).await;
    fleet
        .reaches(&task, "completed", Duration::from_secs(20))
        .await;
    let health = eventually("all are counted", async || {
        let health = fleet.get("/health").await;
        let malformed = json!({ "log": 3, "ready:default": 3 });
        (health["malformed"] == malformed).then_some(health)
    })
    .await;
    assert_eq!(health["status"], "degraded");
    let troubles = health["troubles"].to_string();
    for place in ["in log", "in ready:default"] {
        assert!(
            troubles.contains(&format!("3 malformed entries {place}")),
            "{troubles}"
        );
    }
    assert_eq!(fleet.redis.cli(&["XLEN", &ready]), "0");
}

/// Memory of a process that is its own now, KiB.
fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().split(' ').next().unwrap();
    number.parse().unwrap()
}

/// What a process may grow by, however many tasks wait.
const GROWTH_KIB: u64 = 16 * 1_024;

#[tokio::test]
async fn memory_of_gateway_and_worker_does_not_grow_with_what_waits() {
    let waiting = taskweir_testkit::scale("WAITING_TASKS", 100_000);
    let fleet = Fleet::start("10").await;
    let gateway = fleet.services[0].pid();
    let worker = fleet.spawn("worker", &[]);
    let task = json!({ "type": "sleep", "data": { "seconds": 5, "text": "x".repeat(200) } });
    let first = fleet.submit(&json!({ "type": "echo", "data": 1 })).await;
    fleet
        .reaches(&first, "completed", Duration::from_secs(20))
        .await;
    let batch = vec![task; 1_000];
    fleet.submit_batch(&batch).await;
    let before = [gateway, worker.pid()].map(rss_kib);
    for _ in 1..waiting / batch.len() {
        fleet.submit_batch(&batch).await;
    }
    fleet.settled(Duration::from_secs(240)).await;
    // What people and Prometheus ask for while it is full.
    for path in [
        "/stats",
        "/queues",
        "/health",
        "/tasks?limit=500&status=pending",
    ] {
        for _ in 0..5 {
            fleet.get(path).await;
        }
    }
    let queue = fleet.get("/queues/default").await;
    assert!(queue["depth"]["normal"]["ready"].as_u64().unwrap() > waiting as u64 * 9 / 10);
    let after = [gateway, worker.pid()].map(rss_kib);
    println!("gateway, worker: {before:?} KiB, then {after:?} KiB");
    for (before, after) in before.into_iter().zip(after) {
        assert!(
            after < before + GROWTH_KIB,
            "{before} KiB, then {after} KiB"
        );
    }
}
