//! What ends TLS stands in front of the gateway: the command line, the load test and the `http` demo type reach it.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::fleet::{Fleet, command};
use crate::tls::certificates;

const SOON: Duration = Duration::from_secs(60);

/// Ends TLS and hands on what it reads, until it is dropped.
struct Door {
    dir: tempfile::TempDir,
    base: String,
    /// Ends with it.
    _serving: JoinSet<()>,
}

impl Door {
    /// In front of what listens at an address of this machine.
    async fn open(behind: String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        let chain = CertificateDer::from_pem_file(dir.path().join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(dir.path().join("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                connections.spawn(async move {
                    // Who does not trust us, or speaks no TLS, is let go.
                    if let Ok(mut outside) = acceptor.accept(stream).await {
                        let mut inside = TcpStream::connect(behind).await.unwrap();
                        copy_bidirectional(&mut outside, &mut inside).await.ok();
                    }
                });
            }
        });
        Self {
            dir,
            base: format!("https://localhost:{port}"),
            _serving: serving,
        }
    }

    fn ca(&self) -> String {
        self.dir.path().join("ca.pem").to_str().unwrap().to_owned()
    }

    /// Runs a command of the client, which trusts the certificates of a file.
    async fn client(&self, arguments: &[&str], trusted: &str) -> Output {
        let mut command = command(Path::new("/"));
        command
            .args(arguments)
            .env("TASKWEIR_URL", &self.base)
            .env("SSL_CERT_FILE", trusted);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }
}

fn behind(fleet: &Fleet) -> String {
    fleet.base.trim_start_matches("http://").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_and_the_load_test_reach_a_gateway_behind_tls() {
    let fleet = Fleet::start("10").await;
    let _worker = fleet.spawn("worker", &[]);
    let door = Door::open(behind(&fleet)).await;
    let ca = door.ca();
    let submitted = door.client(&["submit", "echo", "--json"], &ca).await;
    let said = String::from_utf8_lossy(&submitted.stderr).into_owned();
    assert!(submitted.status.success(), "{said}");
    let task: Value = serde_json::from_slice(&submitted.stdout).unwrap();
    fleet
        .reaches(task["id"].as_str().unwrap(), "completed", SOON)
        .await;
    // It listens to the feed of events, too.
    let load = ["loadtest", "--count", "20"];
    let loaded = door.client(&load, &ca).await;
    let said = String::from_utf8_lossy(&[loaded.stdout, loaded.stderr].concat()).into_owned();
    assert!(loaded.status.success(), "{said}");
    // Nobody whom the system trusts vouches for it.
    let system = "/etc/ssl/certs/ca-certificates.crt";
    let strange = door.client(&["list"], system).await;
    let said = String::from_utf8_lossy(&strange.stderr).into_owned();
    assert_eq!(strange.status.code(), Some(1), "{said}");
    assert!(said.contains("certificate"), "{said}");
    let nothing = door.client(&["list"], "/dev/null").await;
    let said = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert_eq!(nothing.status.code(), Some(2), "{said}");
    assert!(said.contains("SSL_CERT_FILE"), "{said}");
    // What speaks no TLS needs no certificates.
    let mut plain = door;
    plain.base.clone_from(&fleet.base);
    assert!(plain.client(&["list"], "/dev/null").await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_type_posts_over_tls_to_who_is_trusted() {
    let fleet = Fleet::start("10").await;
    let door = Door::open(behind(&fleet)).await;
    let host = door.base.trim_start_matches("https://");
    let trusting = [
        ("HTTP_TASK_ALLOW", host),
        ("SSL_CERT_FILE", &door.ca()),
        ("WORKER_QUEUES", "trusting"),
    ];
    let _trusting = fleet.spawn("worker", &trusting);
    let careful = [
        ("HTTP_TASK_ALLOW", host),
        ("SSL_CERT_FILE", "/dev/null"),
        ("WORKER_QUEUES", "careful"),
    ];
    let _careful = fleet.spawn("worker", &careful);
    let call = |queue: &str| {
        json!({
            "type": "http",
            "queue": queue,
            "data": { "url": format!("{}/tasks", door.base), "body": { "type": "echo" } },
            "max_retries": 0,
        })
    };
    let done = fleet.submit(&call("trusting")).await;
    let done = fleet.reaches(&done, "completed", SOON).await;
    assert_eq!(done["result"], json!({ "status": 202 }));
    let failed = fleet.submit(&call("careful")).await;
    let failed = fleet.reaches(&failed, "failed", SOON).await;
    let why = failed["error"]["message"].as_str().unwrap();
    assert!(why.contains("SSL_CERT_FILE"), "{why}");
}
