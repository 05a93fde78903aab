//! The memory budget: how much of Redis' memory submits may fill.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::info::ServerInfo;
use crate::shared::Link;
use crate::{Partition, Store, StoreError};

/// How long a look at Redis' memory holds good.
const LOOK: Duration = Duration::from_millis(250);

/// The latest look, shared by all clones of a store.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    began: Instant,
    /// When it was taken, ms since `began`, plus one; 0 = never.
    looked: AtomicU64,
    used: AtomicU64,
}

impl Default for MemoryWatch {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            looked: AtomicU64::new(0),
            used: AtomicU64::new(0),
        }
    }
}

impl MemoryWatch {
    /// Whether it is time to look again; says so to one caller only.
    fn is_due(&self) -> bool {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let now = ms(self.began.elapsed()) + 1;
        let looked = self.looked.load(Ordering::Relaxed);
        let stale = looked == 0 || now.saturating_sub(looked) >= ms(LOOK);
        let swap = |at| {
            self.looked
                .compare_exchange(at, now, Ordering::Relaxed, Ordering::Relaxed)
        };
        stale && swap(looked).is_ok()
    }
}

/// Redis' memory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// What it uses; 0 where it does not say.
    pub used: u64,
    /// What it may use; `None` where it does not say.
    pub limit: Option<u64>,
}

/// `None` where it is not told.
async fn used_memory(link: &Link) -> Result<Option<u64>, StoreError> {
    // Of a cluster, the fullest node is what matters.
    let info = ServerInfo::ask(&mut link.get(), Some("memory")).await?;
    let used = info.of("used_memory").filter_map(|text| text.parse().ok());
    Ok(used.max())
}

/// Longest look at Redis' memory: a submit waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

impl Store {
    /// Memory that Redis uses, bytes.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn used_memory(&self) -> Result<u64, StoreError> {
        Ok(used_memory(&self.link).await?.unwrap_or(0))
    }

    /// Memory that Redis uses, and may use: its `maxmemory`, else our budget, else that of its machine.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn memory(&self) -> Result<MemoryUse, StoreError> {
        let info = self.server_info().await?;
        let bytes = |field: &str| info.get(field)?.parse().ok().filter(|bytes| *bytes > 0);
        Ok(MemoryUse {
            used: bytes("used_memory").unwrap_or(0),
            limit: bytes("maxmemory")
                .or(self.limits.memory_budget)
                .or_else(|| bytes("total_system_memory")),
        })
    }

    /// Why Redis would refuse a new task: no memory, no disk, too few replicas, a replica itself, too few rights. `None` where
    /// it takes one.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn refusal(&self) -> Result<Option<StoreError>, StoreError> {
        for partition in self.partitions() {
            // A command that writes and needs memory, and changes nothing: no queue has an empty name.
            let tried: Result<i64, StoreError> = redis::cmd("ZADD")
                .arg(partition.keys().queues())
                .arg(&["XX", "0", ""])
                .query_async(&mut self.link.get())
                .await
                .map_err(StoreError::from);
            match tried {
                Err(StoreError::Unavailable(error)) if error.code().is_none() => {
                    return Err(StoreError::Unavailable(error));
                }
                Err(refusal) => return Ok(Some(refusal)),
                Ok(_) => {}
            }
        }
        Ok(None)
    }

    /// The budget for submits, bytes; `None` = any.
    #[must_use]
    pub const fn memory_budget(&self) -> Option<u64> {
        self.limits.memory_budget
    }
}

impl Partition {
    /// Whether Redis uses as much memory as submits may fill, by a look that is at most a quarter of a
    /// second old.
    pub(crate) async fn is_over_budget(&self) -> bool {
        let Some(budget) = self.limits.memory_budget else {
            return false;
        };
        if self.memory.is_due() {
            let look = tokio::time::timeout(PATIENCE, used_memory(&self.link));
            match look.await.unwrap_or_else(|_| Err(StoreError::away())) {
                Ok(Some(used)) => self.memory.used.store(used, Ordering::Relaxed),
                // It tells no more: the last look counts on, and `/health` says so.
                Ok(None) => {}
                // One node of a cluster may be away while ours takes submits: the last look counts on.
                Err(error) => tracing::debug!(%error, "Redis' memory could not be looked at"),
            }
        }
        self.memory.used.load(Ordering::Relaxed) >= budget
    }
}
