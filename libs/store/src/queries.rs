//! Reading the views: lists, dead letters.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use redis::Value;
use serde::{Deserialize, Serialize};
use taskweir_domain::{Position, Priority, Status, TaskId};

use crate::reply::Reader;
use crate::{Counter, Extra, Partition, Record, Store, StoreError};

/// Most candidates that one call looks at; then the page is partial and its cursor goes on.
const MAX_CANDIDATES: usize = 5_000;
/// Candidates looked at per round trip.
const CHUNK: usize = 250;

/// Which tasks a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Any of these; empty = all but `removed`.
    pub statuses: Vec<Status>,
    /// Of this queue.
    pub queue: Option<String>,
    /// Of this type.
    pub task_type: Option<String>,
    /// Of this class.
    pub priority: Option<Priority>,
    /// With this label.
    pub label: Option<(String, String)>,
    /// With this error class.
    pub error: Option<String>,
    /// Held or last held by this worker.
    pub worker: Option<String>,
    /// Minted at or after, ms since the epoch.
    pub created_after_ms: Option<u64>,
    /// Minted before, ms since the epoch.
    pub created_before_ms: Option<u64>,
    /// Gave up at or after, ms since the epoch; of dead letters only.
    pub failed_after_ms: Option<u64>,
    /// Gave up before, ms since the epoch; of dead letters only.
    pub failed_before_ms: Option<u64>,
    /// Prefix of the id, or part of the type or of the error.
    pub text: Option<String>,
}

/// A task in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its id.
    pub id: TaskId,
    /// Its record, exact.
    pub record: Record,
    /// What the record does not hold.
    pub extra: Extra,
    /// When it gave up, where the list is of dead letters; ms since the epoch.
    pub dead_ms: Option<u64>,
}

/// How much of a list is wanted at most.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Tasks of the page.
    pub items: usize,
    /// Looks no further from then on, but at some tasks of each partition: who waits would rather have a part.
    pub until: Option<Instant>,
}

impl From<usize> for Most {
    fn from(items: usize) -> Self {
        Self { items, until: None }
    }
}

impl Most {
    /// So many tasks, as far as they are found within `patience`.
    #[must_use]
    pub fn within(items: usize, patience: Duration) -> Self {
        Self {
            items,
            until: Some(Instant::now() + patience),
        }
    }
}

/// A page of a list, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The tasks.
    pub items: Vec<Item>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

impl Filter {
    fn takes(&self, id: TaskId, record: &Record, extra: &Extra) -> bool {
        let task = &record.task;
        let text = |wanted: &str| {
            id.to_string().starts_with(&wanted.to_uppercase())
                || task.task_type.contains(wanted)
                || extra
                    .error
                    .as_ref()
                    .is_some_and(|e| e.message.contains(wanted) || e.class().contains(wanted))
        };
        self.takes_status(task.status())
            && self
                .queue
                .as_deref()
                .is_none_or(|queue| *task.queue == *queue)
            && self
                .task_type
                .as_deref()
                .is_none_or(|kind| *task.task_type == *kind)
            && self
                .priority
                .is_none_or(|priority| task.priority == priority)
            && self
                .label
                .as_ref()
                .is_none_or(|(key, value)| extra.labels.get(key) == Some(value))
            && self
                .error
                .as_deref()
                .is_none_or(|class| extra.error.as_ref().is_some_and(|e| e.class() == class))
            && self.worker.as_deref().is_none_or(|worker| {
                record
                    .holder
                    .as_ref()
                    .is_some_and(|holder| holder.worker() == worker)
            })
            && self.created_after_ms.is_none_or(|ms| id.minted_ms() >= ms)
            && self.created_before_ms.is_none_or(|ms| id.minted_ms() < ms)
            && self.text.as_deref().is_none_or(text)
    }

    /// Whether the counts of the views tell how many pass, without a look at any task.
    fn is_counted(&self) -> bool {
        *self
            == Self {
                statuses: self.statuses.clone(),
                queue: self.queue.clone(),
                task_type: self.task_type.clone(),
                ..Self::default()
            }
    }

