//! A Redis Cluster, and a primary that Sentinels watch: losing one of the servers under load.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use taskweir_store::{Limits, MigrateOptions, RedisSettings, Store, migrate};
use taskweir_testkit::{Persistence, TestRedis, eventually, eventually_within, free_port};

use crate::fleet::{Process, command, spawn};

const SOON: Duration = Duration::from_secs(90);

/// Services on an address of any form.
struct System {
    base: String,
    http: reqwest::Client,
    store: Store,
    _services: Vec<Process>,
}

impl System {
    async fn start(url: &str, partitions: usize) -> Self {
        let settings = RedisSettings {
            url: url.to_owned(),
            prefix: "tw".to_owned(),
        };
        migrate(&settings, MigrateOptions { partitions })
            .await
            .unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let services = ["gateway", "scheduler", "projector", "worker", "worker"].map(|service| {
            let mut command = command(Path::new("/"));
            command
                .arg(service)
                .env("REDIS_URL", url)
                .env("RUST_LOG", "off")
                .env("LEASE_SECONDS", "3")
                .env("GATEWAY_ADDR", &address);
            spawn(&mut command)
        });
        let system = Self {
            base: format!("http://{address}"),
            http: reqwest::Client::new(),
            store: Store::connect(&settings, Limits::default()).await.unwrap(),
            _services: services.into(),
        };
        eventually("the gateway is ready", async || {
            let ready = format!("{}/health/ready", system.base);
            let answer = system.http.get(ready).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        system
    }

    /// Submits a task as a client does that repeats until it is answered; its id.
    async fn submit(&self, number: usize) -> String {
        eventually_within(SOON, "a submit is answered", async || {
            let post = self.http.post(format!("{}/tasks", self.base));
            let post = post.header("idempotency-key", format!("k{number}"));
            let body = json!({ "type": "process", "data": { "duration_ms": 5 } });
            let answer = post.json(&body).send().await.ok()?;
            let accepted = answer.status().is_success();
            let body: Value = answer.json().await.ok()?;
            accepted.then(|| body["id"].as_str().unwrap().to_owned())
        })
        .await
    }

    /// Submits many, and lets something happen in the middle of it.
    async fn under_load(&self, count: usize, happens: impl FnOnce()) -> Vec<String> {
        let mut ids = Vec::new();
        let mut happens = Some(happens);
        for number in 0..count {
            if number == count / 3
                && let Some(happens) = happens.take()
            {
                happens();
            }
            ids.push(self.submit(number).await);
        }
        ids
    }

    /// How many of these tasks the log has lost; the others have completed, and everything agrees with the log.
    async fn lost(&self, ids: &[String]) -> usize {
        let mut lost = 0;
        for id in ids {
            lost += eventually_within(SOON, "it has ended or is lost", async || {
                let answer = self.http.get(format!("{}/tasks/{id}", self.base)).send();
                let answer = answer.await.ok()?;
                if answer.status().as_u16() == 404 {
                    return Some(1);
                }
                let task: Value = answer.json().await.ok()?;
                (task["status"] == "completed").then_some(0)
            })
            .await;
        }
        eventually_within(SOON, "the views come to the end of the log", async || {
            let lags = self.store.lags().await.ok()?;
            let settled = lags.iter().all(|lag| lag.checkpoint == lag.end);
            settled.then_some(())
        })
        .await;
        let report = taskweir_projector::verify(&self.store).await.unwrap();
        assert_eq!(report.differences, [] as [String; 0]);
        let stats = self
            .http
            .get(format!("{}/stats", self.base))
            .send()
            .await
            .unwrap();
        let stats: Value = stats.json().await.unwrap();
        assert_eq!(stats["ledger"]["balanced"], true);
        lost
    }
}

/// Three primaries with a replica each.
async fn cluster() -> Vec<TestRedis> {
    let arguments = [
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "1500",
        "--repl-diskless-sync-delay",
        "0",
    ];
    let nodes: Vec<TestRedis> = (0..6)
        .map(|_| TestRedis::start_with(Persistence::Aof, &arguments))
        .collect();
    let addresses: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port()))
        .collect();
    let mut create = vec!["--cluster", "create"];
    create.extend(addresses.iter().map(String::as_str));
    create.extend(["--cluster-replicas", "1", "--cluster-yes"]);
    let made = nodes[0].cli(&create);
    assert!(made.contains("All 16384 slots covered"), "{made}");
    eventually_within(SOON, "every node knows the cluster", async || {
        let ready = nodes.iter().all(|node| {
            let replicas = node.cli(&["CLUSTER", "NODES"]).matches(" slave ").count()
                + node.cli(&["CLUSTER", "NODES"]).matches(",slave ").count();
            node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok") && replicas >= 3
        });
        ready.then_some(())
    })
    .await;
    nodes
}

