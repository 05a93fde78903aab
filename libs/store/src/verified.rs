//! What the latest verification found, for all who scrape.

use crate::{Store, StoreError};

/// The outcome of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// When it ended, ms since the epoch.
    pub at_ms: u64,
    /// Differences found.
    pub differences: u64,
}

impl Store {
    /// One outcome tells of all partitions; it stands in the first.
    fn verified_key(&self) -> String {
        let first = self.partitions().remove(0);
        first.keys().verified()
    }

    /// Keeps the outcome of a verification, as of now.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn note_verified(&self, differences: u64) -> Result<(), StoreError> {
        let at_ms = self.server_time_ms().await?;
        redis::cmd("HSET")
            .arg(self.verified_key())
            .arg("at")
            .arg(at_ms)
            .arg("differences")
            .arg(differences)
            .query_async::<()>(&mut self.link.get())
            .await?;
        Ok(())
    }

    /// The outcome of the latest verification; `None` where there was none yet.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn verified(&self) -> Result<Option<Verified>, StoreError> {
        let (at_ms, differences): (Option<u64>, Option<u64>) = redis::cmd("HMGET")
            .arg(self.verified_key())
            .arg("at")
            .arg("differences")
            .query_async(&mut self.link.get())
            .await?;
        Ok(at_ms.map(|at_ms| Verified {
            at_ms,
            differences: differences.unwrap_or(0),
        }))
    }
}
