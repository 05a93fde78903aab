//! The private Redis of `taskweir dev`: durable, in `./data`, on a loopback port of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const DATA: &str = "data";
/// Holds the port of the server that keeps this directory, to find it after a crash of ours.
const PORT_FILE: &str = "redis.port";
const LOCK_FILE: &str = "dev.lock";
/// The port to try first unless told another, so that `redis-cli -p 6390` usually works.
pub const USUAL_PORT: u16 = 6_390;
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A Redis of our own.
pub struct OwnRedis {
    port: u16,
    data: PathBuf,
    /// Held while we live, so that no second `dev` runs in this directory.
    lock: File,
    /// `None` where an earlier `dev` left it running.
    child: Option<Child>,
}

fn free_port(wanted: u16) -> anyhow::Result<u16> {
    let bind = |port| std::net::TcpListener::bind(("127.0.0.1", port));
    let listener = bind(wanted)
        .or_else(|_| bind(0))
        .context("no free port for Redis")?;
    Ok(listener.local_addr()?.port())
}

/// Starts a server on the usual port, or on another where that was taken in the meantime.
async fn spawn_somewhere(data: &Path, usual: u16) -> anyhow::Result<(u16, Child)> {
    let mut last = None;
    for wanted in [usual, 0, 0] {
        let port = free_port(wanted)?;
        match spawn(port, data).await {
            Ok(child) => return Ok((port, child)),
            // It has ended, or was killed with the error: never two on one directory.
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no free port for Redis")))
}

/// Sends one command in Redis' inline form and gives what comes back.
async fn ask(port: u16, command: &str) -> Option<String> {
    let talk = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await
            .ok()?;
        let mut answer = vec![0; 1_024];
        let length = stream.read(&mut answer).await.ok()?;
        answer.truncate(length);
        String::from_utf8(answer).ok()
    };
    tokio::time::timeout(Duration::from_secs(2), talk)
        .await
        .ok()
        .flatten()
}

async fn wait_up(port: u16, child: &mut Child) -> anyhow::Result<()> {
    let mut since = Instant::now();
    while since.elapsed() < START_LIMIT {
        if let Some(status) = child.try_wait()? {
            bail!("redis-server stopped at once ({status}); see {DATA}/redis.log");
        }
        match ask(port, "PING").await {
            Some(answer) if answer.starts_with("+PONG") => return Ok(()),
            // A large file takes its time.
            Some(answer) if answer.starts_with("-LOADING") => since = Instant::now(),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("redis-server does not answer; see {DATA}/redis.log")
}

/// Who is at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// A server that keeps this directory.
    Ours,
    /// Another program.
    Stranger,
    /// Somebody who says nothing yet.
    Silent,
    /// Nobody.
    Nobody,
}

/// Looks who is at a port: another program's server must be neither used nor stopped.
async fn holder(port: u16, data: &Path) -> Holder {
    if TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        return Holder::Nobody;
    }
    match ask(port, "CONFIG GET dir").await {
        None => Holder::Silent,
        Some(answer) if answer.starts_with("-LOADING") => Holder::Silent,
        Some(answer)
            if data
                .to_str()
                .is_some_and(|data| answer.lines().any(|line| line == data)) =>
        {
            Holder::Ours
        }
        Some(_) => Holder::Stranger,
    }
}

/// The server that an earlier `dev`, killed, left running on this directory.
///
/// # Errors
/// Somebody is at its port and says nothing: starting a second server on the directory would spoil
/// its file.
async fn left_over(data: &Path) -> anyhow::Result<Option<u16>> {
    let text = std::fs::read_to_string(data.join(PORT_FILE)).unwrap_or_default();
    let Ok(port) = text.trim().parse() else {
        return Ok(None);
    };
    let since = Instant::now();
    loop {
        match holder(port, data).await {
            Holder::Ours => return Ok(Some(port)),
            Holder::Stranger | Holder::Nobody => return Ok(None),
            Holder::Silent if since.elapsed() < START_LIMIT => tokio::time::sleep(LOOK_EVERY).await,
            Holder::Silent => bail!(
                "the Redis of an earlier run is at port {port} and does not answer; end it first"
            ),
        }
    }
}

async fn spawn(port: u16, data: &Path) -> anyhow::Result<Child> {
    super::mend::mend(data).await?;
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args([
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--save",
            "",
        ])
        .args(["--maxmemory-policy", "noeviction", "--loglevel", "notice"])
        .arg("--dir")
        .arg(data)
        .arg("--logfile")
        .arg(data.join("redis.log"))
        // A group of its own: Ctrl-C must reach us alone, or Redis would go before the drain.
        .process_group(0)
        // An error on the way must not leave it behind.
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("redis-server is not installed: run `make dev`, or set REDIS_URL")?;
    // Before it answers: were we killed while it reads a large file, the next run must find it.
    std::fs::write(data.join(PORT_FILE), port.to_string())?;
    wait_up(port, &mut child).await?;
    // Whoever answers must be ours: our own server may have lost the race for the port.
    if holder(port, data).await != Holder::Ours {
        child.kill().await.ok();
        bail!("port {port} was taken by another Redis");
    }
    Ok(child)
}

impl OwnRedis {
    /// Starts it, or takes over the one that keeps this directory already.
    pub async fn start(usual: u16) -> anyhow::Result<Self> {
        std::fs::create_dir_all(DATA).with_context(|| format!("cannot make ./{DATA}"))?;
        let data: PathBuf = Path::new(DATA).canonicalize()?;
        let lock = File::create(data.join(LOCK_FILE))?;
        if lock.try_lock().is_err() {
            bail!(
                "another `taskweir dev` runs in this directory; stop it, or use another directory"
            );
        }
        if let Some(port) = left_over(&data).await? {
            tracing::info!(port, "an earlier run left its Redis running: taken over");
            return Ok(Self {
                port,
                data,
                lock,
                child: None,
            });
        }
        let (port, child) = spawn_somewhere(&data, usual).await?;
        let child = Some(child);
        tracing::info!(port, "private Redis with an append-only file in ./{DATA}");
        Ok(Self {
            port,
            data,
            lock,
            child,
        })
    }

    /// `redis://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it again whenever it dies; ends only with an error, when that is impossible.
    pub async fn keep_alive(&mut self) -> anyhow::Error {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let dead = match &mut self.child {
                Some(child) => child.try_wait().ok().flatten().is_some(),
                None => matches!(
                    holder(self.port, &self.data).await,
                    Holder::Nobody | Holder::Stranger
                ),
            };
            if dead {
                tracing::warn!(
                    "Redis stopped: started again; its append-only file has what it kept"
                );
                match spawn(self.port, &self.data).await {
                    Ok(child) => self.child = Some(child),
                    Err(error) => return error.context("Redis cannot be started again"),
                }
            }
        }
    }

    /// Stops it with its file flushed.
    pub async fn stop(mut self) {
        if holder(self.port, &self.data).await == Holder::Ours {
            ask(self.port, "SHUTDOWN").await;
        }
        if let Some(child) = &mut self.child
            && tokio::time::timeout(STOP_LIMIT, child.wait())
                .await
                .is_err()
        {
            tracing::warn!("Redis does not stop: killed; its append-only file is whole");
            child.kill().await.ok();
        }
        std::fs::remove_file(self.data.join(PORT_FILE)).ok();
        self.lock.unlock().ok();
    }
}
