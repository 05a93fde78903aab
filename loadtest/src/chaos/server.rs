//! A Redis whose clock can be set and whose machine can lose power.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use super::process::{Process, free_port};

/// Makes a server's clock one that can be set, see the file.
const CLOCK: &str = include_str!("clock.c");

/// A server with an append-only file.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    dir: PathBuf,
    fsync: String,
    port: u16,
    /// The library that sets its clock.
    clock: Option<PathBuf>,
    offset_us: i64,
}

/// Inode and length of a file that was synced.
fn note(line: &str) -> Option<(u64, u64)> {
    let (inode, length) = line.split_once(' ')?;
    Some((inode.parse().ok()?, length.parse().ok()?))
}

/// Compiles the clock; none where there is no C compiler or no preloading.
fn clock(dir: &Path) -> Option<PathBuf> {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    std::fs::write(&source, CLOCK).ok()?;
    let mut compile = Command::new("cc");
    compile
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source);
    let built = cfg!(target_os = "linux") && compile.output().ok()?.status.success();
    built.then_some(library)
}

impl Server {
    pub(crate) async fn start(dir: &Path, fsync: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        std::fs::write(dir.join("clock"), 0_i64.to_ne_bytes())?;
        let clock = clock(dir);
        let server = Self {
            process: spawn(dir, fsync, port, clock.as_deref())?,
            dir: dir.to_owned(),
            fsync: fsync.to_owned(),
            port,
            clock,
            offset_us: 0,
        };
        server.up().await?;
        Ok(server)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    pub(crate) fn freeze(&self) {
        self.process.freeze();
    }

    pub(crate) fn thaw(&self) {
        self.process.thaw();
    }

    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = spawn(&self.dir, &self.fsync, self.port, self.clock.as_deref())?;
        self.up().await
    }

    /// Whether the clock can be set.
    pub(crate) const fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// Sets the clock forward or back.
    pub(crate) fn step_clock(&mut self, ms: i64) -> std::io::Result<()> {
        self.offset_us += ms * 1_000;
        // In place, for the server has mapped the file.
        let mut file = OpenOptions::new()
            .write(true)
            .open(self.dir.join("clock"))?;
        file.write_all(&self.offset_us.to_ne_bytes())
    }

    /// Kills it as a power cut would: of what was never synced, only a share of so many percent stays, which may
    /// end in the middle of a command.
    pub(crate) fn lose_power(&mut self, percent: u64) -> anyhow::Result<()> {
        self.kill();
        let notes = std::fs::read_to_string(self.dir.join("synced")).unwrap_or_default();
        let synced: BTreeMap<u64, u64> = notes.lines().filter_map(note).collect();
        for name in std::fs::read_dir(&self.dir)?.chain(
            std::fs::read_dir(self.dir.join("appendonlydir"))
                .into_iter()
                .flatten(),
        ) {
            let path = name?.path();
            // The base and the manifest are synced before they are named.
            if !path.to_string_lossy().ends_with(".aof")
                || path.to_string_lossy().contains(".base.")
            {
                continue;
            }
            let file = OpenOptions::new().write(true).open(&path)?;
            let about = file.metadata()?;
            let kept = synced
                .get(&about.ino())
                .copied()
                .unwrap_or(0)
                .min(about.len());
            file.set_len(kept + (about.len() - kept) * percent / 100)?;
        }
        Ok(())
    }

    /// A replica of this one, with everything it has.
    pub(crate) async fn replica(&self, dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let replica = Self::start(dir, &self.fsync).await?;
        replica
            .say(&["REPLICAOF", "127.0.0.1", &self.port.to_string()])
            .await?;
        for _ in 0..2_000 {
            let info = replica.say(&["INFO", "replication"]).await?;
            if info.contains("master_link_status:up") {
                return Ok(replica);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("the replica does not come up")
    }

    /// Runs a command.
    pub(crate) async fn say(&self, command: &[&str]) -> anyhow::Result<String> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(&command[1..]);
        Ok(cmd.query_async(&mut connection).await?)
    }

    /// Waits until it answers, loading included.
    async fn up(&self) -> anyhow::Result<()> {
        let client = redis::Client::open(self.url())?;
        for _ in 0..2_000 {
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                let pong: Result<String, _> = redis::cmd("PING").query_async(&mut connection).await;
                if pong.is_ok() {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("redis-server did not come up on port {}", self.port)
    }
}

fn spawn(dir: &Path, fsync: &str, port: u16, clock: Option<&Path>) -> anyhow::Result<Process> {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        // A replica is not kept waiting for others.
        .args(["--repl-diskless-sync-delay", "0"])
        .args([
            "--port",
            &port.to_string(),
            "--appendfsync",
            fsync,
            "--loglevel",
            "warning",
        ])
        .arg("--dir")
        .arg(dir);
    if let Some(library) = clock {
        command
            .env("LD_PRELOAD", library)
            .env("CHAOS_CLOCK", dir.join("clock"))
            .env("CHAOS_SYNCED", dir.join("synced"));
    }
    Process::start(&mut command, &dir.join("redis.log")).context("redis-server is not installed")
}
