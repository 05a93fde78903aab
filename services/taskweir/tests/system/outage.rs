use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use taskweir_domain::{Position, Priority};
use taskweir_testkit::{TestRedis, eventually, eventually_within};

use crate::audit::audit;
use crate::fleet::Fleet;

/// What a client saw while it submitted one task after the other.
#[derive(Default)]
struct Seen {
    accepted: Vec<String>,
    refused: u32,
    without_retry_after: u32,
    other: Vec<u16>,
}

async fn submit_until(base: String, end: Arc<AtomicBool>, seen: Arc<Mutex<Seen>>) {
    let http = taskweir_client::http::plain().build().unwrap();
    while !end.load(Ordering::SeqCst) {
        let body = json!({ "type": "process", "data": { "duration_ms": 5 } });
        let answer = http
            .post(format!("{base}/tasks"))
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let retry_after = answer.headers().contains_key("retry-after");
        let body: Value = answer.json().await.unwrap();
        let mut seen = seen.lock().unwrap();
        match status {
            202 => seen.accepted.push(body["id"].as_str().unwrap().to_owned()),
            503 => {
                seen.refused += 1;
                seen.without_retry_after += u32::from(!retry_after);
            }
            other => seen.other.push(other),
        }
    }
}

#[tokio::test]
async fn redis_away_for_ten_seconds_under_load_is_survived_by_everyone() {
    let mut fleet = Fleet::start("5").await;
    let _workers: Vec<_> = (0..2).map(|_| fleet.spawn("worker", &[])).collect();
    let (end, seen) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(Seen::default())),
    );
    let client = submit_until(fleet.base.clone(), Arc::clone(&end), Arc::clone(&seen));
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let client = tokio::spawn(client);
    let accepted = |count: usize| {
        let seen = Arc::clone(&seen);
        async move || (seen.lock().unwrap().accepted.len() >= count).then_some(())
    };
    eventually("some are accepted", accepted(100)).await;
    fleet.redis.kill();
    // The outage itself is the subject: it has to last.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let refused = seen.lock().unwrap().refused;
    assert!(refused > 0, "refused meanwhile");
    let health = fleet
        .http
        .get(format!("{}/health", fleet.base))
        .send()
        .await
        .unwrap();
    assert_eq!(health.status().as_u16(), 503);
    let alive = fleet
        .http
        .get(format!("{}/health/live", fleet.base))
        .send()
        .await
        .unwrap();
    assert!(alive.status().is_success());
    fleet.redis.restart();
    let before = seen.lock().unwrap().accepted.len();
    eventually_within(
        Duration::from_secs(10),
        "accepted again",
        accepted(before + 100),
    )
    .await;
    end.store(true, Ordering::SeqCst);
    client.await.unwrap();
    let seen = Arc::into_inner(seen).unwrap().into_inner().unwrap();
    assert_eq!(seen.without_retry_after, 0);
    assert_eq!(seen.other, [0_u16; 0], "nothing but 202 and 503");
    eventually_within(Duration::from_secs(60), "all rest", async || {
        let totals = fleet.get("/stats").await["totals"].clone();
        let live = ["pending", "processing", "retrying"]
            .iter()
            .map(|s| totals[*s].as_u64().unwrap())
            .sum::<u64>();
        (live == 0 && totals["completed"].as_u64().unwrap() >= seen.accepted.len() as u64)
            .then_some(())
    })
    .await;
    for id in &seen.accepted {
        assert_eq!(
            fleet.get(&format!("/tasks/{id}")).await["status"],
            "completed",
            "accepted means run"
        );
    }
    fleet.connected().await;
    fleet.settled(Duration::from_secs(10)).await;
    audit(&fleet.store).await;
}

/// When each completion stands in the log, ms since the epoch.
async fn completions(fleet: &Fleet) -> Vec<u64> {
    let mut times = Vec::new();
    for partition in fleet.store.partitions() {
        let mut at = Position::ZERO;
        loop {
            let read = partition.read_log(at, 10_000).await.unwrap();
            let Some(last) = read.last else { break };
            let done = read.entries.iter().filter(|entry| entry.t == "Completed.1");
            times.extend(done.map(|entry| entry.position.ms));
            at = last;
        }
    }
    times.sort_unstable();
    times
}

