//! Listening before there is anything to serve: while a service waits for Redis, its probes answer and
//! callers are told to come again, instead of hanging.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use poem::endpoint::BoxEndpoint;
use poem::http::StatusCode;
use poem::{Endpoint, IntoResponse, Request, Response};
use tokio_util::sync::CancellationToken;

use crate::listen::ListenAddress;

type App = BoxEndpoint<'static>;

/// Delegates to the app once it is there.
struct Opening {
    app: Arc<OnceLock<App>>,
    closed: fn() -> Response,
}

impl Endpoint for Opening {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        match self.app.get() {
            Some(app) => app.call(request).await,
            None if request.uri().path() == "/health/live" => Ok("alive\n".into_response()),
            None => Ok((self.closed)()),
        }
    }
}

/// What a caller is told who needs no more than a sentence.
#[must_use]
pub fn closed() -> Response {
    StatusCode::SERVICE_UNAVAILABLE
        .with_header("retry-after", "2")
        .with_body("starting: Redis does not answer yet\n")
        .into_response()
}

/// Listens at once and serves an app as soon as `opening` has made it, until `stop`. Before that
/// `/health/live` answers 200 and everything else what `closed` makes. `drain` is the time for requests on
/// their way when it stops.
///
/// # Errors
/// The address cannot be listened on, or the app could not be made.
pub async fn serve(
    address: ListenAddress,
    opening: impl AsyncFnOnce(std::net::SocketAddr) -> anyhow::Result<App>,
    closed: fn() -> Response,
    drain: Duration,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (door, bound) = address.bind().await?;
    let app = Arc::new(OnceLock::new());
    let front = Opening {
        app: Arc::clone(&app),
        closed,
    };
    let failing = async {
        match opening(bound).await {
            Ok(opened) => {
                app.set(opened).ok();
                std::future::pending().await
            }
            Err(error) => error,
        }
    };
    tokio::select! {
        biased;
        () = door.serve(front, drain, stop) => Ok(()),
        error = failing => Err(error),
    }
}
