//! What `REDACT_FIELDS` hides is on no page of the dashboard.

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
        assert_eq!(ended["result"]["card"], SECRET, "a program gets it");
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
