use serde_json::{Value, json};
use taskweir_store::RedisSettings;
use taskweir_testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, json};

/// A projector beside the gateway, so that lists have something to show.
#[expect(clippy::disallowed_methods, reason = "it ends with the test's process")]
pub async fn project(bench: &Bench) {
    let redis = RedisSettings::at(bench.redis.url());
    let config = taskweir_projector::Config { redis };
    let app = config.build(taskweir_runtime::Readiness::default());
    let app = app.await.unwrap();
    tokio::spawn(app.run(CancellationToken::new()));
}

fn ids(list: &Value) -> Vec<String> {
    let tasks = list["tasks"].as_array().unwrap();
    tasks
        .iter()
        .map(|task| task["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn lists_wait_for_the_position_they_are_asked_for() {
    let bench = Bench::with_partitions(3).await;
    project(&bench).await;
    let stats = async || json(bench.get("/stats").await).await;
    bench.submit(r#"{"type":"first"}"#).await;
    eventually("somebody projects", async || {
        (stats().await["totals"]["pending"] == 1).then_some(())
    })
    .await;
    for n in 0..20 {
        let accepted = json(bench.post("/tasks", r#"{"type":"a"}"#).await).await;
        let position = accepted["position"].as_str().unwrap().replace('@', "%40");
        if n % 2 == 0 {
            let queues = json(bench.get(&format!("/queues?min_position={position}")).await).await;
            assert_eq!(queues["queues"][0]["by_status"]["pending"], n + 2);
        }
        let list = json(bench.get(&format!("/tasks?min_position={position}")).await).await;
        assert_eq!(list["tasks"].as_array().unwrap().len(), n + 2);
        assert_eq!(list["tasks"][0]["id"], accepted["id"], "newest first");
    }
}

#[tokio::test]
async fn pages_over_partitions_have_no_gap_and_no_repeat() {
    let bench = Bench::with_partitions(3).await;
    project(&bench).await;
    let mut expected = Vec::new();
    for n in 0..47 {
        expected.push(
            bench
                .submit(&format!(
                    r#"{{"type":"t{}","labels":{{"n":"{}"}}}}"#,
                    n % 3,
                    n % 2
                ))
                .await,
        );
    }
    expected.sort();
    expected.reverse();
    eventually("the views are there", async || {
        (json(bench.get("/stats").await).await["totals"]["pending"] == 47).then_some(())
    })
    .await;
    for filter in [
        "",
        "&type=t1",
        "&label=n%3D1",
        "&status=pending&queue=default",
    ] {
        let all = ids(&json(bench.get(&format!("/tasks?limit=500{filter}")).await).await);
        let mut paged = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = json(bench.get(&format!("/tasks?limit=5{filter}{cursor}")).await).await;
            paged.extend(ids(&page));
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(paged, all, "{filter}");
        if filter.is_empty() {
            assert_eq!(paged, expected);
        } else {
            assert!(!paged.is_empty());
        }
    }
    let none = json(
        bench
            .get("/tasks?created_before=2020-01-01T00:00:00Z")
            .await,
    )
    .await;
    assert_eq!(none["tasks"], json!([]));
    let all = json(
        bench
            .get("/tasks?created_after=2020-01-01T00:00:00Z&limit=500")
            .await,
    )
    .await;
    assert_eq!(all["tasks"].as_array().unwrap().len(), 47);
    let one = json(bench.get(&format!("/tasks?q={}", &expected[3])).await).await;
    assert_eq!(ids(&one), [expected[3].clone()]);
}
