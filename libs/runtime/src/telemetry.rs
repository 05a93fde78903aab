//! Logs and the metrics recorder.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::printable::LogLines;
use crate::traces::{Endpoint, Traces};
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

/// Spans of Taskweir have this target: exported where traces are, and never in the logs.
const SPANS: &str = "taskweir_trace";

/// Starts logging by `LOG_FORMAT` and `RUST_LOG`, and the export of traces where one is asked for: `service`
/// is the name under which it appears. A second call in a process changes nothing.
///
/// # Errors
/// A variable cannot be read. Must be called within the runtime.
pub fn init(env: &Env, service: &str) -> anyhow::Result<Option<Traces>> {
    let endpoint = Endpoint::from_env(env)?;
    let traces = match &endpoint {
        Some(endpoint) => Some(endpoint.open(service)?),
        None => None,
    };
    init_logs_with(env, traces.as_ref())?;
    if let Some(endpoint) = &endpoint {
        endpoint.tell();
    }
    Ok(traces)
}

/// Starts logging alone.
///
/// # Errors
/// `LOG_FORMAT` or `RUST_LOG` cannot be read.
pub fn init_logs(env: &Env) -> Result<(), EnvError> {
    init_logs_with(env, None)
}

fn init_logs_with(env: &Env, traces: Option<&Traces>) -> Result<(), EnvError> {
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
    let no_spans = format!("{SPANS}=off").parse().expect("a directive");
    let filter = filter.add_directive(no_spans);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(LogLines::new(matches!(format, LogFormat::Json)));
    let lines = match format {
        LogFormat::Pretty => lines.with_target(false).compact().boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Spans of others, the exporter's own above all, would be exported without end.
    let spans = traces.map(|traces| {
        let ours = Targets::new().with_target(SPANS, LevelFilter::TRACE);
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer())
            .with_location(false)
            .with_threads(false)
            .with_filter(ours)
    });
    let subscriber = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans);
    // Set by an earlier call: logs go on as they do.
    if subscriber.try_init().is_ok() {
        // A handler's panic may quote its payload as an error may; the words of a handler stand in its task's history.
        let hides = env.text("REDACT_FIELDS")?.is_some();
        std::panic::set_hook(Box::new(move |panic| match panic.location() {
            Some(place) if hides => tracing::error!(%place, "something panicked"),
            _ => tracing::error!(%panic, "something panicked"),
        }));
    }
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
