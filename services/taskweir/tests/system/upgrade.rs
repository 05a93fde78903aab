//! An upgrade under traffic: programs of two versions side by side over a migration.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use taskweir_domain::Status;
use taskweir_store::{MigrateOptions, RedisSettings, migrate};
use taskweir_testkit::{Persistence, TestRedis, eventually_within, free_port, partitions};

use crate::audit::audit;
use crate::fleet::{Fleet, Process, SERVICES, command};

const SOON: Duration = Duration::from_secs(60);
/// Makes a debug build play the next program, which knows one more migration.
const NEXT: (&str, &str) = ("TASKWEIR_SABOTAGE", "next-layout");

/// Migrates as the next program does; what it says, or why it failed.
fn migrated(redis: &TestRedis) -> Result<Value, String> {
    let mut migrate = command(Path::new("/"));
    migrate
        .args(["migrate", "--json"])
        .env("REDIS_URL", redis.url())
        .env("RUST_LOG", "off")
        .env(NEXT.0, NEXT.1);
    let output = migrate.output().unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// Whether the record of a task has what the migration adds.
fn is_rehearsed(fleet: &Fleet, id: &str) -> bool {
    let id = id.parse().unwrap();
    let record = fleet.store.partition_of(id).unwrap().keys().task(id);
    fleet.redis.cli(&["HGET", &record, "rehearsed"]) == "1"
}

/// A migration that ends in the middle is made again from its beginning, by the next `taskweir migrate`.
#[tokio::test]
async fn a_migration_that_fails_half_way_is_made_whole_by_the_next() {
    let fleet = Fleet::start("5").await;
    let task = json!({ "type": "echo", "delay": 3_600 });
    let ids = fleet.submit_batch(&vec![task; 400]).await;
    // The record of nobody, and no hash: a script that meets it fails.
    let last = fleet.store.partitions().pop().unwrap();
    let stranger = last
        .keys()
        .task(fleet.store.mint_in(last.keys().partition()));
    assert_eq!(fleet.redis.cli(&["SET", &stranger, "x"]), "OK");
    let why = migrated(&fleet.redis).unwrap_err();
    assert!(why.contains("WRONGTYPE"), "{why}");
    assert_eq!(fleet.redis.cli(&["HGET", "tw:schema", "version"]), "2");
    // Old programs go on meanwhile.
    let more = fleet
        .submit(&json!({ "type": "echo", "delay": 3_600 }))
        .await;
    assert_eq!(fleet.redis.cli(&["DEL", &stranger]), "1");
    let said = migrated(&fleet.redis).unwrap();
    assert_eq!((&said["from"], &said["to"]), (&json!(2), &json!(3)));
    for id in ids.iter().chain([&more]) {
        assert!(is_rehearsed(&fleet, id), "{id}");
    }
    let again = migrated(&fleet.redis).unwrap();
    assert_eq!((&again["from"], &again["to"]), (&json!(3), &json!(3)));
    fleet.settled(SOON).await;
    audit(&fleet.store).await;
}

#[tokio::test]
async fn old_and_new_programs_work_side_by_side_over_a_migration() {
    let fleet = Fleet::start("5").await;
    let _old_worker = fleet.spawn("worker", &[("WORKER_QUEUES", "default,old")]);
    let task =
        |queue: &str| json!({ "type": "process", "data": { "duration_ms": 20 }, "queue": queue });
    let mut ids = fleet.submit_batch(&vec![task("default"); 200]).await;

    // The new program is here first: it waits, and says why.
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut waits = command(dir.path());
    waits
        .arg("worker")
        .env("REDIS_URL", fleet.redis.url())
        .env(NEXT.0, NEXT.1)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap());
    let _waits = Process::of(waits.spawn().unwrap());
    eventually_within(SOON, "it says what it waits for", async || {
        let said = std::fs::read_to_string(&log).unwrap();
        let why = "the layout has version 1, this program needs 3: run `taskweir migrate`";
        said.contains(why).then_some(())
    })
    .await;
    let address = format!("127.0.0.1:{}", free_port());
    let new_gateway = fleet.spawn("gateway", &[("GATEWAY_ADDR", &address), NEXT]);
    let _new_worker = fleet.spawn("worker", &[("WORKER_QUEUES", "default,new"), NEXT]);
    let ask = async |path: &str| -> Option<(u16, String)> {
        let answer = fleet
            .http
            .get(format!("http://{address}{path}"))
            .send()
            .await;
        let answer = answer.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    };
    eventually_within(
        SOON,
        "the new gateway lives, and is not ready",
        async || {
            let live = ask("/health/live").await?.0;
            (live == 200 && ask("/health/ready").await?.0 == 503).then_some(())
        },
    )
    .await;
    assert_eq!(fleet.get("/health").await["layout_version"], 1);

    // The migration, while tasks run. It adds a field to every record there is.
    let said = migrated(&fleet.redis).unwrap();
    assert_eq!((&said["from"], &said["to"]), (&json!(1), &json!(3)));
    let mut known = 0;
    for id in &ids {
        known += usize::from(is_rehearsed(&fleet, id));
    }
    assert_eq!(known, ids.len(), "each record was changed");

    // Both go on: also an old program that is started anew.
    eventually_within(SOON, "the new gateway is ready", async || {
        (ask("/health/ready").await?.0 == 200).then_some(())
    })
    .await;
    assert_eq!(fleet.get("/health").await["layout_version"], 3);
    let old_migration = command(Path::new("/"))
        .args(["migrate", "--json"])
        .env("REDIS_URL", fleet.redis.url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&old_migration.stdout);
    assert!(
        old_migration.status.success()
            && said.contains(r#""from":3"#)
            && said.contains(r#""to":3"#),
        "its migration finds nothing to do: {said}"
    );
    let _old_again = fleet.spawn("worker", &[("WORKER_QUEUES", "again")]);
    for queue in ["default", "old", "new", "again"] {
        ids.extend(fleet.submit_batch(&vec![task(queue); 50]).await);
        let body = json!({ "tasks": vec![task(queue); 50] });
        let post = fleet.http.post(format!("http://{address}/tasks/batch"));
        let answer: Value = post.json(&body).send().await.unwrap().json().await.unwrap();
        let items = answer["items"].as_array().unwrap();
        let made = items
            .iter()
            .map(|item| item["task"]["id"].as_str().unwrap().to_owned());
        ids.extend(made);
    }
    eventually_within(SOON, "all have completed", async || {
        let totals = fleet.get("/stats").await["totals"].clone();
        (totals["completed"] == ids.len()).then_some(())
    })
    .await;
    fleet.settled(SOON).await;
    let audit = audit(&fleet.store).await;
    assert_eq!(audit.by_status[&Status::Completed], ids.len() as u64);
    let (_, text) = ask("/stats").await.unwrap();
    let stats: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(stats["totals"]["completed"], ids.len());
    drop(new_gateway);
}

/// Waiting would not help: somebody must upgrade the program.
#[tokio::test]
async fn a_layout_that_has_left_the_program_behind_is_refused_and_left_alone() {
    let redis = TestRedis::start();
    let settings = RedisSettings::at(redis.url());
    let partitions = partitions();
    migrate(&settings, MigrateOptions { partitions })
        .await
        .unwrap();
    let newer = ["HSET", "tw:schema", "version", "99", "oldest", "98"];
    assert!(redis.cli(&newer).parse::<u32>().is_ok());
    let before = redis.cli(&["KEYS", "*"]);
    let address = format!("127.0.0.1:{}", free_port());
    for name in SERVICES.into_iter().chain(["migrate"]) {
        let mut program = command(Path::new("/"));
        program
            .arg(name)
            .env("REDIS_URL", redis.url())
            .env("GATEWAY_ADDR", &address)
            .env("DASHBOARD_ADDR", &address);
        let output = program.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        let why = "taskweir: the layout has version 99, this program knows 1: upgrade it";
        assert_eq!(said.lines().last(), Some(why), "{name}: {said}");
    }
    assert_eq!(redis.cli(&["KEYS", "*"]), before);
}

#[tokio::test]
async fn a_migration_waits_for_a_redis_that_reads_its_file() {
    let mut redis = TestRedis::start_with(Persistence::Aof, &[]);
    redis.kill_and_load_slowly().await;
    let mut migrate = command(Path::new("/"));
    migrate
        .args(["migrate", "--json"])
        .env("REDIS_URL", redis.url());
    // It blocks this thread, and the server loads all the same.
    let output = migrate.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("waiting for Redis"), "{said}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["from"], 0);
}
