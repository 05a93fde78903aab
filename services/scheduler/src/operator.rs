//! Runs bulk operations: any scheduler takes up what waits, and what another one has left.

use std::time::Duration;

use taskweir_domain::TaskId;
use taskweir_runtime::Feeder;
use taskweir_store::{Ran, Store, StoreError, entropy};
use tokio_util::sync::CancellationToken;

use crate::wait;

/// How often it looks for operations.
const PERIOD: Duration = Duration::from_millis(500);

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

/// One page of each operation in turn, until none is left that we have.
async fn sweep(
    store: &Store,
    runner: &str,
    readiness: &Feeder,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let mut open: Vec<TaskId> = store.running_operations().await?;
    while !open.is_empty() && !stop.is_cancelled() {
        let mut more = Vec::with_capacity(open.len());
        for id in open {
            match store.run_operation(id, runner).await {
                Ok(Ran::More) => more.push(id),
                Ok(Ran::Ended | Ran::Held) => {}
                Err(error) if error.is_transient() => return Err(error),
                // One that cannot be read must not hold up the others.
                Err(error) => {
                    tracing::error!(%error, operation = %id, "a bulk operation is broken");
                }
            }
        }
        readiness.feed();
        open = more;
    }
    Ok(())
}
