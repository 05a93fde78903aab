//! A `redis-server` of one's own.

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::eventually;

/// What the server writes to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing.
    None,
    /// An append-only file, synced every second.
    Aof,
}

/// A private server; killed and its files removed when dropped.
#[derive(Debug)]
pub struct TestRedis {
    child: Child,
    dir: TempDir,
    port: u16,
    persistence: Persistence,
    arguments: Vec<String>,
}

/// Ports that tests listen on: below those that Linux and macOS give to outgoing connections (from 32,768 and
/// 49,152 on), since one of those could take a port between the look and the start, or while a server that was
/// killed is away. The bus of a cluster, ten thousand above, is a port too.
const PORTS: std::ops::Range<u16> = 10_240..32_000;

/// A loopback port that was free a moment ago.
///
/// # Panics
/// The machine has no free port.
#[must_use]
pub fn free_port() -> u16 {
    let draw = || {
        let drawn = RandomState::new().hash_one(0) % u64::from(PORTS.end - PORTS.start);
        PORTS.start + u16::try_from(drawn).expect("less than the range")
    };
    std::iter::repeat_with(draw)
        .take(1_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// The server under test: `TEST_REDIS_SERVER` of the environment, so that the same suite runs on other
/// versions and on Valkey.
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no Env; this is their one place"
)]
fn program() -> String {
    std::env::var("TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// Whether servers are nodes of a cluster with all of its slots: `TEST_REDIS_CLUSTER` of the environment. Such a
/// node refuses every script and transaction whose keys are not in one slot.
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no Env; this is their one place"
)]
fn is_node() -> bool {
    std::env::var("TEST_REDIS_CLUSTER").is_ok()
}

/// Whether the server is older than 7.0.
fn is_old() -> bool {
    static OLD: OnceLock<bool> = OnceLock::new();
    *OLD.get_or_init(|| {
        let version = Command::new(program()).arg("--version").output();
        version.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("v=6."))
    })
}

fn spawn(port: u16, dir: &Path, persistence: Persistence, arguments: &[String]) -> Child {
    let aof = if persistence == Persistence::Aof {
        "yes"
    } else {
        "no"
    };
    let mut command = Command::new(program());
    // Before 7.0 it is allowed anyway, and the setting is unknown.
    if !is_old() {
        command.args(["--enable-debug-command", "yes"]);
    }
    command
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        // Tests kill processes, not machines: what was written is there. Syncing a slow disk would hold up
        // Redis, and with it short leases.
        .args(["--appendonly", aof, "--appendfsync", "no"])
        .args(["--loglevel", "warning", "--daemonize", "no"])
        .arg("--dir")
        .arg(dir)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed: see `make tools`")
}

impl TestRedis {
    /// Starts a server without persistence.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Persistence::None, &[])
    }

    /// Starts a server with further arguments, such as `--maxmemory 10mb`.
    ///
    /// # Panics
    /// `redis-server` is not installed or does not come up.
    #[must_use]
    pub fn start_with(persistence: Persistence, arguments: &[&str]) -> Self {
        let mut arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let node = is_node() && !arguments.iter().any(|text| text == "--cluster-enabled");
        if node {
            arguments.extend(["--cluster-enabled", "yes"].map(ToOwned::to_owned));
        }
        // Another process may take the port between the look and the start: then look again.
        for _ in 0..20 {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let port = free_port();
            let mut redis = Self {
                child: spawn(port, dir.path(), persistence, &arguments),
                dir,
                port,
                persistence,
                arguments: arguments.clone(),
            };
            if redis.wait_up() {
                if node {
                    redis.take_all_slots();
                }
                return redis;
            }
        }
        panic!("no redis-server came up");
    }

    fn take_all_slots(&self) {
        let slots: Vec<String> = (0..16_384).map(|slot| slot.to_string()).collect();
        let mut add = vec!["CLUSTER", "ADDSLOTS"];
        add.extend(slots.iter().map(String::as_str));
        assert_eq!(self.cli(&add), "OK");
        while !self.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `redis://127.0.0.1:port`
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_up(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if self.child.try_wait().ok().flatten().is_some() {
                return false;
            }
            if self.pings() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    fn pings(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut answer = [0; 5];
        stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
            && stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            // A server that loads its file, or wants a password, is up but says so.
            && (answer == *b"+PONG" || answer == *b"-NOAU")
    }

    /// Kills the server at once, as a power switch for the process would.
    ///
    /// # Panics
    /// The operating system refuses.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Starts it again on the same port with the same files.
    ///
    /// # Panics
    /// It does not come up.
    pub fn restart(&mut self) {
        self.relaunch(&[]);
        assert!(self.wait_up(), "redis-server did not come up again");
    }

    /// Starts it again as [`Self::restart`] does, with further arguments, and does not wait for it.
    pub fn relaunch(&mut self, more: &[&str]) {
        let more = more.iter().map(|text| (*text).to_owned());
        let arguments: Vec<String> = self.arguments.iter().cloned().chain(more).collect();
        self.child = spawn(self.port, self.dir.path(), self.persistence, &arguments);
    }

    /// Kills the server and starts it with a file that takes two seconds to load, during which it answers
    /// `LOADING`. It must keep an append-only file.
    ///
    /// # Panics
    /// The file is not rewritten within the usual patience.
    pub async fn kill_and_load_slowly(&mut self) {
        // Each key of the base takes a while, and every two megabytes Redis looks up.
        assert_eq!(self.cli(&["CONFIG", "SET", "rdbcompression", "no"]), "OK");
        assert_eq!(
            self.cli(&["DEBUG", "POPULATE", "1000", "key", "32768"]),
            "OK"
        );
        let _ = self.cli(&["BGREWRITEAOF"]);
        eventually("the file is rewritten", async || {
            let info = self.cli(&["INFO", "persistence"]);
            let done = |field: &str| info.contains(&format!("{field}:0"));
            (done("aof_rewrite_in_progress") && done("aof_rewrite_scheduled")).then_some(())
        })
        .await;
        self.kill();
        self.relaunch(&["--key-load-delay", "2000"]);
    }

    /// Runs one command by `redis-cli` and gives its raw output.
    ///
    /// # Panics
    /// `redis-cli` is not installed.
    #[must_use]
    pub fn cli(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "--raw"])
            .args(command)
            .output()
            .expect("redis-cli is installed: see `make tools`");
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// The number behind the line of a section of `INFO` that begins so, such as `cmdstat_xread:calls=`; 0 where
    /// there is none.
    ///
    /// # Panics
    /// What is behind it is no number.
    #[must_use]
    pub fn counter(&self, section: &str, line: &str) -> u64 {
        let info = self.cli(&["INFO", section]);
        let found = info.lines().find_map(|told| told.strip_prefix(line));
        found.map_or(0, |rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit());
            rest[..end.unwrap_or(rest.len())].parse().expect("a number")
        })
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
