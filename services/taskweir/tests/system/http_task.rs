//! The `http` demo type, and what `HTTP_TASK_ALLOW` keeps it from.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::Fleet;

const SOON: Duration = Duration::from_secs(30);

/// A server on loopback that answers by path and keeps what it is sent.
#[derive(Clone)]
struct Server {
    port: u16,
    /// Request lines with their bodies.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `moved` is where it sends those who ask for `/moved`.
    fn start(moved: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            heard: Arc::default(),
        };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serving.answer(stream.unwrap(), &moved);
            }
        });
        server
    }

    /// Whoever does not speak HTTP is left alone.
    fn answer(&self, mut stream: TcpStream, moved: &str) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = Vec::new();
        let mut length = 0;
        while let Some(Ok(line)) = reader.by_ref().lines().next() {
            if line.is_empty() {
                break;
            }
            let header = line.to_ascii_lowercase();
            if let Some(text) = header.strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
            head.push(line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let asked = head.first().map_or("", String::as_str);
        let body = String::from_utf8(body).unwrap();
        self.heard.lock().unwrap().push(format!("{asked} {body}"));
        let status = match asked.split(' ').nth(1) {
            Some("/good") => "200 OK".to_owned(),
            Some("/busy") => "503 Busy".to_owned(),
            Some("/often") => "429 Too Many Requests".to_owned(),
            Some("/moved") => format!("302 Found\r\nlocation: {moved}"),
            _ => "404 Not Found".to_owned(),
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).ok();
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// A call of an address, given up after one retry.
fn call(url: &str, queue: &str) -> Value {
    json!({
        "type": "http",
        "queue": queue,
        "data": { "url": url, "body": { "n": 7 } },
        "max_retries": 1,
        "retry": { "initial_delay": 0.05 },
    })
}

#[tokio::test]
async fn the_http_type_calls_hosts_that_are_allowed_and_no_others() {
    let fleet = Fleet::start("10").await;
    let other = Server::start(String::new());
    let elsewhere = format!("http://127.0.0.1:{}/good", other.port);
    let allowed = Server::start(elsewhere.clone());
    let host = format!("127.0.0.1:{}", allowed.port);
    let _worker = fleet.spawn("worker", &[("HTTP_TASK_ALLOW", &host)]);
    let _careful = fleet.spawn("worker", &[("WORKER_QUEUES", "careful")]);
    let good = fleet
        .submit(&call(&format!("http://{host}/good"), "default"))
        .await;
    let done = fleet.reaches(&good, "completed", SOON).await;
    assert_eq!(done["result"], json!({ "status": 200 }));
    assert_eq!(allowed.heard(), [r#"POST /good HTTP/1.1 {"n":7}"#]);
    for (url, queue, class, says, attempts) in [
        // By default nobody is called.
        (
            format!("http://{host}/good"),
            "careful",
            "HostNotAllowed",
            "127.0.0.1 is not listed in HTTP_TASK_ALLOW",
            1,
        ),
        (
            elsewhere,
            "default",
            "HostNotAllowed",
            "127.0.0.1 is not listed in HTTP_TASK_ALLOW",
            1,
        ),
        (
            format!("ftp://{host}/good"),
            "default",
            "fatal",
            "data.url is neither http:// nor https://",
            1,
        ),
        (
            "nowhere".to_owned(),
            "default",
            "fatal",
            "data.url is no URL",
            1,
        ),
        (
            format!("http://{host}/missing"),
            "default",
            "Http404",
            "the host answered 404",
            1,
        ),
        (
            format!("http://{host}/busy"),
            "default",
            "Http503",
            "the host answered 503",
            2,
        ),
        // Too many for now are not too many for ever.
        (
            format!("http://{host}/often"),
            "default",
            "Http429",
            "the host answered 429",
            2,
        ),
        // An allowed host does not lead to another one.
        (
            format!("http://{host}/moved"),
            "default",
            "Http302",
            "the host answered 302",
            2,
        ),
    ] {
        let id = fleet.submit(&call(&url, queue)).await;
        let task = fleet.reaches(&id, "failed", SOON).await;
        let error = &task["error"];
        assert_eq!(
            (&error["class"], &error["message"], &task["attempt"]),
            (&json!(class), &json!(says), &json!(attempts)),
            "{url}"
        );
    }
    assert_eq!(allowed.heard().len(), 8, "{:?}", allowed.heard());
    assert_eq!(other.heard(), [] as [String; 0]);
}
