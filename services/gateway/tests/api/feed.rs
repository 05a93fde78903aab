//! The feed of events.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value;
use taskweir_domain::Position;

use crate::bench::{Bench, json};

/// A listener, and what it has not read yet.
struct Ear {
    response: Response,
    buffer: String,
    /// How far it was told that it has heard, where nothing came that it wants.
    place: Option<String>,
}

impl Ear {
    async fn at(bench: &Bench, path: &str, last: Option<&str>) -> Self {
        let mut call = bench.call(Method::GET, path);
        if let Some(last) = last {
            call = call.header("last-event-id", last);
        }
        let response = call.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            buffer: String::new(),
            place: None,
        }
    }

    /// The next event: its id and what it says.
    async fn next(&mut self) -> (String, Value) {
        self.next_if_any().await.expect("no end")
    }

    /// The same; `None` where the stream has ended.
    async fn next_if_any(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let line = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| line.strip_prefix(name).map(ToOwned::to_owned))
                };
                let found = line("id: ").zip(line("data: "));
                let is_place = line("event: ").as_deref() == Some("position");
                self.buffer = rest.to_owned();
                if is_place {
                    self.place = found.map(|(id, _)| id);
                    continue;
                }
                if let Some((id, data)) = found {
                    return Some((id, serde_json::from_str(&data).unwrap()));
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            let chunk = chunk.await.expect("an event").unwrap()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

/// Every event in the logs, by partition and position.
async fn logged(bench: &Bench) -> Vec<String> {
    let mut all = Vec::new();
    for partition in bench.store.partitions() {
        let mut at = Position::ZERO;
        loop {
            let read = partition.read_log(at, 1_000).await.unwrap();
            let Some(last) = read.last else { break };
            let many = bench.store.partition_count() > 1;
            let index = partition.keys().partition().0;
            all.extend(read.entries.iter().map(|entry| {
                let position = entry.position;
                if many {
                    format!("{index}@{position}")
                } else {
                    position.to_string()
                }
            }));
            at = last;
        }
    }
    all.sort_unstable();
    all
}

fn zero(bench: &Bench) -> String {
    match bench.store.partition_count() {
        1 => "0-0".to_owned(),
        count => (0..count)
            .map(|index| format!("{index}@0-0"))
            .collect::<Vec<_>>()
            .join(","),
    }
}

#[tokio::test]
async fn a_listener_that_goes_and_comes_hears_every_event_once_and_in_order() {
    const TASKS: usize = 600;
    let bench = Bench::new().await;
    let mut last = zero(&bench);
    let mut heard = Vec::new();
    let submit = async {
        for n in 0..TASKS {
            bench
                .submit(&format!(r#"{{"type":"echo","data":{n}}}"#))
                .await;
        }
    };
    let listen = async {
        // Cut off after more and more events, in the middle of the traffic.
        for share in 1.. {
            let mut ear = Ear::at(&bench, "/events", Some(&last)).await;
            for _ in 0..share * 7 {
                let (id, event) = ear.next().await;
                heard.push(event["position"].as_str().unwrap().to_owned());
                last = id;
                if heard.len() == TASKS {
                    return;
                }
            }
        }
    };
    tokio::join!(submit, listen);
    // In order within each partition.
    let mut latest: BTreeMap<String, Position> = BTreeMap::new();
    for text in &heard {
        let (partition, position) = text.split_once('@').unwrap_or(("", text));
        let position: Position = position.parse().unwrap();
        let before = latest.insert(partition.to_owned(), position);
        assert!(before.is_none_or(|before| before < position), "{text}");
    }
    heard.sort_unstable();
    assert_eq!(heard, logged(&bench).await);
}

#[tokio::test]
async fn many_listen_and_each_hears_what_it_asked_for() {
    let bench = Bench::with_env(1, &[("REDACT_FIELDS", "card,..pin")]).await;
    let mut all: Vec<Ear> = Vec::new();
    for _ in 0..20 {
        all.push(Ear::at(&bench, "/events", None).await);
    }
    let mut mail = Ear::at(&bench, "/events?queue=mail", None).await;
    let mut report = Ear::at(&bench, "/events?type=report", None).await;
    let first = bench
        .submit(
            r#"{"type":"send","queue":"mail","data":{"card":"4111","deep":{"pin":1},"to":"ann"}}"#,
        )
        .await;
    let second = bench.submit(r#"{"type":"report","queue":"slow"}"#).await;
    let mut one = Ear::at(&bench, &format!("/events?task={first}"), Some("0-0")).await;
    bench
        .call(Method::POST, &format!("/tasks/{first}/cancel"))
        .send()
        .await
        .unwrap();
    for ear in &mut all {
        let mut heard = Vec::new();
        for _ in 0..3 {
            let (id, event) = ear.next().await;
            assert_eq!(event["position"], id);
            heard.push((event["type"].clone(), event["task"].clone()));
        }
        let expected = [
            ("Submitted", &first),
            ("Submitted", &second),
            ("Cancelled", &first),
        ];
        let expected = expected.map(|(kind, id)| (Value::from(kind), Value::from(id.as_str())));
        assert_eq!(heard, expected);
    }
    for ear in [&mut mail, &mut one] {
        let (_, event) = ear.next().await;
        assert_eq!(
            (&event["queue"], &event["task_type"]),
            (&Value::from("mail"), &Value::from("send"))
        );
        let hidden = serde_json::json!({ "card": "[redacted]", "deep": { "pin": "[redacted]" }, "to": "ann" });
        assert_eq!(event["detail"]["data"], hidden);
        assert_eq!(ear.next().await.1["type"], "Cancelled");
    }
    assert_eq!(report.next().await.1["task"], second);
    let history = json(bench.get(&format!("/tasks/{first}/history")).await).await;
    assert_eq!(history["events"][0]["detail"]["data"]["card"], "[redacted]");
}

/// How often the log was read since the last reset, and how many connections there are.
fn reads(bench: &Bench) -> (u64, usize) {
    let calls = |line: &str| bench.redis.counter("commandstats", line);
    let clients = bench.redis.cli(&["CLIENT", "LIST"]).lines().count();
    let calls = calls("cmdstat_xread:calls=") + calls("cmdstat_xrange:calls=");
    (calls, clients)
}

#[tokio::test]
async fn one_reader_serves_all_who_listen() {
    const EVENTS: u64 = 50;
    let bench = Bench::with_partitions(1).await;
    let mut ears: Vec<Ear> = Vec::new();
    let mut told = Vec::new();
    for listeners in [1, 20] {
        while ears.len() < listeners {
            ears.push(Ear::at(&bench, "/events", None).await);
        }
        for event in 0..=EVENTS {
            bench.submit(r#"{"type":"echo"}"#).await;
            for ear in &mut ears {
                ear.next().await;
            }
            // With the first one, all have caught up.
            if event == 0 {
                assert_eq!(bench.redis.cli(&["CONFIG", "RESETSTAT"]), "OK");
            }
        }
        told.push(reads(&bench));
    }
    let [(alone, connections), (together, connections_together)] = told[..] else {
        panic!("{told:?}");
    };
    assert!(alone >= EVENTS, "it is counted: {told:?}");
    // If each read by itself, it would be twenty times as much.
    assert!(together < alone + EVENTS, "{told:?}");
    // `redis-cli` itself may be seen going.
    let more = connections_together.saturating_sub(connections);
    assert!(more <= 1, "{told:?}");
}

#[tokio::test]
async fn who_has_heard_nothing_yet_knows_where_to_go_on() {
    let bench = Bench::new().await;
    let from = bench.submit(r#"{"type":"echo","queue":"mail"}"#).await;
    let mut ear = Ear::at(&bench, "/events?queue=mail", None).await;
    let told = tokio::time::timeout(Duration::from_secs(20), async {
        while ear.place.is_none() {
            // Nothing it wants comes: only the place ends this wait.
            let heard = tokio::time::timeout(Duration::from_millis(100), ear.next()).await;
            assert!(heard.is_err(), "{heard:?}");
        }
    });
    told.await.expect("it is told where it is");
    let place = ear.place.take();
    drop(ear);
    let missed = bench.submit(r#"{"type":"echo","queue":"mail"}"#).await;
    assert_ne!(from, missed);
    let mut again = Ear::at(&bench, "/events?queue=mail", place.as_deref()).await;
    let (_, event) = again.next().await;
    assert_eq!(event["task"], missed.as_str());
}

#[tokio::test]
async fn places_that_are_none_or_are_gone_are_told() {
    let bench = Bench::with_partitions(1).await;
    let status = async |path: &str, last: &str| {
        let call = bench.call(Method::GET, path).header("last-event-id", last);
        call.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("/events", "nonsense").await, 422);
    assert_eq!(status("/events", "1@5-5").await, 422);
    assert_eq!(status("/events?task=nonsense", "").await, 422);
    assert_eq!(status("/events?colour=red", "").await, 422);
    // Retention has cut the log up to here.
    let base = bench.store.partitions()[0].keys().base();
    let set = ["HSET", &base, "position", "1700000000000-5"];
    assert_eq!(bench.redis.cli(&set), "1");
    assert_eq!(status("/events", "1700000000000-4").await, 410);
    assert_eq!(status("/events", "1700000000000-5").await, 200);
}

#[tokio::test]
async fn a_listener_that_does_not_listen_is_let_go_and_slows_nobody() {
    // More than the feed keeps for those who are behind, and than sockets hold.
    const TASKS: usize = 60_000;
    let bench = Bench::with_partitions(1).await;
    let mut slow = Ear::at(&bench, "/events", Some("0-0")).await;
    let mut quick = Ear::at(&bench, "/events", None).await;
    let task = format!(r#"{{"type":"echo","data":"{}"}}"#, "x".repeat(300));
    let batch = format!(r#"{{"tasks":[{}]}}"#, vec![task; 1_000].join(","));
    let heard_by_quick = AtomicUsize::new(0);
    let submit = async {
        for number in 0..TASKS / 1_000 {
            // Whoever listens must be able to: this test is not quick itself.
            while number * 1_000 > heard_by_quick.load(Ordering::Relaxed) + 5_000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(
                bench.post("/tasks/batch", &batch).await.status().as_u16(),
                202
            );
        }
    };
    let listen = async {
        let mut last = String::new();
        for _ in 0..TASKS {
            last = quick.next().await.0;
            heard_by_quick.fetch_add(1, Ordering::Relaxed);
        }
        last
    };
    let ((), end) = tokio::join!(submit, listen);
    // Now it listens: it hears what was on its way, and then that it was let go.
    let (mut heard, mut last) = (0, String::new());
    while let Some((id, _)) = slow.next_if_any().await {
        (heard, last) = (heard + 1, id);
    }
    assert!(heard < TASKS, "{heard}");
    // It comes back and has missed nothing.
    let mut again = Ear::at(&bench, "/events", Some(&last)).await;
    while last != end {
        (heard, last) = (heard + 1, again.next().await.0);
    }
    assert_eq!(heard, TASKS);
}
