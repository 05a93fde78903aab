//! Counts and sums at the ends of past minutes, for charts: from the views alone, in a few round trips.

use taskweir_domain::Position;

use crate::views::{read_row, row_place};
use crate::{Partition, Store, StoreError, Totals};

impl Partition {
    async fn ends_of(&self, minutes: &[u64]) -> Result<Vec<Totals>, StoreError> {
        let (now, base) = (self.standpoint().await?, self.base_head().await?);
        let end = |minute: u64| Position {
            ms: minute * 60_000 + 59_999,
            seq: u64::MAX,
        };
        let mut pipe = redis::pipe();
        for minute in minutes {
            pipe.cmd("ZREVRANGEBYLEX")
                .arg(self.keys.rows())
                .arg(format!("({};", row_place(end(*minute))))
                .arg("-")
                .arg("LIMIT")
                .arg(0)
                .arg(1);
        }
        let rows: Vec<Vec<String>> = pipe.query_async(&mut self.link.get()).await?;
        let totals = minutes.iter().zip(rows).map(|(minute, row)| {
            // A row tells of the end of a minute once something has happened after it.
            if now.last <= end(*minute) {
                return now.totals.clone();
            }
            let row = row.first().and_then(|member| read_row(member));
            row.map_or_else(|| base.totals.clone(), |(_, totals)| totals)
        });
        Ok(totals.collect())
    }
}

impl Store {
    /// Counts and sums at the ends of the last `minutes` full minutes and of the one before them, oldest
    /// first; the last one is now.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn past(&self, minutes: u64) -> Result<Vec<Totals>, StoreError> {
        let now = self.server_time_ms().await? / 60_000;
        let ends: Vec<u64> = (now.saturating_sub(minutes)..=now).collect();
        let mut sums: Vec<Totals> = vec![Totals::default(); ends.len()];
        for partition in self.partitions() {
            for (sum, totals) in sums.iter_mut().zip(partition.ends_of(&ends).await?) {
                sum.add(totals);
            }
        }
        Ok(sums)
    }
}
