//! A load test over HTTP: submits tasks at a rate, hears by the feed how each of them ends, and holds the counts
//! against the ledger.

mod feed;
mod mix;
mod report;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use mix::Mix;
pub use report::LoadReport;

use feed::{Heard, listen};

/// What a load test is like.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The gateway, such as `http://localhost:8000`.
    pub base: String,
    /// Secret of an API key, where the gateway wants one.
    pub secret: Option<String>,
    /// Tasks to submit.
    pub count: u64,
    /// Submits per second; as fast as may be where absent. What is late for its turn counts from its turn on: a system
    /// that stalls does not get fewer long answers for it (coordinated omission).
    pub rate: Option<f64>,
    /// Requests under way at once.
    pub connections: usize,
    /// The types of the tasks.
    pub mix: Mix,
    /// The queue they wait in.
    pub queue: String,
    /// How long to wait, after the last submit, for the last task to end.
    pub patience: Duration,
}

/// How a test goes, for whoever shows it.
pub trait Progress: Send + Sync {
    /// So many tasks were accepted, and so many of them have ended.
    fn show(&self, accepted: u64, ended: u64);
}

/// Longest latency that is told apart, µs: an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// Silence after which an answer is not waited for any longer.
const SILENCE: Duration = Duration::from_secs(30);
/// Time without an end after which tasks are asked for one by one: the feed may have missed theirs.
const LULL: Duration = Duration::from_secs(5);
/// Tasks that are asked for in one go.
const MAX_ASKED: usize = 1_000;

/// Calls a gateway.
#[derive(Clone)]
pub(crate) struct Caller {
    http: reqwest::Client,
    base: String,
    secret: Option<String>,
}

impl Caller {
    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.secret {
            Some(secret) => request.bearer_auth(secret),
            None => request,
        }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.authorized(self.http.get(format!("{}{path}", self.base)))
    }

    async fn json(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.get(path).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    /// Submits a task; its id.
    async fn submit(&self, task: &Value) -> anyhow::Result<String> {
        let post = self.http.post(format!("{}/tasks", self.base)).json(task);
        let answer = self.authorized(post).send().await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        match body["id"].as_str() {
            Some(id) if status.is_success() => Ok(id.to_owned()),
            _ => bail!("POST /tasks answered {status}: {}", body["detail"]),
        }
    }
}

/// What is known of the tasks of a test.
#[derive(Debug, Default)]
struct Tasks {
    /// Type of each task that was accepted.
    accepted: HashMap<String, usize>,
    /// What was heard of tasks before their 202 had come.
    early: HashMap<String, Heard>,
    ended: HashSet<String>,
    /// From the first event of a task to its end, by Redis' clock, of those whose events were heard.
    latencies_ms: Vec<u64>,
    unexpected: u64,
    errors: Vec<String>,
}

impl Tasks {
    fn hear(&mut self, mix: &Mix, id: &str, heard: &Heard) {
        let Some(kind) = self.accepted.get(id) else {
            self.early.insert(id.to_owned(), heard.clone());
            return;
        };
        if !self.ended.insert(id.to_owned()) {
            return;
        }
        if heard.status != mix.expected(*kind) {
            self.unexpected += 1;
        }
        self.latencies_ms.extend(heard.latency_ms);
    }

