//! Probes. Live: the process answers. Ready: Redis answers too, so requests can be served. Health:
//! the whole system as far as Redis tells.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use poem::web::Data;
use poem_openapi::payload::{Json, PlainText};
use poem_openapi::{ApiResponse, Object, OpenApi};
use taskweir_store::{Store, StoreError};

use super::Tag;
use crate::problem::ApiError;
use crate::state::State;

pub(crate) struct Health;

/// A probe that waits longer is answered with 503.
const PATIENCE: Duration = Duration::from_secs(2);
/// A projector that is so far behind is trouble, ms.
const LAG_TROUBLE_MS: u64 = 60_000;

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
    /// Tasks that are ready and not received, by queue.
    pending: BTreeMap<String, u64>,
    /// Entries that were none of ours, skipped since the first start: in the `log`, and in the ready
    /// streams as `ready:<queue>`.
    malformed: BTreeMap<String, u64>,
}

#[derive(ApiResponse)]
enum HealthResponse {
    /// It answers; `troubles` says whether something is wrong.
    #[oai(status = 200)]
    Up(Json<HealthAnswer>),
    /// Redis is away.
    #[oai(status = 503)]
    Down(Json<HealthAnswer>),
}

#[derive(ApiResponse)]
enum ReadyResponse {
    /// Requests can be served.
    #[oai(status = 200)]
    Ready(PlainText<String>),
    /// Redis is away.
    #[oai(status = 503)]
    NotReady(PlainText<String>),
}

async fn look(store: &Store) -> Result<HealthAnswer, StoreError> {
    let began = Instant::now();
    store.ping().await?;
    let redis_ms = began.elapsed().as_secs_f64() * 1_000.0;
    let lags = store.lags().await?;
    let (workers, now_ms) = store.workers().await?;
    let totals = store.totals().await?;
    let queues = store.queues(&totals).await?;
    let active: Vec<_> = workers
        .iter()
        .filter(|worker| worker.is_active(now_ms))
        .collect();
    let lag_ms = lags.iter().map(|lag| lag.ms).max().unwrap_or(0);
    let mut troubles = Vec::new();
    if active.is_empty() {
        troubles.push("no worker is active".to_owned());
    }
    for (name, queue) in &queues {
        let ready: u64 = queue.depths.values().map(|depth| depth.ready).sum();
        let served = active
            .iter()
            .any(|worker| worker.info.queues.iter().any(|served| *served == **name));
        if ready > 0 && !served && !active.is_empty() {
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
    }
    if lag_ms > LAG_TROUBLE_MS {
        troubles.push(format!(
            "the views are {} s behind: is a projector running?",
            lag_ms / 1_000
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
    Ok(HealthAnswer {
        malformed: malformed
            .into_iter()
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
        layout_version: store.layout_version().await?,
        projector: Some(ProjectorHealth {
            lag_events: lags.iter().map(|lag| lag.events).sum(),
            lag_seconds: lag_ms as f64 / 1_000.0,
        }),
        workers: Some(WorkerHealth {
            active: active.len(),
            running: active.iter().map(|worker| worker.info.running).sum(),
            slots: active.iter().map(|worker| worker.info.concurrency).sum(),
        }),
        pending: queues
            .iter()
            .map(|(name, queue)| {
                (
                    name.to_string(),
                    queue.depths.values().map(|depth| depth.ready).sum(),
                )
            })
            .collect(),
    })
}

#[OpenApi(tag = "Tag::Health")]
impl Health {
    /// See how the system is
    #[oai(path = "/health", method = "get", operation_id = "get_health")]
    async fn health(&self, Data(state): Data<&State>) -> Result<HealthResponse, ApiError> {
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
    async fn live(&self) -> Result<PlainText<String>, ApiError> {
        Ok(PlainText("alive\n".to_owned()))
    }

    /// Can requests be served?
    #[oai(path = "/health/ready", method = "get", operation_id = "get_ready")]
    async fn ready(&self, Data(state): Data<&State>) -> Result<ReadyResponse, ApiError> {
        Ok(
            match tokio::time::timeout(PATIENCE, state.store.ping()).await {
                Ok(Ok(())) => ReadyResponse::Ready(PlainText("ready\n".to_owned())),
                _ => ReadyResponse::NotReady(PlainText("Redis does not answer\n".to_owned())),
            },
        )
    }
}
