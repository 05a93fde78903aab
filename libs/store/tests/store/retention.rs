//! Retention: random traffic with random cuts, against a naive fold of everything that ever stood in
//! the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use taskweir_domain::{Json, Position, Recorded, Status, TaskDetail, TaskId};
use taskweir_store::{
    Applied, BaseHead, Counter, CutOutcome, Delta, Filter, Fold, LogEntry, NextCut, Partition,
    StoryAt, Totals, ViewContent,
};

use crate::bench::{Bench, started};
use crate::random::Traffic;

/// Everything that ever stood in the log, and the naive fold of any prefix.
#[derive(Default)]
struct Shadow {
    entries: Vec<LogEntry>,
}

impl Shadow {
    async fn follow(&mut self, partition: &Partition) {
        let last = self.entries.last().map(|entry| entry.position);
        let read = partition.read_log(last.unwrap_or_default(), 100_000);
        self.entries.extend(read.await.unwrap().entries);
    }

    fn tasks_at(&self, position: Position) -> BTreeMap<TaskId, TaskDetail> {
        let mut tasks: BTreeMap<TaskId, TaskDetail> = BTreeMap::new();
        for entry in self.entries.iter().filter(|e| e.position <= position) {
            let recorded: Recorded = entry.decode().unwrap();
            let before = tasks.remove(&recorded.id);
            let after = TaskDetail::evolve(before, &recorded).expect("a lawful log");
            tasks.insert(recorded.id, after);
        }
        tasks
    }
}

/// Takes the views a random part of the way.
async fn project(partition: &Partition, most: usize) {
    let views = partition.standpoint().await.unwrap();
    let read = partition.read_log(views.checkpoint, most).await.unwrap();
    let Some(next) = read.last else { return };
    let mut fold = Fold::resume(views.last, views.totals);
    partition.learn(&mut fold, &read.entries).await.unwrap();
    let keys = Arc::new(partition.keys().clone());
    let delta = fold.fold(&keys, &read.entries).unwrap();
    assert_eq!(fold.skipped(), 0);
    let applied = partition.apply(views.checkpoint, next, &delta).await;
    assert_eq!(applied.unwrap(), Applied::Done);
}

async fn cut(partition: &Partition, most: usize) -> usize {
    let base = partition.base_head().await.unwrap();
    match partition.next_cut(&base, u64::MAX, most).await.unwrap() {
        NextCut::Nothing { .. } => 0,
        NextCut::Ready { cut, events, .. } => {
            assert_eq!(partition.cut(&cut).await.unwrap(), CutOutcome::Done);
            assert_eq!(
                partition.cut(&cut).await.unwrap(),
                CutOutcome::Moved,
                "the repeat changes nothing"
            );
            events
        }
    }
}

/// The views as a fold of the base and of what is left of the log makes them.
async fn from_base(partition: &Partition, base: &BaseHead) -> ViewContent {
    let keys = Arc::new(partition.keys().clone());
    let mut fold = Fold::resume(base.last, base.totals.clone()).boundless();
    let mut delta = Delta::new(Arc::clone(&keys));
    delta.merge(fold.seed(&keys, &[], true));
    let mut cursor = Some("0".to_owned());
    while let Some(from) = cursor {
        let (tasks, next) = partition.base_page(&from).await.unwrap();
        delta.merge(fold.seed(&keys, &tasks, false));
        cursor = next;
    }
    let read = partition.read_log(base.position, 100_000).await.unwrap();
    delta.merge(fold.fold(&keys, &read.entries).unwrap());
    delta.content()
}

/// A task as the naive fold has it, with its payload where retention puts it.
fn spilled(detail: &TaskDetail) -> TaskDetail {
    TaskDetail {
        data: None,
        data_stored: None,
        ..detail.clone()
    }
}

