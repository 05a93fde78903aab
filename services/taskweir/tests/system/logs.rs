//! The lines of a task's life, and what must be in none.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::{Fleet, Process};

const SECRET: &str = "hunter2-and-nobody-else";

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[tokio::test]
async fn each_step_is_one_line_with_its_fields_and_no_payload_is_in_any() {
    let fleet = Fleet::start("10").await;
    let dir = tempfile::tempdir().unwrap();
    let spawn = |service: &str| {
        let path = dir.path().join(service);
        let mut command = crate::fleet::command(dir.path());
        command
            .arg(service)
            .env("REDIS_URL", fleet.redis.url())
            .env("LOG_FORMAT", "json")
            .env(
                "GATEWAY_ADDR",
                format!("127.0.0.1:{}", taskweir_testkit::free_port()),
            )
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&path).unwrap());
        (Process::of(command.spawn().unwrap()), path)
    };
    let (worker, written) = spawn("worker");
    let data = json!({ "password": SECRET, "times": 1 });
    let id = fleet
        .submit(&json!({ "type": "fail", "data": data, "retry": { "initial_delay": 0.05 } }))
        .await;
    fleet
        .reaches(&id, "completed", Duration::from_secs(20))
        .await;
    let bad = fleet
        .submit(&json!({ "type": "fail", "data": { "password": SECRET, "fatal": true } }))
        .await;
    fleet.reaches(&bad, "failed", Duration::from_secs(20)).await;
    // Data that the handler cannot read is not quoted either.
    let odd = fleet
        .submit(&json!({ "type": "sleep", "data": { "seconds": SECRET } }))
        .await;
    let odd = fleet.reaches(&odd, "failed", Duration::from_secs(20)).await;
    assert_eq!(odd["error"]["kind"], "invalid_payload");
    let why = odd["error"]["message"].as_str().unwrap();
    assert!(why.contains("expected") && !why.contains(SECRET), "{why}");
    assert!(worker.stop().await.success());
    let lines = lines(&written);
    let life = |id: &str| -> Vec<(String, u64)> {
        let of = lines.iter().filter(|line| line["task.id"] == id);
        of.map(|line| {
            for field in ["timestamp", "level", "task.type", "worker"] {
                assert!(line[field].is_string(), "{field} in {line}");
            }
            (
                line["message"].as_str().unwrap().to_owned(),
                line["attempt"].as_u64().unwrap(),
            )
        })
        .collect()
    };
    let told = |steps: &[(&str, u64)]| -> Vec<(String, u64)> {
        steps
            .iter()
            .map(|(step, attempt)| ((*step).to_owned(), *attempt))
            .collect()
    };
    assert_eq!(
        life(&id),
        told(&[
            ("📋 ASSIGNED", 1),
            ("⚙️ STARTED", 1),
            ("❌ ERROR", 1),
            ("🔄 REQUEUED", 1),
            ("📋 ASSIGNED", 2),
            ("⚙️ STARTED", 2),
            ("✅ COMPLETED", 2),
        ])
    );
    assert_eq!(
        life(&bad),
        told(&[
            ("📋 ASSIGNED", 1),
            ("⚙️ STARTED", 1),
            ("❌ ERROR", 1),
            ("💀 DLQ", 1)
        ])
    );
}
