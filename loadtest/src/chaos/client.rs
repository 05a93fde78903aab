//! Clients: they submit under idempotency keys, repeat until they are answered, meddle as people do,
//! and keep their own journal of what they were told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Options;
use super::cluster::Cluster;
use crate::checker::Submit;

/// Ids that people pick from.
const RECENT: usize = 30;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// What clients were told, by idempotency key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    submits: Arc<Mutex<BTreeMap<String, Submit>>>,
    /// Requests that still wait for their answer.
    open: Arc<Mutex<BTreeSet<String>>>,
    /// The latest ids that were acknowledged: older ones have ended.
    recent: Arc<Mutex<VecDeque<String>>>,
}

impl Journal {
    fn begin(&self, key: &str) {
        let fresh = Submit {
            sent: Some(Instant::now()),
            ..Submit::default()
        };
        self.all().insert(key.to_owned(), fresh);
        self.waiting().insert(key.to_owned());
    }

    fn note(&self, key: &str, change: impl FnOnce(&mut Submit)) {
        if let Some(submit) = self.all().get_mut(key) {
            change(submit);
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Submit>> {
        self.submits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every request is answered, at most so long.
    pub(crate) async fn close(&self, limit: Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        while !self.waiting().is_empty() && tokio::time::Instant::now() < deadline {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Everything noted.
    pub(crate) fn taken(&self) -> BTreeMap<String, Submit> {
        self.all().clone()
    }

    fn acknowledge(&self, key: &str, id: String) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(id.clone());
        if recent.len() > RECENT {
            recent.pop_front();
        }
        drop(recent);
        self.note(key, |submit| {
            submit.ids.insert(id.clone());
            submit.id = Some(id);
            submit.at.get_or_insert_with(Instant::now);
        });
    }

    /// An id that was acknowledged lately, or none.
    fn any_id(&self, dice: &mut StdRng) -> Option<String> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let pick = dice.random_range(0..recent.len().max(1));
        recent.get(pick).cloned()
    }
}

/// Starts every client; they end with `stop`.
pub(crate) fn start(
    options: &Options,
    cluster: &Arc<Cluster>,
    journal: &Journal,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    for number in 0..options.clients {
        let caller = Caller {
            http: taskweir_client::http::plain()
                .timeout(PATIENCE)
                .build()
                .unwrap_or_default(),
            gateways: cluster.gateways().to_vec(),
            journal: journal.clone(),
            stop: stop.clone(),
        };
        let dice = StdRng::seed_from_u64(options.seed.wrapping_mul(1_000) + number as u64);
        if number == 0 {
            tasks.spawn(caller.meddle(dice));
        } else {
            tasks.spawn(caller.submit_on(number, dice));
        }
    }
}

struct Caller {
    http: Client,
    gateways: Vec<u16>,
    journal: Journal,
    stop: CancellationToken,
}

/// A task of some kind.
fn draw_task(dice: &mut StdRng, key: &str) -> Value {
    let retry = json!({ "initial_delay": 0.1, "multiplier": 1.5, "jitter": 0.5 });
    let mut task = match dice.random_range(0..10) {
        0..=2 => json!({ "type": "echo", "data": { "n": dice.random_range(0..1_000) } }),
        3 | 4 => json!({ "type": "process", "data": { "duration_ms": dice.random_range(1..300) } }),
        5 => {
            json!({ "type": "process", "data": { "duration_ms": dice.random_range(1_000..4_000) } })
        }
        6 => {
            json!({ "type": "fail", "data": { "times": dice.random_range(1..3) }, "retry": retry })
        }
        7 => json!({ "type": "fail", "data": { "fatal": true } }),
        8 => json!({ "type": "echo", "delay": f64::from(dice.random_range(1..30)) / 10.0 }),
        _ => {
            json!({ "type": "echo", "data": "x".repeat(2_000), "unique_key": format!("u{}", dice.random_range(0..5)) })
        }
    };
    task["labels"] = json!({ "key": key });
    task["priority"] = json!(["high", "normal", "low"][dice.random_range(0..3)]);
    task["queue"] = json!(["default", "bulk"][dice.random_range(0..2)]);
    task
}

impl Caller {
    fn url(&self, dice: &mut StdRng, path: &str) -> String {
        let port = self.gateways[dice.random_range(0..self.gateways.len())];
        format!("http://127.0.0.1:{port}{path}")
    }

    async fn submit_on(self, number: usize, mut dice: StdRng) {
        let mut count = 0_u64;
        while !self.stop.is_cancelled() {
            count += 1;
            let key = format!("{number}-{count}");
            let task = draw_task(&mut dice, &key);
            self.submit(&mut dice, &key, &task).await;
            sleep(Duration::from_millis(dice.random_range(0..150))).await;
        }
    }

    /// Repeats a submit until it is answered.
    async fn submit(&self, dice: &mut StdRng, key: &str, task: &Value) {
        self.journal.begin(key);
        // A client that gives up leaves an unknown outcome, which is lawful; ours does so only when
        // the system does not come back at all.
        for _ in 0..200 {
            let url = self.url(dice, "/tasks");
            let request = self
                .http
                .post(url)
                .header("idempotency-key", key)
                .json(task);
            if let Some(()) = self.read_answer(key, request).await {
                break;
            }
            sleep(Duration::from_millis(dice.random_range(50..300))).await;
        }
        self.journal.waiting().remove(key);
    }

    async fn read_answer(&self, key: &str, request: reqwest::RequestBuilder) -> Option<()> {
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.ok()?;
        match status {
            200 | 202 => {
                let id = body["id"].as_str()?.to_owned();
                self.journal.acknowledge(key, id);
                Some(())
            }
            // Another task holds the unique key.
            409 => {
                self.journal.note(key, |submit| submit.refused = true);
                Some(())
            }
            _ => None,
        }
    }

    /// What people do: cancel, retry and remove dead letters, pause and resume.
    async fn meddle(self, mut dice: StdRng) {
        while !self.stop.is_cancelled() {
            sleep(Duration::from_millis(dice.random_range(30..200))).await;
            match dice.random_range(0..10) {
                0..=3 => {
                    if let Some(id) = self.journal.any_id(&mut dice) {
                        self.call(&mut dice, Method::POST, &format!("/tasks/{id}/cancel"))
                            .await;
                    }
                }
                4..=8 => self.take_dead_letter(&mut dice).await,
                _ => {
                    let queue = ["default", "bulk"][dice.random_range(0..2)];
                    self.call(&mut dice, Method::POST, &format!("/queues/{queue}/pause"))
                        .await;
                    sleep(Duration::from_millis(dice.random_range(100..1_000))).await;
                    self.resume(&mut dice, queue).await;
                }
            }
        }
        for queue in ["default", "bulk"] {
            self.resume(&mut dice, queue).await;
        }
    }

    /// A queue must not stay paused: repeats until it is answered.
    async fn resume(&self, dice: &mut StdRng, queue: &str) {
        for _ in 0..200 {
            let path = format!("/queues/{queue}/resume");
            match self.call(dice, Method::POST, &path).await {
                Some((200 | 404, _)) => return,
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn take_dead_letter(&self, dice: &mut StdRng) {
        let Some((200, list)) = self
            .call(dice, Method::GET, "/dlq/failed-tasks?limit=20")
            .await
        else {
            return;
        };
        let tasks = list["tasks"].as_array().cloned().unwrap_or_default();
        if tasks.is_empty() {
            return;
        }
        let pick = &tasks[dice.random_range(0..tasks.len())];
        let id = pick["id"].as_str().unwrap_or_default();
        let path = format!("/dlq/failed-tasks/{id}");
        if dice.random_range(0..3) == 0 {
            self.call(dice, Method::DELETE, &path).await;
        } else {
            self.call(dice, Method::POST, &format!("{path}/retry"))
                .await;
        }
    }

    async fn call(&self, dice: &mut StdRng, method: Method, path: &str) -> Option<(u16, Value)> {
        let url = self.url(dice, path);
        let answer = self.http.request(method, url).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or_default()))
    }
}