    /// Whether a status passes: without a wish, every status but `removed`: what was taken out of the dead letters is out.
    pub(crate) fn takes_status(&self, status: Status) -> bool {
        if self.statuses.is_empty() {
            status != Status::Removed
        } else {
            self.statuses.contains(&status)
        }
    }

    fn takes_kind(&self, counter: &Counter) -> bool {
        let fits = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        fits(&self.queue, &counter.queue) && fits(&self.task_type, &counter.task_type)
    }

    fn takes_counter(&self, counter: &Counter) -> bool {
        self.takes_status(counter.status) && self.takes_kind(counter)
    }
}

/// A sorted list of members over several sorted sets, newest first.
struct Scan {
    sources: Vec<String>,
    /// Most members given at once.
    chunk: usize,
    /// Members asked of each source in the next round trip.
    share: usize,
    /// The member to go on below; `None` = from the newest.
    below: Option<String>,
    floor: Option<String>,
}

/// Fewest members that a source is asked for.
const MIN_SHARE: usize = 8;

impl Scan {
    /// Each source is first asked for twice its share: many rarely hold the same number each, and where one holds
    /// them all, what is asked doubles from round trip to round trip.
    fn new(
        sources: Vec<String>,
        chunk: usize,
        below: Option<String>,
        floor: Option<String>,
    ) -> Self {
        let share = 2 * chunk / sources.len().max(1);
        Self {
            share: share.clamp(MIN_SHARE.min(chunk), chunk),
            sources,
            chunk,
            below,
            floor,
        }
    }

    /// The next members over all sources, newest first.
    async fn next(&mut self, partition: &Partition) -> Result<Vec<String>, StoreError> {
        if self.sources.is_empty() {
            return Ok(Vec::new());
        }
        let max = self
            .below
            .as_ref()
            .map_or("+".to_owned(), |member| format!("({member}"));
        let min = self
            .floor
            .as_ref()
            .map_or("-".to_owned(), |member| format!("[{member}"));
        let mut pipe = redis::pipe();
        for key in &self.sources {
            pipe.cmd("ZREVRANGEBYLEX").arg(key).arg(&max).arg(&min);
            pipe.arg("LIMIT").arg(0).arg(self.share);
        }
        let mut connection = partition.link.get();
        let found: Vec<Vec<String>> = pipe.query_async(&mut connection).await?;
        // What a source gave in full may go on below its last: nothing older than the newest such last is known whole.
        let full = found.iter().filter(|found| found.len() == self.share);
        let horizon = full.filter_map(|found| found.last()).max().cloned();
        self.share = (self.share * 2).min(self.chunk);
        let mut members: Vec<String> = found.into_iter().flatten().collect();
        members.retain(|member| horizon.as_ref().is_none_or(|horizon| member >= horizon));
        members.sort_unstable_by(|a, b| b.cmp(a));
        members.dedup();
        members.truncate(self.chunk);
        if let Some(last) = members.last() {
            self.below = Some(last.clone());
        }
        Ok(members)
    }
}

