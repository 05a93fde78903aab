//! What `REDACT_FIELDS` hides comes out nowhere: by the API, the feed, the dashboard, the command line, or a log.

use std::time::Duration;

use serde_json::json;
use taskweir_testkit::{eventually_within, free_port};

use crate::fleet::Fleet;

const SOON: Duration = Duration::from_secs(30);
const SECRET: &str = "4111-nobody-sees";
const HIDDEN: &str = "[redacted]";

#[tokio::test]
async fn what_is_hidden_is_on_no_page_and_does_not_come_back_as_data() {
    let fleet = Fleet::with_env("10", &[("REDACT_FIELDS", "card,..pin")]).await;
    let _worker = fleet.spawn("worker", &[]);
    let address = format!("127.0.0.1:{}", free_port());
    let _dashboard = fleet.spawn("dashboard", &[("DASHBOARD_ADDR", &address)]);
    let page = async |path: &str| {
        let url = format!("http://{address}{path}");
        eventually_within(SOON, path, async || {
            let answer = fleet.http.get(&url).send().await.ok()?;
            answer.error_for_status().ok()?.text().await.ok()
        })
        .await
    };
    // Data within its event, and data that is too long for that.
    for length in [1, 5_000] {
        let data = json!({
            "card": SECRET,
            "deep": [{ "pin": SECRET }],
            "to": "ann",
            "note": "x".repeat(length),
        });
        let task = json!({ "type": "echo", "data": data });
        let id = fleet.submit(&task).await;
        let ended = fleet.reaches(&id, "completed", SOON).await;
        for part in ["data", "result"] {
            assert_eq!(ended[part]["card"], HIDDEN);
            assert_eq!(ended[part]["to"], "ann");
        }
        for path in [
            format!("/tasks/{id}"),
            format!("/tasks/{id}?event=1"),
            format!("/tasks/new?from={id}"),
        ] {
            let page = page(&path).await;
            assert!(!page.contains(SECRET), "{path}: {page}");
            assert!(
                page.contains(HIDDEN) && page.contains("ann"),
                "{path}: {page}"
            );
        }
        fleet.settled(SOON).await;
        let list = page(&format!("/tasks?q={id}")).await;
        assert!(list.contains(&id) && !list.contains(SECRET), "{list}");
    }
    // Sent as the form shows it, the marker is no data.
    let post = fleet.http.post(format!("http://{address}/tasks/new"));
    let form = post
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("type=echo&data=%7B%22card%22%3A%22%5Bredacted%5D%22%7D");
    let answer = form.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 422);
    let said = answer.text().await.unwrap();
    assert!(said.contains("fill it in"), "{said}");
}

#[tokio::test]
async fn what_is_hidden_comes_out_of_no_call_no_feed_and_no_command() {
    let fleet = Fleet::with_env("10", &[("REDACT_FIELDS", "card")]).await;
    let _worker = fleet.spawn("worker", &[]);
    let data = json!({ "card": SECRET, "to": "ann" });
    let done = json!({ "type": "echo", "data": data });
    let done = fleet.submit(&done).await;
    let ended = fleet.reaches(&done, "completed", SOON).await;
    let batch = json!({ "type": "fail", "max_retries": 0, "data": data });
    let dead = fleet.submit_batch(&[batch]).await.remove(0);
    fleet.reaches(&dead, "failed", SOON).await;
    fleet.settled(SOON).await;
    let position = ended["position"].as_str().unwrap();
    for (path, shows) in [
        (format!("/tasks/{done}"), true),
        (format!("/tasks/{done}/history"), true),
        (format!("/tasks/{done}?as_of={position}"), true),
        ("/tasks".to_owned(), false),
        ("/dlq/failed-tasks".to_owned(), false),
        (format!("/dlq/failed-tasks/{dead}"), true),
    ] {
        let text = fleet.get(&path).await.to_string();
        assert!(!text.contains(SECRET), "{path}: {text}");
        assert_eq!(text.contains(HIDDEN), shows, "{path}: {text}");
    }
    for arguments in [
        &["get", &done][..],
        &["get", &done, "--json"],
        &["history", &done, "--json"],
        &["list", "--json"],
        &["dlq", "list", "--json"],
        &["watch", &done, "--json"],
    ] {
        let mut command = crate::fleet::command(std::path::Path::new("/"));
        command.args(arguments).env("TASKWEIR_URL", &fleet.base);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !said.is_empty(), "{arguments:?}");
        assert!(!said.contains(SECRET), "{arguments:?}: {said}");
    }
    let feed = fleet.http.get(format!("{}/events", fleet.base));
    let mut feed = feed.header("last-event-id", "0-0").send().await.unwrap();
    let mut heard = String::new();
    while !heard.contains("DeadLettered") {
        let more = feed.chunk().await.unwrap().expect("the feed goes on");
        heard.push_str(&String::from_utf8_lossy(&more));
    }
    assert!(heard.contains(HIDDEN) && !heard.contains(SECRET), "{heard}");
}

#[tokio::test]
async fn what_is_not_hidden_comes_back_from_a_worker_as_it_went() {
    let fleet = Fleet::start("10").await;
    let _worker = fleet.spawn("worker", &[]);
    let data = r#"{"n":12345678901234567890123,"d":0.10,"n":2,"l":[ 1.0 ]}"#;
    for kind in ["echo", "process"] {
        let call = fleet.http.post(format!("{}/tasks", fleet.base));
        let call = call
            .header("content-type", "application/json")
            .body(format!(r#"{{"type":"{kind}","data":{data}}}"#));
        let accepted: serde_json::Value = call.send().await.unwrap().json().await.unwrap();
        let id = accepted["id"].as_str().unwrap();
        fleet.reaches(id, "completed", SOON).await;
        let shown = fleet.http.get(format!("{}/tasks/{id}", fleet.base));
        let shown = shown.send().await.unwrap().text().await.unwrap();
        assert!(shown.contains(&format!(r#""result":{data},"#)), "{shown}");
        for arguments in [&["get", id, "--json"][..], &["watch", id, "--json"]] {
            let mut command = crate::fleet::command(std::path::Path::new("/"));
            command.args(arguments).env("TASKWEIR_URL", &fleet.base);
            let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
            assert!(said.contains("12345678901234567890123"), "{said}");
        }
    }
}
