//! A TCP proxy between a process and Redis, which can cut, delay and hold back what passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

/// How often a held connection looks whether it may go on.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct State {
    /// Port of Redis.
    upstream: AtomicU16,
    delay_ms: AtomicU64,
    silent: AtomicBool,
    cut: Notify,
}

/// The way of one process to Redis.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    state: Arc<State>,
    port: u16,
}

impl Proxy {
    /// Listens on a port of its own; ends with the process.
    pub(crate) async fn start(upstream: u16, tasks: &TaskTracker) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let proxy = Self {
            port: listener.local_addr()?.port(),
            state: Arc::default(),
        };
        proxy.state.upstream.store(upstream, Ordering::SeqCst);
        tasks.spawn(accept(listener, Arc::clone(&proxy.state), tasks.clone()));
        Ok(proxy)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Closes every connection that is open now.
    pub(crate) fn cut(&self) {
        self.state.cut.notify_waiters();
    }

    /// Leads new connections to another server, and closes the old ones.
    pub(crate) fn lead(&self, upstream: u16) {
        self.state.upstream.store(upstream, Ordering::SeqCst);
        self.cut();
    }

    pub(crate) fn delay(&self, ms: u64) {
        self.state.delay_ms.store(ms, Ordering::SeqCst);
    }

    /// Holds everything back, without closing anything.
    pub(crate) fn silence(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, tasks: TaskTracker) {
    // Ends when the runtime does.
    while let Ok((client, _)) = listener.accept().await {
        tasks.spawn(carry(client, Arc::clone(&state)));
        if tasks.is_closed() {
            return;
        }
    }
}

async fn carry(client: TcpStream, state: Arc<State>) {
    let upstream = state.upstream.load(Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let cut = state.cut.notified();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = cut => {}
        () = pump(from_client, to_server, &state) => {}
        () = pump(from_server, to_client, &state) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        let delay = state.delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        while state.silent.load(Ordering::SeqCst) {
            tokio::time::sleep(LOOK).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
