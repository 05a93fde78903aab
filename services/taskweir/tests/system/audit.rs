//! The audit: the log folded afresh against records, queues, indexes and counters.

use std::collections::BTreeMap;

use taskweir_domain::{Event, Position, Recorded, Status, TaskDetail, TaskId};
use taskweir_store::{Filter, Store};

/// What an audit counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Audit {
    pub tasks: usize,
    pub events: usize,
    pub by_status: BTreeMap<Status, u64>,
    pub started_twice: usize,
    pub late: usize,
    pub retried: u64,
}

/// Folds the whole log; every event must be lawful, and everything else must agree with the fold.
pub async fn audit(store: &Store) -> Audit {
    let mut audit = Audit::default();
    let mut tasks: BTreeMap<TaskId, TaskDetail> = BTreeMap::new();
    for partition in store.partitions() {
        let mut at = Position::ZERO;
        loop {
            let read = partition.read_log(at, 5_000).await.unwrap();
            let Some(last) = read.last else { break };
            at = last;
            assert_eq!(read.malformed, 0);
            for entry in read.entries.iter().filter(|entry| !entry.is_of_queue()) {
                let recorded: Recorded = entry.decode().unwrap();
                audit.events += 1;
                audit.late +=
                    usize::from(matches!(recorded.event, Event::LateCompletionRefused(_)));
                audit.retried += u64::from(matches!(recorded.event, Event::DlqRetried(_)));
                let before = tasks.remove(&recorded.id);
                let after = TaskDetail::evolve(before, &recorded).expect("a lawful log");
                tasks.insert(recorded.id, after);
            }
        }
    }
    let mut ids: Vec<TaskId> = tasks.keys().copied().collect();
    ids.sort_by_key(|id| id.partition());
    for ids in ids
        .chunk_by(|a, b| a.partition() == b.partition())
        .flat_map(|ids| ids.chunks(500))
    {
        let partition = store.partition_of(ids[0]).unwrap();
        for (id, record) in ids.iter().zip(partition.records(ids).await.unwrap()) {
            assert_eq!(
                record.expect("a record").task,
                tasks[id].task,
                "log = record"
            );
        }
    }
    for detail in tasks.values() {
        audit.tasks += 1;
        *audit.by_status.entry(detail.task.status()).or_default() += 1;
        audit.started_twice += usize::from(detail.task.attempt > 1);
    }
    let totals = store.totals().await.unwrap();
    for status in Status::ALL {
        let folded = audit.by_status.get(&status).copied().unwrap_or(0);
        assert_eq!(totals.of_status(status), folded, "counters of {status}");
        let listed = listed(store, status).await;
        assert_eq!(listed as u64, folded, "index of {status}");
    }
    let report = taskweir_projector::verify(store).await.unwrap();
    assert_eq!(report.differences, [], "views = fold");
    assert_eq!(report.tasks, audit.tasks as u64);
    assert_eq!(report.by_status, audit.by_status);
    audit
}

async fn listed(store: &Store, status: Status) -> usize {
    let filter = Filter {
        statuses: vec![status],
        ..Filter::default()
    };
    let (mut count, mut cursor) = (0, None::<String>);
    loop {
        let page = store.list(&filter, cursor.as_deref(), 500).await.unwrap();
        count += page.items.len();
        cursor = page.next;
        if cursor.is_none() {
            return count;
        }
    }
}