    fn not_ended(&self, turn: usize) -> Vec<String> {
        let ids = self.accepted.keys().filter(|id| !self.ended.contains(*id));
        let ids: Vec<&String> = ids.collect();
        let from = (turn * MAX_ASKED).checked_rem(ids.len()).unwrap_or(0);
        let asked = ids.iter().cycle().skip(from);
        let asked = asked.take(ids.len().min(MAX_ASKED));
        asked.map(|id| (*id).clone()).collect()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST_US, 3).expect("a fixed range")
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a load test.
///
/// # Errors
/// The gateway cannot be reached. Tasks that are refused or end otherwise than expected are told in the report.
pub async fn run(options: &LoadOptions, progress: &dyn Progress) -> anyhow::Result<LoadReport> {
    let caller = Caller {
        http: taskweir_client::http::for_base(&options.base)
            .connect_timeout(Duration::from_secs(5))
            // The feed says something every few seconds, too.
            .read_timeout(SILENCE)
            .build()?,
        base: options.base.trim_end_matches('/').to_owned(),
        secret: options.secret.clone(),
    };
    let before = caller
        .json("/stats")
        .await
        .with_context(|| format!("no gateway at {}: is `make dev` running?", options.base))?;
    let tasks = Arc::new(Mutex::new(Tasks::default()));
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let ready = Arc::new(Semaphore::new(0));
    let hearing = {
        let (tasks, mix) = (Arc::clone(&tasks), options.mix.clone());
        let hear = move |id: &str, heard: &Heard| lock(&tasks).hear(&mix, id, heard);
        listen(
            caller.clone(),
            options.queue.clone(),
            Arc::clone(&ready),
            hear,
        )
    };
    let stopped = stop.clone();
    tracker.spawn(async move { stopped.run_until_cancelled(hearing).await });
    // What ends before we listen would not be heard.
    let listening = tokio::time::timeout(Duration::from_secs(10), ready.acquire());
    listening
        .await
        .context("the feed of the gateway does not begin")??
        .forget();
    let began = Instant::now();
    let mut submits = histogram();
    submit_all(options, &caller, &tasks, &mut submits, progress).await;
    let submitting = began.elapsed();
    let deadline = Instant::now() + options.patience;
    let mut last = Instant::now();
    let (mut seen, mut asked, mut turn) = (0, Instant::now(), 0);
    loop {
        let (accepted, ended) = counts(&tasks);
        progress.show(accepted, ended);
        if ended > seen {
            (seen, last) = (ended, Instant::now());
        }
        if ended >= accepted || Instant::now() > deadline {
            break;
        }
        if last.elapsed() > LULL && asked.elapsed() > LULL {
            let asking = ask(&caller, &tasks, &options.mix, turn);
            tokio::time::timeout_at(deadline.into(), asking).await.ok();
            (asked, turn) = (Instant::now(), turn + 1);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let running = last.duration_since(began);
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    let after = settled_stats(&caller, &before, seen).await?;
    let tasks = std::mem::take(&mut *lock(&tasks));
    Ok(report::of(
        options, &tasks, &submits, submitting, running, &before, &after,
    ))
}

/// Asks for tasks whose end was not heard, of many for others at each turn.
async fn ask(caller: &Caller, tasks: &Mutex<Tasks>, mix: &Mix, turn: usize) {
    let missing = lock(tasks).not_ended(turn);
    for id in missing {
        let task = match caller.json(&format!("/tasks/{id}")).await {
            Ok(task) => task,
            // What is not known there has not ended; who does not answer is not asked on.
            Err(error) if error.is::<reqwest::Error>() && !is_answer(&error) => return,
            Err(_) => continue,
        };
        if let Some(status) = task["status"].as_str().and_then(feed::end_of) {
            let latency_ms = None;
            lock(tasks).hear(mix, &id, &Heard { status, latency_ms });
        }
    }
}

/// Whether somebody answered, if only by a refusal.
fn is_answer(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<reqwest::Error>();
    error.is_some_and(|error| error.status().is_some())
}

fn counts(tasks: &Mutex<Tasks>) -> (u64, u64) {
    let tasks = lock(tasks);
    (tasks.accepted.len() as u64, tasks.ended.len() as u64)
}

async fn submit_all(
    options: &LoadOptions,
    caller: &Caller,
    tasks: &Arc<Mutex<Tasks>>,
    submits: &mut Histogram<u64>,
    progress: &dyn Progress,
) {
    let began = Instant::now();
    let slots = Arc::new(Semaphore::new(options.connections.max(1)));
    let mut running = tokio::task::JoinSet::new();
    for number in 0..options.count {
        let due = options
            .rate
            .map(|rate| began + Duration::from_secs_f64(number as f64 / rate));
        if let Some(due) = due {
            tokio::time::sleep_until(due.into()).await;
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let kind = options.mix.draw(number);
        let mut task = options.mix.task(kind);
        task["queue"] = json!(options.queue);
        let (caller, shared, mix) = (caller.clone(), Arc::clone(tasks), options.mix.clone());
        running.spawn(async move {
            let sent = due.unwrap_or_else(Instant::now);
            let outcome = caller.submit(&task).await;
            let took = sent.elapsed();
            let mut tasks = lock(&shared);
            match outcome {
                Ok(id) => {
                    tasks.accepted.insert(id.clone(), kind);
                    if let Some(heard) = tasks.early.remove(&id) {
                        tasks.hear(&mix, &id, &heard);
                    }
                }
                Err(error) => tasks.errors.push(format!("{error:#}")),
            }
            drop(slot);
            took
        });
        while let Some(Ok(took)) = running.try_join_next() {
            note(submits, took);
        }
        let (accepted, ended) = counts(tasks);
        progress.show(accepted, ended);
    }
    while let Some(joined) = running.join_next().await {
        if let Ok(took) = joined {
            note(submits, took);
        }
    }
}

fn note(histogram: &mut Histogram<u64>, took: Duration) {
    let us = u64::try_from(took.as_micros()).unwrap_or(LONGEST_US);
    histogram.saturating_record(us.clamp(1, LONGEST_US));
}

/// The counts once the views have seen the end of our tasks, or as they are after a while.
async fn settled_stats(caller: &Caller, before: &Value, ended: u64) -> anyhow::Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let after = caller.json("/stats").await?;
        let seen = report::grown(before, &after, "/totals/completed")
            + report::grown(before, &after, "/totals/failed");
        if seen >= ended || Instant::now() > deadline {
            return Ok(after);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
