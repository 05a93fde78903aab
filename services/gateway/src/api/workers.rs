//! Who works.

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use taskweir_domain::format_ms;

use super::Tag;
use crate::problem::ApiError;
use crate::state::State;

pub(crate) struct Workers;

/// A worker process.
#[derive(Debug, Object)]
struct Worker {
    /// Its id, new with every start.
    id: String,
    /// Name of its machine.
    host: String,
    /// Its process id.
    pid: u32,
    /// Version of its program.
    version: String,
    /// Queues it takes from.
    queues: Vec<String>,
    /// Task types it knows.
    types: Vec<String>,
    /// Tasks it runs at once at most.
    concurrency: usize,
    /// Tasks it runs now.
    running: usize,
    /// Silence after which its tasks run elsewhere, seconds.
    lease_seconds: f64,
    /// When it started.
    started_at: String,
    /// When it last spoke.
    last_heartbeat: String,
    /// It spoke within the last ten seconds.
    active: bool,
    /// It stops and takes nothing new.
    draining: bool,
}

/// All workers.
#[derive(Debug, Object)]
struct WorkerList {
    /// The workers by id.
    workers: Vec<Worker>,
}

#[OpenApi(tag = "Tag::Workers")]
impl Workers {
    /// See every worker
    #[oai(path = "/workers", method = "get", operation_id = "list_workers")]
    async fn list(&self, Data(state): Data<&State>) -> Result<Json<WorkerList>, ApiError> {
        let (workers, now_ms) = state.store.workers().await?;
        let workers = workers.into_iter().map(|worker| Worker {
            active: worker.is_active(now_ms),
            last_heartbeat: format_ms(worker.seen_ms),
            id: worker.id,
            host: worker.info.host,
            pid: worker.info.pid,
            version: worker.info.version,
            queues: worker.info.queues,
            types: worker.info.types,
            concurrency: worker.info.concurrency,
            running: worker.info.running,
            lease_seconds: worker.info.lease_ms as f64 / 1_000.0,
            started_at: format_ms(worker.info.started_ms),
            draining: worker.info.draining,
        });
        Ok(Json(WorkerList {
            workers: workers.collect(),
        }))
    }
}
