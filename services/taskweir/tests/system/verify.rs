use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use taskweir_domain::{Priority, QueueName, Status, TaskId};
use taskweir_testkit::{eventually, eventually_within};

use crate::audit::audit;
use crate::fleet::{Fleet, command};

/// Runs `taskweir verify --json`; gives its exit status and what it found.
fn verify(fleet: &Fleet) -> (i32, Value) {
    let output = command(Path::new("/"))
        .args(["verify", "--json"])
        .env("REDIS_URL", fleet.redis.url())
        .output()
        .unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("no report: {}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.code().unwrap(), told)
}

/// A command of an operator who knows better; all of ours answer with a number.
fn by_hand(fleet: &Fleet, change: &[&str]) {
    let answer = fleet.redis.cli(change);
    assert!(answer.parse::<u64>().is_ok(), "{change:?}: {answer}");
}

/// A time that no scheduler comes to before it is repaired, ms.
const FAR: &str = "9999999999999";

/// Damages by hand, expects the one finding that tells of it, and repairs.
fn damage(fleet: &Fleet, change: &[&str], repair: &[&str], told: &[&str]) {
    by_hand(fleet, change);
    let (code, report) = verify(fleet);
    assert_eq!((code, &report["clean"]), (1, &json!(false)), "{change:?}");
    let differences = report["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{change:?}: {differences:?}");
    for part in told {
        let difference = differences[0].to_string();
        assert!(difference.contains(part), "{difference} names {part}");
        assert!(difference.len() < 500, "{difference}");
    }
    by_hand(fleet, repair);
    assert_eq!(verify(fleet).0, 0, "repaired after {change:?}");
}

#[tokio::test]
async fn verify_finds_and_names_each_damage_done_by_hand() {
    let fleet = Fleet::start("10").await;
    let worker = fleet.spawn("worker", &[]);
    let id = fleet.submit(&json!({ "type": "echo" })).await;
    fleet
        .reaches(&id, "completed", Duration::from_secs(20))
        .await;
    assert!(worker.stop().await.success());
    let waiting = fleet.submit(&json!({ "type": "echo" })).await;
    let delayed = fleet.submit(&json!({ "type": "echo", "delay": 600 })).await;
    fleet.settled(Duration::from_secs(10)).await;
    let (code, report) = verify(&fleet);
    assert_eq!((code, &report["difference_count"]), (0, &json!(0)));
    assert_eq!(
        (&report["tasks"], &report["events"]),
        (&json!(3), &json!(5))
    );

    let default: QueueName = "default".parse().unwrap();
    let done: TaskId = id.parse().unwrap();
    let later: TaskId = delayed.parse().unwrap();
    let keys_of = |id: &str| {
        let partition = fleet.store.partition_of(id.parse().unwrap()).unwrap();
        partition.keys().clone()
    };

    let record = keys_of(&id).task(done);
    damage(
        &fleet,
        &["HSET", &record, "a", "9"],
        &["HSET", &record, "a", "1"],
        &[&id, "\"found\":\"9\"", "\"what\":\"attempt\""],
    );
    let due = keys_of(&delayed).due();
    let score = fleet.redis.cli(&["ZSCORE", &due, &delayed]);
    damage(
        &fleet,
        &["ZREM", &due, &delayed],
        &["ZADD", &due, &score, &delayed],
        &[&delayed, "stands nowhere"],
    );
    let due = keys_of(&id).due();
    damage(
        &fleet,
        &["ZADD", &due, FAR, &id],
        &["ZREM", &due, &id],
        &[&id, "stands in due"],
    );
    let index = keys_of(&delayed).index(Status::Scheduled, "default", "echo");
    damage(
        &fleet,
        &["ZREM", &index, &delayed],
        &["ZADD", &index, "0", &delayed],
        &[&index, &delayed],
    );
    let stray = ["ZADD", &keys_of(&id).expiry(), FAR, &id];
    damage(&fleet, &stray, &["ZREM", stray[1], &id], &[&id, "expiry"]);
    let totals = keys_of(&id).totals();
    damage(
        &fleet,
        &["HINCRBY", &totals, "Completed|default", "1"],
        &["HINCRBY", &totals, "Completed|default", "-1"],
        &[&totals, "Completed|default"],
    );
    // What cannot be put back by one command comes last.
    let ready = keys_of(&id).ready(&default, Priority::High);
    let entry = ["XADD", &ready, "*", "i", &id, "t", "echo", "s", "", "d", ""];
    let entry = fleet.redis.cli(&entry);
    let (code, report) = verify(&fleet);
    assert_eq!((code, &report["difference_count"]), (1, &json!(1)));
    let told = report["differences"][0].to_string();
    assert!(
        told.contains(&id) && told.contains("ready:default:high"),
        "{told}"
    );
    let says = async |line: &str| {
        let metrics = fleet.http.get(format!("{}/metrics", fleet.base)).send();
        let metrics = metrics.await.unwrap().text().await.unwrap();
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    };
    says("taskweir_verify_differences 1").await;
    // What was submitted is somewhere, or the ledger says how many are not.
    says("taskweir_ledger_difference 0").await;
    by_hand(&fleet, &["HINCRBY", &totals, "Submitted|default", "1"]);
    says("taskweir_ledger_difference 1").await;
    by_hand(&fleet, &["HINCRBY", &totals, "Submitted|default", "-1"]);
    by_hand(&fleet, &["XDEL", &ready, &entry]);
    assert_eq!(verify(&fleet).0, 0);
    by_hand(&fleet, &["DEL", &keys_of(&delayed).task(later)]);
    by_hand(
        &fleet,
        &["DEL", &keys_of(&waiting).ready(&default, Priority::Normal)],
    );
    let (code, report) = verify(&fleet);
    let told = report["differences"].to_string();
    assert_eq!(code, 1);
    assert!(
        told.contains(&waiting) && told.contains("stands nowhere, which is wrong for pending"),
        "{told}"
    );
    assert!(
        told.contains(&delayed) && told.contains("no record"),
        "{told}"
    );
}

/// Runs `taskweir rebuild --json`.
fn rebuild(fleet: &Fleet) -> Value {
    let output = command(Path::new("/"))
        .args(["rebuild", "--json"])
        .env("REDIS_URL", fleet.redis.url())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What users see of the views.
async fn answers(fleet: &Fleet) -> Vec<Value> {
    let mut answers = Vec::new();
    for path in [
        "/tasks?limit=500",
        "/tasks?label=tenant%3Da",
        "/tasks?status=failed",
        "/dlq/failed-tasks",
        "/queues",
    ] {
        answers.push(fleet.get(path).await);
    }
    // The rates are those of the last whole minutes, and a minute may end between two answers.
    let queues = answers.last_mut().expect("the queues are asked for last");
    for queue in queues["queues"].as_array_mut().unwrap() {
        queue.as_object_mut().unwrap().remove("rates").unwrap();
    }
    answers.push(fleet.get("/stats").await["totals"].clone());
    answers
}

#[tokio::test]
async fn deleted_views_come_back_by_a_rebuild_with_the_same_answers() {
    let fleet = Fleet::with_partitions("10", 4).await;
    let worker = fleet.spawn("worker", &[]);
    let kinds = [
        json!({ "type": "echo", "labels": { "tenant": "a" } }),
        json!({ "type": "fail", "data": { "fatal": true } }),
        json!({ "type": "echo", "delay": 3600 }),
    ];
    let tasks: Vec<_> = kinds.iter().cycle().take(120).cloned().collect();
    fleet.submit_batch(&tasks).await;
    eventually("all rest", async || {
        let totals = fleet.get("/stats").await["totals"].clone();
        (totals["completed"] == 40 && totals["failed"] == 40).then_some(())
    })
    .await;
    assert!(worker.stop().await.success());
    fleet.settled(Duration::from_secs(10)).await;
    let before = answers(&fleet).await;
    let right = rebuild(&fleet);
    assert_eq!(
        (&right["equal"], &right["events"]),
        (&json!(true), &json!(280))
    );
    assert_eq!(
        answers(&fleet).await,
        before,
        "a swap of equals shows nothing"
    );

    for partition in fleet.store.partitions() {
        for key in partition.view_keys().await.unwrap() {
            by_hand(&fleet, &["DEL", &key]);
        }
    }
    assert_ne!(answers(&fleet).await, before);
    assert_eq!(verify(&fleet).0, 1);
    let wrong = rebuild(&fleet);
    assert_eq!(wrong["equal"], false);
    assert_eq!(wrong["fresh_digest"], right["live_digest"]);
    assert_eq!(answers(&fleet).await, before);
    assert_eq!(verify(&fleet).0, 0);
    let keys = fleet.redis.cli(&["KEYS", "*rebuild*"]);
    assert_eq!(keys, "", "nothing is left beside the views");
}

#[tokio::test]
async fn a_rebuild_under_traffic_loses_and_doubles_nothing() {
    let fleet = Fleet::start("10").await;
    let _workers: Vec<_> = (0..2).map(|_| fleet.spawn("worker", &[])).collect();
    let quick = json!({ "initial_delay": 0.05, "jitter": 0.5 });
    let kinds = [
        json!({ "type": "echo" }),
        json!({ "type": "fail", "data": { "times": 1 }, "retry": quick }),
    ];
    let tasks: Vec<_> = kinds.iter().cycle().take(500).cloned().collect();
    for _ in 0..6 {
        fleet.submit_batch(&tasks).await;
        let rebuilt = rebuild(&fleet);
        assert_eq!(rebuilt["equal"], true, "{rebuilt}");
    }
    eventually_within(Duration::from_secs(60), "all complete", async || {
        let totals = fleet.get("/stats").await["totals"].clone();
        (totals["completed"] == 3_000).then_some(())
    })
    .await;
    fleet.settled(Duration::from_secs(10)).await;
    assert_eq!(audit(&fleet.store).await.tasks, 3_000);
}

#[tokio::test]
async fn verify_is_clean_while_traffic_goes_on() {
    let fleet = Fleet::with_partitions("10", 4).await;
    let _workers: Vec<_> = (0..2).map(|_| fleet.spawn("worker", &[])).collect();
    let quick = json!({ "initial_delay": 0.05, "jitter": 0.5 });
    let kinds = [
        json!({ "type": "echo" }),
        json!({ "type": "fail", "data": { "times": 1 }, "retry": quick }),
        json!({ "type": "fail", "data": { "fatal": true } }),
    ];
    let tasks: Vec<_> = kinds.iter().cycle().take(300).cloned().collect();
    for round in 1..=5 {
        fleet.submit_batch(&tasks).await;
        let (code, report) = verify(&fleet);
        assert_eq!(code, 0, "{report}");
        assert_eq!(
            report["tasks"],
            300 * round,
            "every task answered is in the log"
        );
    }
}

#[tokio::test]
async fn records_that_differ_or_cannot_be_read_are_each_named_field_by_field() {
    let fleet = Fleet::start("10").await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(fleet.submit(&json!({ "type": "echo", "delay": 600 })).await);
    }
    fleet.settled(Duration::from_secs(10)).await;
    let record = |id: &str| {
        let id: TaskId = id.parse().unwrap();
        let partition = fleet.store.partition_of(id).unwrap();
        partition.keys().task(id)
    };
    for (id, field, value) in [
        (&ids[0], "s", "asleep"),
        (&ids[1], "v", "many"),
        (&ids[2], "v", "7"),
    ] {
        by_hand(&fleet, &["HSET", &record(id), field, value]);
    }
    let (code, report) = verify(&fleet);
    assert_eq!((code, &report["difference_count"]), (1, &json!(3)));
    let of = |id: &str| {
        let all = report["differences"].as_array().unwrap();
        let found = all
            .iter()
            .find(|one| one["subject"] == format!("task {id}"));
        found
            .unwrap_or_else(|| panic!("{id} is named: {all:?}"))
            .clone()
    };
    for (id, why) in [(&ids[0], "asleep"), (&ids[1], "many")] {
        let what = of(id)["what"].as_str().unwrap().to_owned();
        assert!(
            what.contains("cannot be read") && what.contains(why),
            "{what}"
        );
    }
    let version = of(&ids[2]);
    assert_eq!(
        (&version["what"], &version["log"], &version["found"]),
        (&json!("version"), &json!("1"), &json!("7"))
    );
}
