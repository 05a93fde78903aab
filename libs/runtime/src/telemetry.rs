//! Logs and the metrics recorder.

use std::io::IsTerminal;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{Env, EnvError};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Ours at info; the HTTP server's own start-up lines say nothing that ours do not.
const DEFAULT_FILTER: &str = "info,poem=warn";

/// Upper bounds of every histogram of seconds: 1 ms to 1 h.
const BUCKETS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    600.0, 3_600.0,
];

/// Starts logging by `LOG_FORMAT` and `RUST_LOG`. A second call in a process changes nothing.
///
/// # Errors
/// `LOG_FORMAT` or `RUST_LOG` cannot be read.
pub fn init_logs(env: &Env) -> Result<(), EnvError> {
    let format = env.read(
        "LOG_FORMAT",
        LogFormat::Pretty,
        "pretty or json",
        |text| match text {
            "pretty" => Some(LogFormat::Pretty),
            "json" => Some(LogFormat::Json),
            _ => None,
        },
    )?;
    let takes = "log filters such as info or warn,taskweir_worker=debug";
    let filter = env.read("RUST_LOG", EnvFilter::new(DEFAULT_FILTER), takes, |text| {
        EnvFilter::try_new(text).ok()
    })?;
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_ansi(colours)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Pretty => builder.with_target(false).compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Set by an earlier call: logs go on as they do.
    drop(started);
    Ok(())
}

const BUILD_INFO: &str = "taskweir_build_info";

/// Installs the process-wide metrics recorder.
///
/// # Errors
/// There is one already.
pub fn init_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?
        .install_recorder()?;
    metrics::describe_gauge!(BUILD_INFO, "1, with the version of the program.");
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Folds what histograms have gathered, so that memory stays bounded while nobody scrapes.
pub async fn keep_metrics(handle: PrometheusHandle, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(5)) => handle.run_upkeep(),
        }
    }
}
