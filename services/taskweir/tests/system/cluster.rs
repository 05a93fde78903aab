//! A Redis Cluster, and a primary that Sentinels watch: losing one of the servers under load.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use taskweir_loadtest::checker::{Evidence, Figures, Submit, Window, check, rest};
use taskweir_store::{Limits, MigrateOptions, RedisSettings, Store, migrate};
use taskweir_testkit::{Persistence, TestRedis, eventually, eventually_within, free_port};

use crate::fleet::{Process, command, spawn};

const SOON: Duration = Duration::from_secs(90);

/// What a server that dies may not have told its replica.
const UNTOLD: Duration = Duration::from_secs(2);
/// Seconds.
const LEASE: u64 = 3;

/// Services on an address of any form.
struct System {
    base: String,
    http: reqwest::Client,
    store: Store,
    workers: Vec<Process>,
    _services: Vec<Process>,
}

impl System {
    async fn start(url: &str, partitions: usize) -> Self {
        Self::with_durability(url, partitions, "aof").await
    }

    async fn with_durability(url: &str, partitions: usize, durability: &str) -> Self {
        let settings = RedisSettings::at(url);
        migrate(&settings, MigrateOptions { partitions })
            .await
            .unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let run = |service: &str| {
            let mut command = command(Path::new("/"));
            command
                .arg(service)
                .env("REDIS_URL", url)
                .env("RUST_LOG", "off")
                .env("LEASE_SECONDS", LEASE.to_string())
                .env("DURABILITY", durability)
                .env("GATEWAY_ADDR", &address);
            spawn(&mut command)
        };
        let system = Self {
            base: format!("http://{address}"),
            http: taskweir_client::http::plain().build().unwrap(),
            store: Store::connect(&settings, Limits::default()).await.unwrap(),
            workers: vec![run("worker"), run("worker")],
            _services: ["gateway", "scheduler", "projector"].map(run).into(),
        };
        eventually("the gateway is ready", async || {
            let ready = format!("{}/health/ready", system.base);
            let answer = system.http.get(ready).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        system
    }

    /// Submits a task as a client does that repeats until it is answered; what it was told.
    async fn submit(&self, key: &str, body: &Value) -> Submit {
        let sent = Instant::now();
        let id = eventually_within(SOON, "a submit is answered", async || {
            let post = self.http.post(format!("{}/tasks", self.base));
            let post = post.header("idempotency-key", key);
            let answer = post.json(body).send().await.ok()?;
            let accepted = answer.status().is_success();
            let body: Value = answer.json().await.ok()?;
            accepted.then(|| body["id"].as_str().unwrap().to_owned())
        })
        .await;
        Submit {
            ids: BTreeSet::from([id.clone()]),
            id: Some(id),
            refused: false,
            sent: Some(sent),
            at: Some(Instant::now()),
        }
    }

    /// Submits many, and lets something happen in the middle of it; what clients were told, by key.
    async fn under_load(&self, count: usize, happens: impl FnOnce()) -> BTreeMap<String, Submit> {
        self.submits(0..count, happens).await
    }

    async fn submits(
        &self,
        numbers: Range<usize>,
        happens: impl FnOnce(),
    ) -> BTreeMap<String, Submit> {
        let mut told = BTreeMap::new();
        let mut happens = Some(happens);
        let body = json!({ "type": "process", "data": { "duration_ms": 5 } });
        let count = numbers.len();
        for (index, number) in numbers.enumerate() {
            if index == count / 3
                && let Some(happens) = happens.take()
            {
                happens();
            }
            let key = format!("k{number}");
            let submit = self.submit(&key, &body).await;
            told.insert(key, submit);
        }
        told
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await;
        answer.ok()?.json().await.ok()
    }

    /// What the checker counts on these servers, whose primary died at an instant, once all has come to rest; it
    /// finds nothing broken, and everything agrees with the log.
    async fn checked(
        &self,
        servers: &[String],
        journal: BTreeMap<String, Submit>,
        losses: Window,
    ) -> Figures {
        for server in servers {
            let rest = tokio::time::timeout(SOON, rest(server)).await;
            rest.expect("it comes to rest");
        }
        let report = taskweir_projector::verify(&self.store).await.unwrap();
        assert_eq!(report.differences, []);
        let stats = self.get("/stats").await.unwrap();
        assert_eq!(stats["ledger"]["balanced"], true);
        let mut evidence = Evidence::of_cluster(servers).await.unwrap();
        evidence.journal = journal;
        evidence.losses = vec![losses];
        let findings = check(&evidence);
        assert_eq!(findings.violations, []);
        println!("{:#?}", findings.figures);
        findings.figures
    }
}

/// What may be lost with a primary that was killed at an instant; submits only where no replica had to know of them.
fn lost_with(killed: Instant, submits: bool) -> Window {
    Window {
        begin: killed.checked_sub(UNTOLD).unwrap(),
        end: killed,
        submits,
    }
}

/// Three primaries with a replica each.
async fn cluster() -> Vec<TestRedis> {
    let arguments = [
        "--cluster-enabled",
        "yes",
        // A busy machine must not take one that lives for dead.
        "--cluster-node-timeout",
        "5000",
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

/// Addresses of those that are primaries and hold partitions.
fn holders(nodes: &[TestRedis]) -> Vec<String> {
    let holding = nodes.iter().filter(|node| {
        TcpStream::connect(("127.0.0.1", node.port())).is_ok()
            && node.cli(&["ROLE"]).starts_with("master")
            && !node.cli(&["KEYS", "*:log"]).is_empty()
    });
    holding
        .map(|node| format!("redis://127.0.0.1:{}", node.port()))
        .collect()
}

fn cluster_url(nodes: &[TestRedis]) -> String {
    let addresses: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port()))
        .collect();
    format!("redis+cluster://{}", addresses.join(","))
}

#[tokio::test]
async fn a_cluster_loses_a_primary_under_load_and_goes_on() {
    let mut nodes = cluster().await;
    let system = System::start(&cluster_url(&nodes), 6).await;
    let primary = nodes
        .iter()
        .position(|node| node.cli(&["ROLE"]).starts_with("master"))
        .unwrap();
    let mut killed = Instant::now();
    let told = system
        .under_load(600, || {
            nodes[primary].kill();
            killed = Instant::now();
        })
        .await;
    println!(
        "the last of 600 was answered {:?} after the kill",
        killed.elapsed()
    );
    let holders = holders(&nodes);
    assert_eq!(holders.len(), 3, "three primaries hold logs");
    let figures = system
        .checked(&holders, told, lost_with(killed, true))
        .await;
    assert_eq!(figures.accepted, 600);
}

/// What a replica confirmed outlives its primary, also on a cluster: none is lost.
#[tokio::test]
async fn a_cluster_that_confirms_by_replicas_loses_no_submit_with_a_primary() {
    let mut nodes = cluster().await;
    let system = System::with_durability(&cluster_url(&nodes), 6, "replicas:1").await;
    let primary = nodes
        .iter()
        .position(|node| node.cli(&["ROLE"]).starts_with("master"))
        .unwrap();
    let mut told = system.submits(0..200, || {}).await;
    nodes[primary].kill();
    let killed = Instant::now();
    let (more, ()) = tokio::join!(system.submits(200..500, || {}), async {
        eventually_within(SOON, "a replica takes over", async || {
            (holders(&nodes).len() == 3).then_some(())
        })
        .await;
        // Until it has a replica again, the new primary confirms nothing.
        nodes[primary].relaunch(&[]);
    });
    told.extend(more);
    let holders = holders(&nodes);
    assert_eq!(holders.len(), 3, "three primaries hold logs");
    let figures = system
        .checked(&holders, told, lost_with(killed, false))
        .await;
    assert_eq!((figures.accepted, figures.lost), (500, 0));
}

#[tokio::test]
async fn what_a_killed_worker_held_on_a_cluster_runs_elsewhere_a_lease_later() {
    let nodes = cluster().await;
    let mut system = System::start(&cluster_url(&nodes), 6).await;
    eventually_within(SOON, "both workers are there", async || {
        let workers = system.get("/workers").await?;
        (workers["workers"].as_array()?.len() == 2).then_some(())
    })
    .await;
    let body = json!({ "type": "sleep", "data": { "seconds": 3 } });
    let mut ids = Vec::new();
    for number in 0..24 {
        let submit = system.submit(&format!("k{number}"), &body).await;
        ids.extend(submit.id);
    }
    let of_first = format!("-{}-", system.workers[0].pid());
    eventually_within(SOON, "the first is at work", async || {
        for id in &ids {
            let task = system.get(&format!("/tasks/{id}")).await?;
            let worker = task["worker"].as_str().unwrap_or_default();
            if task["status"] == "processing" && worker.contains(&of_first) {
                return Some(());
            }
        }
        None
    })
    .await;
    system.workers[0].kill();
    // A lease, twice a task, and a look each second at 24 of them.
    let soon = Duration::from_secs(LEASE + 12);
    let mut redelivered = 0;
    eventually_within(soon, "every task has completed", async || {
        redelivered = 0;
        for id in &ids {
            let task = system.get(&format!("/tasks/{id}")).await?;
            if task["status"] != "completed" {
                return None;
            }
            redelivered += usize::from(task["attempt"].as_u64()? > 1);
        }
        Some(())
    })
    .await;
    assert!(redelivered > 0, "the killed worker held some");
    let told = BTreeMap::new();
    let figures = system
        .checked(&holders(&nodes), told, lost_with(Instant::now(), true))
        .await;
    assert_eq!(figures.started_twice, redelivered as u64);
}

/// What Sentinels want to be told; the servers have no password.
const WATCHWORD: &str = "who-goes-there";

/// Sentinels that watch a primary as `main`.
fn sentinels(primary: u16, dir: &Path) -> (Vec<Process>, Vec<u16>) {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let processes = ports.iter().map(|port| {
        let file = dir.join(format!("sentinel-{port}.conf"));
        let text = format!(
            "port {port}\nbind 127.0.0.1\nrequirepass {WATCHWORD}\nsentinel sentinel-pass {WATCHWORD}\n\
             sentinel monitor main 127.0.0.1 {primary} 2\nsentinel down-after-milliseconds main 5000\nsentinel failover-timeout main 10000\n"
        );
        std::fs::write(&file, text).unwrap();
        spawn(Command::new("redis-server").arg(&file).arg("--sentinel"))
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
                .args([
                    "-p",
                    &ports[0].to_string(),
                    "--no-auth-warning",
                    "-a",
                    WATCHWORD,
                ])
                .args(["SENTINEL", "master", "main"])
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
    let addresses = addresses.join(",");
    let url = format!("redis+sentinel://{addresses}/main?sentinel_password={WATCHWORD}");
    let system = System::start(&url, 1).await;
    let mut killed = Instant::now();
    let told = system
        .under_load(300, || {
            primary.kill();
            killed = Instant::now();
        })
        .await;
    assert!(replica.cli(&["ROLE"]).starts_with("master"));
    let servers = [format!("redis://127.0.0.1:{}", replica.port())];
    let figures = system
        .checked(&servers, told, lost_with(killed, true))
        .await;
    assert_eq!(figures.accepted, 300);
}
