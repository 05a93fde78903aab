//! Clients that are slow, silent, or too many, beside those who are none of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use poem::web::sse::{Event, SSE};
use poem::{Request, Route, get, handler, post};
use taskweir_runtime::listen::{ConnectionLimits, ListenAddress, Patience};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

#[handler]
const fn hello() -> &'static str {
    "hello"
}

#[handler]
async fn echo(body: String) -> String {
    body
}

#[handler]
fn large() -> Vec<u8> {
    vec![b'x'; 64 * 1_024 * 1_024]
}

#[handler]
fn stream(_: &Request) -> SSE {
    SSE::new(futures_util::stream::pending::<Event>())
}

const IMPATIENT: Patience = Patience {
    idle: Duration::from_millis(300),
    header: Duration::from_millis(300),
    body: Duration::from_millis(300),
    reader: Duration::from_millis(300),
};

/// Ends the server with the test.
struct Served(SocketAddr, CancellationToken);

impl Drop for Served {
    fn drop(&mut self) {
        self.1.cancel();
    }
}

async fn serve(limits: ConnectionLimits) -> Served {
    let address = ListenAddress {
        address: ([127, 0, 0, 1], 0).into(),
        variable: "GATEWAY_ADDR",
        allow_anonymous: false,
        limits,
    };
    let (door, bound) = address.bind().await.unwrap();
    let app = Route::new()
        .at("/", get(hello))
        .at("/echo", post(echo))
        .at("/large", get(large))
        .at("/stream", get(stream));
    let stop = CancellationToken::new();
    let serving = door.serve(app, Duration::from_secs(1), stop.clone());
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(serving);
    Served(bound, stop)
}

fn impatient() -> ConnectionLimits {
    ConnectionLimits {
        patience: IMPATIENT,
        ..ConnectionLimits::default()
    }
}

async fn connect(to: &Served, sent: &str) -> TcpStream {
    let mut io = TcpStream::connect(to.0).await.unwrap();
    io.write_all(sent.as_bytes()).await.unwrap();
    io
}

/// All that comes until the connection is closed.
async fn heard(mut io: TcpStream) -> String {
    let mut heard = Vec::new();
    let reading = io.read_to_end(&mut heard);
    let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
    // A reset after the answer is an end, too.
    read.expect("it is closed").ok();
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn who_is_too_slow_is_told_so_and_let_go() {
    let served = serve(impatient()).await;
    let half_header = connect(&served, "GET / HTTP/1.1\r\nhost: a\r\nx-").await;
    assert!(heard(half_header).await.starts_with("HTTP/1.1 408 "));
    let after_one = "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT";
    let told = heard(connect(&served, after_one).await).await;
    assert!(told.starts_with("HTTP/1.1 200 ") && told.contains("hello"));
    let half_body = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf";
    let told = heard(connect(&served, half_body).await).await;
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    let silent = connect(&served, "").await;
    assert_eq!(heard(silent).await, "", "closed without a word");
    let idle = connect(&served, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(heard(idle).await.ends_with("hello"), "closed when idle");
}

#[tokio::test]
async fn who_takes_no_answer_is_let_go_and_who_takes_it_slowly_has_it_all() {
    let served = serve(impatient()).await;
    let ask = "GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut stuck = connect(&served, ask).await;
    tokio::time::sleep(IMPATIENT.reader * 3).await;
    let mut taken = 0;
    let mut buffer = vec![0; 1_024 * 1_024];
    while let Ok(more @ 1..) = stuck.read(&mut buffer).await {
        taken += more;
    }
    assert!(taken < 64 * 1_024 * 1_024, "it was cut off: {taken}");
    let whole = heard(connect(&served, ask).await).await;
    assert!(whole.len() > 64 * 1_024 * 1_024);
}

#[tokio::test]
async fn an_event_stream_outlives_every_patience() {
    let served = serve(impatient()).await;
    let mut io = connect(&served, "GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut head = [0; 12];
    io.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let more = async {
        let mut rest = [0; 1_024];
        while io.read(&mut rest).await.unwrap() > 0 {}
    };
    let open = tokio::time::timeout(IMPATIENT.idle * 4, more).await;
    assert!(open.is_err(), "it stays open");
}

#[tokio::test]
async fn where_all_are_busy_more_are_refused_and_told_when_to_come_again() {
    let limits = |connections, connections_per_address| ConnectionLimits {
        connections,
        connections_per_address,
        ..ConnectionLimits::default()
    };
    for (limits, refusal) in [
        (limits(1, 0), "HTTP/1.1 503 "),
        (limits(9, 1), "HTTP/1.1 429 "),
    ] {
        let served = serve(limits).await;
        let mut busy = connect(&served, "GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
        busy.read_exact(&mut [0; 12]).await.unwrap();
        let told = heard(connect(&served, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await).await;
        assert!(
            told.starts_with(refusal) && told.contains("retry-after: 2"),
            "{told}"
        );
    }
}

/// The status of one request on a connection of its own, from an address.
async fn asked(to: SocketAddr, from: [u8; 4]) -> std::io::Result<Duration> {
    let began = Instant::now();
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut io = socket.connect(to).await?;
    io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    io.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    Ok(began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_silent_and_slow_sockets_keep_nobody_out() {
    const SOCKETS: usize = 4_000;
    let served = serve(ConnectionLimits {
        connections: 512,
        connections_per_address: 128,
        ..ConnectionLimits::default()
    })
    .await;
    let mut sockets = Vec::new();
    for number in 0..SOCKETS {
        // Where the system gives this process fewer files, fewer must do.
        let Ok(mut io) = TcpStream::connect(served.0).await else {
            sockets.truncate(sockets.len() / 2);
            continue;
        };
        let sent: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ",
            _ => b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nslow",
        };
        io.write_all(sent).await.ok();
        sockets.push(io);
    }
    let mut times = Vec::new();
    for _ in 0..300 {
        times.push(asked(served.0, [127, 0, 0, 2]).await.unwrap());
    }
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    assert!(p99 < Duration::from_millis(50), "{p99:?}");
    // From the same address, as behind a NAT, too.
    let mut heard = 0;
    for _ in 0..20 {
        heard += usize::from(asked(served.0, [127, 0, 0, 1]).await.is_ok());
    }
    assert_eq!(heard, 20);
    drop(sockets);
}