#[tokio::test]
async fn throughput_is_back_within_ten_seconds_of_a_restart_of_redis() {
    let mut fleet = Fleet::start("5").await;
    let _workers: Vec<_> = (0..2).map(|_| fleet.spawn("worker", &[])).collect();
    let (end, seen) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(Seen::default())),
    );
    let clients = (0..8).map(|_| {
        let client = submit_until(fleet.base.clone(), Arc::clone(&end), Arc::clone(&seen));
        #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
        tokio::spawn(client)
    });
    let clients: Vec<_> = clients.collect();
    let accepted = |count: usize| {
        let seen = Arc::clone(&seen);
        async move || (seen.lock().unwrap().accepted.len() >= count).then_some(())
    };
    eventually("it is warm", accepted(100)).await;
    // A rate needs a span.
    let span = Duration::from_secs(3);
    tokio::time::sleep(span).await;
    let killed_ms = fleet.store.server_time_ms().await.unwrap();
    fleet.redis.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    fleet.redis.restart();
    // By its own clock, before any of ours has found it again.
    let time = fleet.redis.cli(&["TIME"]);
    let time: Vec<u64> = time.lines().map(|text| text.parse().unwrap()).collect();
    let back_ms = time[0] * 1_000 + time[1] / 1_000;
    tokio::time::sleep(Duration::from_secs(11)).await;
    end.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    fleet.connected().await;
    let times = completions(&fleet).await;
    let within = |from: u64, to: u64| times.iter().filter(|ms| (from..to).contains(*ms)).count();
    let span_ms = u64::try_from(span.as_millis()).unwrap();
    let before = within(killed_ms - span_ms, killed_ms) as f64 / span.as_secs_f64();
    // Over three seconds: what had piled up meanwhile is worked off in less.
    let recovered = (back_ms..back_ms + 7_000)
        .step_by(100)
        .find(|from| within(*from, from + span_ms) as f64 / span.as_secs_f64() >= 0.8 * before);
    println!("{before:.0} completions/s before; again {recovered:?} after {back_ms}");
    assert!(before > 20.0, "{before}");
    let recovered = recovered.expect("80% of the rate before, over three seconds, within ten");
    println!("back after {} ms", recovered + span_ms - back_ms);
}

#[tokio::test]
async fn the_first_look_after_a_restart_of_redis_is_answered() {
    let mut fleet = Fleet::start("5").await;
    let address = format!("127.0.0.1:{}", taskweir_testkit::free_port());
    let _dashboard = fleet.spawn("dashboard", &[("DASHBOARD_ADDR", &address)]);
    let page = format!("http://{address}/");
    let http = fleet.http.clone();
    let status = async |url: &str| {
        let answer = http.get(url).send().await.ok()?;
        Some(answer.status().as_u16())
    };
    eventually("the dashboard answers", async || {
        (status(&page).await? == 200).then_some(())
    })
    .await;
    fleet.redis.kill();
    fleet.redis.restart();
    // Nobody has spoken to Redis since: the connections are dead, and nobody has noticed.
    assert_eq!(status(&page).await, Some(200));
    assert_eq!(status(&format!("{}/stats", fleet.base)).await, Some(200));
}

/// The one running task of a worker.
async fn running(fleet: &Fleet, duration_ms: u64) -> String {
    let task = json!({ "type": "process", "data": { "duration_ms": duration_ms } });
    let id = fleet.submit(&task).await;
    fleet
        .reaches(&id, "processing", Duration::from_secs(20))
        .await;
    id
}

/// It has run once, and nobody took it for lost.
async fn completed_unlost(fleet: &Fleet, id: &str) {
    fleet.connected().await;
    let task = fleet
        .reaches(id, "completed", Duration::from_secs(20))
        .await;
    assert_eq!(
        (&task["attempt"], &task["losses"]),
        (&json!(1), &json!(0)),
        "{task}"
    );
    let events = fleet.events(id).await;
    assert_eq!(events, ["Submitted", "Started", "Completed"]);
}

#[tokio::test]
async fn redis_away_for_longer_than_a_lease_costs_no_task_its_worker() {
    let mut fleet = Fleet::start("2").await;
    let _worker = fleet.spawn("worker", &[]);
    let id = running(&fleet, 5_000).await;
    fleet.redis.kill();
    // The outage itself is the subject: it has to last.
    tokio::time::sleep(Duration::from_secs(3)).await;
    fleet.redis.restart();
    completed_unlost(&fleet, &id).await;
}

/// How often anybody has looked for silent workers since Redis began.
fn looks(redis: &TestRedis) -> u64 {
    redis.counter("commandstats", "cmdstat_xpending:calls=")
}

/// Redis is away too shortly for the scheduler to notice by its own clock: that it began anew tells.
#[tokio::test]
async fn a_restart_of_redis_gives_a_worker_another_lease_to_speak() {
    let mut fleet = Fleet::with_partitions("9", 1).await;
    let worker = fleet.spawn("worker", &[]);
    let id = running(&fleet, 3_000).await;
    let queue = "default".parse().unwrap();
    let keys = fleet.store.partitions()[0].keys().clone();
    let ready = keys.ready(&queue, Priority::Normal);
    let silent_for = async |redis: &TestRedis, ms: &str| {
        let silent = ["XPENDING", &ready, "workers", "IDLE", ms, "-", "+", "1"];
        eventually("it has said nothing for so long", async || {
            (!redis.cli(&silent).is_empty()).then_some(())
        })
        .await;
    };
    // It cannot speak, and has not given up its task.
    worker.signal("STOP");
    silent_for(&fleet.redis, "6000").await;
    fleet.redis.kill();
    fleet.redis.restart();
    silent_for(&fleet.redis, "9000").await;
    let before = looks(&fleet.redis);
    // Each round looks at the streams of three priorities: one round at least was whole.
    eventually("the scheduler has seen it", async || {
        (looks(&fleet.redis) >= before + 6).then_some(())
    })
    .await;
    worker.signal("CONT");
    completed_unlost(&fleet, &id).await;
}
