use serde_json::Value;

use taskweir_domain::TaskId;

use crate::bench::{Bench, json};

#[test]
fn the_openapi_document_is_the_committed_one() {
    let document: Value = serde_json::from_str(&taskweir_gateway::openapi()).unwrap();
    let committed: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    // Swagger UI asks for a key where there is a scheme.
    assert_eq!(
        document["components"]["securitySchemes"]["key"]["scheme"],
        "bearer"
    );
    assert_eq!(document["security"].as_array().unwrap().len(), 2);
    assert_eq!(
        document, committed,
        "the API changed; run `make openapi` and review"
    );
}

#[tokio::test]
async fn documents_probes_and_metrics_are_served() {
    let bench = Bench::new().await;
    assert_eq!(
        json(bench.get("/openapi.json").await).await["info"]["title"],
        "Taskweir"
    );
    for path in ["/docs", "/docs/"] {
        let docs = bench.get(path).await.text().await.unwrap();
        assert!(docs.contains("SwaggerUIBundle") && docs.contains("securitySchemes"));
    }
    assert_eq!(bench.get("/health/live").await.status().as_u16(), 200);
    assert_eq!(bench.get("/health/ready").await.status().as_u16(), 200);
    let health = bench.get("/health").await;
    assert_eq!(health.status().as_u16(), 200);
    let health = json(health).await;
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["troubles"][0], "no worker is active");
}

#[tokio::test]
async fn metrics_tell_of_the_system_and_have_help() {
    let bench = Bench::new().await;
    let id = bench.submit(r#"{"type":"a","priority":"high"}"#).await;
    let partition = id.parse::<TaskId>().unwrap().partition().0;
    let metrics = bench.get("/metrics").await;
    assert!(
        metrics.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let text = metrics.text().await.unwrap();
    for line in [
        r#"task_submissions_total{queue="default",type="a",priority="high"} 1"#,
        r#"pending_tasks_total{queue="default",priority="high"} 1"#,
        r#"pending_tasks_total{queue="default",priority="low"} 0"#,
        r#"tasks_in_dlq_total{queue="default"} 0"#,
        "active_workers_total 0",
        &format!(r#"projection_lag_events{{partition="{partition}"}} 1"#),
    ] {
        assert!(text.contains(line), "{line} not in {text}");
    }
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = name.split(' ').next().unwrap();
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "{name} has no help"
        );
    }
}

#[tokio::test]
async fn while_redis_is_away_the_metrics_say_so_and_tell_no_old_numbers() {
    let mut bench = Bench::new().await;
    bench.submit(r#"{"type":"a"}"#).await;
    let before = bench.get("/metrics").await.text().await.unwrap();
    assert!(before.contains("\ntaskweir_redis_up 1\n"), "{before}");
    bench.redis.kill();
    let after = bench.get("/metrics").await.text().await.unwrap();
    assert!(after.contains("\ntaskweir_redis_up 0\n"), "{after}");
    assert!(after.contains("\ntask_submissions_total{"), "its own");
    for name in [
        "pending_tasks_total",
        "tasks_by_status",
        "active_workers_total",
    ] {
        assert!(before.contains(name) && !after.contains(name), "{name}");
    }
}
