use reqwest::{Method, Response};

use crate::bench::{Bench, json};

/// Every refusal is a problem document that carries its own status.
async fn problem(response: Response, status: u16) -> serde_json::Value {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let body = json(response).await;
    assert_eq!(body["status"], status);
    assert!(body["title"].is_string() && body["detail"].is_string());
    body
}

#[tokio::test]
async fn each_kind_of_bad_input_is_told_apart() {
    let bench = Bench::new().await;
    problem(bench.post("/tasks", "{nonsense").await, 400).await;
    problem(bench.post("/tasks", "").await, 400).await;
    problem(bench.post("/tasks", "[1]").await, 422).await;
    let bad = problem(
        bench
            .post("/tasks", r#"{"type":"a","priority":"urgent","colour":1}"#)
            .await,
        422,
    )
    .await;
    assert_eq!(bad["errors"][0]["field"], "priority");
    assert_eq!(bad["errors"][1]["field"], "colour");
    let large = format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(300_000));
    problem(bench.post("/tasks", &large).await, 413).await;
    problem(
        bench.post("/tasks", &"x".repeat(17 * 1024 * 1024)).await,
        413,
    )
    .await;
    let text = bench
        .call(Method::POST, "/tasks")
        .header("content-type", "text/plain")
        .body("hi");
    problem(text.send().await.unwrap(), 415).await;
    let no_type = bench.call(Method::POST, "/tasks").body("{}");
    problem(no_type.send().await.unwrap(), 415).await;
    let xml = bench
        .call(Method::POST, "/tasks")
        .header("content-type", "application/json")
        .header("accept", "application/xml")
        .body(r#"{"type":"a"}"#);
    problem(xml.send().await.unwrap(), 406).await;
    let probe = bench
        .call(Method::GET, "/health/live")
        .header("accept", "text/plain");
    assert!(probe.send().await.unwrap().status().is_success());
    let not_text = bench
        .call(Method::POST, "/tasks")
        .header("content-type", "application/json")
        .body(vec![0xff, 0xfe]);
    problem(not_text.send().await.unwrap(), 400).await;
    for body in [
        "{}",
        r#"{"tasks":[]}"#,
        r#"{"tasks":3}"#,
        r#"{"tasks":[],"x":1}"#,
        "7",
    ] {
        problem(bench.post("/tasks/batch", body).await, 422).await;
    }
    // A key on a batch would promise what a batch does not keep.
    let keyed = bench
        .call(Method::POST, "/tasks/batch")
        .header("content-type", "application/json")
        .header("idempotency-key", "k")
        .body(r#"{"tasks":[{"type":"a"}]}"#);
    let refused = problem(keyed.send().await.unwrap(), 422).await;
    assert_eq!(refused["errors"][0]["field"], "Idempotency-Key");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let bench = Bench::new().await;
    let stranger = bench.store.mint().to_string();
    for id in [
        stranger.as_str(),
        "nonsense",
        "%00",
        &stranger.to_lowercase(),
    ] {
        problem(bench.get(&format!("/tasks/{id}")).await, 404).await;
        problem(bench.get(&format!("/tasks/{id}/history")).await, 404).await;
        problem(bench.get(&format!("/dlq/failed-tasks/{id}")).await, 404).await;
        problem(
            bench
                .post(&format!("/dlq/failed-tasks/{id}/retry"), "")
                .await,
            404,
        )
        .await;
    }
    problem(bench.get("/nowhere").await, 404).await;
    problem(bench.get("/queues/nowhere").await, 404).await;
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let bench = Bench::new().await;
    let id = bench.submit(r#"{"type":"a"}"#).await;
    for (method, path, allow) in [
        (Method::PATCH, format!("/tasks/{id}"), "GET, HEAD"),
        (Method::DELETE, "/tasks".to_owned(), "GET, POST, HEAD"),
        (Method::GET, "/tasks/batch".to_owned(), "POST"),
    ] {
        let answer = bench.call(method.clone(), &path).send().await.unwrap();
        // `/tasks/batch` reads as a task's address too: then there is no such task.
        if answer.status().as_u16() == 404 {
            continue;
        }
        assert_eq!(answer.headers()["allow"], allow, "{method} {path}");
        problem(answer, 405).await;
    }
}

#[tokio::test]
async fn odd_filters_are_named() {
    let bench = Bench::new().await;
    for (query, field) in [
        ("status=done", "status"),
        ("priority=urgent", "priority"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("cursor=%20", "cursor"),
        ("cursor=", "cursor"),
        ("label=tenant", "label"),
        ("created_after=soon", "created_after"),
        ("created_before=2026", "created_before"),
        ("min_position=x", "min_position"),
        ("state=failed", "state"),
        ("limit=1&limit=2", "limit"),
        ("as_of=1", "as_of"),
        ("cursor=abc", "cursor"),
        ("status=removed", "status"),
    ] {
        let bad = problem(bench.get(&format!("/tasks?{query}")).await, 422).await;
        assert_eq!(bad["errors"][0]["field"], field, "{query}");
        let path = format!("/dlq/failed-tasks?{query}");
        let dead = problem(bench.get(&path).await, 422).await;
        assert_eq!(dead["errors"][0]["field"], field, "{query}");
        if field == "status" {
            assert_eq!(dead["errors"], bad["errors"], "{query}");
        }
    }
}

#[tokio::test]
async fn a_live_task_is_no_dead_letter() {
    let bench = Bench::new().await;
    let id = bench.submit(r#"{"type":"a"}"#).await;
    problem(
        bench
            .post(&format!("/dlq/failed-tasks/{id}/retry"), "")
            .await,
        409,
    )
    .await;
    let remove = bench.call(Method::DELETE, &format!("/dlq/failed-tasks/{id}"));
    problem(remove.send().await.unwrap(), 409).await;
    problem(bench.get(&format!("/dlq/failed-tasks/{id}")).await, 404).await;
}

#[tokio::test]
async fn redis_away_is_a_503_with_retry_after_and_full_is_a_507() {
    let mut bench = Bench::new().await;
    let _ = bench.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    problem(bench.post("/tasks", r#"{"type":"a"}"#).await, 507).await;
    // What is there is still served and worked off.
    assert_eq!(bench.get("/health/ready").await.status().as_u16(), 200);
    bench.redis.kill();
    for response in [
        bench.post("/tasks", r#"{"type":"a"}"#).await,
        bench
            .post("/tasks/batch", r#"{"tasks":[{"type":"a"}]}"#)
            .await,
        bench.get("/tasks").await,
        bench.get("/stats").await,
        bench.get(&format!("/tasks/{}", bench.store.mint())).await,
    ] {
        assert_eq!(response.headers()["retry-after"], "2");
        problem(response, 503).await;
    }
    assert_eq!(bench.get("/health").await.status().as_u16(), 503);
    assert_eq!(bench.get("/health/ready").await.status().as_u16(), 503);
    assert_eq!(bench.get("/health/live").await.status().as_u16(), 200);
}

#[tokio::test]
async fn on_loopback_only_localhost_is_answered() {
    let bench = Bench::new().await;
    let rebound = bench
        .call(Method::GET, "/tasks")
        .header("host", "evil.example");
    problem(rebound.send().await.unwrap(), 403).await;
}

#[tokio::test]
async fn what_no_replica_has_confirmed_is_not_acknowledged() {
    let bench = Bench::with_env(1, &[("DURABILITY", "replicas:1")]).await;
    let submit = || {
        let call = bench.call(Method::POST, "/tasks");
        call.header("content-type", "application/json")
            .header("idempotency-key", "k")
            .body(r#"{"type":"echo"}"#)
            .send()
    };
    let answer = submit().await.unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    let told = problem(answer, 503).await;
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.contains("DURABILITY=replicas:1"), "{detail}");
    // It is written all the same: with a replica, the repeat finds it.
    let port = bench.redis.port().to_string();
    let told = bench
        .redis
        .cli(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    assert_eq!(told, "OK");
    let _replica = taskweir_testkit::TestRedis::start_with(
        taskweir_testkit::Persistence::None,
        &["--replicaof", "127.0.0.1", &port],
    );
    let answer = taskweir_testkit::eventually("a replica confirms", async || {
        let answer = submit().await.unwrap();
        (answer.status().as_u16() != 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.status().as_u16(), 200, "made by the first try");
}
