//! What goes in comes out: payloads as they are written, reasons where they were given, times with their true fault.

use reqwest::Method;
use serde_json::json;

use crate::bench::{Bench, json};

#[tokio::test]
async fn a_payload_comes_out_as_the_bytes_that_went_in() {
    let bench = Bench::new().await;
    for data in [
        "12345678901234567890123",
        "0.10000000000000000000000000001",
        "1e-400",
        "-0",
        r#"{"a":1,"a":2,"z":[1.0,1.50],"b":{ "spaced" : true }}"#,
        &format!("{}{}", "[".repeat(100), "]".repeat(100)),
        &format!(
            r#"{{"n":98765432109876543210,"long":"{}"}}"#,
            "x".repeat(5_000)
        ),
    ] {
        let id = bench
            .submit(&format!(r#"{{"type":"a","data":{data}}}"#))
            .await;
        let task = bench
            .get(&format!("/tasks/{id}"))
            .await
            .text()
            .await
            .unwrap();
        assert!(task.contains(&format!(r#""data":{data},"#)), "{task}");
        if data.len() < 5_000 {
            let history = bench.get(&format!("/tasks/{id}/history")).await;
            let history = history.text().await.unwrap();
            assert!(history.contains(&format!(r#""data":{data},"#)), "{history}");
        }
    }
}

#[tokio::test]
async fn an_event_of_the_feed_is_one_line_whatever_its_payload_is_written_like() {
    let bench = Bench::new().await;
    let call = bench.call(Method::POST, "/tasks");
    let call = call
        .header("content-type", "application/json")
        .body("{\"type\":\"a\",\"data\":{\r\n\"n\":\r12345678901234567890123,\n\"s\":\"a b\" }}");
    assert_eq!(call.send().await.unwrap().status().as_u16(), 202);
    let feed = bench
        .call(Method::GET, "/events")
        .header("last-event-id", bench.beginning());
    let mut feed = feed.send().await.unwrap();
    let mut heard = String::new();
    while !heard.contains("\n\n") {
        let more = feed.chunk().await.unwrap().expect("the feed goes on");
        heard.push_str(&String::from_utf8_lossy(&more));
    }
    let data: Vec<&str> = heard
        .split(['\n', '\r'])
        .filter(|line| line.contains("12345678901234567890123"))
        .collect();
    assert_eq!(data.len(), 1, "{heard}");
    assert!(
        data[0].contains(r#""data":{"n":12345678901234567890123,"s":"a b"}"#),
        "{heard}"
    );
}

#[tokio::test]
async fn bodies_under_one_key_differ_where_their_numbers_do() {
    let bench = Bench::new().await;
    let submit = async |data: &str| {
        let call = bench.call(Method::POST, "/tasks");
        let call = call
            .header("content-type", "application/json")
            .header("idempotency-key", "k");
        let call = call.body(format!(r#"{{"type":"a","data":{data}}}"#));
        call.send().await.unwrap().status().as_u16()
    };
    assert_eq!(submit("12345678901234567890123").await, 202);
    assert_eq!(submit(" 12345678901234567890123 ").await, 200);
    assert_eq!(submit("12345678901234567890124").await, 409);
}

#[tokio::test]
async fn a_reason_stands_in_the_event_and_anything_else_is_refused() {
    let bench = Bench::new().await;
    let ask = async |method: Method, path: &str, body: Option<&str>| {
        let call = bench.call(method, path);
        let call = match body {
            Some(body) => call
                .header("content-type", "application/json")
                .body(body.to_owned()),
            None => call,
        };
        call.send().await.unwrap()
    };
    let id = bench.submit(r#"{"type":"a"}"#).await;
    let cancel = format!("/tasks/{id}/cancel");
    for (body, status, field) in [
        (r#"{"why":"x"}"#, 422, "why"),
        (r#"{"reason":7}"#, 422, "reason"),
        (r#"["reason"]"#, 422, ""),
        ("{nonsense", 400, ""),
    ] {
        let refused = ask(Method::POST, &cancel, Some(body)).await;
        assert_eq!(refused.status().as_u16(), status, "{body}");
        if status == 422 {
            assert_eq!(json(refused).await["errors"][0]["field"], field, "{body}");
        }
    }
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(501));
    let refused = ask(Method::POST, &cancel, Some(&long)).await;
    assert_eq!(refused.status().as_u16(), 422);
    let text = bench.call(Method::POST, &cancel);
    let text = text.header("content-type", "text/plain").body("mistake");
    assert_eq!(text.send().await.unwrap().status().as_u16(), 415);
    let done = ask(Method::POST, &cancel, Some(r#"{"reason":"a mistake"}"#)).await;
    assert_eq!(done.status().as_u16(), 200);
    let history = json(bench.get(&format!("/tasks/{id}/history")).await).await;
    assert_eq!(history["events"][1]["cause"], "a mistake");
    assert_eq!(history["events"][1]["detail"]["reason"], "a mistake");

    let other = bench.submit(r#"{"type":"a"}"#).await;
    let plain = ask(Method::POST, &format!("/tasks/{other}/cancel"), None).await;
    assert_eq!(plain.status().as_u16(), 200, "no body is no reason");
    for verb in ["pause", "resume"] {
        let path = format!("/queues/default/{verb}");
        let told = ask(Method::POST, &path, Some(r#"{"reason":"repairs"}"#)).await;
        assert_eq!(told.status().as_u16(), 200);
        let bad = ask(Method::POST, &path, Some(r#"{"colour":1}"#)).await;
        assert_eq!(bad.status().as_u16(), 422);
    }
    let log = bench.redis.cli(&["KEYS", "*:log"]);
    let told = log
        .lines()
        .map(|log| bench.redis.cli(&["XRANGE", log, "-", "+"]))
        .filter(|log| log.contains("QueuePaused") && log.contains(r#""reason":"repairs""#));
    assert!(told.count() > 0);
    let dead = ask(
        Method::DELETE,
        &format!("/dlq/failed-tasks/{id}"),
        Some("{}"),
    )
    .await;
    assert_eq!(dead.status().as_u16(), 422, "it takes ?reason=");
}

#[tokio::test]
async fn a_compressed_body_is_refused_as_one() {
    let bench = Bench::new().await;
    for (encoding, status) in [("gzip", 415), ("br", 415), ("identity", 202)] {
        let call = bench.call(Method::POST, "/tasks");
        let call = call
            .header("content-type", "application/json")
            .header("content-encoding", encoding)
            .body(r#"{"type":"a"}"#);
        assert_eq!(call.send().await.unwrap().status().as_u16(), status);
    }
}

#[tokio::test]
async fn names_and_times_are_refused_with_the_true_reason() {
    let bench = Bench::new().await;
    for (task, field, why) in [
        (json!({ "type": "a", "queue": "." }), "queue", "no path"),
        (json!({ "type": "a", "queue": ".." }), "queue", "no path"),
        (json!({ "type": "a//b" }), "type", "no path"),
        (
            json!({ "type": "a", "run_at": "9999-12-31T23:59:59Z" }),
            "run_at",
            "too far ahead",
        ),
        (
            json!({ "type": "a", "run_at": "1969-01-01T00:00:00Z" }),
            "run_at",
            "before 1970",
        ),
        (
            json!({ "type": "a", "run_at": "2030-01-01T00:00:00" }),
            "run_at",
            "offset",
        ),
    ] {
        let refused = bench.post("/tasks", &task.to_string()).await;
        assert_eq!(refused.status().as_u16(), 422, "{task}");
        let error = json(refused).await["errors"][0].clone();
        assert_eq!(error["field"], field, "{task}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
    let twice = bench.post("/tasks", r#"{"type":"a","type":"b"}"#).await;
    let twice = json(twice).await["errors"][0].clone();
    assert_eq!(
        (&twice["field"], &twice["message"]),
        (&json!("type"), &json!("is given twice"))
    );
    for (query, why) in [
        ("created_after=2026-01-31T03:12:00+01:00", "%2B"),
        ("created_after=2026-01-31T03:12:00%2B01:00", ""),
    ] {
        let answer = bench
            .get(&format!("/tasks?{query}"))
            .await
            .text()
            .await
            .unwrap();
        assert!(answer.contains(why), "{query}: {answer}");
        assert_eq!(
            answer.contains("errors"),
            !why.is_empty(),
            "{query}: {answer}"
        );
    }
}

#[tokio::test]
async fn health_names_what_keeps_tasks_from_being_taken() {
    let bench = Bench::with_env(1, &[("MEMORY_BUDGET", "1KiB")]).await;
    let troubles = async || json(bench.get("/health").await).await["troubles"].to_string();
    assert!(troubles().await.contains("MEMORY_BUDGET is 1024"));
    bench.store.note_verified(3).await.unwrap();
    assert!(troubles().await.contains("found 3 differences"));
    assert_eq!(
        bench.redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]),
        "OK"
    );
    assert!(troubles().await.contains("Redis is out of memory"));
    let partition = bench.store.partitions().remove(0);
    let add = ["ZADD", &partition.keys().due(), "1000", "x"];
    assert_eq!(bench.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    assert_eq!(bench.redis.cli(&add), "1");
    let told = troubles().await;
    assert!(told.contains("is a scheduler running?"), "{told}");
    for (setting, odd, usual, told) in [
        ("min-replicas-to-write", "1", "0", "NOREPLICAS"),
        ("maxmemory", "1mb", "0", "Redis is out of memory"),
    ] {
        for (value, tells) in [(odd, true), (usual, false)] {
            let set = bench.redis.cli(&["CONFIG", "SET", setting, value]);
            assert_eq!(set, "OK");
            let troubles = troubles().await;
            assert_eq!(
                troubles.contains(told),
                tells,
                "{setting} {value}: {troubles}"
            );
        }
    }
    assert!(!told.contains("out of memory"), "{told}");
}
