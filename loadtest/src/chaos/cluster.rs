//! The processes of a run, each with a way of its own to Redis.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Options;
use super::plan::Role;
use super::process::{Process, free_port};
use super::proxy::Proxy;
use super::server::{Server, WRITEBACK};
use crate::checker::{Back, Claim, Evidence, Tap, Window};

/// Lease of every worker, s: short, so that a run sees many redeliveries.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// Retention, s: short, so that a run sees many cuts.
const RETENTION: &str = "15s";

/// What `appendfsync everysec` may not have on disk yet: Redis lets a sync be two seconds late, and the
/// sync itself takes its time on a busy disk.
const UNSYNCED: Duration = Duration::from_secs(3);

/// A process and its way to Redis.
struct Member {
    role: Role,
    process: Option<Process>,
    proxy: Proxy,
    /// Where a gateway listens.
    port: u16,
}

/// A cluster under test.
pub(crate) struct Cluster {
    binary: PathBuf,
    sabotage: Option<String>,
    dir: PathBuf,
    members: BTreeMap<(Role, usize), Mutex<Member>>,
    redis: Mutex<Server>,
    /// A replica of it, where submits wait for one.
    standby: Mutex<Option<Server>>,
    durability: String,
    url: std::sync::Mutex<String>,
    gateways: Vec<u16>,
    /// When Redis was back after each time it was away.
    backs: std::sync::Mutex<Vec<Back>>,
    kills: AtomicUsize,
    faults: AtomicUsize,
    replicas: AtomicUsize,
    clock_steps: bool,
    fsync: String,
    /// When what was acknowledged may have been lost.
    losses: std::sync::Mutex<Vec<Window>>,
    /// How much each worker had said at the latest failover: what it claimed before may be lost.
    said: std::sync::Mutex<BTreeMap<usize, u64>>,
}

/// What was done to a cluster.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Faults of any kind.
    pub faults: usize,
    /// Processes killed.
    pub kills: usize,
    /// Whether Redis' clock can be set.
    pub clock_steps: bool,
}

