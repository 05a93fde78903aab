//! Carries out a schedule.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::cluster::Cluster;
use super::plan::{Fault, Plan};
use crate::checker::Tap;

/// Does what the plan says, when it says it; returns when it is over and every fault has ended.
pub(crate) async fn run(
    plan: &Plan,
    cluster: &Arc<Cluster>,
    tap: &Tap,
    tasks: &TaskTracker,
    verbose: bool,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut running = Vec::new();
    for step in &plan.steps {
        sleep_until(began + step.at).await;
        if verbose {
            eprintln!("{:8.3} s  {}", began.elapsed().as_secs_f64(), step.fault);
        }
        cluster.note_fault();
        running.push(tasks.spawn(inflict(step.fault, Arc::clone(cluster), tap.clone())));
    }
    sleep_until(began + plan.length).await;
    for fault in running {
        fault.await??;
    }
    Ok(())
}

async fn inflict(fault: Fault, cluster: Arc<Cluster>, tap: Tap) -> anyhow::Result<()> {
    let ms = Duration::from_millis;
    match fault {
        Fault::Kill(role, index, away) => {
            if cluster.kill(role, index).await {
                cluster.note_kill();
            }
            sleep(ms(away)).await;
            cluster.revive(role, index).await?;
        }
        Fault::Freeze(role, index, span) => {
            cluster.freeze(role, index, true).await;
            sleep(ms(span)).await;
            cluster.freeze(role, index, false).await;
        }
        Fault::KillRedis(away) => {
            cluster.note_kill();
            cluster.bounce_redis(ms(away)).await?;
        }
        Fault::PowerLoss(away, percent) => {
            cluster.note_kill();
            cluster.cut_power(ms(away), percent, &tap).await?;
        }
        Fault::FreezeRedis(span) => cluster.freeze_redis(ms(span)).await,
        Fault::Cut(role, index) => {
            if let Some(proxy) = cluster.proxy(role, index).await {
                proxy.cut();
            }
        }
        Fault::Delay(role, index, by, span) => {
            if let Some(proxy) = cluster.proxy(role, index).await {
                proxy.delay(by);
                sleep(ms(span)).await;
                proxy.delay(0);
            }
        }
        Fault::Silence(role, index, span) => {
            if let Some(proxy) = cluster.proxy(role, index).await {
                proxy.silence(true);
                sleep(ms(span)).await;
                proxy.silence(false);
            }
        }
        Fault::Failover(behind) => {
            cluster.note_kill();
            cluster.fail_over(ms(behind), &tap).await?;
        }
        Fault::Clock(by) => cluster.step_clock(by).await?,
    }
    Ok(())
}
