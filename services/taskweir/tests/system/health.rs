//! What probes say when something is wrong: docs/HEALTH.md.

use std::time::Duration;

use serde_json::{Value, json};
use taskweir_testkit::{eventually_within, free_port};

use crate::fleet::Fleet;

const SOON: Duration = Duration::from_secs(40);

async fn probe(fleet: &Fleet, url: &str) -> Option<(u16, String)> {
    let answer = fleet.http.get(url).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

/// Waits until a probe answers so, and gives what it says.
async fn answers(fleet: &Fleet, url: &str, status: u16) -> String {
    eventually_within(SOON, &format!("{url} answers {status}"), async || {
        let (found, said) = probe(fleet, url).await?;
        (found == status).then_some(said)
    })
    .await
}

async fn trouble(fleet: &Fleet, what: &str) {
    eventually_within(SOON, what, async || {
        let health = fleet.get("/health").await;
        let troubles = health["troubles"].to_string();
        (health["status"] == "degraded" && troubles.contains(what)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_is_named_and_goes_when_it_is_there() {
    let mut fleet = Fleet::start("10").await;
    trouble(&fleet, "no worker is active").await;
    // Without a projector the views stay where they are: an event waits to be seen for more than a minute.
    fleet.services.pop().unwrap().kill();
    let partition = &fleet.store.partitions()[0];
    let before = partition.server_time_ms().await.unwrap() - 61_000;
    let before = format!("{before}-0");
    let log = partition.keys().log();
    let added = fleet.redis.cli(&["XADD", &log, &before, "x", "y"]);
    assert_eq!(added, before);
    trouble(&fleet, "is a projector running?").await;
    let _projector = fleet.spawn("projector", &[]);
    eventually_within(SOON, "the views are back", async || {
        let health = fleet.get("/health").await;
        (!health["troubles"].to_string().contains("projector")).then_some(())
    })
    .await;
    let worker = fleet.spawn("worker", &[("WORKER_QUEUES", "mail")]);
    fleet.submit(&json!({ "type": "echo" })).await;
    trouble(
        &fleet,
        "queue default has 1 ready tasks and no worker takes from it",
    )
    .await;
    let _second = fleet.spawn("worker", &[]);
    fleet
        .submit(&json!({ "type": "nobody-knows", "queue": "mail" }))
        .await;
    trouble(
        &fleet,
        "queue mail has 1 tasks of types that no worker knows",
    )
    .await;
    drop(worker);
}

#[tokio::test]
async fn with_redis_away_processes_live_and_are_not_ready() {
    let mut fleet = Fleet::start("10").await;
    let address = || format!("127.0.0.1:{}", free_port());
    let (of_dashboard, dashboard) = (address(), address());
    let mut probed = vec![format!("http://{of_dashboard}")];
    let mut processes = vec![fleet.spawn(
        "dashboard",
        &[
            ("METRICS_ADDR", &of_dashboard),
            ("DASHBOARD_ADDR", &dashboard),
        ],
    )];
    for service in ["worker", "projector", "scheduler"] {
        let address = address();
        processes.push(fleet.spawn(service, &[("METRICS_ADDR", &address)]));
        probed.push(format!("http://{address}"));
    }
    let (gateway, worker) = (fleet.base.clone(), probed[1].clone());
    for ready in &probed {
        answers(&fleet, &format!("{ready}/health/ready"), 200).await;
    }
    fleet.redis.kill();
    let said = answers(&fleet, &format!("{gateway}/health"), 503).await;
    let health: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(health["status"], "down");
    answers(&fleet, &format!("{gateway}/health/ready"), 503).await;
    let said = answers(&fleet, &format!("{worker}/health/ready"), 503).await;
    assert!(said.contains("worker"), "{said}");
    // The dashboard stays: it has a page that says so.
    for ready in &probed[1..] {
        answers(&fleet, &format!("{ready}/health/ready"), 503).await;
    }
    probed.push(gateway);
    for live in &probed {
        assert_eq!(
            probe(&fleet, &format!("{live}/health/live"))
                .await
                .unwrap()
                .0,
            200
        );
    }
    // A page says so, and asks again by itself.
    let page = fleet.http.get(format!("http://{dashboard}/queues"));
    let page = page.send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["refresh"]),
        (503, &"5".parse().unwrap())
    );
    let page = page.text().await.unwrap();
    assert!(page.contains("Redis is away; this page tries again by itself"));
    fleet.redis.restart();
    for ready in &probed {
        answers(&fleet, &format!("{ready}/health/ready"), 200).await;
    }
}

#[tokio::test]
async fn an_event_of_a_newer_program_stops_the_projector_with_an_alarm() {
    let mut fleet = Fleet::start("10").await;
    fleet.services.pop().unwrap().kill();
    let address = format!("127.0.0.1:{}", free_port());
    let _projector = fleet.spawn("projector", &[("METRICS_ADDR", &address)]);
    let ready = format!("http://{address}/health/ready");
    answers(&fleet, &ready, 200).await;
    let log = fleet.store.partitions()[0].keys().log();
    let id = fleet.store.mint().to_string();
    let add = [
        "XADD",
        &log,
        "*",
        "t",
        "Teleported.7",
        "i",
        &id,
        "n",
        "1",
        "b",
        "",
        "d",
        "{}",
    ];
    assert!(fleet.redis.cli(&add).contains('-'));
    let said = answers(&fleet, &ready, 503).await;
    assert!(
        said.contains("Teleported.7") && said.contains("upgrade the projector"),
        "{said}"
    );
    assert_eq!(
        probe(&fleet, &format!("http://{address}/health/live"))
            .await
            .unwrap()
            .0,
        200
    );
}
