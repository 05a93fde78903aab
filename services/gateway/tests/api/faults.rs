//! What callers are told while Redis takes nothing: to come again; and that who does makes one task.

use std::time::Duration;

use reqwest::{Method, Response};
use taskweir_testkit::{Persistence, TestRedis, eventually_within};

use crate::bench::{Bench, json};

const BODY: &str = r#"{"type":"a","data":1}"#;

async fn keyed(bench: &Bench, key: &str) -> Response {
    let request = bench.call(Method::POST, "/tasks");
    let request = request.header("content-type", "application/json");
    let request = request.header("idempotency-key", key).body(BODY);
    request.send().await.unwrap()
}

/// Every submit is refused for now, as a problem that says when to come again.
async fn refused_for_now(bench: &Bench) {
    let batch = format!(r#"{{"tasks":[{BODY}]}}"#);
    for answer in [
        keyed(bench, "order-7").await,
        bench.post("/tasks/batch", &batch).await,
    ] {
        assert_eq!(answer.status().as_u16(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(json(answer).await["status"], 503);
    }
}

/// The same request again, and once more: one task, whose history begins once.
async fn one_task_when_it_is_back(bench: &Bench) {
    let first = eventually_within(Duration::from_secs(20), "Redis takes it", async || {
        let answer = keyed(bench, "order-7").await;
        answer.status().is_success().then_some(answer)
    })
    .await;
    let first = json(first).await;
    let again = keyed(bench, "order-7").await;
    assert_eq!(again.status().as_u16(), 200);
    assert_eq!(json(again).await["id"], first["id"]);
    let path = format!("/tasks/{}/history", first["id"].as_str().unwrap());
    let history = json(bench.get(&path).await).await;
    assert_eq!(history["events"].as_array().unwrap().len(), 1, "{history}");
    let ends = bench.store.partitions();
    let mut events = 0;
    for partition in &ends {
        let log = partition.keys().log();
        events += bench.redis.cli(&["XLEN", &log]).parse::<usize>().unwrap();
    }
    assert_eq!(events, 1, "nothing of the refused ones is in the log");
}

#[tokio::test]
async fn a_primary_that_became_a_replica_refuses_for_now_and_a_key_stays_one_task() {
    let bench = Bench::new().await;
    assert_eq!(bench.redis.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    refused_for_now(&bench).await;
    assert_eq!(bench.redis.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    one_task_when_it_is_back(&bench).await;
}

#[tokio::test]
async fn a_replica_without_its_primary_refuses_for_now() {
    let bench = Bench::new().await;
    let stale = ["CONFIG", "SET", "replica-serve-stale-data", "no"];
    assert_eq!(bench.redis.cli(&stale), "OK");
    assert_eq!(bench.redis.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    refused_for_now(&bench).await;
    assert_eq!(bench.redis.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    one_task_when_it_is_back(&bench).await;
}

#[tokio::test]
async fn a_server_that_loads_its_file_refuses_for_now_and_a_key_stays_one_task() {
    let mut bench = Bench::on(TestRedis::start_with(Persistence::Aof, &[])).await;
    bench.redis.kill_and_load_slowly().await;
    eventually_within(Duration::from_secs(10), "it loads", async || {
        let error = bench.store.ping().await.err()?;
        error.to_string().contains("loading").then_some(())
    })
    .await;
    refused_for_now(&bench).await;
    let error = bench.store.ping().await.unwrap_err();
    assert!(error.to_string().contains("loading"), "still: {error}");
    one_task_when_it_is_back(&bench).await;
}
