//! Idempotency keys, unique keys, queue limits, cancel and pause over HTTP.

use reqwest::{Method, Response};
use serde_json::json;

use crate::bench::{Bench, json};

async fn keyed(bench: &Bench, key: &str, body: &str) -> Response {
    let request = bench
        .call(Method::POST, "/tasks")
        .header("content-type", "application/json");
    request
        .header("idempotency-key", key)
        .body(body.to_owned())
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn the_same_request_again_is_the_same_task() {
    {
        let bench = Bench::with_partitions(4).await;
        let first = keyed(&bench, "k", r#"{"type":"a","data":1}"#).await;
        assert_eq!(first.status().as_u16(), 202);
        let first = json(first).await;
        let again = keyed(&bench, "k", r#"{ "data": 1, "type": "a" }"#).await;
        assert_eq!(again.status().as_u16(), 200);
        assert!(
            again.headers()["location"]
                .to_str()
                .unwrap()
                .ends_with(first["id"].as_str().unwrap())
        );
        assert_eq!(json(again).await, first);
        let other = keyed(&bench, "k", r#"{"type":"a","data":2}"#).await;
        assert_eq!(other.status().as_u16(), 409);
        assert_eq!(json(other).await["existing_id"], first["id"]);
        for bad in ["", &"x".repeat(256)] {
            let refused = keyed(&bench, bad, r#"{"type":"a"}"#).await;
            assert_eq!(refused.status().as_u16(), 422);
            assert_eq!(json(refused).await["errors"][0]["field"], "Idempotency-Key");
        }
    }
}

#[tokio::test]
async fn a_unique_key_is_held_by_one_task_at_a_time() {
    let bench = Bench::with_partitions(4).await;
    let body = r#"{"type":"a","unique_key":"order-7"}"#;
    let id = bench.submit(body).await;
    let duplicate = bench
        .post("/tasks", &body.replace(r#""a""#, r#""b""#))
        .await;
    assert_eq!(duplicate.status().as_u16(), 409);
    assert_eq!(json(duplicate).await["existing_id"], id);
    let batch = format!(r#"{{"tasks":[{body},{{"type":"b"}}]}}"#);
    let answer = json(bench.post("/tasks/batch", &batch).await).await;
    assert_eq!(answer["accepted"], 1);
    assert_eq!(answer["items"][0]["existing_id"], id);
    assert_eq!(answer["items"][0]["errors"][0]["field"], "unique_key");
    assert_eq!(
        json(bench.get(&format!("/tasks/{id}")).await).await["unique_key"],
        "order-7"
    );
    let cancelled = bench.post(&format!("/tasks/{id}/cancel"), "").await;
    assert_eq!(cancelled.status().as_u16(), 200);
    assert_ne!(bench.submit(body).await, id, "free again");
}

#[tokio::test]
async fn cancel_answers_by_where_the_task_is() {
    let bench = Bench::new().await;
    let id = bench.submit(r#"{"type":"a","delay":60}"#).await;
    let path = format!("/tasks/{id}/cancel");
    let cancelled = bench.post(&path, "").await;
    assert_eq!(cancelled.status().as_u16(), 200);
    assert_eq!(json(cancelled).await["status"], "cancelled");
    assert_eq!(bench.post(&path, "").await.status().as_u16(), 409);
    assert_eq!(
        bench
            .post("/tasks/nonsense/cancel", "")
            .await
            .status()
            .as_u16(),
        404
    );
    let history = json(bench.get(&format!("/tasks/{id}/history")).await).await;
    assert_eq!(history["events"][1]["actor"], "anonymous");
}

#[tokio::test]
async fn a_queue_is_paused_in_every_partition_and_resumed() {
    let bench = Bench::with_partitions(4).await;
    for (verb, paused) in [
        ("pause", true),
        ("pause", true),
        ("resume", false),
        ("resume", false),
        ("pause", true),
    ] {
        let answer = bench.post(&format!("/queues/mail/{verb}"), "").await;
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(json(answer).await["paused"], paused);
        for partition in bench.store.partitions() {
            let flags = partition.queue_flags().await.unwrap();
            assert_eq!(flags.paused.contains_key("mail"), paused);
        }
    }
    assert_eq!(
        bench
            .post("/queues/a%20b/pause", "")
            .await
            .status()
            .as_u16(),
        404
    );
}

#[tokio::test]
async fn a_partition_that_missed_a_pause_is_repaired() {
    let bench = Bench::with_partitions(3).await;
    bench.post("/queues/mail/pause", "").await;
    let partitions = bench.store.partitions();
    let meta = partitions[2].keys().meta();
    for field in ["pause:mail", "epoch:mail", "nonce:mail"] {
        let _ = bench.redis.cli(&["HDEL", &meta, field]);
    }
    bench.store.repair_pauses().await.unwrap();
    let flags = partitions[2].queue_flags().await.unwrap();
    assert!(flags.paused.contains_key("mail"));
    assert_eq!(
        flags.epochs,
        partitions[0].queue_flags().await.unwrap().epochs
    );
}

#[tokio::test]
async fn a_full_queue_answers_429_and_says_when_to_come_again() {
    let bench = Bench::with_env(1, &[("MAX_QUEUE_LENGTH", "2")]).await;
    bench.submit(r#"{"type":"a"}"#).await;
    bench.submit(r#"{"type":"a","priority":"low"}"#).await;
    let full = bench.post("/tasks", r#"{"type":"a"}"#).await;
    assert_eq!(full.status().as_u16(), 429);
    assert!(full.headers().contains_key("retry-after"));
    assert_eq!(json(full).await["status"], json!(429));
    bench.submit(r#"{"type":"a","queue":"other"}"#).await;
    let answer = json(
        bench
            .post(
                "/tasks/batch",
                r#"{"tasks":[{"type":"a"},{"type":"a","queue":"third"}]}"#,
            )
            .await,
    )
    .await;
    assert_eq!(answer["items"][0]["errors"][0]["field"], "queue");
    assert_eq!(answer["accepted"], 1);
}

#[tokio::test]
async fn tasks_of_a_batch_have_keys_of_their_own_which_are_those_of_single_submits() {
    let bench = Bench::new().await;
    let batch = async |tasks: &str| {
        let answer = bench
            .call(Method::POST, "/tasks/batch")
            .header("content-type", "application/json")
            .body(format!("{{\"tasks\":[{tasks}]}}"));
        json(answer.send().await.unwrap()).await["items"].clone()
    };
    let first = batch(r#"{"type":"a","idempotency_key":"k1"},{"type":"b"}"#).await;
    assert_eq!(
        (&first[0]["status"], &first[1]["status"]),
        (&json!(202), &json!(202))
    );
    let again = batch(r#"{ "idempotency_key": "k1", "type": "a" },{"type":"b"}"#).await;
    assert_eq!(again[0]["status"], 200);
    assert_eq!(again[0]["task"]["id"], first[0]["task"]["id"]);
    assert_ne!(
        again[1]["task"]["id"], first[1]["task"]["id"],
        "it has none"
    );
    let alone = bench
        .call(Method::POST, "/tasks")
        .header("content-type", "application/json")
        .header("idempotency-key", "k1")
        .body(r#"{"type":"a"}"#);
    let alone = json(alone.send().await.unwrap()).await;
    assert_eq!(alone["id"], first[0]["task"]["id"]);
    let other = batch(
        r#"{"type":"z","idempotency_key":"k1"},{"type":"a","idempotency_key":7},{"type":"a","idempotency_key":""}"#,
    )
    .await;
    let seen: Vec<_> = (0..3)
        .map(|index| {
            let item = &other[index];
            (item["status"].as_u64(), item["errors"][0]["field"].as_str())
        })
        .collect();
    let field = Some("idempotency_key");
    assert_eq!(
        seen,
        [(Some(409), field), (Some(422), field), (Some(422), field)]
    );
}

#[tokio::test]
async fn an_outcome_that_is_not_known_says_so_and_how_to_repeat_it() {
    let mut bench = Bench::new().await;
    bench.redis.kill();
    for (key, advice) in [(Some("k"), "it is stored once"), (None, "stored twice")] {
        let call = bench
            .call(Method::POST, "/tasks")
            .header("content-type", "application/json")
            .body(r#"{"type":"a"}"#);
        let call = match key {
            Some(key) => call.header("idempotency-key", key),
            None => call,
        };
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 503);
        let detail = json(answer).await["detail"].to_string();
        assert!(
            detail.contains("not known") && detail.contains(advice),
            "{detail}"
        );
    }
}
