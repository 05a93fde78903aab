use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use taskweir_testkit::{eventually, eventually_within};

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
    let http = reqwest::Client::new();
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
