//! The lock of a migration.

use std::time::Duration;

use super::LayoutError;
use crate::error::StoreError;
use crate::target::Connection;
use crate::{entropy, keys};

/// One migration at a time; forgotten after a while, should its holder die.
pub(super) struct Lock {
    key: String,
    nonce: String,
}

/// How long a lock is held where it is not renewed, ms: far longer than any step of a migration takes.
const LOCK_MS: u64 = 15_000;

impl Lock {
    pub(super) async fn take(
        connection: &mut Connection,
        prefix: &str,
    ) -> Result<Self, StoreError> {
        let lock = Self {
            key: keys::migrating(prefix),
            nonce: entropy::nonce(),
        };
        let mut said = false;
        loop {
            let taken: Option<String> = redis::cmd("SET")
                .arg(&lock.key)
                .arg(&lock.nonce)
                .arg("NX")
                .arg("PX")
                .arg(LOCK_MS)
                .query_async(connection)
                .await?;
            if taken.is_some() {
                return Ok(lock);
            }
            if !std::mem::replace(&mut said, true) {
                tracing::info!("another migration is under way: waiting for its end");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Holds it for as long again.
    ///
    /// # Errors
    /// It was forgotten, and somebody else may have it.
    pub(super) async fn renew(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let renew = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0";
        let held: u32 = redis::Script::new(renew)
            .key(&self.key)
            .arg(&self.nonce)
            .arg(LOCK_MS)
            .invoke_async(connection)
            .await?;
        if held == 1 {
            Ok(())
        } else {
            Err(LayoutError::Overtaken.into())
        }
    }

    pub(super) async fn release(self, connection: &mut Connection) -> Result<(), StoreError> {
        let ours = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end";
        redis::Script::new(ours)
            .key(&self.key)
            .arg(&self.nonce)
            .invoke_async::<()>(connection)
            .await?;
        Ok(())
    }
}