async fn check_task(
    bench: &Bench,
    base: Position,
    at: Position,
    naive: Option<&TaskDetail>,
    id: TaskId,
) {
    let story = bench
        .store
        .story(id)
        .await
        .unwrap()
        .expect("it has not ended before the base");
    match (story.as_of(at).unwrap(), naive) {
        (StoryAt::NotYet, None) => {}
        (StoryAt::Gone, Some(_)) => assert!(at < base),
        (StoryAt::Was(was), Some(naive)) => {
            assert!(at >= base);
            assert_eq!(spilled(&was.detail), spilled(naive));
            let data = if was.detail.data_stored.is_some() {
                bench.partition.stored_data(id).await.unwrap()
            } else {
                was.detail.data.map(|data| data.as_str().to_owned())
            };
            let expected = match (&naive.data, &naive.data_stored) {
                (Some(data), _) => Some(data.as_str().to_owned()),
                (None, Some(_)) => Some(Json::of(&"x".repeat(2_000)).unwrap().as_str().to_owned()),
                (None, None) => None,
            };
            assert_eq!(data, expected, "the payload of {id}");
        }
        (was, naive) => panic!("{id} at {at}: {was:?}, not {naive:?}"),
    }
}

fn naive_totals(tasks: &BTreeMap<TaskId, TaskDetail>) -> BTreeMap<Counter, u64> {
    let mut counts = BTreeMap::new();
    for detail in tasks.values() {
        let counter = Counter {
            status: detail.task.status(),
            queue: detail.task.queue.to_string(),
            task_type: detail.task.task_type.to_string(),
        };
        *counts.entry(counter).or_default() += 1;
    }
    counts
}

async fn check_instant(bench: &Bench, shadow: &Shadow, base: &BaseHead, at: Position) {
    let naive = shadow.tasks_at(at);
    let found = bench.partition.totals_at(at).await.unwrap();
    assert_eq!(found.is_none(), at < base.position);
    if let Some(found) = found {
        assert_eq!(found.totals.counts, naive_totals(&naive), "counts at {at}");
        let seen = shadow.entries.partition_point(|entry| entry.position <= at);
        assert_eq!(found.totals.events(), seen as u64, "events by {at}");
        let twice = naive.values().filter(|detail| detail.task.attempt > 1);
        assert_eq!(found.totals.started_twice(), twice.count() as u64);
    }
    let before_base = shadow.tasks_at(base.position);
    for id in shadow
        .tasks_at(Position {
            ms: u64::MAX,
            seq: 0,
        })
        .keys()
    {
        let ended = before_base.get(id);
        if ended.is_some_and(|detail| detail.task.status().is_final()) {
            assert_eq!(bench.store.story(*id).await.unwrap(), None, "{id} is gone");
        } else {
            check_task(bench, base.position, at, naive.get(id), *id).await;
        }
    }
}

async fn traffic_with_cuts(seed: u64) {
    let mut traffic = Traffic::new(seed).await;
    let mut shadow = Shadow::default();
    let mut cut_events = 0;
    for step in 0..500 {
        traffic.step().await;
        if traffic.dice.roll(6) == 0 {
            shadow.follow(&traffic.bench.partition).await;
            let (seen, old) = (traffic.dice.roll(60) + 1, traffic.dice.roll(40) + 1);
            project(&traffic.bench.partition, seen).await;
            if step > 100 {
                cut_events += cut(&traffic.bench.partition, old).await;
            }
        }
    }
    let bench = &traffic.bench;
    shadow.follow(&bench.partition).await;
    project(&bench.partition, 100_000).await;
    let base = bench.partition.base_head().await.unwrap();
    assert!(cut_events > 100, "seed {seed}: {cut_events}");

    let keys: BTreeSet<String> = bench.partition.view_keys().await.unwrap();
    let (_, live) = bench.partition.view_content(&keys).await.unwrap();
    assert_eq!(
        live,
        from_base(&bench.partition, &base).await,
        "seed {seed}"
    );
    for _ in 0..12 {
        let at = shadow.entries[traffic.dice.roll(shadow.entries.len())].position;
        check_instant(&traffic.bench, &shadow, &base, at).await;
    }
    let cut_at = Position {
        ms: base.position.ms,
        ..base.position
    };
    check_instant(&traffic.bench, &shadow, &base, cut_at).await;
}

#[tokio::test]
async fn no_cut_changes_an_answer_about_what_it_leaves() {
    for seed in 1..=4 {
        traffic_with_cuts(seed).await;
    }
}

