//! Stopping: the first signal asks, the second insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels the token at the first SIGINT or SIGTERM. At the second, the process is left at once
/// with status 130: whoever sends it does not want to wait.
///
/// # Errors
/// The operating system gives no signals.
#[expect(
    clippy::disallowed_methods,
    reason = "listens as long as the process lives; the second signal must not wait for destructors"
)]
pub fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let told = stop.clone();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for second in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if second {
                std::process::exit(130);
            }
            tracing::info!("stopping; once more to leave at once");
            told.cancel();
        }
    });
    Ok(stop)
}
