//! Probes. Live: the process answers. Ready: Redis answers too, so requests can be served. Health:
//! the whole system as far as Redis tells.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use poem::web::Data;
use poem_openapi::payload::{Json, PlainText};
use poem_openapi::{ApiResponse, Object, OpenApi};
use taskweir_domain::{QueueName, format_ms};
use taskweir_store::{QueueOverview, SeenWorker, Store, StoreError};

use super::Tag;
use crate::problem::ProblemJson;
use crate::state::State;

pub(crate) struct Health;

/// A probe that waits longer is answered with 503.
const PATIENCE: Duration = Duration::from_secs(2);
/// A projector that is so far behind is trouble, ms.
const LAG_TROUBLE_MS: u64 = 60_000;

/// A task that is overdue for so long is trouble, ms.
const OVERDUE_TROUBLE_MS: u64 = 30_000;

/// Queues that are told of one by one.
const SHOWN: usize = 20;

/// A malformed entry met so lately is trouble, ms; later it is only counted.
const MALFORMED_TROUBLE_MS: u64 = 3_600_000;

/// The views.
#[derive(Debug, Object)]
struct ProjectorHealth {
    /// Events the views have not seen yet.
    lag_events: u64,
    /// Time between the latest event and the latest one seen, seconds.
    lag_seconds: f64,
}

/// The workers.
#[derive(Debug, Object)]
struct WorkerHealth {
    /// Spoke within the last ten seconds.
    active: usize,
    /// Tasks they run.
    running: usize,
    /// Tasks they could run at once.
    slots: usize,
}

/// The system.
#[derive(Debug, Default, Object)]
#[oai(skip_serializing_if_is_none)]
struct HealthAnswer {
    /// `ok`, `degraded` (it answers and something is wrong) or `down`.
    status: String,
    /// What is wrong.
    troubles: Vec<String>,
    /// Time for Redis to answer, ms.
    redis_ms: Option<f64>,
    /// Version of the key layout in Redis; a program that is older goes on where the layout is fit for it.
    layout_version: Option<u32>,
    /// The views.
    projector: Option<ProjectorHealth>,
    /// The workers.
    workers: Option<WorkerHealth>,
    /// Queues that have or had tasks.
    queues: usize,
    /// Tasks that are ready and not received, of all queues.
    ready: u64,
    /// Tasks that wait for a worker that knows their type, of all queues.
    parked: u64,
    /// Tasks that are ready and not received, by queue; of the 20 deepest queues.
    pending: BTreeMap<String, u64>,
    /// Entries that were none of ours, skipped since the first start: in the `log`, and in the ready
    /// streams as `ready:<queue>`; of 20 places.
    malformed: BTreeMap<String, u64>,
}

