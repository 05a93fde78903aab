//! The fold: the same events give the same views, however they are cut into batches, and the views
//! are what a naive count of the log gives.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeMap;
use std::sync::Arc;

use taskweir_domain::{
    Actor, AttemptError, Command, ErrorKind, Failure, Fence, Holder, LossSeen, Phase, Position,
    Recorded, Status, Task, TaskId, TaskSpec, decide, evolve,
};
use taskweir_store::{
    Applied, Filter, Fold, Limits, LogEntry, MigrateOptions, Partition, RedisSettings, Store,
    Totals, migrate,
};
use taskweir_testkit::TestRedis;

/// A small generator with a fixed seed, so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

fn command(dice: &mut Dice, task: &Task) -> Command {
    let fence = match &task.phase {
        Phase::Processing { holder, .. } => Fence {
            attempt: task.attempt,
            holder: holder.clone(),
        },
        _ => Fence {
            attempt: 99,
            holder: Holder::new("late", "x"),
        },
    };
    let fail = |kind| Command::Fail {
        fence: fence.clone(),
        failure: Failure {
            error: AttemptError::new(kind, None, "no"),
            unit: 0.5,
            retry_in_ms: Some(1),
        },
    };
    match dice.roll(12) {
        0..=3 => Command::Start {
            holder: Holder::new("w", "n"),
            lease_ms: 1,
        },
        4 => Command::Complete {
            fence,
            result: None,
            duration_ms: 1,
        },
        5 | 6 => fail(ErrorKind::Error),
        7 => fail(ErrorKind::Fatal),
        8 => Command::Promote,
        9 => Command::Lose(LossSeen::Started(fence)),
        10 => Command::DlqRetry(Actor::anonymous().into()),
        _ => Command::Cancel(Actor::anonymous().into()),
    }
}

/// A lawful log of many tasks, and the state of each.
fn history(store: &Store, seed: u64) -> (Vec<LogEntry>, BTreeMap<TaskId, Task>) {
    let mut dice = Dice(seed);
    let mut tasks: BTreeMap<TaskId, Task> = BTreeMap::new();
    let mut log = Vec::new();
    for step in 0..1_500_u64 {
        let (id, task, command) = if tasks.len() < 60 && dice.roll(4) == 0 {
            let mut spec = TaskSpec::new(
                // Enough groups that rows of totals come more rarely.
                format!("q{}", dice.roll(30)).parse().unwrap(),
                format!("t{}", dice.roll(3)).parse().unwrap(),
            );
            spec.retry.max_retries = 1;
            spec.labels.insert("n".to_owned(), dice.roll(2).to_string());
            (store.mint(), None, Command::Submit(Box::new(spec)))
        } else if tasks.is_empty() {
            continue;
        } else {
            let id = *tasks.keys().nth(dice.roll(tasks.len())).unwrap();
            let task = tasks[&id].clone();
            (id, Some(task.clone()), command(&mut dice, &task))
        };
        let Ok(events) = decide(task.as_ref(), &command, u64::MAX) else {
            continue;
        };
        let recorded = Recorded {
            position: Position {
                ms: 1_700_000_000_000 + step * 700,
                seq: 0,
            },
            id,
            version: task.as_ref().map_or(1, |task| task.version + 1),
            previous: task.as_ref().map(|task| task.last),
            event: events[0].clone(),
        };
        log.push(LogEntry {
            position: recorded.position,
            t: recorded.event.event_type().wire(),
            i: id.to_string(),
            n: recorded.version.to_string(),
            b: recorded
                .previous
                .map(|at| at.to_string())
                .unwrap_or_default(),
            d: recorded.event.body(),
        });
        tasks.insert(id, evolve(task, &recorded).unwrap());
    }
    (log, tasks)
}

async fn partition(redis: &TestRedis, prefix: &str) -> (Store, Partition) {
    let settings = RedisSettings {
        url: redis.url(),
        prefix: prefix.to_owned(),
        ..RedisSettings::at("")
    };
    migrate(&settings, MigrateOptions { partitions: 1 })
        .await
        .unwrap();
    let store = Store::connect(&settings, Limits::default()).await.unwrap();
    let partition = store.partitions().remove(0);
    (store, partition)
}

