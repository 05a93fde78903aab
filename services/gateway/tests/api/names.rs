//! Many queues: a name costs nothing before it is taken, lists come by pages, metrics are bounded.

use reqwest::Method;
use serde_json::{Value, json};

use crate::bench::{Bench, json};

/// Submits a task to each of so many queues.
async fn fill(bench: &Bench, count: usize) {
    let names: Vec<usize> = (0..count).collect();
    for chunk in names.chunks(500) {
        let tasks: Vec<Value> = chunk
            .iter()
            .map(|number| json!({ "type": "a", "queue": format!("tenant-{number:05}") }))
            .collect();
        let body = json!({ "tasks": tasks }).to_string();
        let answer = bench.post("/tasks/batch", &body).await;
        assert_eq!(json(answer).await["accepted"], chunk.len());
    }
}

#[tokio::test]
async fn a_refused_submit_makes_no_queue_and_their_number_has_a_limit() {
    let bench = Bench::with_env(1, &[("MAX_QUEUES", "2"), ("MAX_QUEUE_LENGTH", "1")]).await;
    let submit = async |task: Value| bench.post("/tasks", &task.to_string()).await;
    for (queue, status) in [("a", 202), ("b", 202), ("c", 429), ("a", 429)] {
        let answer = submit(json!({ "type": "x", "queue": queue })).await;
        assert_eq!(answer.status().as_u16(), status, "{queue}");
        if queue == "c" {
            assert!(answer.headers().contains_key("retry-after"));
            let detail = json(answer).await["detail"].to_string();
            assert!(detail.contains("MAX_QUEUES"), "{detail}");
        }
    }
    let held = json!({ "type": "x", "queue": "a", "unique_key": "k" });
    assert_eq!(submit(held).await.status().as_u16(), 429);
    let listed = json(bench.get("/queues").await).await;
    let names: Vec<_> = listed["queues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| queue["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let batch = json!({ "tasks": [{ "type": "x", "queue": "d" }, { "type": "x", "queue": "b" }] });
    let batch = json(bench.post("/tasks/batch", &batch.to_string()).await).await;
    assert_eq!(batch["items"][0]["status"], 429);
    assert_eq!(bench.get("/queues/d").await.status().as_u16(), 404);
}

#[tokio::test]
async fn hundreds_of_queues_come_by_pages_and_as_bounded_series() {
    let bench = Bench::new().await;
    fill(&bench, 260).await;
    bench.post("/queues/tenant-00259/pause", "").await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = json(bench.get(&format!("/queues?limit=100{cursor}")).await).await;
        for queue in page["queues"].as_array().unwrap() {
            seen.push(queue["name"].as_str().unwrap().to_owned());
            assert_eq!(queue["depth"]["normal"]["ready"], 1, "{queue}");
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all: Vec<String> = (0..260)
        .map(|number| format!("tenant-{number:05}"))
        .collect();
    assert_eq!(seen, all);
    for bad in ["limit=0", "limit=501", "cursor=a%20b"] {
        let refused = bench.get(&format!("/queues?{bad}")).await;
        assert_eq!(refused.status().as_u16(), 422, "{bad}");
    }

    let text = bench.get("/metrics").await.text().await.unwrap();
    let waiting: Vec<(&str, f64)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pending_tasks_total{queue=\""))
        .filter_map(|line| {
            let (queue, rest) = line.split_once('"')?;
            Some((queue, rest.rsplit_once(' ')?.1.parse().ok()?))
        })
        .collect();
    let sum: f64 = waiting.iter().map(|(_, count)| count).sum();
    let mut queues: Vec<&str> = waiting.iter().map(|(queue, _)| *queue).collect();
    queues.dedup();
    assert_eq!((queues.len(), sum as u64), (101, 260));
    assert!(queues.contains(&"other"));
    assert!(text.contains(r#"taskweir_queue_paused{queue="tenant-00259"} 1"#));
    let submitted = text
        .lines()
        .filter(|line| line.starts_with("task_submissions_total{"));
    assert!(submitted.count() <= 202);

    let health = bench.call(Method::GET, "/health").send().await.unwrap();
    let health = health.text().await.unwrap();
    assert!(health.len() < 4_000, "{health}");
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!(
        (&health["queues"], &health["ready"]),
        (&json!(260), &json!(260))
    );
}
