//! Processes of the binary on a private Redis.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use taskweir_store::{Limits, MigrateOptions, RedisSettings, Store, migrate};
use taskweir_testkit::{
    Persistence, TestRedis, eventually, eventually_within, free_port, partitions,
};

/// A process; killed when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    pub const fn of(child: Child) -> Self {
        Self { child }
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As `kill -9` would.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill")
            .args([format!("-{name}"), pid])
            .status()
            .expect("kill is there");
        assert!(sent.success());
    }

    /// Asks it to stop and waits; gives its exit status.
    pub async fn stop(mut self) -> std::process::ExitStatus {
        self.signal("TERM");
        eventually_within(Duration::from_secs(60), "the process stops", async || {
            self.child.try_wait().unwrap()
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Every service.
pub const SERVICES: [&str; 5] = ["gateway", "worker", "projector", "scheduler", "dashboard"];

pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskweir"));
    // What the developer's shell happens to hold must not leak into a test.
    let path = std::env::vars_os().find(|(name, _)| name == "PATH");
    command
        .env_clear()
        .envs(path)
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

pub fn spawn(command: &mut Command) -> Process {
    Process {
        child: command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("our own binary, or one of Redis"),
    }
}

/// A gateway, a scheduler and a projector on a private Redis, and workers as asked for.
pub struct Fleet {
    pub redis: TestRedis,
    pub store: Store,
    pub base: String,
    pub http: reqwest::Client,
    pub services: Vec<Process>,
    lease: String,
    env: Vec<(String, String)>,
}

impl Fleet {
    pub async fn start(lease: &str) -> Self {
        Self::with_partitions(lease, partitions()).await
    }

    pub async fn with_partitions(lease: &str, partitions: usize) -> Self {
        Self::made(
            TestRedis::start_with(Persistence::Aof, &[]),
            lease,
            partitions,
        )
        .await
    }

    /// With further settings of all its processes.
    pub async fn with_env(lease: &str, env: &[(&str, &str)]) -> Self {
        Self::made_with(TestRedis::start_with(Persistence::Aof, &[]), lease, 1, env).await
    }

    async fn made(redis: TestRedis, lease: &str, partitions: usize) -> Self {
        Self::made_with(redis, lease, partitions, &[]).await
    }

    async fn made_with(
        redis: TestRedis,
        lease: &str,
        partitions: usize,
        env: &[(&str, &str)],
    ) -> Self {
        let settings = RedisSettings::at(redis.url());
        migrate(&settings, MigrateOptions { partitions })
            .await
            .unwrap();
        let store = Store::connect(&settings, Limits::default()).await.unwrap();
        let port = free_port();
        let mut fleet = Self {
            redis,
            store,
            base: format!("http://127.0.0.1:{port}"),
            http: taskweir_client::http::plain().build().unwrap(),
            services: Vec::new(),
            lease: lease.to_owned(),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let address = format!("127.0.0.1:{port}");
        for service in ["gateway", "scheduler", "projector"] {
            let process = fleet.spawn(service, &[("GATEWAY_ADDR", &address)]);
            fleet.services.push(process);
        }
        eventually("the gateway is ready", async || {
            let answer = fleet
                .http
                .get(format!("{}/health/ready", fleet.base))
                .send()
                .await
                .ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        fleet
    }

    pub fn spawn(&self, service: &str, env: &[(&str, &str)]) -> Process {
        let mut command = command(Path::new("/"));
        command
            .arg(service)
            .env("REDIS_URL", self.redis.url())
            .env("RUST_LOG", "off");
        command
            .env("LEASE_SECONDS", &self.lease)
            .envs(self.env.iter().cloned())
            .envs(env.iter().copied());
        spawn(&mut command)
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self
            .http
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    /// The status of an answer.
    pub async fn status(&self, path: &str) -> u16 {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await;
        answer.unwrap().status().as_u16()
    }

    pub async fn submit(&self, task: &Value) -> String {
        let answer = self
            .http
            .post(format!("{}/tasks", self.base))
            .json(task)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let body: Value = answer.json().await.unwrap();
        body["id"].as_str().unwrap().to_owned()
    }

    pub async fn submit_batch(&self, tasks: &[Value]) -> Vec<String> {
        let body = serde_json::json!({ "tasks": tasks });
        let answer = self
            .http
            .post(format!("{}/tasks/batch", self.base))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let body: Value = answer.json().await.unwrap();
        let items = body["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["task"]["id"].as_str().unwrap().to_owned())
            .collect()
    }

    pub async fn reaches(&self, id: &str, status: &str, within: Duration) -> Value {
        eventually_within(within, &format!("{id} is {status}"), async || {
            let task = self.get(&format!("/tasks/{id}")).await;
            (task["status"] == status).then_some(task)
        })
        .await
    }

    /// The events of a task, by type.
    pub async fn events(&self, id: &str) -> Vec<String> {
        let history = self.get(&format!("/tasks/{id}/history")).await;
        let events = history["events"].as_array().unwrap();
        events
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until our own connection is back.
    pub async fn connected(&self) {
        eventually("our own connection is back", async || {
            self.store.ping().await.ok()
        })
        .await;
    }

    /// Waits until the views have seen every event.
    pub async fn settled(&self, within: Duration) {
        eventually_within(within, "the views come to the end of the log", async || {
            let lags = self.store.lags().await.unwrap();
            lags.iter()
                .all(|lag| lag.checkpoint == lag.end)
                .then_some(())
        })
        .await;
    }
}
