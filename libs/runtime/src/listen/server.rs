//! The HTTP/1.1 server under every port: poem's own has no limits of time or number but one for idle connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::combinators::BoxBody;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::http::StatusCode;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Body, Endpoint, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::crowd::{Crowd, Full, Phase, Place, Watch};
use super::limits::ConnectionLimits;
use super::patience::{Answer, Patience, TimelyBody, Watched};

/// Pause after a connection that could not be taken: the system is out of files, say.
const PAUSE: Duration = Duration::from_millis(100);
/// Those who are refused at once; beyond, they are not answered.
const MAX_REFUSED: usize = 64;
/// Longest wait for one who is refused to hear it.
const FAREWELL: Duration = Duration::from_secs(1);
/// Trouble is told so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Tells of trouble that comes by the thousand now and then only.
#[derive(Default)]
struct Teller(Option<Instant>);

impl Teller {
    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|told| told.elapsed() > TELL_EVERY);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// Serves an app until `stop`; then requests on their way have `drain` to end.
pub(super) async fn run(
    listener: TcpListener,
    app: impl Endpoint<Output = Response> + 'static,
    limits: ConnectionLimits,
    drain: Duration,
    stop: CancellationToken,
) {
    let (app, crowd) = (Arc::new(app), Crowd::new(limits));
    let (connections, refused, abort) = (
        TaskTracker::new(),
        TaskTracker::new(),
        CancellationToken::new(),
    );
    let mut teller = Teller::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (io, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if teller.is_due() {
                    tracing::warn!(%error, "a connection cannot be taken");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        io.set_nodelay(true).ok();
        match crowd.admit(peer.ip()) {
            Ok(place) => {
                let ends = [stop.clone(), abort.clone()];
                let app = Arc::clone(&app);
                connections.spawn(serve(io, peer, place, limits.patience, app, ends));
            }
            Err(full) => {
                if teller.is_due() {
                    tracing::warn!(%peer, ?full, "connections are refused: as many are busy as may be");
                }
                if refused.len() < MAX_REFUSED {
                    refused.spawn(refuse(io, full));
                }
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, connections.wait())
        .await
        .is_err()
    {
        abort.cancel();
        connections.wait().await;
    }
}

/// Serves one connection to its end.
async fn serve<E: Endpoint<Output = Response> + 'static>(
    io: TcpStream,
    peer: SocketAddr,
    place: Place,
    patience: Patience,
    app: Arc<E>,
    [stop, abort]: [CancellationToken; 2],
) {
    let local = io.local_addr().ok();
    let watch = Arc::clone(&place.watch);
    let from = From {
        local,
        peer,
        patience,
    };
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (app, watch) = (Arc::clone(&app), Arc::clone(&watch));
        async move { Ok::<_, Infallible>(answer(request, from, &*app, watch).await) }
    });
    let io = TokioIo::new(Watched::new(io, Arc::clone(&watch), patience));
    // Headers have their own limit of time, see `Watched`, which answers before it closes.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            // A connection that broke is the business of nobody else.
            _ = connection.as_mut() => return,
            () = watch.dismissed.cancelled() => return,
            () = abort.cancelled() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// What a connection knows of its requests.
#[derive(Clone, Copy)]
struct From {
    local: Option<SocketAddr>,
    peer: SocketAddr,
    patience: Patience,
}

async fn answer(
    request: hyper::Request<Incoming>,
    from: From,
    app: &impl Endpoint<Output = Response>,
    watch: Arc<Watch>,
) -> hyper::Response<Answer<BoxBody<Bytes, std::io::Error>>> {
    watch.enter(Phase::Serving);
    let local = from.local.map_or_else(Addr::default, Addr::SocketAddr);
    let places = (LocalAddr(local), RemoteAddr(Addr::SocketAddr(from.peer)));
    let mut request: Request = (request, places.0, places.1, Scheme::HTTP).into();
    let late = Arc::new(AtomicBool::new(false));
    let body: BoxBody<Bytes, std::io::Error> = request.take_body().into();
    if body.is_end_stream() {
        request.set_body(Body::empty());
    } else {
        let timely = TimelyBody::new(body, from.patience, Arc::clone(&late), Arc::clone(&watch));
        request.set_body(Body::from(BoxBody::new(timely)));
    }
    let mut response = app.get_response(request).await;
    // Whatever an app makes of a body that breaks off: it broke off because it was late.
    if late.load(Ordering::Relaxed) && response.status() == StatusCode::BAD_REQUEST {
        response.set_status(StatusCode::REQUEST_TIMEOUT);
    }
    let response: hyper::Response<BoxBody<Bytes, std::io::Error>> = response.into();
    response.map(|body| Answer::new(body, watch))
}

/// Tells somebody for whom there is no room.
async fn refuse(mut io: TcpStream, full: Full) {
    let status = match full {
        Full::All => StatusCode::SERVICE_UNAVAILABLE,
        Full::Address => StatusCode::TOO_MANY_REQUESTS,
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nretry-after: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let farewell = async {
        io.write_all(answer.as_bytes()).await?;
        io.shutdown().await?;
        // What it has sent must be read, or the answer is thrown away with it.
        let mut sent = [0; 1_024];
        while io.read(&mut sent).await? > 0 {}
        std::io::Result::Ok(())
    };
    tokio::time::timeout(FAREWELL, farewell).await.ok();
}
