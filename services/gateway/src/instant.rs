//! Instants as people write them: an RFC 3339 time, or a position.

use taskweir_domain::{Position, parse_rfc3339_ms};
use taskweir_store::{Store, Totals};

use crate::position;
use crate::problem::ApiError;

/// By so much the clock of who says "now" may be ahead of Redis'.
const SLACK_MS: u64 = 2_000;

/// An instant of the past: the end of a millisecond, or exactly a position of one partition and the
/// end of its millisecond in the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instant {
    ms: u64,
    exact: Option<(usize, Position)>,
}

/// Whether a text is the year and month of a date: as a position it would be of the first seconds of 1970.
fn begins_a_date(text: &str) -> bool {
    let digits =
        |part: &str, count| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('-')
        .is_some_and(|(year, month)| digits(year, 4) && digits(month, 2))
}

impl Instant {
    /// Reads the query parameter `name`.
    pub(crate) async fn read(store: &Store, name: &str, text: &str) -> Result<Self, ApiError> {
        let named = position::read(text, store.partition_count());
        let instant = match named.filter(|_| !begins_a_date(text)) {
            Some((partition, position)) => Self {
                ms: position.ms,
                exact: Some((partition, position)),
            },
            None => {
                let wrong = |fault| ApiError::field(name, format!("{fault}; or a position"));
                let ms = parse_rfc3339_ms(text).map_err(wrong)?;
                Self { ms, exact: None }
            }
        };
        let now_ms = store.server_time_ms().await?;
        if instant.ms > now_ms + SLACK_MS {
            return Err(ApiError::field(name, "must not be in the future"));
        }
        Ok(Self {
            ms: instant.ms.min(now_ms),
            ..instant
        })
    }

    /// The present.
    pub(crate) async fn now(store: &Store) -> Result<Self, ApiError> {
        Ok(Self {
            ms: store.server_time_ms().await?,
            exact: None,
        })
    }

    /// When, ms since the epoch.
    pub(crate) const fn ms(self) -> u64 {
        self.ms
    }

    /// The latest position of a partition within it; `None` where it names one of another partition.
    pub(crate) fn in_partition_alone(self, partition: usize) -> Option<Position> {
        match self.exact {
            Some((named, _)) if named != partition => None,
            _ => Some(self.in_partition(partition)),
        }
    }

    /// The latest position of a partition within it.
    pub(crate) fn in_partition(self, partition: usize) -> Position {
        match self.exact {
            Some((named, position)) if named == partition => position,
            _ => Position {
                ms: self.ms,
                seq: u64::MAX,
            },
        }
    }

    /// Counts and sums as they were, and the latest event counted of each partition.
    pub(crate) async fn totals(self, store: &Store) -> Result<(Totals, Vec<Position>), ApiError> {
        let positions: Vec<Position> = (0..store.partition_count())
            .map(|partition| self.in_partition(partition))
            .collect();
        let Some(found) = store.totals_at(&positions).await? else {
            return Err(ApiError::trimmed(store.base_position().await?));
        };
        let mut totals = Totals::default();
        let mut last = Vec::with_capacity(found.len());
        for standpoint in found {
            totals.add(standpoint.totals);
            last.push(standpoint.last);
        }
        Ok((totals, last))
    }
}