impl Cluster {
    pub(crate) async fn start(options: &Options) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!(
            "taskweir-chaos-{}-{}-{}",
            std::process::id(),
            options.seed,
            options.sabotage.as_deref().unwrap_or("sound")
        ));
        std::fs::create_dir_all(&dir)?;
        let redis = Server::start(&dir, &options.fsync).await?;
        let (url, clock_steps) = (redis.url(), redis.has_clock());
        let standby = if options.durability == "aof" {
            None
        } else {
            Some(redis.replica(&dir.join("standby")).await?)
        };
        let migrated = Command::new(&options.binary)
            .arg("migrate")
            .env("REDIS_URL", &url)
            .env("RUST_LOG", "off")
            .output()
            .context("the binary does not run")?;
        if !migrated.status.success() {
            bail!("migrate: {}", String::from_utf8_lossy(&migrated.stderr));
        }
        // A layout is older than what a power loss takes.
        redis.settle()?;
        // Never waited for: the proxies end with the runtime.
        let proxies = TaskTracker::new();
        let (mut members, mut gateways) = (BTreeMap::new(), Vec::new());
        for role in Role::ALL {
            for index in 0..role.count() {
                let proxy = Proxy::start(redis.port(), &proxies).await?;
                let port = free_port()?;
                if role == Role::Gateway {
                    gateways.push(port);
                }
                let member = Member {
                    role,
                    process: None,
                    proxy,
                    port,
                };
                members.insert((role, index), Mutex::new(member));
            }
        }
        let cluster = Self {
            binary: options.binary.clone(),
            sabotage: options.sabotage.clone(),
            dir,
            members,
            redis: Mutex::new(redis),
            standby: Mutex::new(standby),
            durability: options.durability.clone(),
            url: std::sync::Mutex::new(url),
            gateways,
            backs: std::sync::Mutex::default(),
            kills: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
            replicas: AtomicUsize::new(0),
            clock_steps,
            fsync: options.fsync.clone(),
            losses: std::sync::Mutex::default(),
            said: std::sync::Mutex::default(),
        };
        for role in Role::ALL {
            for index in 0..role.count() {
                cluster.revive(role, index).await?;
            }
        }
        Ok(cluster)
    }

    /// Where Redis is, without a proxy.
    pub(crate) fn redis_url(&self) -> String {
        let url = self.url.lock().unwrap_or_else(PoisonError::into_inner);
        url.clone()
    }

    /// Where the gateways are.
    pub(crate) fn gateways(&self) -> &[u16] {
        &self.gateways
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            faults: self.faults.load(Ordering::Relaxed),
            kills: self.kills.load(Ordering::Relaxed),
            clock_steps: self.clock_steps,
        }
    }

    pub(crate) fn note_fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a fault has killed a process that lived.
    pub(crate) fn note_kill(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    fn command(&self, member: &Member) -> Command {
        let mut command = Command::new(&self.binary);
        let path = std::env::vars_os().find(|(name, _)| name == "PATH");
        command
            .env_clear()
            .envs(path)
            .arg(member.role.as_str())
            .env("REDIS_URL", member.proxy.url())
            .env("LOG_FORMAT", "json")
            .env("RUST_LOG", "info")
            .env("LEASE_SECONDS", LEASE.as_secs().to_string())
            .env("RETENTION", RETENTION)
            .env("DURABILITY", &self.durability)
            .env("SHUTDOWN_GRACE", "2")
            .env("WORKER_QUEUES", "default,bulk")
            .env("WORKER_CONCURRENCY", "32")
            .env("GATEWAY_ADDR", format!("127.0.0.1:{}", member.port));
        if let Some(word) = &self.sabotage {
            command.env("TASKWEIR_SABOTAGE", word);
        }
        command
    }

    /// Starts a process unless it runs.
    pub(crate) async fn revive(&self, role: Role, index: usize) -> anyhow::Result<()> {
        let Some(member) = self.members.get(&(role, index)) else {
            return Ok(());
        };
        let mut member = member.lock().await;
        if member.process.as_mut().is_some_and(Process::lives) {
            return Ok(());
        }
        let log = self.dir.join(format!("{}-{index}.log", role.as_str()));
        let process = Process::start(&mut self.command(&member), &log)?;
        member.process = Some(process);
        Ok(())
    }

    /// Kills a process; gives whether there was one that lived.
    pub(crate) async fn kill(&self, role: Role, index: usize) -> bool {
        let Some(member) = self.members.get(&(role, index)) else {
            return false;
        };
        let process = member.lock().await.process.take();
        process.is_some_and(|mut process| process.lives())
    }

    pub(crate) async fn freeze(&self, role: Role, index: usize, frozen: bool) {
        if let Some(member) = self.members.get(&(role, index))
            && let Some(process) = &member.lock().await.process
        {
            if frozen {
                process.freeze();
            } else {
                process.thaw();
            }
        }
    }

    pub(crate) async fn proxy(&self, role: Role, index: usize) -> Option<Proxy> {
        let member = self.members.get(&(role, index))?;
        Some(member.lock().await.proxy.clone())
    }

    /// Kills Redis and brings it back.
    pub(crate) async fn bounce_redis(&self, away: Duration) -> anyhow::Result<()> {
        let mut redis = self.redis.lock().await;
        redis.kill();
        tokio::time::sleep(away).await;
        redis.restart().await?;
        self.note_back().await;
        Ok(())
    }

    /// Cuts the power of Redis' machine, and brings it back.
    pub(crate) async fn cut_power(
        &self,
        away: Duration,
        percent: u64,
        tap: &Tap,
    ) -> anyhow::Result<()> {
        let mut redis = self.redis.lock().await;
        let cut = Instant::now();
        redis.lose_power(percent)?;
        let end = Instant::now();
        tokio::time::sleep(away).await;
        redis.restart().await?;
        // With `always`, everything that anybody has heard of is still there.
        if self.fsync != "always" {
            let unsynced = if self.fsync == "no" {
                WRITEBACK
            } else {
                UNSYNCED
            };
            let begin = cut.checked_sub(unsynced).unwrap_or(cut);
            let window = Window {
                begin,
                end,
                submits: true,
            };
            self.forget(window, redis.url(), tap).await?;
        }
        self.note_back().await;
        Ok(())
    }

    /// What was told in a window may be lost: nobody is held to it.
    async fn forget(&self, window: Window, url: String, tap: &Tap) -> anyhow::Result<()> {
        tap.rewind(url).await?;
        self.losses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(window);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for index in 0..Role::Worker.count() {
            let length = std::fs::metadata(self.worker_log(index)).map_or(0, |file| file.len());
            said.insert(index, length);
        }
        Ok(())
    }

    pub(crate) fn losses(&self) -> Vec<Window> {
        self.losses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes from time to time what Redis' files are like, until told to stop.
    pub(crate) async fn watch_files(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            // In the middle of a fault there is nothing to note.
            if let Ok(mut redis) = self.redis.try_lock() {
                redis.note_lengths().ok();
            }
        }
    }

    pub(crate) async fn freeze_redis(&self, away: Duration) {
        let redis = self.redis.lock().await;
        redis.freeze();
        tokio::time::sleep(away).await;
        redis.thaw();
        self.note_back().await;
    }

    /// Lets a replica take over that is behind by a while, as an operator would by hand.
    pub(crate) async fn fail_over(&self, behind: Duration, tap: &Tap) -> anyhow::Result<()> {
        let mut redis = self.redis.lock().await;
        // Faults may queue here: each replica has a place of its own.
        let number = self.replicas.fetch_add(1, Ordering::Relaxed);
        let place = self.dir.join(format!("replica-{number}"));
        let mut standby = self.standby.lock().await;
        let confirms = standby.is_some();
        let replica = match standby.take() {
            Some(standby) => standby,
            None => redis.replica(&place).await?,
        };
        // Whatever was acknowledged before this instant the replica has: it may be behind when it is cut off, on a
        // busy machine by a while.
        let begin = redis.has_told(&replica).await?;
        replica.say(&["REPLICAOF", "NO", "ONE"]).await?;
        // What the old one is told from here on is lost.
        tokio::time::sleep(behind).await;
        redis.kill();
        *redis = replica;
        for key in self.members.keys() {
            if let Some(proxy) = self.proxy(key.0, key.1).await {
                proxy.lead(redis.port());
            }
        }
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = redis.url();
        let window = Window {
            begin,
            end: Instant::now(),
            // What the old one was told alone was never acknowledged.
            submits: !confirms,
        };
        self.forget(window, redis.url(), tap).await?;
        self.note_back().await;
        if confirms {
            *standby = Some(redis.replica(&place).await?);
        }
        Ok(())
    }

    fn worker_log(&self, index: usize) -> PathBuf {
        self.dir.join(format!("worker-{index}.log"))
    }

    pub(crate) async fn step_clock(&self, ms: i64) -> std::io::Result<()> {
        self.redis.lock().await.step_clock(ms)
    }

    /// Notes that Redis is back; one that is gone again at once is none.
    async fn note_back(&self) {
        if let Ok(back) = Back::now(&self.redis_url()).await
            && let Ok(mut backs) = self.backs.lock()
        {
            backs.push(back);
        }
    }

    /// Ends every fault: all processes run, all ways are open.
    pub(crate) async fn heal(&self) -> anyhow::Result<()> {
        for (role, index) in self.members.keys() {
            if let Some(proxy) = self.proxy(*role, *index).await {
                proxy.silence(false);
                proxy.delay(0);
            }
            self.freeze(*role, *index, false).await;
            self.revive(*role, *index).await?;
        }
        Ok(())
    }

    /// Ends whatever changes something by itself.
    pub(crate) async fn still(&self) {
        for role in [
            Role::Scheduler,
            Role::Worker,
            Role::Gateway,
            Role::Projector,
        ] {
            for index in 0..role.count() {
                self.kill(role, index).await;
            }
        }
    }

    /// What the product's own proofs find at the end: records, queues and views against the log, and views
    /// that are built afresh against the live ones. Empty where all agree.
    pub(crate) async fn disproved(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for proof in ["verify", "rebuild"] {
            let said = tokio::process::Command::new(&self.binary)
                .arg(proof)
                .env("REDIS_URL", self.redis_url())
                .env("RUST_LOG", "off")
                .kill_on_drop(true)
                .output()
                .await?;
            if !said.status.success() {
                let text = [said.stdout, said.stderr].concat();
                found.push(format!(
                    "{proof}: {}",
                    String::from_utf8_lossy(&text).trim()
                ));
            }
        }
        Ok(found)
    }

    /// Which workers said that they completed which tasks.
    pub(crate) fn claims(&self) -> anyhow::Result<Vec<Claim>> {
        let mut claims = Vec::new();
        for index in 0..Role::Worker.count() {
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let from = said.get(&index).copied().unwrap_or(0);
            let log = std::fs::read(self.worker_log(index)).unwrap_or_default();
            let from = usize::try_from(from).unwrap_or(usize::MAX).min(log.len());
            let text = String::from_utf8_lossy(&log[from..]);
            claims.extend(text.lines().filter_map(Claim::read));
        }
        Ok(claims)
    }

    /// How long it took after each return of Redis until a task completed.
    pub(crate) fn recoveries(&self, evidence: &Evidence) -> Vec<Duration> {
        let backs = self
            .backs
            .lock()
            .map(|backs| backs.clone())
            .unwrap_or_default();
        let first = |back: &Back| evidence.first_completion_after(back);
        backs.iter().filter_map(first).collect()
    }

    /// Ends everything; keeps the logs where something was found.
    pub(crate) async fn stop(&self, keep: bool) {
        for member in self.members.values() {
            member.lock().await.process = None;
        }
        self.redis.lock().await.kill();
        if let Some(standby) = self.standby.lock().await.as_mut() {
            standby.kill();
        }
        if keep {
            eprintln!("what the processes said is kept in {}", self.dir.display());
        } else {
            std::fs::remove_dir_all(&self.dir).ok();
        }
    }
}
