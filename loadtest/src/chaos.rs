//! A run of chaos: a cluster, its clients, the schedule of faults, the check.

mod client;
mod cluster;
mod nemesis;
mod plan;
mod process;
mod proxy;
mod report;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::checker::{self, Evidence, Tap};

pub use plan::{Fault, Plan, Role, Step};
pub use report::Report;

/// What a run is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// The binary under test.
    pub binary: PathBuf,
    /// Draws schedule and load.
    pub seed: u64,
    /// How long faults and load go on.
    pub length: Duration,
    /// When Redis syncs its append-only file: `no`, `everysec` or `always`.
    pub fsync: String,
    /// What the gateways let a submit wait for, as their `DURABILITY`. With replicas, one stands by, and
    /// failovers lead to it.
    pub durability: String,
    /// Faults to draw from; all where empty.
    pub faults: Vec<String>,
    /// Breaks the product on purpose: a word that only debug builds know.
    pub sabotage: Option<String>,
    /// Clients that submit.
    pub clients: usize,
    /// Prints each fault as it is done.
    pub verbose: bool,
}

/// How long the system has, once healed, to bring every task to its end.
const SETTLE: Duration = Duration::from_secs(180);

/// The same where it was broken on purpose: it may never come to rest.
const SETTLE_BROKEN: Duration = Duration::from_secs(10);

/// Runs chaos and checks what is left.
///
/// # Errors
/// The cluster could not be started, or did not come to rest so that it could be checked.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let plan = Plan::draw(options.seed, options.length, &options.faults);
    // Beside the report, which may be JSON.
    eprint!("{plan}");
    let began = Instant::now();
    let cluster = Arc::new(cluster::Cluster::start(options).await?);
    let (stop_load, stop_tap) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    let tap = Tap::new(cluster.redis_url());
    let tapping = tasks.spawn(tap.clone().follow(stop_tap.clone()));
    if options.fsync == "no" {
        tasks.spawn(Arc::clone(&cluster).watch_files(stop_load.clone()));
    }
    let journal = client::Journal::default();
    client::start(options, &cluster, &journal, &stop_load, &tasks);
    nemesis::run(&plan, &cluster, &tap, &tasks, options.verbose).await?;
    stop_load.cancel();
    cluster.heal().await?;
    let settle = if options.sabotage.is_some() {
        SETTLE_BROKEN
    } else {
        SETTLE
    };
    let settled = tokio::time::timeout(settle, checker::rest(&cluster.redis_url())).await;
    journal.close(Duration::from_secs(30)).await;
    // What was acknowledged last must come to its end too.
    let settled = settled.is_ok()
        && tokio::time::timeout(settle, checker::rest(&cluster.redis_url()))
            .await
            .is_ok();
    // From here on nothing may change: no cut, no redelivery.
    cluster.still().await;
    tap.catch_up(Duration::from_secs(20)).await?;
    stop_tap.cancel();
    tasks.close();
    tapping.await.context("the tap ended")?;
    let mut evidence = Evidence::gather(&cluster.redis_url(), &tap)
        .await
        .context("reading what is left")?;
    evidence.journal = journal.taken();
    evidence.claims = cluster.claims()?;
    evidence.settled = settled;
    evidence.losses = cluster.losses();
    let mut findings = checker::check(&evidence);
    for proof in cluster.disproved().await? {
        findings.broken("the proofs of the product agree", proof);
    }
    tasks.wait().await;
    let recoveries = cluster.recoveries(&evidence);
    let report = Report::of(
        options,
        &plan,
        &findings,
        &recoveries,
        &cluster.counts(),
        began.elapsed(),
    );
    cluster.stop(!findings.violations.is_empty()).await;
    Ok(report)
}
