//! The rights of docs/redis-rights.md are enough for each service, and no call of any is refused.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use taskweir_testkit::{TestRedis, eventually_within, free_port};

use crate::fleet::{Process, command, spawn};

const SOON: Duration = Duration::from_secs(40);
const DOC: &str = include_str!("../../../../docs/redis-rights.md");

/// A command of a user of the document.
fn of_user(redis: &TestRedis, user: &str, arguments: &[&str]) -> Command {
    let url = redis.url();
    let (_, place) = url.split_once("://").unwrap();
    let mut command = command(Path::new("/"));
    command
        .args(arguments)
        .env("REDIS_URL", format!("redis://{user}:{user}-secret@{place}"))
        .env("LEASE_SECONDS", "1")
        .env("RETENTION", "3s")
        .env("DLQ_RETENTION", "4s");
    command
}

/// Refusals so far, but those of keys that a test wrote itself.
fn refused(redis: &TestRedis) -> String {
    redis.cli(&["ACL", "LOG"])
}

#[tokio::test]
async fn each_service_gets_on_with_the_rights_of_the_book() {
    let redis = TestRedis::start();
    let mut users = 0;
    for line in DOC.lines().filter(|line| line.starts_with("ACL SETUSER")) {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(redis.cli(&words), "OK", "{line}");
        users += 1;
    }
    assert_eq!(users, 6);
    let run = |user: &str, arguments: &[&str]| {
        let output = of_user(&redis, user, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {said}\n{}",
            refused(&redis)
        );
    };
    run("upkeep", &["migrate"]);
    let (gateway, dashboard) = (free_port(), free_port());
    let start = |service: &str| -> Process {
        let mut command = of_user(&redis, service, &[service]);
        command
            .env("GATEWAY_ADDR", format!("127.0.0.1:{gateway}"))
            .env("DASHBOARD_ADDR", format!("127.0.0.1:{dashboard}"));
        spawn(&mut command)
    };
    let _services = ["gateway", "dashboard", "scheduler", "projector"].map(start);
    let mut worker = start("worker");
    let base = format!("http://127.0.0.1:{gateway}");
    let http = taskweir_client::http::plain().build().unwrap();
    eventually_within(SOON, "the gateway is ready", async || {
        let answer = http.get(format!("{base}/health/ready")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    let post = async |path: &str, body: serde_json::Value| {
        let answer = http
            .post(format!("{base}{path}"))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert!(
            answer.status().is_success() || answer.status().as_u16() == 409,
            "{path}: {}\n{}",
            answer.text().await.unwrap(),
            refused(&redis)
        );
        answer.json::<serde_json::Value>().await.unwrap()
    };
    let soon = json!({ "initial_delay": 0.1 });
    for task in [
        json!({ "type": "echo", "data": "x".repeat(5_000), "unique_key": "k" }),
        json!({ "type": "fail", "data": { "times": 1 }, "retry": soon }),
        json!({ "type": "echo", "delay": 0.2, "labels": { "a": "b" } }),
        json!({ "type": "echo", "queue": "nobody", "expires_in": 0.5 }),
        json!({ "type": "unknown" }),
        json!({ "type": "sleep", "data": { "seconds": 2 } }),
    ] {
        post("/tasks", task).await;
    }
    let dead = post("/tasks", json!({ "type": "fail", "max_retries": 0 })).await;
    let held = post(
        "/tasks",
        json!({ "type": "sleep", "data": { "seconds": 60 } }),
    )
    .await;
    let later = post("/tasks", json!({ "type": "echo", "delay": 600 })).await;
    let id = |task: &serde_json::Value| task["id"].as_str().unwrap().to_owned();
    let reaches = async |id: &str, status: &str| {
        eventually_within(SOON, &format!("{id} is {status}"), async || {
            let task = http.get(format!("{base}/tasks/{id}")).send().await.ok()?;
            let task: serde_json::Value = task.json().await.ok()?;
            (task["status"] == status).then_some(())
        })
        .await;
    };
    reaches(&id(&dead), "failed").await;
    post(&format!("/dlq/failed-tasks/{}/retry", id(&dead)), json!({})).await;
    post(&format!("/tasks/{}/cancel", id(&later)), json!({})).await;
    post("/queues/nobody/pause", json!({ "reason": "x" })).await;
    post("/queues/nobody/resume", json!({})).await;
    reaches(&id(&held), "processing").await;
    // A worker that is killed is forgotten, and its task runs elsewhere.
    worker.kill();
    let _second = start("worker");
    post(
        "/tasks/batch",
        json!({ "tasks": [{ "type": "echo", "idempotency_key": "i" }] }),
    )
    .await;
    post("/dlq/retry", json!({ "type": "none" })).await;
    post("/tasks/cancel", json!({ "queue": "nobody" })).await;
    for path in [
        "/tasks",
        "/tasks?queue=default&label=a%3Db",
        "/dlq/failed-tasks",
        "/queues",
        "/workers",
        "/stats",
        "/metrics",
        "/health",
        "/operations",
        &format!("/tasks/{}/history", id(&dead)),
        &format!("/tasks/{}?as_of=2020-01-01T00:00:00Z", id(&dead)),
    ] {
        let answer = http.get(format!("{base}{path}")).send().await.unwrap();
        assert!(
            !answer.status().is_server_error(),
            "{path}: {}",
            refused(&redis)
        );
    }
    let shown = format!("http://127.0.0.1:{dashboard}");
    for path in [
        "/",
        "/tasks",
        "/queues",
        "/dlq",
        "/workers",
        "/operations",
        "/system",
        &format!("/tasks/{}", id(&dead)),
    ] {
        let answer = http.get(format!("{shown}{path}")).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", refused(&redis));
    }
    let mut feed = http
        .get(format!("{base}/events"))
        .header("last-event-id", "0-0")
        .send()
        .await
        .unwrap();
    feed.chunk().await.unwrap();
    reaches(&id(&dead), "removed").await;
    eventually_within(SOON, "retention cuts", async || {
        let base = redis.cli(&["KEYS", "tw:*:base"]);
        (!base.is_empty()).then_some(())
    })
    .await;
    // Views that are gone are made again from the base.
    let views = redis.cli(&["KEYS", "tw:*view*"]);
    let views: Vec<&str> = views.lines().collect();
    let checkpoints = redis.cli(&["KEYS", "tw:*checkpoint*"]);
    let gone = [
        &["DEL"],
        views.as_slice(),
        &checkpoints.lines().collect::<Vec<_>>(),
    ]
    .concat();
    assert_ne!(redis.cli(&gone), "0");
    eventually_within(SOON, "the views are there again", async || {
        let views = redis.cli(&["KEYS", "tw:*checkpoint*"]);
        (!views.is_empty()).then_some(())
    })
    .await;
    run("upkeep", &["rebuild"]);
    run("upkeep", &["verify"]);
    drop(feed);
    assert_eq!(refused(&redis), "", "no call of any service is refused");
}
