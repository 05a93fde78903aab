//! The load test against a gateway that behaves badly. A played one: the real one does it when Redis fails over.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use taskweir_loadtest::load::{self, LoadOptions, Progress};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

struct Silent;

impl Progress for Silent {
    fn show(&self, _: u64, _: u64) {}
}

/// What the played gateway has been asked.
#[derive(Default)]
struct Asked {
    submits: AtomicU64,
    /// Submits that are answered slowly from the first on.
    slow: u64,
    gone: AtomicU64,
    looks: AtomicU64,
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const ELSEWHERE: &str =
    "id: 1-0\ndata: {\"task\":\"another\",\"position\":\"1-0\",\"type\":\"Submitted\"}\n\n";

async fn answer(asked: &Asked, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    let last = head.to_ascii_lowercase().contains("last-event-id");
    let whole = |status: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    };
    let text = match head.split_whitespace().nth(1).unwrap() {
        "/stats" => {
            let count = asked.submits.load(Ordering::SeqCst);
            let body = format!(
                r#"{{"ledger":{{"submitted":{count},"balanced":true}},"totals":{{"completed":{count},"failed":0}}}}"#
            );
            whole("200 OK", &body)
        }
        "/tasks" => {
            let number = asked.submits.fetch_add(1, Ordering::SeqCst);
            if number < asked.slow {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            whole("202 Accepted", &format!(r#"{{"id":"{number}"}}"#))
        }
        events if events.starts_with("/events") && last => {
            asked.gone.fetch_add(1, Ordering::SeqCst);
            whole("410 Gone", "{}")
        }
        events if events.starts_with("/events") => {
            stream.write_all(STREAM.as_bytes()).await?;
            if asked.gone.load(Ordering::SeqCst) == 0 {
                stream.write_all(ELSEWHERE.as_bytes()).await?;
                return Ok(());
            }
            // The ends were before; nothing more comes.
            std::future::pending::<()>().await;
            return Ok(());
        }
        _ => {
            asked.looks.fetch_add(1, Ordering::SeqCst);
            whole("200 OK", r#"{"status":"completed"}"#)
        }
    };
    stream.write_all(text.as_bytes()).await
}

async fn played(asked: Asked) -> (String, Arc<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(asked);
    let shared = Arc::clone(&asked);
    let serving = TaskTracker::new();
    let calls = serving.clone();
    serving.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asked = Arc::clone(&shared);
            calls.spawn(async move { answer(&asked, stream).await });
        }
    });
    (base, asked)
}

fn options(base: String, rate: Option<f64>) -> LoadOptions {
    LoadOptions {
        base,
        secret: None,
        count: 20,
        rate,
        connections: 1,
        mix: "echo".parse().unwrap(),
        queue: "default".to_owned(),
        patience: Duration::from_secs(30),
    }
}

#[tokio::test]
async fn what_a_feed_has_lost_is_asked_for() {
    let (base, asked) = played(Asked::default()).await;
    let report = load::run(&options(base, None), &Silent).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!((report.ended, asked.looks.load(Ordering::SeqCst)), (20, 20));
    assert_eq!(
        asked.gone.load(Ordering::SeqCst),
        1,
        "it goes on without a place"
    );
}

#[tokio::test]
async fn a_stall_counts_for_all_that_it_held_up() {
    let slow = Asked {
        slow: 1,
        ..Asked::default()
    };
    let (base, _) = played(slow).await;
    let report = load::run(&options(base, Some(100.0)), &Silent)
        .await
        .unwrap();
    // One answer took 300 ms; those whose turn came meanwhile were late, too.
    assert!(report.submit.p50_ms > 100.0, "{report}");
}