impl Partition {
    /// Tasks that pass a filter, newest first, below a cursor.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn list(
        &self,
        filter: &Filter,
        below: Option<&str>,
        most: impl Into<Most>,
    ) -> Result<Page, StoreError> {
        let most = most.into();
        let sources = if let Some((key, value)) = &filter.label {
            vec![self.keys.label_index(key, value)]
        } else if let Some(class) = &filter.error {
            vec![self.keys.error_index(class)]
        } else {
            self.groups(filter).await?
        };
        let mut below = below.map(ToOwned::to_owned);
        if let Some(ms) = filter.created_before_ms {
            let ceiling = TaskId::floor(ms).to_string();
            below = Some(below.map_or(ceiling.clone(), |member| member.min(ceiling)));
        }
        let mut floor = filter
            .created_after_ms
            .map(|ms| TaskId::floor(ms).to_string());
        // A whole id is looked up, however old it is.
        let whole = filter.text.as_ref().map(|text| text.to_uppercase());
        if let Some(id) = whole.filter(|text| text.parse::<TaskId>().is_ok()) {
            // `~` sorts behind every character of an id.
            let above = format!("{id}~");
            below = Some(below.map_or(above.clone(), |member| member.min(above)));
            floor = Some(floor.map_or(id.clone(), |member| member.max(id)));
        }
        // Where every member of the indexes passes, no more are needed than are shown.
        let chunk = if filter.is_counted() {
            most.items.clamp(1, CHUNK)
        } else {
            CHUNK
        };
        let scan = Scan::new(sources, chunk, below, floor);
        self.page(filter, scan, most, |member| {
            Some((member.parse().ok()?, None))
        })
        .await
    }

    /// Dead letters that pass a filter, the latest to give up first, below a cursor.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn dead_letters(
        &self,
        filter: &Filter,
        below: Option<&str>,
        most: impl Into<Most>,
    ) -> Result<Page, StoreError> {
        let most = most.into();
        let filter = Filter {
            statuses: vec![Status::Failed],
            ..filter.clone()
        };
        // Members begin with the time: a bare time sorts before all of its members.
        let edge = |ms: u64| format!("{ms:015}");
        let mut below = below.map(ToOwned::to_owned);
        if let Some(ms) = filter.failed_before_ms {
            let ceiling = edge(ms);
            below = Some(below.map_or(ceiling.clone(), |member| member.min(ceiling)));
        }
        let floor = filter.failed_after_ms.map(edge);
        let scan = Scan::new(vec![self.keys.dead()], CHUNK, below, floor);
        self.page(&filter, scan, most, |member| {
            let (ms, id) = member.split_once(':')?;
            Some((id.parse().ok()?, ms.parse().ok()))
        })
        .await
    }

    async fn page(
        &self,
        filter: &Filter,
        mut scan: Scan,
        most: Most,
        read: impl Fn(&str) -> Option<(TaskId, Option<u64>)>,
    ) -> Result<Page, StoreError> {
        let mut page = Page::default();
        let mut seen = 0;
        loop {
            let members = scan.next(self).await?;
            if members.is_empty() {
                return Ok(page);
            }
            let candidates = members.iter().map(|member| Some((member, read(member)?)));
            let candidates: Vec<_> = candidates.flatten().collect();
            let ids: Vec<TaskId> = candidates.iter().map(|(_, (id, _))| *id).collect();
            let (records, extras) = tokio::try_join!(self.records(&ids), self.extras(&ids))?;
            let rows = candidates.into_iter().zip(records.into_iter().zip(extras));
            for ((member, (id, dead_ms)), (record, extra)) in rows {
                seen += 1;
                if let Some(record) = record.filter(|record| filter.takes(id, record, &extra)) {
                    page.items.push(Item {
                        id,
                        record,
                        extra,
                        dead_ms,
                    });
                }
                if page.items.len() == most.items || seen == MAX_CANDIDATES {
                    page.next = Some(member.to_owned());
                    return Ok(page);
                }
            }
            if most.until.is_some_and(|until| Instant::now() >= until) {
                page.next = members.last().cloned();
                return Ok(page);
            }
        }
    }

    async fn extras(&self, ids: &[TaskId]) -> Result<Vec<Extra>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let fields: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut connection = self.link.get();
        let found: Vec<Option<String>> = redis::cmd("HMGET")
            .arg(self.keys.extra())
            .arg(&fields)
            .query_async(&mut connection)
            .await?;
        found
            .into_iter()
            .map(|text| {
                text.map_or(Ok(Extra::default()), |text| {
                    serde_json::from_str(&text)
                        .map_err(|error| StoreError::reply("view of extras", error.to_string()))
                })
            })
            .collect()
    }

    /// The indexes that a filter reads: of each queue and type it takes, every status it takes, whether or not a task
    /// is there now. A task that moves on meanwhile is met in its next status.
    async fn groups(&self, filter: &Filter) -> Result<Vec<String>, StoreError> {
        let mut connection = self.link.get();
        let value: Value = redis::cmd("HGETALL")
            .arg(self.keys.counts())
            .query_async(&mut connection)
            .await?;
        let counts = Reader("view of counts").pairs(value)?;
        let alive = counts.iter().filter(|(_, count)| count.as_str() != "0");
        let kinds: BTreeSet<(String, String)> = alive
            .filter_map(|(field, _)| Counter::read(field))
            .filter(|counter| filter.takes_kind(counter))
            .map(|counter| (counter.queue, counter.task_type))
            .collect();
        let statuses = Status::ALL.into_iter();
        let statuses: Vec<Status> = statuses
            .filter(|status| filter.takes_status(*status))
            .collect();
        let indexes = kinds.iter().flat_map(|(queue, kind)| {
            let of = |status: &Status| self.keys.index(*status, queue, kind);
            statuses.iter().map(of).collect::<Vec<String>>()
        });
        Ok(indexes.collect())
    }

    /// Waits until the views have come to a position, at most until `deadline`; tells whether they
    /// have.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn await_views(
        &self,
        position: Position,
        deadline: tokio::time::Instant,
    ) -> Result<bool, StoreError> {
        loop {
            if self.checkpoint().await? >= position {
                return Ok(true);
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

/// Joins the pages of all partitions into one, newest first.
fn join(mut pages: Vec<Page>, limit: usize, member: impl Fn(&Item) -> String) -> Page {
    if pages.len() == 1 {
        return pages.pop().unwrap_or_default();
    }
    // A partition that stopped early may still hold tasks below its cursor: nothing older than
    // the highest such cursor may be shown before them.
    let horizon = pages.iter().filter_map(|page| page.next.clone()).max();
    let mut rows: Vec<(String, Item)> = pages
        .into_iter()
        .flat_map(|page| page.items)
        .map(|item| (member(&item), item))
        .filter(|(member, _)| horizon.as_ref().is_none_or(|horizon| member >= horizon))
        .collect();
    rows.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more {
        rows.last().map(|(member, _)| member.clone())
    } else {
        horizon
    };
    Page {
        items: rows.into_iter().map(|(_, item)| item).collect(),
        next,
    }
}

/// Tasks looked at per page of a count.
const COUNT_PAGE: usize = 500;

impl Store {
    /// How many tasks pass a filter, and whether that is all of them or as many as could be counted
    /// within `patience`. `dead` counts dead letters, else all lists.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn count(
        &self,
        filter: &Filter,
        dead: bool,
        patience: Duration,
    ) -> Result<(u64, bool), StoreError> {
        let deadline = Instant::now() + patience;
        if filter.is_counted() {
            let totals = self.totals().await?;
            let counts = totals.counts.iter();
            let counted = counts.filter(|(counter, _)| filter.takes_counter(counter));
            return Ok((counted.map(|(_, count)| count).sum(), true));
        }
        let mut count = 0;
        for partition in self.partitions() {
            let mut below: Option<String> = None;
            loop {
                let most = Most {
                    items: COUNT_PAGE,
                    until: Some(deadline),
                };
                let page = if dead {
                    partition
                        .dead_letters(filter, below.as_deref(), most)
                        .await?
                } else {
                    partition.list(filter, below.as_deref(), most).await?
                };
                count += page.items.len() as u64;
                below = page.next;
                if below.is_none() {
                    break;
                }
                if Instant::now() >= deadline {
                    return Ok((count, false));
                }
            }
        }
        Ok((count, true))
    }

    /// Tasks of all partitions that pass a filter, newest first, below a cursor.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn list(
        &self,
        filter: &Filter,
        below: Option<&str>,
        most: impl Into<Most>,
    ) -> Result<Page, StoreError> {
        let most = most.into();
        let mut pages = Vec::new();
        for partition in self.partitions() {
            pages.push(partition.list(filter, below, most).await?);
        }
        Ok(join(pages, most.items, |item| item.id.to_string()))
    }

    /// Dead letters of all partitions, the latest to give up first, below a cursor.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn dead_letters(
        &self,
        filter: &Filter,
        below: Option<&str>,
        most: impl Into<Most>,
    ) -> Result<Page, StoreError> {
        let most = most.into();
        let mut pages = Vec::new();
        for partition in self.partitions() {
            pages.push(partition.dead_letters(filter, below, most).await?);
        }
        Ok(join(pages, most.items, |item| {
            crate::views::dead_member(item.id, item.dead_ms.unwrap_or(0))
        }))
    }
}
