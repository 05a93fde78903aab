//! The lines of a task's life, and what must be in none.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use taskweir_domain::{Json, TaskSpec};
use taskweir_store::Submission;

use crate::fleet::{Fleet, Process};

const SECRET: &str = "hunter2-and-nobody-else";

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// A service that writes its log into a file.
fn logging(fleet: &Fleet, dir: &Path, service: &str, env: &[(&str, &str)]) -> (Process, PathBuf) {
    let path = dir.join(service);
    let gateway = format!("127.0.0.1:{}", taskweir_testkit::free_port());
    let mut command = crate::fleet::command(dir);
    command
        .arg(service)
        .env("REDIS_URL", fleet.redis.url())
        .env("GATEWAY_ADDR", gateway)
        .envs(env.iter().copied())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&path).unwrap());
    (Process::of(command.spawn().unwrap()), path)
}

#[tokio::test]
async fn each_step_is_one_line_with_its_fields_and_no_payload_is_in_any() {
    let fleet = Fleet::start("10").await;
    let dir = tempfile::tempdir().unwrap();
    let (worker, written) = logging(&fleet, dir.path(), "worker", &[("LOG_FORMAT", "json")]);
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

#[tokio::test]
async fn lines_for_people_say_the_same_and_have_no_colours_in_a_file() {
    let fleet = Fleet::start("10").await;
    let dir = tempfile::tempdir().unwrap();
    let (worker, written) = logging(&fleet, dir.path(), "worker", &[("LOG_FORMAT", "pretty")]);
    let task = json!({ "type": "fail", "data": { "password": SECRET, "fatal": true } });
    let id = fleet.submit(&task).await;
    fleet.reaches(&id, "failed", Duration::from_secs(20)).await;
    assert!(worker.stop().await.success());
    let text = std::fs::read_to_string(&written).unwrap();
    assert!(!text.contains('\x1b') && !text.contains(SECRET), "{text}");
    let of_task = text.lines().filter(|line| line.contains(&id));
    let of_task: Vec<&str> = of_task.collect();
    let steps = ["📋 ASSIGNED", "⚙️ STARTED", "❌ ERROR", "💀 DLQ"];
    assert_eq!(of_task.len(), steps.len(), "{text}");
    for (line, step) in of_task.iter().zip(steps) {
        for part in [step, "INFO", "task.type", "fail", "attempt"] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}

/// What a worker cannot tell because it is gone, the scheduler tells.
#[tokio::test]
async fn the_scheduler_tells_of_tasks_whose_worker_fell_silent() {
    let mut fleet = Fleet::with_env("2", &[]).await;
    assert!(fleet.services.remove(1).stop().await.success());
    let dir = tempfile::tempdir().unwrap();
    let env = [("LOG_FORMAT", "json"), ("LEASE_SECONDS", "2")];
    let (scheduler, written) = logging(&fleet, dir.path(), "scheduler", &env);
    let again = fleet
        .submit(&json!({ "type": "sleep", "data": { "seconds": 60, "note": SECRET } }))
        .await;
    let mut spec = TaskSpec::new("default".parse().unwrap(), "sleep".parse().unwrap());
    spec.data = Json::of(&json!({ "seconds": 60, "note": SECRET })).unwrap();
    spec.max_deliveries = 0;
    let last = fleet.store.mint_for(&spec);
    let submission = Submission {
        id: last,
        spec,
        idempotency: None,
    };
    let partition = fleet.store.partition_of(last).unwrap();
    partition.submit(&[submission]).await.unwrap();
    let last = last.to_string();
    let mut worker = fleet.spawn("worker", &[]);
    for id in [&again, &last] {
        fleet
            .reaches(id, "processing", Duration::from_secs(20))
            .await;
    }
    worker.kill();
    fleet
        .reaches(&last, "failed", Duration::from_secs(20))
        .await;
    fleet
        .reaches(&again, "pending", Duration::from_secs(20))
        .await;
    assert!(scheduler.stop().await.success());
    let lines = lines(&written);
    for (id, message, field, value) in [
        (&again, "🔄 REQUEUED", "reason", "lease expired"),
        (&last, "💀 DLQ", "error.kind", "crash_loop"),
    ] {
        let of_task: Vec<&Value> = lines
            .iter()
            .filter(|line| line["task.id"] == **id)
            .collect();
        assert_eq!(of_task.len(), 1, "{lines:#?}");
        let line = of_task[0];
        assert_eq!(
            (&line["message"], &line[field]),
            (&json!(message), &json!(value))
        );
        assert_eq!(
            (&line["task.type"], &line["attempt"]),
            (&json!("sleep"), &json!(1))
        );
        assert!(
            line["worker"]
                .as_str()
                .is_some_and(|worker| !worker.is_empty()),
            "{line}"
        );
    }
}

/// A task that runs on elsewhere is requeued, whoever sees to it.
#[tokio::test]
async fn what_a_shutdown_or_a_person_gives_back_is_requeued() {
    let fleet = Fleet::start("10").await;
    let dir = tempfile::tempdir().unwrap();
    let env = [("LOG_FORMAT", "json"), ("SHUTDOWN_GRACE", "0")];
    let (worker, written) = logging(&fleet, dir.path(), "worker", &env);
    let asleep = fleet
        .submit(&json!({ "type": "sleep", "data": { "seconds": 60, "note": SECRET } }))
        .await;
    fleet
        .reaches(&asleep, "processing", Duration::from_secs(20))
        .await;
    assert!(worker.stop().await.success());
    let requeued = |path: &Path, id: &str| {
        let of = |line: &Value| line["task.id"] == *id && line["message"] == "🔄 REQUEUED";
        let found: Vec<Value> = lines(path).into_iter().filter(of).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    };
    let line = requeued(&written, &asleep);
    assert_eq!(
        (&line["reason"], &line["task.type"], &line["attempt"]),
        (&"shutdown".into(), &"sleep".into(), &1.into())
    );
    assert!(!line["worker"].as_str().unwrap().is_empty());
    let (worker, _) = logging(&fleet, dir.path(), "worker", &[]);
    let dead = fleet
        .submit(&json!({ "type": "fail", "data": { "fatal": true } }))
        .await;
    fleet
        .reaches(&dead, "failed", Duration::from_secs(20))
        .await;
    assert!(worker.stop().await.success());
    // By a gateway whose log is at hand.
    let address = format!("127.0.0.1:{}", taskweir_testkit::free_port());
    let env = [("LOG_FORMAT", "json"), ("GATEWAY_ADDR", address.as_str())];
    let (gateway, path) = logging(&fleet, dir.path(), "gateway", &env);
    let client = taskweir_client::http::plain().build().unwrap();
    let retry = format!("http://{address}/dlq/failed-tasks/{dead}/retry");
    taskweir_testkit::eventually("it is taken back", async || {
        let answer = client.post(&retry).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    assert!(gateway.stop().await.success());
    let line = requeued(&path, &dead);
    assert_eq!((&line["attempt"], &line["worker"]), (&1.into(), &"".into()));
}
