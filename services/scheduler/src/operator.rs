//! Runs bulk operations: any scheduler takes up what waits, and what another one has left.

use std::time::{Duration, Instant};

use taskweir_domain::TaskId;
use taskweir_runtime::Feeder;
use taskweir_store::{Ran, Store, StoreError, entropy};
use tokio_util::sync::CancellationToken;

use crate::wait;

/// How often it looks for operations.
const PERIOD: Duration = Duration::from_millis(500);

/// How often one whose partition was away is tried again while others are under way.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) async fn run(store: Store, readiness: Feeder, stop: CancellationToken) {
    let runner = format!("scheduler-{}", entropy::nonce());
    loop {
        match sweep(&store, &runner, &readiness, &stop).await {
            Ok(()) => readiness.feed(),
            Err(error) => tracing::warn!(%error, "bulk operations wait for Redis"),
        }
        if !wait(PERIOD, &stop).await {
            return;
        }
    }
}

/// One page of each operation in turn, until none is left that we have. One whose partition is away holds up none
/// of the others.
async fn sweep(
    store: &Store,
    runner: &str,
    readiness: &Feeder,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let mut open: Vec<TaskId> = store.running_operations().await?;
    let (mut away, mut failed) = (Vec::new(), None);
    let mut looked = Instant::now();
    while !open.is_empty() {
        let mut more = Vec::with_capacity(open.len());
        for id in open {
            if stop.is_cancelled() {
                return Ok(());
            }
            match store.run_operation(id, runner).await {
                Ok(ran) => {
                    readiness.feed();
                    if ran == Ran::More {
                        more.push(id);
                    }
                }
                Err(error) if error.is_transient() => {
                    away.push(id);
                    failed = Some(error);
                }
                // One that cannot be read must not hold up the others.
                Err(error) => {
                    tracing::error!(%error, operation = %id, "a bulk operation is broken");
                }
            }
        }
        if looked.elapsed() > AGAIN && !more.is_empty() {
            // Those away are tried again, and what was asked for meanwhile begins.
            more = store.running_operations().await?;
            away.clear();
            looked = Instant::now();
        }
        open = more;
    }
    if away.is_empty() {
        return Ok(());
    }
    failed.map_or(Ok(()), Err)
}
