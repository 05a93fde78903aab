//! The registry of workers.

use redis::Value;
use serde::{Deserialize, Serialize};

use crate::error::is_forbidden;
use crate::info::field_of;
use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError, StreamSet, clock};

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Name of its machine.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// Queues it takes from.
    pub queues: Vec<String>,
    /// Task types it knows.
    pub types: Vec<String>,
    /// Tasks it runs at once at most.
    pub concurrency: usize,
    /// Tasks it runs now.
    pub running: usize,
    /// Its lease, ms.
    pub lease_ms: u64,
    /// Start of its process, ms since the epoch.
    pub started_ms: u64,
    /// It stops and takes nothing new.
    pub draining: bool,
    /// Version of its program.
    pub version: String,
}

/// A worker and when it last spoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenWorker {
    /// Its id.
    pub id: String,
    /// When it last spoke, ms by Redis' clock.
    pub seen_ms: u64,
    /// What it said.
    pub info: WorkerInfo,
}

impl SeenWorker {
    /// What a worker said and when; `None`: no worker of ours did.
    pub(crate) fn read(id: String, text: &str) -> Option<Self> {
        let (seen, info) = text.split_once(' ')?;
        Some(Self {
            id,
            seen_ms: seen.parse().ok()?,
            info: serde_json::from_str(info).ok()?,
        })
    }
}

impl Partition {
    /// All registered workers and Redis' time, ms. Entries that do not parse are left out.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn workers(&self) -> Result<(Vec<SeenWorker>, u64), StoreError> {
        let reader = Reader("workers");
        let mut connection = self.link.get();
        let (found, time): (Value, (u64, u64)) = redis::pipe()
            .cmd("HGETALL")
            .arg(self.keys.workers())
            .cmd("TIME")
            .query_async(&mut connection)
            .await?;
        let mut workers: Vec<SeenWorker> = reader
            .pairs(found)?
            .into_iter()
            .filter_map(|(id, text)| SeenWorker::read(id, &text))
            .collect();
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok((workers, clock::redis_ms(time)))
    }

    /// The run id of the server that holds this partition: another one tells of a restart, or of another server.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn run_id(&self) -> Result<String, StoreError> {
        // In a cluster the key leads the pipeline to its server; `INFO` alone would be answered by any of them.
        let mut asked = redis::pipe();
        asked.cmd("EXISTS").arg(self.keys.workers());
        asked.cmd("INFO").arg("server");
        let (_, info): (Value, Value) = match asked.query_async(&mut self.link.get()).await {
            // It cannot be known: then only the clocks tell of a restart.
            Err(error) if is_forbidden(&error) => return Ok("unknown".to_owned()),
            answer => answer?,
        };
        let text = Reader("INFO").text(info)?;
        Ok(field_of(&text, "run_id").unwrap_or_default().to_owned())
    }

    /// Forgets a worker if nothing is pending under its name; tells whether it did.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn forget_worker(&self, id: &str, streams: &StreamSet) -> Result<bool, StoreError> {
        let reply = self
            .eval(Script::Leave, 2 + streams.len(), |cmd| {
                cmd.arg(self.keys.workers()).arg(self.keys.signal(id));
                cmd.arg(streams.keys());
                cmd.arg(id).arg(crate::ops::GROUP);
            })
            .await?;
        Ok(Reader("leave").number(reply)? == 1)
    }
}