/// How a probe can be refused: in front of it.
#[derive(Debug, ApiResponse)]
#[expect(dead_code, reason = "answered in front of the probes; documented here")]
enum ProbeError {
    /// An API key is needed.
    #[oai(status = 401)]
    Unauthorized(ProblemJson),
    /// The key may not do this.
    #[oai(status = 403)]
    Forbidden(ProblemJson),
    /// Not with this method; `Allow` says with which.
    #[oai(status = 405)]
    Method(ProblemJson, #[oai(header = "Allow")] String),
    /// Answers are JSON, which the caller does not take.
    #[oai(status = 406)]
    NotAcceptable(ProblemJson),
    /// A parameter is none.
    #[oai(status = 422)]
    Fields(ProblemJson),
    /// Too many wrong keys came from this address.
    #[oai(status = 429)]
    TooMany(ProblemJson),
}

#[derive(ApiResponse)]
enum LiveResponse {
    /// The process lives.
    #[oai(status = 200)]
    Alive(PlainText<String>),
}

#[derive(ApiResponse)]
enum HealthResponse {
    /// It answers; `troubles` says whether something is wrong.
    #[oai(status = 200)]
    Up(Json<HealthAnswer>),
    /// Redis is away, or the layout in it is gone.
    #[oai(status = 503)]
    Down(Json<HealthAnswer>),
}

#[derive(ApiResponse)]
enum ReadyResponse {
    /// Requests can be served.
    #[oai(status = 200)]
    Ready(PlainText<String>),
    /// Redis is away, or the layout in it is gone.
    #[oai(status = 503)]
    NotReady(PlainText<String>),
}

/// What keeps tasks from being taken, by which an operator must be told first.
async fn refusals(store: &Store) -> Result<Vec<String>, StoreError> {
    let mut troubles = Vec::new();
    match store.refusal().await? {
        Some(StoreError::OutOfMemory) => troubles.push(
            "Redis is out of memory: tasks are worked off, new ones are refused (507)".to_owned(),
        ),
        Some(StoreError::Unavailable(refusal) | StoreError::Refused(refusal)) => {
            troubles.push(format!("Redis takes no tasks: {refusal}"));
        }
        Some(refusal) => troubles.push(format!("Redis takes no tasks: {refusal}")),
        None => {}
    }
    let memory = store.memory().await?;
    if store.memory_budget().is_some() && memory.used == 0 {
        let trouble = "MEMORY_BUDGET has no effect: Redis does not tell its memory (INFO)";
        troubles.push(trouble.to_owned());
    }
    if let Some(budget) = store.memory_budget()
        && memory.used >= budget
    {
        troubles.push(format!(
            "Redis uses {} bytes, MEMORY_BUDGET is {budget}: new tasks are refused (429)",
            memory.used
        ));
    }
    Ok(troubles)
}

/// What is wrong with a queue.
fn troubles_of(name: &str, queue: &QueueOverview, active: &[&SeenWorker]) -> Vec<String> {
    let mut troubles = Vec::new();
    let ready = ready(queue);
    let serves = |worker: &&SeenWorker| worker.info.queues.iter().any(|served| served == name);
    if ready > 0 && !active.is_empty() && !active.iter().any(serves) {
        troubles.push(format!(
            "queue {name} has {ready} ready tasks and no worker takes from it"
        ));
    }
    if queue.parked > 0 {
        troubles.push(format!(
            "queue {name} has {} tasks of types that no worker knows",
            queue.parked
        ));
    }
    troubles
}

fn ready(queue: &QueueOverview) -> u64 {
    queue.depths.values().map(|depth| depth.ready).sum()
}

async fn look(store: &Store) -> Result<HealthAnswer, StoreError> {
    let began = Instant::now();
    let layout_version = store.require_layout().await?;
    let redis_ms = began.elapsed().as_secs_f64() * 1_000.0;
    let mut troubles = refusals(store).await?;
    let lags = store.lags().await?;
    let (workers, now_ms) = store.workers().await?;
    let totals = store.totals().await?;
    let queues = store.queues(&totals).await?;
    let active: Vec<_> = workers
        .iter()
        .filter(|worker| worker.is_active(now_ms))
        .collect();
    let lag_ms = lags.iter().map(|lag| lag.ms).max().unwrap_or(0);
    if active.is_empty() {
        troubles.push("no worker is active".to_owned());
    }
    let mut of_queues: Vec<String> = queues
        .iter()
        .flat_map(|(name, queue)| troubles_of(name, queue, &active))
        .collect();
    if of_queues.len() > SHOWN {
        let more = of_queues.len() - SHOWN;
        of_queues.truncate(SHOWN);
        of_queues.push(format!("{more} more troubles of queues: GET /queues tells"));
    }
    troubles.append(&mut of_queues);
    if lag_ms > LAG_TROUBLE_MS {
        troubles.push(format!(
            "the views are {} s behind: is a projector running?",
            lag_ms / 1_000
        ));
    }
    let overdue_ms = store.overdue_ms().await?;
    if overdue_ms > OVERDUE_TROUBLE_MS {
        troubles.push(format!(
            "a task is due since {} s: is a scheduler running?",
            overdue_ms / 1_000
        ));
    }
    if let Some(verified) = store.verified().await?
        && verified.differences > 0
    {
        troubles.push(format!(
            "`taskweir verify` found {} differences at {}",
            verified.differences,
            format_ms(verified.at_ms)
        ));
    }
    let malformed = store.malformed().await?;
    for (place, seen) in &malformed {
        if now_ms.saturating_sub(seen.last_ms) <= MALFORMED_TROUBLE_MS {
            troubles.push(format!(
                "{} malformed entries in {place} were skipped, the latest {} s ago: what writes to these keys?",
                seen.count,
                now_ms.saturating_sub(seen.last_ms) / 1_000
            ));
        }
    }
    let mut deepest: Vec<(&QueueName, u64)> = queues
        .iter()
        .map(|(name, queue)| (name, ready(queue)))
        .collect();
    deepest.sort_by_key(|(_, ready)| std::cmp::Reverse(*ready));
    Ok(HealthAnswer {
        queues: queues.len(),
        ready: deepest.iter().map(|(_, ready)| ready).sum(),
        parked: queues.values().map(|queue| queue.parked).sum(),
        pending: deepest
            .into_iter()
            .take(SHOWN)
            .map(|(name, ready)| (name.to_string(), ready))
            .collect(),
        malformed: malformed
            .into_iter()
            .take(SHOWN)
            .map(|(place, seen)| (place, seen.count))
            .collect(),
        status: if troubles.is_empty() {
            "ok"
        } else {
            "degraded"
        }
        .to_owned(),
        troubles,
        redis_ms: Some(redis_ms),
        layout_version: Some(layout_version),
        projector: Some(ProjectorHealth {
            lag_events: lags.iter().map(|lag| lag.events).sum(),
            lag_seconds: lag_ms as f64 / 1_000.0,
        }),
        workers: Some(WorkerHealth {
            active: active.len(),
            running: active.iter().map(|worker| worker.info.running).sum(),
            slots: active.iter().map(|worker| worker.info.concurrency).sum(),
        }),
    })
}

#[OpenApi(tag = "Tag::Health")]
impl Health {
    /// See how the system is
    #[oai(path = "/health", method = "get", operation_id = "get_health")]
    async fn health(&self, Data(state): Data<&State>) -> Result<HealthResponse, ProbeError> {
        let why = match tokio::time::timeout(PATIENCE, look(&state.store)).await {
            Ok(Ok(answer)) => return Ok(HealthResponse::Up(Json(answer))),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "Redis does not answer".to_owned(),
        };
        Ok(HealthResponse::Down(Json(HealthAnswer {
            status: "down".to_owned(),
            troubles: vec![why],
            ..HealthAnswer::default()
        })))
    }

    /// Does the process live?
    #[oai(path = "/health/live", method = "get", operation_id = "get_live")]
    async fn live(&self) -> Result<LiveResponse, ProbeError> {
        Ok(LiveResponse::Alive(PlainText("alive\n".to_owned())))
    }

    /// Can requests be served?
    #[oai(path = "/health/ready", method = "get", operation_id = "get_ready")]
    async fn ready(&self, Data(state): Data<&State>) -> Result<ReadyResponse, ProbeError> {
        let why = match tokio::time::timeout(PATIENCE, state.store.require_layout()).await {
            Ok(Ok(_)) => return Ok(ReadyResponse::Ready(PlainText("ready\n".to_owned()))),
            Ok(Err(error @ StoreError::Layout(_))) => error.to_string(),
            _ => "Redis does not answer".to_owned(),
        };
        Ok(ReadyResponse::NotReady(PlainText(format!("{why}\n"))))
    }
}