#[tokio::test]
async fn a_task_scheduled_beyond_the_horizon_runs_with_its_payload() {
    for data in [
        Json::null(),
        Json::of(&7).unwrap(),
        Json::of(&"x".repeat(3_000)).unwrap(),
    ] {
        let bench = Bench::new().await;
        let text = data.as_str().to_owned();
        let id = bench.submit_with(|spec| {
            spec.data = data;
            spec.run_at_ms = Some(1);
        });
        let id = id.await;
        project(&bench.partition, 10).await;
        assert_eq!(cut(&bench.partition, 10).await, 1);
        let due = bench.partition.due(10).await.unwrap().0;
        bench.partition.promote(&due).await.unwrap();
        let claimed = bench.claim_one("w").await;
        let holder = taskweir_domain::Holder::new("w", "n");
        let begun = started(bench.start_as(&claimed, &holder).await);
        let taskweir_store::Payload::Json(json) = begun.payload else {
            panic!("{:?}", begun.payload);
        };
        assert_eq!(json.as_str(), text);
        let story = bench.store.story(id).await.unwrap().unwrap();
        let base = story.base.expect("its first event was cut");
        assert_eq!(
            (base.task.version, base.task.status()),
            (1, Status::Scheduled)
        );
        assert_eq!(story.detail.task.version, 3);
    }
}

#[tokio::test]
async fn a_payload_that_is_lost_is_not_taken_for_null() {
    let bench = Bench::new().await;
    let id = bench.submit_with(|spec| {
        spec.data = Json::of(&7).unwrap();
        spec.run_at_ms = Some(1);
    });
    let id = id.await;
    project(&bench.partition, 10).await;
    cut(&bench.partition, 10).await;
    assert_eq!(
        bench.redis.cli(&["DEL", &bench.partition.keys().data(id)]),
        "1"
    );
    let due = bench.partition.due(10).await.unwrap().0;
    bench.partition.promote(&due).await.unwrap();
    let claimed = bench.claim_one("w").await;
    let holder = taskweir_domain::Holder::new("w", "n");
    let begun = started(bench.start_as(&claimed, &holder).await);
    assert_eq!(begun.payload, taskweir_store::Payload::Missing);
}

#[tokio::test]
async fn a_cut_waits_for_the_views_and_for_readers_of_the_whole_log() {
    let bench = Bench::new().await;
    bench.submit().await;
    let partition = &bench.partition;
    let next = async || {
        let base = partition.base_head().await.unwrap();
        partition.next_cut(&base, u64::MAX, 10).await.unwrap()
    };
    assert!(matches!(
        next().await,
        NextCut::Nothing { oldest_ms: Some(_) }
    ));
    project(partition, 10).await;
    let NextCut::Ready { cut, .. } = next().await else {
        panic!("the views have seen it");
    };
    assert_eq!(
        bench.redis.cli(&["DEL", &partition.keys().checkpoint()]),
        "1"
    );
    assert_eq!(partition.cut(&cut).await.unwrap(), CutOutcome::Ahead);
    let at = cut.to.position.to_string();
    let key = partition.keys().checkpoint();
    assert_eq!(bench.redis.cli(&["SET", &key, &at]), "OK");
    let hold = partition.hold().await.unwrap();
    assert_eq!(partition.cut(&cut).await.unwrap(), CutOutcome::Held);
    assert_eq!(partition.base_head().await.unwrap(), BaseHead::default());
    assert_eq!(partition.log_end().await.unwrap().1, 1, "nothing was cut");
    hold.release().await.unwrap();
    assert_eq!(partition.cut(&cut).await.unwrap(), CutOutcome::Done);
    assert_eq!(partition.log_end().await.unwrap().1, 0);
    let page = bench
        .store
        .list(&Filter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(page.items.len(), 1, "it lives on");
}

#[tokio::test]
async fn a_full_redis_still_lets_history_be_cut() {
    let bench = Bench::new().await;
    let running = {
        bench.submit().await;
        bench.run("w").await
    };
    bench.complete(&running).await;
    project(&bench.partition, 10).await;
    let limit = |bytes| bench.redis.cli(&["CONFIG", "SET", "maxmemory", bytes]);
    assert_eq!(limit("1"), "OK");
    assert_eq!(cut(&bench.partition, 10).await, 3);
    assert_eq!(limit("0"), "OK");
    assert_eq!(bench.store.story(running.id).await.unwrap(), None);
    let totals: Totals = bench.partition.totals().await.unwrap();
    assert_eq!(totals.of_status(Status::Completed), 1, "it stays counted");
    let keys = bench.redis.cli(&["KEYS", "*task:*"]);
    assert_eq!(keys, "");
}