#[tokio::test]
async fn a_cluster_loses_a_primary_under_load_and_goes_on() {
    let mut nodes = cluster().await;
    let addresses: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port()))
        .collect();
    let url = format!("redis+cluster://{}", addresses.join(","));
    let system = System::start(&url, 6).await;
    // The partitions are spread over the primaries.
    let holding = nodes.iter().filter(|node| {
        let role = node.cli(&["ROLE"]);
        role.starts_with("master") && !node.cli(&["KEYS", "*:meta"]).is_empty()
    });
    assert_eq!(holding.count(), 0, "nothing was submitted yet");
    let primary = nodes
        .iter()
        .position(|node| node.cli(&["ROLE"]).starts_with("master"))
        .unwrap();
    let mut killed = Instant::now();
    let ids = system
        .under_load(600, || {
            nodes[primary].kill();
            killed = Instant::now();
        })
        .await;
    println!(
        "the last of 600 was answered {:?} after the kill",
        killed.elapsed()
    );
    let holding = nodes.iter().enumerate().filter(|(index, node)| {
        *index != primary
            && node.cli(&["ROLE"]).starts_with("master")
            && !node.cli(&["KEYS", "*:log"]).is_empty()
    });
    assert_eq!(holding.count(), 3, "three primaries hold logs");
    let lost = system.lost(&ids).await;
    println!(
        "{lost} of {} acknowledged were lost with the primary",
        ids.len()
    );
    // A replica may lack what it was not told in the last moment, and nothing else.
    assert!(lost <= 20, "{lost}");
}

/// Sentinels that watch a primary as `main`.
fn sentinels(primary: u16, dir: &Path) -> (Vec<Process>, Vec<u16>) {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let processes = ports.iter().map(|port| {
        let file = dir.join(format!("sentinel-{port}.conf"));
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n"
        );
        std::fs::write(&file, text).unwrap();
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Process::of(child)
    });
    (processes.collect(), ports)
}

#[tokio::test]
async fn the_primary_that_sentinels_name_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let mut primary = TestRedis::start_with(Persistence::Aof, &["--repl-diskless-sync-delay", "0"]);
    let port = primary.port().to_string();
    let replica = TestRedis::start_with(Persistence::Aof, &["--replicaof", "127.0.0.1", &port]);
    eventually("the replica follows", async || {
        let info = replica.cli(&["INFO", "replication"]);
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    let (_sentinels, ports) = sentinels(primary.port(), dir.path());
    let addresses: Vec<String> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    eventually_within(
        SOON,
        "the sentinels know each other and the replica",
        async || {
            let asked = Command::new("redis-cli")
                .args(["-p", &ports[0].to_string(), "SENTINEL", "master", "main"])
                .output()
                .ok()?;
            let text = String::from_utf8_lossy(&asked.stdout).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let number = |name: &str| {
                let at = lines.iter().position(|line| *line == name)?;
                lines.get(at + 1)?.parse::<u32>().ok()
            };
            (number("num-other-sentinels")? == 2 && number("num-slaves")? == 1).then_some(())
        },
    )
    .await;
    let url = format!("redis+sentinel://{}/main", addresses.join(","));
    let system = System::start(&url, 1).await;
    let ids = system.under_load(300, || primary.kill()).await;
    assert!(replica.cli(&["ROLE"]).starts_with("master"));
    let lost = system.lost(&ids).await;
    println!(
        "{lost} of {} acknowledged were lost with the primary",
        ids.len()
    );
    assert!(lost <= 20, "{lost}");
}
