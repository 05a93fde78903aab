//! A Redis whose clock can be set and whose machine can lose power.

use std::collections::{BTreeMap, VecDeque};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    /// Lengths of the files, by inode, as they were lately.
    lengths: VecDeque<(Instant, BTreeMap<u64, u64>)>,
}

/// How long Linux keeps what nobody synced in memory: what is 30 s old is written at the next look of
/// its flusher, which comes every 5 s (`dirty_expire_centisecs`, `dirty_writeback_centisecs`).
pub(crate) const WRITEBACK: Duration = Duration::from_secs(35);

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
            lengths: VecDeque::new(),
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
        let mut appending = OpenOptions::new();
        let mut synced_notes = appending
            .create(true)
            .append(true)
            .open(self.dir.join("synced"))?;
        let written = self
            .lengths
            .iter()
            .rfind(|(at, _)| at.elapsed() >= WRITEBACK)
            .map(|(_, lengths)| lengths.clone())
            .unwrap_or_default();
        self.lengths.clear();
        for path in self.files()? {
            let file = OpenOptions::new().write(true).open(&path)?;
            let about = file.metadata()?;
            let safe =
                |lengths: &BTreeMap<u64, u64>| lengths.get(&about.ino()).copied().unwrap_or(0);
            let kept = safe(&synced).max(safe(&written)).min(about.len());
            let kept = kept + (about.len() - kept) * percent / 100;
            file.set_len(kept)?;
            // It survived, so it is on the disk.
            writeln!(synced_notes, "{} {kept}", about.ino())?;
        }
        self.mend()
    }

    /// Takes all that is in the files as long since on the disk.
    pub(crate) fn settle(&self) -> std::io::Result<()> {
        let mut notes = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("synced"))?;
        for path in self.files()? {
            let about = std::fs::metadata(path)?;
            writeln!(notes, "{} {}", about.ino(), about.len())?;
        }
        Ok(())
    }

    /// The files that it appends to. The base and the manifest are synced before they are named.
    fn files(&self) -> std::io::Result<Vec<PathBuf>> {
        let parts = std::fs::read_dir(self.dir.join("appendonlydir"));
        let names = std::fs::read_dir(&self.dir)?.chain(parts.into_iter().flatten());
        let mut files = Vec::new();
        for name in names {
            let path = name?.path();
            let text = path.to_string_lossy();
            if text.ends_with(".aof") && !text.contains(".base.") {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// Notes how long the files are now: what the operating system will have written in a while.
    pub(crate) fn note_lengths(&mut self) -> std::io::Result<()> {
        let mut lengths = BTreeMap::new();
        for path in self.files()? {
            let about = std::fs::metadata(path)?;
            lengths.insert(about.ino(), about.len());
        }
        self.lengths.push_back((Instant::now(), lengths));
        // The latest one that is old enough, and all younger ones.
        while self
            .lengths
            .get(1)
            .is_some_and(|(at, _)| at.elapsed() >= WRITEBACK)
        {
            self.lengths.pop_front();
        }
        Ok(())
    }

    /// Cuts a torn transaction off, as docs/DURABILITY.md tells operators to: Redis itself leaves it in the
    /// file and applies half of it at the start after the next.
    fn mend(&self) -> anyhow::Result<()> {
        let parts = self.dir.join("appendonlydir/appendonly.aof.manifest");
        let whole = self.dir.join("appendonly.aof");
        let file = if parts.exists() { parts } else { whole };
        let mut check = Command::new("redis-check-aof")
            .arg("--fix")
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("redis-check-aof is not installed")?;
        if let Some(mut asked) = check.stdin.take() {
            // It asks only where there is something to cut.
            asked.write_all(b"y\n").ok();
        }
        if !check.wait()?.success() {
            bail!("redis-check-aof could not mend the file");
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

    /// The latest instant known by which everything that this one had acknowledged had reached a replica.
    pub(crate) async fn has_told(&self, replica: &Self) -> anyhow::Result<Instant> {
        let offset = async |server: &Self, field: &str| -> anyhow::Result<u64> {
            let info = server.say(&["INFO", "replication"]).await?;
            let value = info.lines().find_map(|line| line.strip_prefix(field));
            let value = value.with_context(|| format!("no {field} in {info}"))?;
            Ok(value.trim().parse()?)
        };
        let at = Instant::now();
        let told = offset(self, "master_repl_offset:").await?;
        for _ in 0..2_000 {
            if offset(replica, "slave_repl_offset:").await? >= told {
                return Ok(at);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("the replica does not catch up")
    }

    /// Runs a command.
    pub(crate) async fn say(&self, command: &[&str]) -> anyhow::Result<String> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(&command[1..]);
        let value: redis::Value = cmd.query_async(&mut connection).await?;
        Ok(redis::from_redis_value(value)?)
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

#[cfg(test)]
mod tests {
    use super::Server;

    /// How many of the pairs are there, none of them by halves.
    async fn pairs(server: &Server) -> usize {
        let mut whole = 0;
        for n in 0..PAIRS {
            let found = server
                .say(&["EXISTS", &format!("a{n}"), &format!("b{n}")])
                .await
                .expect("it answers");
            assert!(found == "0" || found == "2", "pair {n} is there by half");
            whole += usize::from(found == "2");
        }
        whole
    }

    const PAIRS: usize = 12;

    #[tokio::test]
    async fn a_power_loss_keeps_a_prefix_of_whole_transactions() {
        for percent in [0, 5, 31, 32, 33, 50, 67, 99, 100] {
            let dir = tempfile::tempdir().expect("a directory");
            // Never synced: all of it is at risk.
            let mut server = Server::start(dir.path(), "no").await.expect("it starts");
            for n in 0..PAIRS {
                let pair = format!("redis.call('SET','a{n}',1) redis.call('SET','b{n}',1)");
                server
                    .say(&["EVAL", &format!("{pair} return 'OK'"), "0"])
                    .await
                    .expect("set");
            }
            server.lose_power(percent).expect("it loses power");
            server.restart().await.expect("it starts");
            let kept = pairs(&server).await;
            assert!(
                kept <= PAIRS && (percent < 100 || kept == PAIRS),
                "{percent}: {kept}"
            );
            // What Redis leaves of a torn transaction shows at the start after the next.
            let more = "redis.call('SET','x',1) redis.call('SET','y',1) return 'OK'";
            server.say(&["EVAL", more, "0"]).await.expect("set");
            server.kill();
            server.restart().await.expect("it starts");
            assert_eq!(pairs(&server).await, kept);
            assert_eq!(
                server.say(&["EXISTS", "x", "y"]).await.expect("it answers"),
                "2"
            );
        }
    }
}
