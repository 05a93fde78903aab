//! A Redis that asks for TLS and a user of its own: one server, a cluster, one that a Sentinel names.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use taskweir_testkit::{Persistence, TestRedis, eventually_within, free_port};

use crate::fleet::{Process, command, spawn};

const SOON: Duration = Duration::from_secs(60);

/// A certificate of this machine, and of who signed it.
pub fn certificates(dir: &Path) {
    let mut issuer = CertificateParams::new(Vec::new()).unwrap();
    issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Two certificates of one name would be one that signed itself, to OpenSSL.
    let name = &mut issuer.distinguished_name;
    name.push(DnType::CommonName, "who vouches for tests");
    let issuer = CertifiedIssuer::self_signed(issuer, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost", "127.0.0.1"].map(ToOwned::to_owned);
    let server = CertificateParams::new(names).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap();
    for (name, text) in [
        ("ca.pem", issuer.pem()),
        ("server.pem", server.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

/// What makes a server speak TLS at a port.
fn speaks_tls(dir: &Path, port: u16) -> [(&'static str, String); 5] {
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    [
        ("tls-port", port.to_string()),
        ("tls-cert-file", file("server.pem")),
        ("tls-key-file", file("server.key")),
        ("tls-ca-cert-file", file("ca.pem")),
        ("tls-auth-clients", "no".to_owned()),
    ]
}

/// Servers that speak TLS, each with a user that may touch our keys and nothing else.
struct Secured {
    dir: tempfile::TempDir,
    servers: Vec<(TestRedis, u16)>,
    url: String,
}

impl Secured {
    /// Nothing yet but certificates.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        Self {
            dir,
            servers: Vec::new(),
            url: String::new(),
        }
    }

    /// One server.
    fn start() -> Self {
        let mut secured = Self::new();
        let port = secured.add(&[]);
        secured.url = format!("rediss://app:s3cret@localhost:{port}");
        secured
    }

    /// Starts one more server; gives its port for TLS.
    fn add(&mut self, more: &[&str]) -> u16 {
        let port = free_port();
        let settings =
            speaks_tls(self.dir.path(), port).map(|(name, value)| [format!("--{name}"), value]);
        let mut arguments: Vec<&str> = settings.iter().flatten().map(String::as_str).collect();
        arguments.extend(more);
        let redis = TestRedis::start_with(Persistence::None, &arguments);
        // What a deployment may give to Taskweir, and nothing beyond its keys.
        let user = [
            "ACL", "SETUSER", "app", "on", ">s3cret", "~tw:*", "+@all", "-@admin",
        ];
        assert_eq!(redis.cli(&user), "OK");
        self.servers.push((redis, port));
        port
    }

    fn ca(&self) -> String {
        self.dir.path().join("ca.pem").to_str().unwrap().to_owned()
    }

    /// Runs `redis-cli` over TLS.
    fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["--tls", "--cacert", &self.ca(), "--no-auth-warning"])
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    fn command(&self, service: &str) -> Command {
        let mut command = command(Path::new("/"));
        command
            .arg(service)
            .env("REDIS_URL", &self.url)
            .env("SSL_CERT_FILE", self.ca());
        command
    }

    fn migrate(&self, change: impl FnOnce(&mut Command)) -> Output {
        let mut command = self.command("migrate");
        change(&mut command);
        command.output().unwrap()
    }

    /// Whether every connection of our user to a server is one over TLS, and there are some.
    fn spoken_to_over_tls_alone(&self, server: usize) -> bool {
        let (redis, port) = &self.servers[server];
        let clients = redis.cli(&["CLIENT", "LIST"]);
        let door = format!("laddr=127.0.0.1:{port} ");
        let mut ours = clients
            .lines()
            .filter(|line| line.contains("user=app "))
            .peekable();
        ours.peek().is_some() && ours.all(|line| line.contains(&door))
    }
}

/// The services on secured servers.
struct Services {
    address: String,
    http: reqwest::Client,
    _processes: [Process; 4],
}

impl Services {
    fn start(secured: &Secured, partitions: &str) -> Self {
        let migrated = secured.migrate(|command| {
            command.env("PARTITIONS", partitions);
        });
        let said = String::from_utf8_lossy(&migrated.stderr).into_owned();
        assert!(migrated.status.success(), "{said}");
        let address = format!("127.0.0.1:{}", free_port());
        let run = |service| spawn(secured.command(service).env("GATEWAY_ADDR", &address));
        Self {
            _processes: ["gateway", "scheduler", "projector", "worker"].map(run),
            address,
            http: taskweir_client::http::plain().build().unwrap(),
        }
    }

    /// A task goes in and its result comes out.
    async fn echo(&self, data: &str) {
        let body = json!({ "type": "echo", "data": data });
        let id = eventually_within(SOON, "a task is accepted", async || {
            let post = self.http.post(format!("http://{}/tasks", self.address));
            let answer = post.json(&body).send().await.ok()?;
            let task: serde_json::Value = answer.error_for_status().ok()?.json().await.ok()?;
            Some(task["id"].as_str()?.to_owned())
        })
        .await;
        let done = eventually_within(SOON, "it ran", async || {
            let get = self.http.get(format!("http://{}/tasks/{id}", self.address));
            let task: serde_json::Value = get.send().await.ok()?.json().await.ok()?;
            (task["status"] == "completed").then_some(task)
        })
        .await;
        assert_eq!(done["result"], data);
    }
}

#[tokio::test]
async fn a_task_runs_over_tls_under_a_user_that_has_only_our_keys() {
    let secured = Secured::start();
    let services = Services::start(&secured, "1");
    services.echo("over TLS").await;
    assert!(secured.spoken_to_over_tls_alone(0));
}

#[tokio::test]
async fn a_task_runs_on_a_cluster_over_tls() {
    let mut secured = Secured::new();
    let nodes = [0; 3].map(|_| {
        let port = secured.add(&["--cluster-enabled", "yes", "--tls-cluster", "yes"]);
        format!("127.0.0.1:{port}")
    });
    let mut create = vec!["--cluster", "create"];
    create.extend(nodes.iter().map(String::as_str));
    create.push("--cluster-yes");
    let made = secured.cli(&create);
    assert!(made.contains("All 16384 slots covered"), "{made}");
    eventually_within(SOON, "every node knows the cluster", async || {
        let mut states = secured
            .servers
            .iter()
            .map(|(redis, _)| redis.cli(&["CLUSTER", "INFO"]));
        states
            .all(|state| state.contains("cluster_state:ok"))
            .then_some(())
    })
    .await;
    secured.url = format!("rediss+cluster://app:s3cret@{}", nodes[..2].join(","));
    let services = Services::start(&secured, "12");
    for number in 0..12 {
        services.echo(&format!("number {number}")).await;
    }
    for node in 0..3 {
        assert!(secured.spoken_to_over_tls_alone(node), "node {node}");
    }
}

#[tokio::test]
async fn the_primary_that_a_sentinel_names_over_tls_is_followed() {
    let mut secured = Secured::new();
    let replicates = [
        "--tls-replication",
        "yes",
        "--repl-diskless-sync-delay",
        "0",
    ];
    let primary = secured.add(&replicates).to_string();
    let follows = ["--replicaof", "127.0.0.1", &primary];
    secured.add(&[&replicates[..], &follows[..]].concat());
    let port = free_port();
    let mut settings = format!(
        "port 0\nbind 127.0.0.1\ntls-replication yes\nrequirepass who-goes-there\nsentinel monitor main 127.0.0.1 {primary} 1\n"
    );
    for (name, value) in speaks_tls(secured.dir.path(), port) {
        settings.push_str(&format!("{name} {value}\n"));
    }
    let file = secured.dir.path().join("sentinel.conf");
    std::fs::write(&file, settings).unwrap();
    let _sentinel = spawn(Command::new("redis-server").arg(&file).arg("--sentinel"));
    secured.url = format!(
        "rediss+sentinel://app:s3cret@127.0.0.1:{port}/main?sentinel_password=who-goes-there"
    );
    eventually_within(SOON, "the sentinel knows both servers", async || {
        let port = port.to_string();
        let known = secured.cli(&[
            "-p",
            &port,
            "-a",
            "who-goes-there",
            "SENTINEL",
            "replicas",
            "main",
        ]);
        known.contains("master-link-status\nok").then_some(())
    })
    .await;
    let services = Services::start(&secured, "1");
    services.echo("on the first").await;
    assert!(secured.spoken_to_over_tls_alone(0));
    // A replica that has just synchronised is told what came since only when it has acknowledged that.
    eventually_within(SOON, "the replica has the task", async || {
        let tasks = secured.servers[1].0.cli(&["KEYS", "*:task:*"]);
        (!tasks.is_empty()).then_some(())
    })
    .await;
    eventually_within(SOON, "the sentinel changes places", async || {
        let port = port.to_string();
        let told = secured.cli(&[
            "-p",
            &port,
            "-a",
            "who-goes-there",
            "SENTINEL",
            "failover",
            "main",
        ]);
        (told == "OK").then_some(())
    })
    .await;
    eventually_within(SOON, "the replica leads", async || {
        let role = secured.servers[1].0.cli(&["ROLE"]);
        role.starts_with("master").then_some(())
    })
    .await;
    // Until the first one is told that it leads no more, it takes what is lost then.
    eventually_within(SOON, "the first one follows", async || {
        let role = secured.servers[0].0.cli(&["ROLE"]);
        role.starts_with("slave").then_some(())
    })
    .await;
    eventually_within(SOON, "the second one is spoken to", async || {
        secured.spoken_to_over_tls_alone(1).then_some(())
    })
    .await;
    services.echo("on the second").await;
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_or_a_wrong_password_stops_the_start_and_no_secret_is_told()
 {
    let secured = Secured::start();
    let unknown = secured.migrate(|command| {
        command.env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt");
    });
    let wrong = secured.migrate(|command| {
        command.env("REDIS_URL", secured.url.replace("s3cret", "wr0ng"));
    });
    let other = secured.migrate(|command| {
        command.env("REDIS_URL", secured.url.replace("rediss", "https"));
    });
    let plain = secured.migrate(|command| {
        command.env("REDIS_URL", secured.url.replace("rediss", "redis"));
    });
    let (redis, _) = &secured.servers[0];
    let secretive = secured.migrate(|command| {
        let url = redis.url().replace("redis://", "rediss://app:s3cret@");
        command.env("REDIS_URL", url);
    });
    let database = secured.migrate(|command| {
        command.env("REDIS_URL", format!("{}/99", secured.url));
    });
    let ignored = secured.migrate(|command| {
        command.env("REDIS_URL", format!("{}?db=5", secured.url));
    });
    let raw = secured.migrate(|command| {
        command.env("REDIS_URL", secured.url.replace("s3cret", "s3cret/wr0ng"));
    });
    assert_eq!(redis.cli(&["ACL", "SETUSER", "app", "-hget"]), "OK");
    let powerless = secured.migrate(|_| {});
    for (output, told) in [
        (unknown, "is not trusted"),
        (wrong, "password"),
        (other, "rediss://"),
        (plain, "speaks tls: begin the address with rediss"),
        (secretive, "does not speak tls"),
        (database, "db index is out of range"),
        (ignored, "\"db\" is not an option"),
        (raw, "percent-encode"),
        (powerless, "hget"),
    ] {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(said.to_lowercase().contains(told), "{told}: {said}");
        assert!(
            !said.contains("s3cret") && !said.contains("wr0ng"),
            "{said}"
        );
    }
}
