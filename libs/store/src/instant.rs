//! Counts and sums: of now, and of any instant that retention has left.

use futures_util::future::try_join_all;
use taskweir_domain::{Position, TaskId};

use crate::views::{LAST, PAUSED, SPACING, read_row, row_place};
use crate::{BaseHead, Counter, Fold, FoldError, LogEntry, Partition, Store, StoreError, Totals};

/// Entries of the log read at once.
const BATCH: usize = 1_000;
/// Histories asked for in one call.
const HISTORIES: usize = 100;
/// How often an answer is begun again because retention has moved on meanwhile.
const TRIES: usize = 10;

/// Totals, and where they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standpoint {
    /// How far was read.
    pub checkpoint: Position,
    /// The latest event counted.
    pub last: Position,
    /// Counts and sums.
    pub totals: Totals,
}

fn broken(error: &FoldError) -> StoreError {
    StoreError::reply("log", error.to_string())
}

impl Partition {
    /// Counts and sums of this partition's views, with where they stand; read in one step.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn standpoint(&self) -> Result<Standpoint, StoreError> {
        let keys = [self.keys.counts(), self.keys.totals(), self.keys.tail()];
        let (checkpoint, content) = self.view_content(&keys.clone().into()).await?;
        let [counts, sums, tail] = keys.map(|key| content.get(&key).cloned().unwrap_or_default());
        let mut standpoint = Standpoint {
            checkpoint,
            ..Standpoint::default()
        };
        for (field, count) in counts {
            if let (Some(counter), Ok(count)) = (Counter::read(&field), count.parse()) {
                standpoint.totals.counts.insert(counter, count);
            }
        }
        for (field, count) in sums {
            if let Ok(count) = count.parse() {
                standpoint.totals.count(field, count);
            }
        }
        for (field, value) in tail {
            if let Some(queue) = field.strip_prefix(PAUSED) {
                standpoint.totals.paused.insert(queue.to_owned());
            } else if field == LAST {
                standpoint.last = value.parse().unwrap_or_default();
            } else if field == SPACING {
                standpoint.totals.rarer = value.parse().unwrap_or_default();
            }
        }
        Ok(standpoint)
    }

    /// Counts and sums of this partition's views.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        Ok(self.standpoint().await?.totals)
    }

    /// The latest row of totals at or before a position; `None` where the views hold none.
    async fn row_at(&self, position: Position) -> Result<Option<(Position, Totals)>, StoreError> {
        let mut connection = self.link.get();
        let found: Vec<String> = redis::cmd("ZREVRANGEBYLEX")
            .arg(self.keys.rows())
            // ';' comes after the ':' that ends a row's place.
            .arg(format!("({};", row_place(position)))
            .arg("-")
            .arg("LIMIT")
            .arg(0)
            .arg(1)
            .query_async(&mut connection)
            .await?;
        Ok(found.first().and_then(|member| read_row(member)))
    }

    /// Counts and sums as they were when a position had been written: the nearest row of the views,
    /// and the log from there. `None` for what was before the base.
    ///
    /// # Errors
    /// Redis is away, or the log holds an event this program does not know.
    pub async fn totals_at(&self, position: Position) -> Result<Option<Standpoint>, StoreError> {
        for _ in 0..TRIES {
            let base = self.base_head().await?;
            if position < base.position {
                return Ok(None);
            }
            let row = self.row_at(position).await?;
            let row = row.filter(|(at, _)| *at >= base.last);
            let (from, totals) = row.unwrap_or((base.last, base.totals));
            let found = self.fold_on(from, totals, position).await?;
            // A cut beyond where the fold began may have taken what it was to read.
            let now = self.base_position().await?;
            if now == base.position || now <= from {
                return Ok(Some(found));
            }
        }
        Err(StoreError::reply(
            "log",
            "retention moved on faster than it could be read",
        ))
    }

    async fn fold_on(
        &self,
        from: Position,
        totals: Totals,
        to: Position,
    ) -> Result<Standpoint, StoreError> {
        let mut fold = Fold::resume(from, totals);
        let mut at = from;
        while at < to {
            let read = self.read_log(at, BATCH).await?;
            let Some(last) = read.last else { break };
            at = last;
            let within = read.entries.partition_point(|entry| entry.position <= to);
            let entries = &read.entries[..within];
            self.learn(&mut fold, entries).await?;
            fold.fold(&self.keys, entries)
                .map_err(|error| broken(&error))?;
        }
        Ok(Standpoint {
            checkpoint: to,
            last: fold.last(),
            totals: fold.totals().clone(),
        })
    }

    /// Tells a fold what it does not remember of the tasks of a batch.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn learn(&self, fold: &mut Fold, entries: &[LogEntry]) -> Result<(), StoreError> {
        let unknown: Vec<(TaskId, Option<Position>)> = fold
            .unknown(entries)
            .into_iter()
            .map(|(id, position)| (id, Some(position)))
            .collect();
        for batch in unknown.chunks(HISTORIES) {
            let histories = self.histories_up_to(batch).await?;
            for ((id, _), history) in batch.iter().zip(histories) {
                fold.learn(*id, history.base.as_ref(), &history.decoded());
            }
        }
        Ok(())
    }

    /// Counts and sums at the end of a minute that is over (minutes since the epoch), from the views
    /// alone.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn totals_after(
        &self,
        minute: u64,
        now: &Standpoint,
        base: &BaseHead,
    ) -> Result<Totals, StoreError> {
        let end = Position {
            ms: minute * 60_000 + 59_999,
            seq: u64::MAX,
        };
        // A row tells of the end of a minute once something has happened after it.
        if now.last <= end {
            return Ok(now.totals.clone());
        }
        let row = self.row_at(end).await?;
        Ok(row.map_or_else(|| base.totals.clone(), |(_, totals)| totals))
    }
}

impl Store {
    /// Counts and sums over all partitions.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        let partitions = self.partitions();
        let mut all = Totals::default();
        for totals in try_join_all(partitions.iter().map(Partition::totals)).await? {
            all.add(totals);
        }
        Ok(all)
    }

    /// Counts and sums as they were at an instant, per partition; `None` for what was before a base.
    ///
    /// # Errors
    /// Redis is away, or a log holds an event this program does not know.
    pub async fn totals_at(
        &self,
        positions: &[Position],
    ) -> Result<Option<Vec<Standpoint>>, StoreError> {
        let mut found = Vec::with_capacity(positions.len());
        for (partition, position) in self.partitions().into_iter().zip(positions) {
            let Some(standpoint) = partition.totals_at(*position).await? else {
                return Ok(None);
            };
            found.push(standpoint);
        }
        Ok(Some(found))
    }
}