/// Applies a log in batches of a size, optionally forgetting between them as after a restart.
async fn apply(partition: &Partition, log: &[LogEntry], batch: usize, forgetful: bool) {
    let keys = Arc::new(partition.keys().clone());
    let mut fold = Fold::resume(Position::ZERO, Totals::default());
    let mut at = Position::ZERO;
    for (index, entries) in log.chunks(batch).enumerate() {
        if forgetful {
            let views = partition.standpoint().await.unwrap();
            assert_eq!(&views.totals, fold.totals());
            fold = Fold::resume(views.last, views.totals);
            for (id, before) in fold.unknown(entries) {
                let told = log[..index * batch]
                    .iter()
                    .filter(|entry| entry.i == id.to_string());
                let told: Vec<Recorded> = told.map(|entry| entry.decode().unwrap()).collect();
                assert_eq!(told.last().unwrap().position, before);
                fold.learn(id, None, &told);
            }
        }
        let delta = fold.fold(&keys, entries).unwrap();
        let next = entries.last().unwrap().position;
        assert_eq!(
            partition.apply(at, next, &delta).await.unwrap(),
            Applied::Done
        );
        at = next;
    }
    assert_eq!(fold.skipped(), 0);
}

/// Every view key of a prefix with its content, the prefix left out.
fn dump(redis: &TestRedis, prefix: &str) -> BTreeMap<String, String> {
    let keys = redis.cli(&["KEYS", &format!("{prefix}:*view:*")]);
    let dump = keys.lines().map(|key| {
        let content = match redis.cli(&["TYPE", key]).as_str() {
            "hash" => {
                let flat = redis.cli(&["HGETALL", key]);
                let mut pairs: Vec<String> = flat
                    .lines()
                    .collect::<Vec<_>>()
                    .chunks(2)
                    .map(|pair| pair.join(" "))
                    .collect();
                // A group that was counted up and down again says 0; one that never was says nothing.
                pairs.retain(|pair| !pair.ends_with(" 0"));
                pairs.sort();
                pairs.join("\n")
            }
            _ => redis.cli(&["ZRANGE", key, "0", "-1"]),
        };
        (key.split("view:").nth(1).unwrap().to_owned(), content)
    });
    dump.filter(|(_, content)| !content.is_empty()).collect()
}

#[tokio::test]
async fn batches_of_any_size_and_restarts_give_the_same_views() {
    let redis = TestRedis::start();
    let (store, _) = partition(&redis, "a").await;
    for seed in 1..=3 {
        let (log, tasks) = history(&store, seed);
        let mut dumps = Vec::new();
        for (index, (batch, forgetful)) in [(10_000, false), (1, false), (7, false), (13, true)]
            .into_iter()
            .enumerate()
        {
            let prefix = format!("v{seed}{index}");
            let (_, partition) = partition(&redis, &prefix).await;
            apply(&partition, &log, batch, forgetful).await;
            let totals = partition.totals().await.unwrap();
            for status in Status::ALL {
                let naive = tasks
                    .values()
                    .filter(|task| task.status() == status)
                    .count();
                assert_eq!(
                    totals.of_status(status),
                    naive as u64,
                    "{status}, batches of {batch}"
                );
            }
            dumps.push(dump(&redis, &prefix));
        }
        for other in &dumps[1..] {
            assert_eq!(&dumps[0], other);
        }
    }
}

#[tokio::test]
async fn entries_that_continue_no_task_are_skipped_and_unknown_events_stop_the_fold() {
    let redis = TestRedis::start();
    let (store, partition) = partition(&redis, "a").await;
    let keys = Arc::new(partition.keys().clone());
    let (log, _) = history(&store, 9);
    let mut fold = Fold::resume(Position::ZERO, Totals::default());
    let orphan = LogEntry {
        n: "7".to_owned(),
        b: "1-1".to_owned(),
        ..log[0].clone()
    };
    let odd = LogEntry {
        i: "nobody".to_owned(),
        ..log[0].clone()
    };
    fold.fold(&keys, &[orphan, odd]).unwrap();
    assert_eq!(fold.skipped(), 2);
    let newer = LogEntry {
        t: "Submitted.2".to_owned(),
        ..log[0].clone()
    };
    let error = fold.fold(&keys, &[newer]).unwrap_err().to_string();
    assert!(
        error.contains("Submitted.2") && error.contains("upgrade the projector"),
        "{error}"
    );
    assert!(
        partition
            .list(&Filter::default(), None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}
