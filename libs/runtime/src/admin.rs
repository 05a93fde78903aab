//! Probes and metrics of services without HTTP of their own, on `METRICS_ADDR`.

use std::net::SocketAddr;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use poem::http::StatusCode;
use poem::web::Data;
use poem::{EndpointExt, IntoResponse, Response, Route, get, handler};
use tokio_util::sync::CancellationToken;

use crate::access::{Doorkeeper, Refusal};
use crate::listen::{ListenAddress, ListenError};
use crate::{Env, EnvError, Readiness};

/// The content type of Prometheus' text format.
pub const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[handler]
fn metrics(
    Data(handle): Data<&PrometheusHandle>,
    Data(doorkeeper): Data<&Doorkeeper>,
    request: &poem::Request,
) -> Response {
    match doorkeeper.caller(request) {
        Ok(_) => {}
        Err(Refusal::Rationed) => return StatusCode::TOO_MANY_REQUESTS.into_response(),
        Err(Refusal::Unknown) => {
            return StatusCode::UNAUTHORIZED
                .with_header("www-authenticate", "Bearer")
                .into_response();
        }
    }
    handle
        .render()
        .with_content_type(METRICS_CONTENT_TYPE)
        .into_response()
}

#[handler]
const fn live() -> &'static str {
    "alive\n"
}

#[handler]
fn ready(Data(readiness): Data<&Readiness>) -> Response {
    match readiness.trouble() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// Where probes and metrics are served; `None` where `METRICS_ADDR` is unset.
///
/// # Errors
/// `METRICS_ADDR` is no address.
pub fn address(env: &Env) -> Result<Option<ListenAddress>, EnvError> {
    if env.text("METRICS_ADDR")?.is_none() {
        return Ok(None);
    }
    let unused = SocketAddr::from(([127, 0, 0, 1], 0));
    ListenAddress::from_env(env, "METRICS_ADDR", unused).map(Some)
}

/// Begins to listen, and gives what serves `/metrics`, `/health/live` and `/health/ready` until `stop`.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    address: ListenAddress,
    doorkeeper: Doorkeeper,
    handle: PrometheusHandle,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()>, ListenError> {
    let (door, bound) = address.bind().await?;
    tracing::info!(address = %bound, "probes and metrics");
    let app = Route::new()
        .at("/metrics", get(metrics))
        .at("/health/live", get(live))
        .at("/health/ready", get(ready))
        .data(handle)
        .data(doorkeeper)
        .data(readiness);
    Ok(door.serve(app, Duration::from_secs(1), stop))
}
