use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use taskweir_testkit::{eventually_within, free_port};
use tempfile::TempDir;

use crate::fleet::{Process, command, spawn};

/// `taskweir dev` in a directory of its own.
pub struct Dev {
    pub dir: TempDir,
    pub gateway: u16,
    pub dashboard: u16,
    redis: u16,
    pub http: reqwest::Client,
}

impl Dev {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            gateway: free_port(),
            dashboard: free_port(),
            redis: free_port(),
            http: taskweir_client::http::plain().build().unwrap(),
        }
    }

    pub async fn start(&self) -> Process {
        self.start_with(&[]).await
    }

    pub async fn start_with(&self, env: &[(&str, &str)]) -> Process {
        let process = spawn(
            command(self.dir.path())
                .arg("dev")
                .envs(env.iter().copied())
                .env("GATEWAY_ADDR", format!("127.0.0.1:{}", self.gateway))
                .env("DASHBOARD_ADDR", format!("127.0.0.1:{}", self.dashboard))
                // Many systems run at once here: each wants a port of its own.
                .env("TASKWEIR_DEV_REDIS_PORT", self.redis.to_string())
                .env("SHUTDOWN_GRACE", "1")
                .env("LEASE_SECONDS", "3"),
        );
        eventually_within(Duration::from_secs(60), "the system answers", async || {
            let ready = self.http.get(self.url("/health/ready")).send().await.ok()?;
            let page = self
                .http
                .get(format!("http://127.0.0.1:{}/health/live", self.dashboard))
                .send()
                .await
                .ok()?;
            (ready.status().is_success() && page.status().is_success()).then_some(())
        })
        .await;
        process
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.gateway)
    }

    pub fn redis_port(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("data/redis.port")).unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        self.http
            .get(self.url(path))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    pub async fn submit(&self, task: &Value) -> String {
        let answer = self
            .http
            .post(self.url("/tasks"))
            .json(task)
            .send()
            .await
            .unwrap();
        let body: Value = answer.json().await.unwrap();
        body["id"].as_str().unwrap().to_owned()
    }

    pub async fn reaches(&self, id: &str, status: &str) -> Value {
        eventually_within(Duration::from_secs(30), status, async || {
            let task = self.get(&format!("/tasks/{id}")).await;
            (task["status"] == status).then_some(task)
        })
        .await
    }
}

