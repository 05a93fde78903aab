use reqwest::Method;
use taskweir_domain::{TaskId, TaskSpec};
use taskweir_store::{Ran, Submission, entropy};
use taskweir_testkit::eventually;

use crate::bench::{Bench, json};
use crate::lists::project;

#[tokio::test]
async fn a_bulk_request_names_what_it_does_not_take() {
    let bench = Bench::new().await;
    let refused = async |path: &str, body: &str, field: &str| {
        let answer = bench.post(path, body).await;
        assert_eq!(answer.status().as_u16(), 422, "{path} {body}");
        let told = json(answer).await;
        assert_eq!(told["errors"][0]["field"], field, "{told}");
    };
    for path in ["/dlq/retry", "/dlq/delete"] {
        refused(path, r#"{"status":"failed"}"#, "status").await;
        refused(path, r#"{"failed_after":"yesterday"}"#, "failed_after").await;
        refused(path, r#"{"priority":"urgent"}"#, "priority").await;
        refused(path, r#"{"label":"x"}"#, "label").await;
        refused(path, r#"{"dry_run":"yes"}"#, "dry_run").await;
    }
    let path = "/tasks/cancel";
    refused(path, r#"{"status":"completed"}"#, "status").await;
    refused(
        path,
        r#"{"failed_after":"2026-01-01T00:00:00Z"}"#,
        "failed_after",
    )
    .await;
    refused(
        path,
        &format!(r#"{{"reason":"{}"}}"#, "x".repeat(501)),
        "reason",
    )
    .await;
    refused(path, "7", "").await;
    assert_eq!(bench.post(path, "{").await.status().as_u16(), 400);
}

#[tokio::test]
async fn an_operation_is_watched_and_stopped_by_its_place() {
    let bench = Bench::new().await;
    for _ in 0..3 {
        bench.submit(r#"{"type":"echo"}"#).await;
    }
    let answer = bench
        .post("/tasks/cancel", r#"{"type":"echo","reason":"why not"}"#)
        .await;
    assert_eq!(answer.status().as_u16(), 202);
    let place = answer.headers()["location"].to_str().unwrap().to_owned();
    let begun = json(answer).await;
    assert_eq!(begun["state"], "running");
    assert_eq!(begun["reason"], "why not");
    let seen = json(bench.get(&place).await).await;
    assert_eq!(seen["id"], begun["id"]);
    let stop = || bench.call(Method::DELETE, &place).send();
    for _ in 0..2 {
        assert_eq!(stop().await.unwrap().status().as_u16(), 200);
    }
    let stopped = json(bench.get(&place).await).await;
    assert_eq!(stopped["state"], "stopped");
    assert!(stopped["ended_at"].is_string());
    let listed = json(bench.get("/operations").await).await;
    assert_eq!(listed["operations"][0]["id"], begun["id"]);
    for stranger in ["nonsense", &bench.store.mint().to_string()] {
        let path = format!("/operations/{stranger}");
        assert_eq!(bench.get(&path).await.status().as_u16(), 404);
        let answer = bench.call(Method::DELETE, &path).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 404);
    }
}

#[tokio::test]
async fn what_is_cancelled_is_what_was_submitted_before_by_the_log_and_not_by_the_clock_of_its_id()
{
    let bench = Bench::new().await;
    project(&bench).await;
    // Its id comes from a machine whose clock is an hour ahead.
    let now = bench.store.server_time_ms().await.unwrap();
    let partition = bench.store.partitions().remove(0);
    let id = entropy::task_id(now + 3_600_000, partition.keys().partition());
    let submission = Submission {
        id,
        spec: TaskSpec::new("default".parse().unwrap(), "work".parse().unwrap()),
        idempotency: None,
    };
    partition.submit(&[submission]).await.unwrap();
    eventually("the view has it", async || {
        let list = json(bench.get("/tasks").await).await;
        (!list["tasks"].as_array()?.is_empty()).then_some(())
    })
    .await;
    let begun = json(bench.post("/tasks/cancel", "{}").await).await;
    let operation: TaskId = begun["id"].as_str().unwrap().parse().unwrap();
    let asked = bench.store.operation(operation).await.unwrap().unwrap();
    let asked = asked.order.asked_ms;
    // Submitted after it was asked for.
    eventually("a later millisecond", async || {
        (bench.store.server_time_ms().await.unwrap() > asked).then_some(())
    })
    .await;
    let later = bench.submit(r#"{"type":"work"}"#).await;
    while bench.store.run_operation(operation, "here").await.unwrap() == Ran::More {}
    let status = async |id: String| {
        let task = json(bench.get(&format!("/tasks/{id}")).await).await;
        task["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status(id.to_string()).await, "cancelled");
    assert_eq!(status(later).await, "pending");
}
