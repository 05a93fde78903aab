//! The proof: the log folded afresh, held against records, queues and views.

use std::collections::BTreeMap;
use std::sync::Arc;

use taskweir_domain::{Position, Priority, Recorded, Status, Task, TaskDetail, TaskId, evolve};
use taskweir_store::{
    BaseHead, FoldError, Hold, Partition, Place, Standing, Store, StoreError, ViewContent, digest,
};

use crate::begin::from_base;
use crate::difference::{Difference, between};

/// Entries of the log read at once.
const BATCH: usize = 5_000;
/// Tasks looked up at once.
const TASKS: usize = 200;
/// Differences told; more are counted only.
const MAX_TOLD: usize = 20;

/// Why a verification came to no end.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Redis is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log holds an event this program does not know.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// What a verification found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Events folded.
    pub events: u64,
    /// Tasks folded.
    pub tasks: u64,
    /// Tasks by status, from the fold.
    pub by_status: BTreeMap<Status, u64>,
    /// Tasks that were started more than once.
    pub started_twice: u64,
    /// Digest of the views, over all partitions; the fold's is the same where nothing differs.
    pub digest: u128,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// All differences.
    pub count: u64,
}

impl Report {
    fn differ(&mut self, what: Difference) {
        self.count += 1;
        if self.differences.len() < MAX_TOLD {
            self.differences.push(what);
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.count == 0
    }
}

/// A partition's log, folded.
struct Folded {
    tasks: BTreeMap<TaskId, Task>,
    views: ViewContent,
    /// Up to the checkpoint.
    started_twice: u64,
}

/// Folds every log afresh and compares. Traffic may go on meanwhile.
///
/// # Errors
/// See [`VerifyError`]; a difference is no error but in the report.
pub async fn verify(store: &Store) -> Result<Report, VerifyError> {
    let mut report = Report::default();
    for partition in store.partitions() {
        // What is read must not be cut meanwhile.
        let mut hold = partition.hold().await?;
        let done = verify_partition(&partition, &mut hold, &mut report).await;
        hold.release().await?;
        done?;
    }
    Ok(report)
}

async fn verify_partition(
    partition: &Partition,
    hold: &mut Hold,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let (folded, views) = read(partition, hold, report).await?;
    compare_views(&folded.views, &views, report);
    report.digest = report.digest.wrapping_add(digest(&views));
    compare_records(partition, hold, &folded.tasks, report).await?;
    find_strays(partition, &folded.tasks, report).await?;
    for task in folded.tasks.values() {
        report.tasks += 1;
        *report.by_status.entry(task.status()).or_default() += 1;
    }
    report.started_twice += folded.started_twice;
    Ok(())
}

/// The views, and the log folded up to where they stood. A view that only the fold knows may have
/// come after the keys were listed; then everything is read again with its key.
async fn read(
    partition: &Partition,
    hold: &mut Hold,
    report: &mut Report,
) -> Result<(Folded, ViewContent), VerifyError> {
    let mut keys = partition.view_keys().await?;
    loop {
        let base = partition.base_head().await?;
        let (checkpoint, views) = partition.view_content(&keys).await?;
        let mut found = Report::default();
        let folded = fold(partition, hold, &base, checkpoint, &mut found).await?;
        let known = keys.len();
        keys.extend(folded.views.keys().cloned());
        // Cut all the same: we were away for longer than retention waits.
        let cut = partition.base_head().await? != base;
        if !cut && keys.len() == known {
            report.events += found.events;
            report.count += found.count;
            report.differences.extend(found.differences);
            report.differences.truncate(MAX_TOLD);
            return Ok((folded, views));
        }
    }
}

/// Folds the base and the whole log: tasks to its end, views to the checkpoint.
async fn fold(
    partition: &Partition,
    hold: &mut Hold,
    base: &BaseHead,
    checkpoint: Position,
    report: &mut Report,
) -> Result<Folded, VerifyError> {
    let keys = Arc::new(partition.keys().clone());
    let (mut fold, mut delta, kept) = from_base(partition, &keys, base, hold).await?;
    let kept = kept.into_iter().map(|detail| (detail.id, detail.task));
    let mut tasks: BTreeMap<TaskId, Task> = kept.collect();
    let mut at = base.position;
    loop {
        hold.keep().await?;
        let read = partition.read_log(at, BATCH).await?;
        let Some(last) = read.last else { break };
        at = last;
        if read.malformed > 0 {
            let what = format!("{} entries before {last} are no events", read.malformed);
            report.differ(Difference::whole("log", what));
        }
        let seen = read
            .entries
            .partition_point(|entry| entry.position <= checkpoint);
        if seen > 0 {
            delta.merge(fold.fold(&keys, &read.entries[..seen])?);
        }
        for entry in &read.entries {
            report.events += 1;
            if entry.is_of_queue() {
                continue;
            }
            match entry.decode() {
                Ok(recorded)
                    if base.position > Position::ZERO
                        && recorded.event.event_type().may_outlive_its_task()
                        && !tasks.contains_key(&recorded.id) => {}
                Ok(recorded) => step(&mut tasks, &recorded, report),
                Err(error) => {
                    let subject = format!("event at {}", entry.position);
                    report.differ(Difference::whole(subject, error.to_string()));
                }
            }
        }
    }
    Ok(Folded {
        tasks,
        views: delta.content(),
        started_twice: fold.totals().started_twice(),
    })
}

fn step(tasks: &mut BTreeMap<TaskId, Task>, recorded: &Recorded, report: &mut Report) {
    let before = tasks.get(&recorded.id).cloned();
    match evolve(before, recorded) {
        Ok(task) => {
            tasks.insert(recorded.id, task);
        }
        Err(error) => {
            let subject = format!("task {}", recorded.id);
            report.differ(Difference::whole(subject, error.to_string()));
        }
    }
}

/// Tells where `live` is not as `folded`.
pub(crate) fn compare_views(folded: &ViewContent, live: &ViewContent, report: &mut Report) {
    let empty = BTreeMap::new();
    let keys: std::collections::BTreeSet<&String> = folded.keys().chain(live.keys()).collect();
    for key in keys {
        let (folded, live) = (
            folded.get(key).unwrap_or(&empty),
            live.get(key).unwrap_or(&empty),
        );
        let fields: std::collections::BTreeSet<&String> =
            folded.keys().chain(live.keys()).collect();
        for field in fields {
            let (by_log, by_view) = (folded.get(field), live.get(field));
            if by_log != by_view {
                let shown = |value: Option<&String>| match value.map(String::as_str) {
                    None => "nothing".to_owned(),
                    Some("") => "there".to_owned(),
                    Some(value) => value.to_owned(),
                };
                report.differ(Difference::field(
                    format!("view {key}"),
                    field,
                    &shown(by_log),
                    &shown(by_view),
                ));
            }
        }
    }
}

async fn compare_records(
    partition: &Partition,
    hold: &mut Hold,
    tasks: &BTreeMap<TaskId, Task>,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let all: Vec<(TaskId, &Task)> = tasks.iter().map(|(id, task)| (*id, task)).collect();
    for batch in all.chunks(TASKS) {
        hold.keep().await?;
        let standings = partition.standings(batch).await?;
        for ((id, folded), standing) in batch.iter().zip(standings) {
            compare_record(partition, *id, folded, &standing, report).await?;
        }
    }
    Ok(())
}

/// Looks for entries of queues that no task knows of.
async fn find_strays(
    partition: &Partition,
    tasks: &BTreeMap<TaskId, Task>,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let mut places = vec![Place::Due, Place::Expiry];
    let mut queues = partition.queue_flags().await?.known;
    queues.extend(tasks.values().map(|task| task.queue.clone()));
    for queue in queues {
        let ready = Priority::ALL.map(|priority| Place::Ready(queue.clone(), priority));
        places.extend(ready);
        places.push(Place::Dead(queue));
    }
    let mut kinds: Vec<_> = tasks
        .values()
        .map(|task| (task.queue.clone(), task.task_type.clone()))
        .collect();
    kinds.sort();
    kinds.dedup();
    let parked = kinds.into_iter();
    places.extend(parked.map(|(queue, task_type)| Place::Parked(queue, task_type)));
    for place in &places {
        for stray in partition.strays(place).await? {
            // Told already, by the look at each known task.
            let seen = matches!(place, Place::Due | Place::Parked(..));
            if seen && stray.parse().is_ok_and(|id| tasks.contains_key(&id)) {
                continue;
            }
            let what = format!("stands in {place}, of which its task does not know");
            report.differ(Difference::whole(stray, what));
        }
    }
    Ok(())
}

async fn compare_record(
    partition: &Partition,
    id: TaskId,
    folded: &Task,
    standing: &Standing,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let subject = format!("task {id}");
    if let Some(why) = &standing.unreadable {
        let what = format!("its record cannot be read: {why}");
        report.differ(Difference::whole(subject, what));
        return Ok(());
    }
    if !standing.is_right() {
        let status = standing.record.as_ref().map(|record| record.task.status());
        let status = status.map_or("no record".to_owned(), |status| status.to_string());
        let places = [
            ("due", standing.due),
            ("ready", standing.ready),
            ("parked", standing.parked),
            ("dlq", standing.dead),
        ];
        let places: Vec<&str> = places
            .into_iter()
            .filter_map(|(place, stands)| stands.then_some(place))
            .collect();
        let places = if places.is_empty() {
            "nowhere".to_owned()
        } else {
            format!("in {}", places.join(" and "))
        };
        let what = format!("stands {places}, which is wrong for {status}");
        report.differ(Difference::whole(subject.clone(), what));
    }
    let Some(record) = &standing.record else {
        // Ended tasks lose their record in time; others must not.
        if !folded.status().is_final() {
            let what = format!("is {} by the log and has no record", folded.status());
            report.differ(Difference::whole(subject, what));
        }
        return Ok(());
    };
    let mut by_log = folded.clone();
    if record.task.last > by_log.last {
        // It went on since the log was read: its own events, read in one step with its record.
        let history = partition
            .histories_up_to(&[(id, Some(record.task.last))])
            .await?
            .remove(0);
        match TaskDetail::fold_from(history.base.clone(), &history.decoded()) {
            Ok(Some(detail)) => by_log = detail.task,
            _ => {
                let what = "its latest events are not lawful";
                report.differ(Difference::whole(subject.clone(), what));
            }
        }
    }
    if by_log != record.task {
        let fields = |task: &Task| serde_json::to_value(task).unwrap_or_default();
        for (field, log, found) in between(&fields(&by_log), &fields(&record.task)) {
            report.differ(Difference::field(subject.clone(), field, &log, &found));
        }
    }
    Ok(())
}
