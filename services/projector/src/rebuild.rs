//! The views made afresh from the log, beside the live ones, compared with them and swapped in.

use std::collections::BTreeSet;
use std::sync::Arc;

use taskweir_domain::Position;
use taskweir_store::{
    Applied, Fold, FoldError, Hold, Keys, Partition, Store, StoreError, Swapped, ViewContent,
    digest,
};

use crate::begin::{BeginError, begin};
use crate::difference::Difference;
use crate::verify::{Report, compare_views};

/// Entries per step.
const BATCH: usize = 2_000;
/// How often the swap is tried while the live views run ahead.
const MAX_SWAPS: usize = 1_000;

/// Why a rebuild came to no end. The live views are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Redis is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log holds an event this program does not know.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// Someone else writes the same fresh views, or took back the live ones.
    #[error(
        "the views of partition {0} were changed by someone else, perhaps by another rebuild, or the log was cut meanwhile"
    )]
    Interrupted(u8),
    /// The live views were ahead at every try.
    #[error("the live views of partition {0} could not be overtaken; try again with less traffic")]
    Behind(u8),
}

/// What a rebuild did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Events folded.
    pub events: u64,
    /// Digest of the live views before the swap, over all partitions.
    pub live: u128,
    /// Digest of the fresh views at the same place of the log.
    pub fresh: u128,
    /// The first differences between them.
    pub differences: Vec<Difference>,
    /// All differences.
    pub count: u64,
}

/// Rebuilds the views of every partition. Traffic and projectors go on meanwhile.
///
/// # Errors
/// See [`RebuildError`].
pub async fn rebuild(store: &Store) -> Result<Rebuilt, RebuildError> {
    let mut done = Rebuilt::default();
    let mut report = Report::default();
    for live in store.partitions() {
        // What is read must not be cut meanwhile.
        let hold = live.hold().await?;
        let release = hold.clone();
        let rebuilt = rebuild_partition(&live, hold, &mut done, &mut report).await;
        release.release().await?;
        rebuilt?;
    }
    done.differences = report.differences;
    done.count = report.count;
    Ok(done)
}

async fn rebuild_partition(
    live: &Partition,
    hold: Hold,
    done: &mut Rebuilt,
    report: &mut Report,
) -> Result<(), RebuildError> {
    let mut fresh = Fresh::begin(live, hold).await?;
    let mut live_keys = live.view_keys().await?;
    let (was, is) = fresh.meet(live, &mut live_keys).await?;
    done.live = done.live.wrapping_add(digest(&was));
    done.fresh = done.fresh.wrapping_add(digest(&is));
    compare_views(&is, &was, report);
    fresh.swap(live, &live_keys).await?;
    done.events += fresh.events;
    Ok(())
}

/// Fresh views and where they stand.
struct Fresh {
    hold: Hold,
    partition: Partition,
    keys: Arc<Keys>,
    /// The view keys written so far.
    written: BTreeSet<String>,
    /// The base they were begun at.
    base: Position,
    fold: Fold,
    at: Position,
    events: u64,
}

impl Fresh {
    async fn begin(live: &Partition, mut hold: Hold) -> Result<Self, RebuildError> {
        let partition = live.beside();
        partition.clear_views().await?;
        hold.keep().await?;
        let begun = begin(&partition, Some(&mut hold))
            .await
            .map_err(|error| match error {
                BeginError::Store(error) => RebuildError::Store(error),
                BeginError::Behind { .. } | BeginError::Raced => {
                    RebuildError::Interrupted(partition.keys().partition().0)
                }
            })?;
        Ok(Self {
            hold,
            keys: Arc::new(partition.keys().clone()),
            partition,
            written: begun.written,
            base: begun.base,
            fold: begun.fold,
            at: begun.at,
            events: 0,
        })
    }

    fn interrupted(&self) -> RebuildError {
        RebuildError::Interrupted(self.keys.partition().0)
    }

    /// Goes on to the end of the log, or to `limit`.
    async fn advance(&mut self, limit: Option<Position>) -> Result<(), RebuildError> {
        while limit.is_none_or(|limit| self.at < limit) {
            self.hold.keep().await?;
            let read = self.partition.read_log(self.at, BATCH).await?;
            let Some(last) = read.last else { break };
            let next = limit.map_or(last, |limit| last.min(limit));
            let within = read.entries.partition_point(|entry| entry.position <= next);
            let delta = self.fold.fold(&self.keys, &read.entries[..within])?;
            for key in delta.keys() {
                if !self.written.contains(key) {
                    self.written.insert(key.to_owned());
                }
            }
            match self.partition.apply(self.at, next, &delta).await? {
                Applied::Done => {}
                // The answer to the first try was lost.
                Applied::Moved(position) if position == next => {}
                Applied::Moved(_) => return Err(self.interrupted()),
            }
            self.events += within as u64;
            self.at = next;
        }
        Ok(())
    }

    /// Live and fresh content at the same place of the log, both under the live keys. Views that came after `live_keys` were
    /// listed are added to them.
    async fn meet(
        &mut self,
        live: &Partition,
        live_keys: &mut BTreeSet<String>,
    ) -> Result<(ViewContent, ViewContent), RebuildError> {
        // Most of the way first, for there the live views may move on. Never beyond them.
        self.advance(Some(live.checkpoint().await?)).await?;
        loop {
            self.hold.keep().await?;
            let (checkpoint, was) = live.view_content(live_keys).await?;
            // Live views that were never begun cannot be met where the base is.
            if checkpoint < self.at && checkpoint != Position::ZERO {
                return Err(self.interrupted());
            }
            self.advance(Some(checkpoint)).await?;
            let (_, is) = self.partition.view_content(&self.written).await?;
            let is = self.partition.content_as_of(is, live);
            let known = live_keys.len();
            live_keys.extend(is.keys().cloned());
            if live_keys.len() == known {
                return Ok((was, is));
            }
        }
    }

    /// Overtakes the live views and takes their place.
    async fn swap(
        &mut self,
        live: &Partition,
        live_keys: &BTreeSet<String>,
    ) -> Result<(), RebuildError> {
        for _ in 0..MAX_SWAPS {
            self.advance(None).await?;
            if self.at == Position::ZERO {
                return Ok(());
            }
            let live_at = live.checkpoint().await?;
            if live_at > self.at {
                continue;
            }
            match live
                .swap_views(
                    live_keys,
                    live_at,
                    &self.partition,
                    &self.written,
                    self.at,
                    self.base,
                )
                .await?
            {
                Swapped::Done => return Ok(()),
                Swapped::Moved => {}
                Swapped::Cut => return Err(self.interrupted()),
                // Done by the first try of a call whose answer was lost, or by someone else.
                Swapped::Gone if live.checkpoint().await? >= self.at => return Ok(()),
                Swapped::Gone => return Err(self.interrupted()),
            }
        }
        Err(RebuildError::Behind(self.keys.partition().0))
    }
}