#[tokio::test]
async fn hello_world_is_completed_within_a_second() {
    let dev = Dev::new();
    let process = dev.start().await;
    // The worker is there too.
    let first = dev.submit(&json!({ "type": "echo", "data": 1 })).await;
    dev.reaches(&first, "completed").await;
    let began = std::time::Instant::now();
    let id = dev
        .submit(&json!({ "type": "process", "data": "hello-world", "priority": "high" }))
        .await;
    let task = dev.reaches(&id, "completed").await;
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(task["result"], "hello-world");
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn stopped_or_killed_and_started_again_nothing_is_lost() {
    let dev = Dev::new();
    let process = dev.start().await;
    let waits = dev
        .submit(&json!({ "type": "process", "delay": 3_600 }))
        .await;
    let runs = dev
        .submit(&json!({ "type": "sleep", "data": { "seconds": 6 } }))
        .await;
    dev.reaches(&runs, "processing").await;
    assert!(process.stop().await.success(), "a clean end");
    assert!(
        !dev.dir.path().join("data/redis.port").exists(),
        "its Redis has stopped too"
    );

    let mut process = dev.start().await;
    assert_eq!(
        dev.get(&format!("/tasks/{waits}")).await["status"],
        "scheduled"
    );
    let released = dev.reaches(&runs, "processing").await;
    assert_eq!(
        (released["attempt"].clone(), released["losses"].clone()),
        (json!(2), json!(0))
    );
    process.kill();

    // Its Redis lives on and is taken over.
    let mut process = dev.start().await;
    let lost = dev.reaches(&runs, "completed").await;
    assert_eq!(
        (lost["attempt"].clone(), lost["losses"].clone()),
        (json!(3), json!(1))
    );
    let id = dev.submit(&json!({ "type": "echo" })).await;
    dev.reaches(&id, "completed").await;

    // Everything at once.
    process.kill();
    kill_redis(&dev);
    // As a power loss may leave its file.
    let file = growing_file(&dev);
    let mut text = std::fs::read(&file).unwrap();
    let sound = text.len();
    text.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$4\r\ntorn\r\n$1\r\n1\r\n");
    std::fs::write(&file, &text).unwrap();
    let process = dev.start().await;
    let mended = std::fs::read(&file).unwrap();
    assert_eq!(&mended[..sound], &text[..sound], "nothing else is lost");
    assert!(!mended.windows(4).any(|word| word == b"torn"), "cut off");
    assert_eq!(
        dev.get(&format!("/tasks/{id}")).await["status"],
        "completed"
    );
    assert_eq!(
        dev.get(&format!("/tasks/{waits}")).await["status"],
        "scheduled"
    );
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn its_redis_is_started_again_when_it_dies() {
    let dev = Dev::new();
    let process = dev.start().await;
    let id = dev
        .submit(&json!({ "type": "process", "delay": 3_600 }))
        .await;
    kill_redis(&dev);
    let task = eventually_within(Duration::from_secs(20), "it answers again", async || {
        let answer = dev
            .http
            .get(dev.url(&format!("/tasks/{id}")))
            .send()
            .await
            .ok()?;
        answer.status().is_success().then_some(answer)
    })
    .await;
    assert_eq!(task.json::<Value>().await.unwrap()["status"], "scheduled");
    assert!(process.stop().await.success());
}

/// The append-only file that Redis writes to.
fn growing_file(dev: &Dev) -> std::path::PathBuf {
    let parts = std::fs::read_dir(dev.dir.path().join("data/appendonlydir"));
    let parts = parts
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    let mut parts: Vec<_> = parts
        .filter(|path| path.to_str().unwrap().ends_with(".incr.aof"))
        .collect();
    parts.sort();
    parts
        .pop()
        .unwrap_or_else(|| dev.dir.path().join("data/appendonly.aof"))
}

fn kill_redis(dev: &Dev) {
    let redis = dev.redis_port();
    let info = std::process::Command::new("redis-cli")
        .args(["-p", &redis, "INFO", "server"])
        .output()
        .unwrap();
    let info = String::from_utf8(info.stdout).unwrap();
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"))
        .unwrap()
        .trim()
        .to_owned();
    assert!(
        std::process::Command::new("kill")
            .args(["-KILL", &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn a_second_dev_in_the_same_directory_is_refused_and_harms_nothing() {
    let dev = Dev::new();
    let process = dev.start().await;
    let output = command(dev.dir.path()).arg("dev").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("another `taskweir dev` runs in this directory"),
        "{said}"
    );
    let id = dev.submit(&json!({ "type": "echo" })).await;
    dev.reaches(&id, "completed").await;
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let dev = Dev::new();
    let taken = TcpListener::bind(("127.0.0.1", dev.dashboard)).unwrap();
    let output = command(dev.dir.path())
        .arg("dev")
        .env("GATEWAY_ADDR", format!("127.0.0.1:{}", dev.gateway))
        .env("DASHBOARD_ADDR", format!("127.0.0.1:{}", dev.dashboard))
        .output()
        .unwrap();
    drop(taken);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(&format!(
            "cannot listen on 127.0.0.1:{} (DASHBOARD_ADDR)",
            dev.dashboard
        )),
        "{said}"
    );
    assert!(
        !dev.dir.path().join("data/redis.port").exists(),
        "no Redis is left behind"
    );
}

#[tokio::test]
async fn lifecycle_lines_tell_the_way_of_a_task() {
    let redis = taskweir_testkit::TestRedis::start();
    let dev = Dev::new();
    let mut process = command(dev.dir.path())
        .arg("dev")
        .env("REDIS_URL", redis.url())
        .env("GATEWAY_ADDR", format!("127.0.0.1:{}", dev.gateway))
        .env("DASHBOARD_ADDR", format!("127.0.0.1:{}", dev.dashboard))
        .env("LOG_FORMAT", "json")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines();
    eventually_within(Duration::from_secs(60), "the system answers", async || {
        dev.http.get(dev.url("/health/ready")).send().await.ok()
    })
    .await;
    assert!(
        !dev.dir.path().join("data").exists(),
        "REDIS_URL set: no Redis of its own"
    );
    let task = json!({ "type": "fail", "data": { "times": 1, "password": "hunter2" }, "retry": { "initial_delay": 0.1 } });
    let id = dev.submit(&task).await;
    dev.reaches(&id, "completed").await;
    let dead = dev
        .submit(&json!({ "type": "fail", "max_retries": 0 }))
        .await;
    dev.reaches(&dead, "failed").await;
    assert!(
        std::process::Command::new("kill")
            .arg(process.id().to_string())
            .status()
            .unwrap()
            .success()
    );
    let lines: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(process.wait().unwrap().success());
    let of = |id: &str| -> Vec<String> {
        let entries = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mine = entries.filter(|entry| entry["task.id"] == *id);
        mine.map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    };
    let way = [
        "📤 SUBMITTED",
        "📋 ASSIGNED",
        "⚙️ STARTED",
        "❌ ERROR",
        "🔄 REQUEUED",
        "📋 ASSIGNED",
        "⚙️ STARTED",
        "✅ COMPLETED",
    ];
    let mut told = of(&id);
    // Submit and start are told by different parts of the system: which line is first is chance.
    told.sort_by_key(|line| line != "📤 SUBMITTED");
    assert_eq!(told, way);
    assert!(of(&dead).contains(&"💀 DLQ".to_owned()));
    assert!(
        !lines.iter().any(|line| line.contains("hunter2")),
        "payloads are not logged"
    );
}
