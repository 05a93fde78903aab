//! A Redis that asks for TLS and a user of its own.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use taskweir_testkit::{Persistence, TestRedis, eventually, free_port};

use crate::fleet::{Process, command, spawn};

/// A certificate of a server called `localhost`, and of who signed it.
fn certificates(dir: &Path) {
    let mut issuer = CertificateParams::new(Vec::new()).unwrap();
    issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(issuer, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap();
    for (name, text) in [
        ("ca.pem", issuer.pem()),
        ("server.pem", server.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

struct Secured {
    redis: TestRedis,
    dir: tempfile::TempDir,
    port: u16,
}

impl Secured {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        let port = free_port();
        let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let redis = TestRedis::start_with(
            Persistence::None,
            &[
                "--tls-port",
                &port.to_string(),
                "--tls-cert-file",
                &file("server.pem"),
                "--tls-key-file",
                &file("server.key"),
                "--tls-ca-cert-file",
                &file("ca.pem"),
                "--tls-auth-clients",
                "no",
            ],
        );
        // What a deployment may give to Taskweir, and nothing beyond its keys.
        let user = [
            "ACL", "SETUSER", "app", "on", ">s3cret", "~tw:*", "+@all", "-@admin",
        ];
        assert_eq!(redis.cli(&user), "OK");
        Self { redis, dir, port }
    }

    fn url(&self, password: &str) -> String {
        format!("rediss://app:{password}@localhost:{}", self.port)
    }

    fn command(&self, service: &str) -> std::process::Command {
        let mut command = command(Path::new("/"));
        command
            .arg(service)
            .env("REDIS_URL", self.url("s3cret"))
            .env("SSL_CERT_FILE", self.dir.path().join("ca.pem"));
        command
    }

    fn migrate(&self, change: impl FnOnce(&mut std::process::Command)) -> Output {
        let mut command = self.command("migrate");
        change(&mut command);
        command.output().unwrap()
    }
}

#[tokio::test]
async fn a_task_runs_over_tls_under_a_user_that_has_only_our_keys() {
    let secured = Secured::start();
    let migrated = secured.migrate(|_| {});
    let said = String::from_utf8_lossy(&migrated.stderr).into_owned();
    assert!(migrated.status.success(), "{said}");
    let address = format!("127.0.0.1:{}", free_port());
    let _services: Vec<Process> = ["gateway", "scheduler", "projector", "worker"]
        .iter()
        .map(|service| spawn(secured.command(service).env("GATEWAY_ADDR", &address)))
        .collect();
    let http = reqwest::Client::new();
    let body = json!({ "type": "echo", "data": "over TLS" });
    let id = eventually("a task is accepted", async || {
        let post = http.post(format!("http://{address}/tasks"));
        let answer = post.json(&body).send().await.ok()?;
        let task: serde_json::Value = answer.error_for_status().ok()?.json().await.ok()?;
        Some(task["id"].as_str()?.to_owned())
    })
    .await;
    let done = taskweir_testkit::eventually_within(Duration::from_secs(20), "it ran", async || {
        let answer = http
            .get(format!("http://{address}/tasks/{id}"))
            .send()
            .await;
        let task: serde_json::Value = answer.ok()?.json().await.ok()?;
        (task["status"] == "completed").then_some(task)
    })
    .await;
    assert_eq!(done["result"], "over TLS");
    // Their connections are encrypted, every one.
    let clients = secured.redis.cli(&["CLIENT", "LIST"]);
    assert!(
        clients
            .lines()
            .filter(|line| line.contains("user=app"))
            .count()
            >= 4
    );
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_or_a_wrong_password_stops_the_start_and_no_secret_is_told()
 {
    let secured = Secured::start();
    let unknown = secured.migrate(|command| {
        command.env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt");
    });
    let wrong = secured.migrate(|command| {
        command.env("REDIS_URL", secured.url("wr0ng"));
    });
    let plain = secured.migrate(|command| {
        command.env(
            "REDIS_URL",
            format!("https://app:s3cret@localhost:{}", secured.port),
        );
    });
    for (output, told) in [
        (unknown, "certificate"),
        (wrong, "password"),
        (plain, "rediss://"),
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
