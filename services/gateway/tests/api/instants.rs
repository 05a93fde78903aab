use serde_json::{Value, json};
use taskweir_domain::format_ms;

use crate::bench::{Bench, json};
use crate::lists::project;

/// The present, after which nothing else happens in the same millisecond.
async fn now(bench: &Bench) -> String {
    let ms = bench.store.server_time_ms().await.unwrap();
    taskweir_testkit::eventually("a later millisecond", async || {
        (bench.store.server_time_ms().await.unwrap() > ms).then_some(())
    })
    .await;
    format_ms(ms)
}

async fn get(bench: &Bench, path: &str) -> Value {
    let answer = bench.get(path).await;
    assert_eq!(answer.status().as_u16(), 200, "{path}");
    json(answer).await
}

async fn counts_and_queues_at_each_instant(bench: &Bench) {
    let before = now(bench).await;
    let mut mails = Vec::new();
    for _ in 0..9 {
        mails.push(bench.submit(r#"{"type":"mail","queue":"out"}"#).await);
    }
    bench.submit(r#"{"type":"later","delay":600}"#).await;
    let submitted = now(bench).await;
    assert_eq!(bench.post("/queues/out/pause", "").await.status(), 200);
    let paused = now(bench).await;
    assert_eq!(bench.post("/queues/out/resume", "").await.status(), 200);
    for id in &mails[..4] {
        bench.post(&format!("/tasks/{id}/cancel"), "").await;
    }
    let cancelled = now(bench).await;

    let stats = async |at: &str| get(bench, &format!("/stats?as_of={at}")).await;
    let empty = stats(&before).await;
    assert_eq!(
        (&empty["ledger"]["submitted"], &empty["queues"]),
        (&json!(0), &json!({}))
    );
    for (at, pending, gone) in [(&submitted, 9, 0), (&paused, 9, 0), (&cancelled, 5, 4)] {
        let then = stats(at).await;
        assert_eq!(then["queues"]["out"]["pending"], pending, "{at}");
        assert_eq!(then["queues"]["out"]["cancelled"], gone, "{at}");
        assert_eq!(then["totals"]["scheduled"], 1);
        assert_eq!(then["ledger"]["balanced"], true);
    }
    let queue = async |at: &str| get(bench, &format!("/queues/out?as_of={at}")).await;
    for (at, is_paused) in [(&submitted, false), (&paused, true), (&cancelled, false)] {
        let then = queue(at).await;
        assert_eq!(then["paused"], is_paused, "{at}");
        assert_eq!(then["depth"], Value::Null);
    }
    assert_eq!(queue(&cancelled).await["by_status"]["cancelled"], 4);
    let path = format!("/queues/out?as_of={before}");
    assert_eq!(bench.get(&path).await.status(), 404, "not known yet");

    let diff = get(
        bench,
        &format!("/stats/diff?from={submitted}&to={cancelled}"),
    )
    .await;
    assert_eq!(diff["totals"]["pending"], -4);
    assert_eq!(diff["queues"]["out"]["cancelled"], 4);
    assert_eq!(diff["queue_events"]["out"]["Cancelled"], 4);
    assert_eq!(diff["events"]["Submitted"], 0);
    let all = get(bench, &format!("/stats/diff?from={before}")).await;
    assert_eq!(all["events"]["Submitted"], 10);
    assert_eq!(all["totals"]["pending"], 5);
}

#[tokio::test]
async fn counts_and_queues_are_as_they_were_at_each_instant() {
    let bench = Bench::with_partitions(3).await;
    project(&bench).await;
    counts_and_queues_at_each_instant(&bench).await;
}

#[tokio::test]
async fn instants_are_told_from_the_log_where_the_views_are_behind() {
    let bench = Bench::with_partitions(3).await;
    counts_and_queues_at_each_instant(&bench).await;
}

#[tokio::test]
async fn an_instant_may_be_a_position() {
    let bench = Bench::with_partitions(1).await;
    let mut positions = Vec::new();
    for _ in 0..5 {
        let accepted = json(bench.post("/tasks", r#"{"type":"a"}"#).await).await;
        positions.push(accepted["position"].as_str().unwrap().to_owned());
    }
    for (index, position) in positions.iter().enumerate() {
        let then = get(&bench, &format!("/stats?as_of={position}")).await;
        assert_eq!(then["totals"]["pending"], index + 1);
        assert_eq!(then["positions"], json!([position]));
    }
}

#[tokio::test]
async fn instants_that_make_no_sense_are_refused_by_name() {
    let bench = Bench::new().await;
    let at = now(&bench).await;
    for (path, field) in [
        ("/stats?as_of=soon".to_owned(), "as_of"),
        ("/stats?as_of=2999-01-01T00:00:00Z".to_owned(), "as_of"),
        ("/queues/a?as_of=9@1-0".to_owned(), "as_of"),
        ("/stats/diff?from=never".to_owned(), "from"),
        ("/stats/diff".to_owned(), "from"),
        (
            format!("/stats/diff?from={at}&to=2020-01-01T00:00:00Z"),
            "to",
        ),
    ] {
        let answer = bench.get(&path).await;
        assert_eq!(answer.status().as_u16(), 422, "{path}");
        assert_eq!(json(answer).await["errors"][0]["field"], field, "{path}");
    }
}

#[tokio::test]
async fn a_reached_memory_budget_refuses_new_tasks_and_only_those() {
    let bench = Bench::with_env(1, &[("MEMORY_BUDGET", "12MiB")]).await;
    let send = async |key: &str| {
        let request = bench.call(reqwest::Method::POST, "/tasks");
        let request = request.header("idempotency-key", key);
        request.json(&json!({ "type": "a" })).send().await.unwrap()
    };
    assert_eq!(send("one").await.status(), 202);
    let fill = bench.redis.cli(&["SETRANGE", "ballast", "16000000", "x"]);
    assert_eq!(fill, "16000001");
    taskweir_testkit::eventually("the budget is seen", async || {
        let answer = bench.post("/tasks", r#"{"type":"a"}"#).await;
        (answer.status() == 429).then_some(())
    })
    .await;
    let refused = bench.post("/tasks", r#"{"type":"a"}"#).await;
    assert!(refused.headers().contains_key("retry-after"));
    let detail = json(refused).await["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("MEMORY_BUDGET"), "{detail}");
    assert_eq!(send("one").await.status(), 200, "a repeat is no new task");
    assert_eq!(bench.redis.cli(&["DEL", "ballast"]), "1");
    taskweir_testkit::eventually("there is room again", async || {
        let answer = bench.post("/tasks", r#"{"type":"a"}"#).await;
        (answer.status() == 202).then_some(())
    })
    .await;
}
