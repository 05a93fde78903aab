//! The base: the fold of what retention has cut from the log, and those who make it wait.

use std::time::{Duration, Instant};

use redis::Value;
use taskweir_domain::{Position, TaskDetail, TaskId};

use crate::reply::Reader;
use crate::scripts::Script;
use crate::views::{LAST, POSITION, TOTALS};
use crate::{Partition, Store, StoreError, Totals, entropy};

/// How long retention waits for a reader that says nothing more.
const HOLD: Duration = Duration::from_secs(30);
/// How often a reader speaks.
const RENEW: Duration = Duration::from_secs(5);
/// Tasks of the base read at once.
const PAGE: usize = 1_000;

const READER: Reader = Reader("base");

/// Where the base stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BaseHead {
    /// Up to here the log is cut; [`Position::ZERO`] where it never was.
    pub position: Position,
    /// The latest event in it: earlier than `position` where what was cut ended with entries that are
    /// no events.
    pub last: Position,
    /// Counts and sums up to there.
    pub totals: Totals,
}

/// A task of the base.
pub(crate) fn read_detail(text: &str) -> Result<TaskDetail, StoreError> {
    serde_json::from_str(text).map_err(|error| READER.error(error.to_string()))
}

impl Partition {
    /// Where the base stands.
    ///
    /// # Errors
    /// Redis is away, or the base cannot be read.
    pub async fn base_head(&self) -> Result<BaseHead, StoreError> {
        let mut connection = self.link.get();
        type Texts = (Option<String>, Option<String>, Option<String>);
        let (position, last, totals): Texts = redis::cmd("HMGET")
            .arg(self.keys.base())
            .arg(POSITION)
            .arg(LAST)
            .arg(TOTALS)
            .query_async(&mut connection)
            .await?;
        let place = |text: Option<String>| {
            text.map_or(Ok(Position::ZERO), |text| {
                text.parse()
                    .map_err(|_| READER.error(format!("position {text:?}")))
            })
        };
        let totals = totals.map_or(Ok(Totals::default()), |text| {
            serde_json::from_str(&text).map_err(|error| READER.error(error.to_string()))
        });
        Ok(BaseHead {
            position: place(position)?,
            last: place(last)?,
            totals: totals?,
        })
    }

    /// Where the base stands.
    ///
    /// # Errors
    /// Redis is away, or the base cannot be read.
    pub async fn base_position(&self) -> Result<Position, StoreError> {
        let text: Option<String> = redis::cmd("HGET")
            .arg(self.keys.base())
            .arg(POSITION)
            .query_async(&mut self.link.get())
            .await?;
        text.map_or(Ok(Position::ZERO), |text| {
            text.parse()
                .map_err(|_| READER.error(format!("position {text:?}")))
        })
    }

    /// Tasks as the base holds them; `None` for those that are not in it.
    ///
    /// # Errors
    /// Redis is away, or the base cannot be read.
    pub async fn base_tasks(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskDetail>>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let fields: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut connection = self.link.get();
        let found: Vec<Option<String>> = redis::cmd("HMGET")
            .arg(self.keys.base())
            .arg(&fields)
            .query_async(&mut connection)
            .await?;
        let read = |text: Option<String>| text.as_deref().map(read_detail).transpose();
        found.into_iter().map(read).collect()
    }

    /// Some tasks of the base, and where to go on; begins with `0`. A task may come twice.
    ///
    /// # Errors
    /// Redis is away, or the base cannot be read.
    pub async fn base_page(
        &self,
        cursor: &str,
    ) -> Result<(Vec<TaskDetail>, Option<String>), StoreError> {
        let mut connection = self.link.get();
        let reply: Value = redis::cmd("HSCAN")
            .arg(self.keys.base())
            .arg(cursor)
            .arg("COUNT")
            .arg(PAGE)
            .query_async(&mut connection)
            .await?;
        let [next, pairs] = READER.tuple::<2>(reply)?;
        let mut tasks = Vec::new();
        for (field, text) in READER.pairs(pairs)? {
            if ![POSITION, LAST, TOTALS].contains(&field.as_str()) {
                tasks.push(read_detail(&text)?);
            }
        }
        let next = READER.text(next)?;
        Ok((tasks, (next != "0").then_some(next)))
    }

    /// Lets retention wait, so that whoever reads the whole log finds all of it.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn hold(&self) -> Result<Hold, StoreError> {
        let mut hold = Hold {
            partition: self.clone(),
            nonce: entropy::nonce(),
            renewed: None,
        };
        hold.keep().await?;
        Ok(hold)
    }
}

impl Store {
    /// Where the latest base of all partitions stands: of nothing before it can all be told.
    ///
    /// # Errors
    /// Redis is away, or a base cannot be read.
    pub async fn base_position(&self) -> Result<Position, StoreError> {
        let mut latest = Position::ZERO;
        for partition in self.partitions() {
            latest = latest.max(partition.base_position().await?);
        }
        Ok(latest)
    }
}

/// Retention waits while this is kept; forgotten, for half a minute more.
#[derive(Clone)]
pub struct Hold {
    partition: Partition,
    nonce: String,
    renewed: Option<Instant>,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}

impl Hold {
    /// Says that it is still needed; speaks to Redis every few seconds only.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn keep(&mut self) -> Result<(), StoreError> {
        if self.renewed.is_none_or(|at| at.elapsed() > RENEW) {
            self.say(HOLD.as_millis()).await?;
            self.renewed = Some(Instant::now());
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// Redis is away; it then ends by itself.
    pub async fn release(self) -> Result<(), StoreError> {
        self.say(0).await
    }

    async fn say(&self, ms: u128) -> Result<(), StoreError> {
        let partition = &self.partition;
        let fill = |cmd: &mut redis::Cmd| {
            cmd.arg(partition.keys.log()).arg(partition.keys.holds());
            cmd.arg(&self.nonce).arg(ms.to_string());
        };
        partition.eval(Script::Hold, 2, fill).await.map(drop)
    }
}
