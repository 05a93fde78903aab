//! The HTTP API: one file per group of calls.

mod dlq;
mod document;
mod events;
mod health;
pub(crate) mod operations;
mod queues;
mod stats;
pub(crate) mod submit;
pub(crate) mod tasks;
mod workers;

use std::time::Instant;

use poem::http::header::LOCATION;
use poem::http::{HeaderName, HeaderValue, Method};
use tracing::Instrument;
use tracing::field::Empty;

use poem::endpoint::BoxEndpoint;
use poem::web::Data;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route, get, handler};
use poem_openapi::{LicenseObject, OpenApiService, OperationId, Tags};
use taskweir_runtime::admin::METRICS_CONTENT_TYPE;
use taskweir_runtime::listen::{BasePath, HostGuard};

use crate::calls::Calls;
use crate::metrics::HTTP;
use crate::problem::ApiError;
use crate::state::State;
use crate::{accept, body, problem, scrape};

/// Groups of calls in the documentation.
#[derive(Tags)]
enum Tag {
    /// Submit tasks and see what became of them.
    Tasks,
    /// What gave up: look, retry, remove.
    Dlq,
    /// What is done to many tasks at once, in the background.
    Operations,
    /// Where work waits.
    Queues,
    /// Who works.
    Workers,
    /// The log as it grows.
    Events,
    /// Counts and sums.
    Stats,
    /// Probes.
    Health,
}

type Api = (
    tasks::Tasks,
    dlq::Dlq,
    operations::Operations,
    queues::Queues,
    workers::Workers,
    events::Events,
    stats::Stats,
    health::Health,
);

/// The API, as it is reached at `base`.
fn service(base: &str) -> OpenApiService<Api, ()> {
    let api = (
        tasks::Tasks,
        dlq::Dlq,
        operations::Operations,
        queues::Queues,
        workers::Workers,
        events::Events,
        stats::Stats,
        health::Health,
    );
    let license = LicenseObject::new("MIT OR Apache-2.0");
    OpenApiService::new(api, "Taskweir", env!("CARGO_PKG_VERSION"))
        .description(
            "An event-sourced distributed task queue: every change of a task is an event you can read.",
        )
        .license(license.url("https://spdx.org/licenses/MIT.html"))
        .server(base)
}

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> String {
    document::finished(&service("/").spec())
}

#[handler]
async fn metrics_page(Data(state): Data<&State>) -> Response {
    // Without Redis the process' own numbers are still worth reading.
    let system = scrape::gauges(&state.store).await;
    let text = format!("{}{system}", state.metrics.render());
    text.with_content_type(METRICS_CONTENT_TYPE).into_response()
}

/// A method as a label: any token is a method to HTTP, and each would be a series of its own.
fn known(method: &Method) -> &'static str {
    let known = ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"];
    let found = known.into_iter().find(|known| method.as_str() == *known);
    found.unwrap_or("other")
}

async fn timed<E: Endpoint<Output = Response>>(
    next: std::sync::Arc<E>,
    request: Request,
) -> poem::Result<Response> {
    let began = Instant::now();
    let method = request.method().clone();
    let span = tracing::info_span!(target: taskweir_trace::TARGET, "http", otel.name = %method, otel.kind = "server",
        http.request.method = %method, url.path = request.uri().path(), http.route = Empty,
        http.response.status_code = Empty, otel.status_code = Empty);
    taskweir_trace::adopt(&span, |name| request.header(name));
    let mut response = next.call(request).instrument(span.clone()).await?;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    for (name, value) in taskweir_trace::answer(&span) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    let operation = response
        .data::<OperationId>()
        .map_or("other", |operation| operation.0);
    ::metrics::histogram!(HTTP, "method" => known(&method), "operation" => operation,
        "status" => response.status().as_u16().to_string())
    .record(began.elapsed().as_secs_f64());
    Ok(response)
}

/// Every route of the gateway. `guard` says which `Host` headers are taken.
pub(crate) fn routes(state: State, guard: HostGuard) -> BoxEndpoint<'static> {
    let base = state.base_path.clone();
    let shown = if base.as_str().is_empty() {
        "/"
    } else {
        base.as_str()
    };
    let service = service(shown);
    let spec = service.spec();
    let calls = Calls::of_spec(&spec);
    let document = document::finished(&spec);
    let html = service.swagger_ui_html();
    let docs = || document::page(&html, &spec, &document);
    let gate = state.gate.clone();
    let app = Route::new()
        .at("/docs", get(docs()))
        .at("/docs/", get(docs()))
        .at("/openapi.json", get(document::endpoint(document.clone())))
        .at("/metrics", get(metrics_page))
        .nest("/", service)
        .data(state);
    app.around(move |next, mut request: Request| {
        let (calls, gate) = (calls.clone(), gate.clone());
        async move {
            if !guard.allows(request.header("host")) {
                return Ok(ApiError::stranger().into_response());
            }
            match gate.admit(&request) {
                Ok(caller) => request.set_data(caller),
                Err(refusal) => return Ok(refusal.into_response()),
            };
            let path = request.uri().path().to_owned();
            if calls.takes(request.method(), &path)
                && let Some(refused) = body::refused(&request)
            {
                return Ok(refused.into_response());
            }
            if let Some(route) = calls.route(&path) {
                let span = tracing::Span::current();
                taskweir_trace::rename(&span, || format!("{} {route}", request.method()));
                span.record("http.route", route);
            }
            let query = request.uri().query().unwrap_or_default();
            // Probes answer whatever they are asked with.
            let negotiated = calls.has(&path) && !path.starts_with("/health/") && path != "/events";
            if negotiated && !accept::takes_json(&request).await {
                return Ok(ApiError::not_acceptable().into_response());
            }
            let strangers = calls.strangers(request.method(), &path, query);
            if !strangers.is_empty() {
                return Ok(ApiError::fields(strangers).into_response());
            }
            match next.call(request).await {
                Ok(response) => Ok(response.into_response()),
                Err(error) => {
                    let operation = error.data::<OperationId>().map(|operation| operation.0);
                    let missing = error.is::<poem::error::MethodNotAllowedError>();
                    let mut response = problem::of_framework(error);
                    if missing {
                        calls.allow(&path, &mut response);
                    }
                    if let Some(operation) = operation {
                        response.set_data(OperationId(operation));
                    }
                    Ok(response)
                }
            }
        }
    })
    .around(timed)
    .around(move |next, mut request: Request| {
        let base = base.clone();
        async move {
            base.strip(&mut request);
            let listens = request.uri().path() == "/events";
            let mut response = next.call(request).await?;
            based(&base, listens, &mut response);
            Ok(response)
        }
    })
    .boxed()
}

/// Addresses as callers see them; and the word by which a proxy sends events on as they come.
fn based(base: &BasePath, listens: bool, response: &mut Response) {
    let headers = response.headers_mut();
    let place = headers.get(LOCATION).and_then(|place| place.to_str().ok());
    if let Some(place) = place.filter(|place| place.starts_with('/'))
        && let Ok(place) = base.before(place).parse()
    {
        headers.insert(LOCATION, place);
    }
    if listens {
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
}
