//! A smoke test of the dashboard in a real browser, and of its forms.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use taskweir_testkit::eventually_within;

use crate::dev::Dev;

/// The page as headless Chromium has it after its scripts ran.
fn dom(url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=7000", "--dump-dom", url])
        .output()
        .expect("chromium is installed: see `make tools`");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn the_dashboard_shows_the_system_in_a_browser() {
    let dev = Dev::new();
    let process = dev.start().await;
    let done = dev
        .submit(&json!({ "type": "echo", "data": "hello-world" }))
        .await;
    let dead = dev
        .submit(
            &json!({ "type": "fail", "max_retries": 0, "data": { "note": "<script>x</script>" } }),
        )
        .await;
    dev.reaches(&done, "completed").await;
    dev.reaches(&dead, "failed").await;
    let base = format!("http://127.0.0.1:{}", dev.dashboard);
    eventually_within(Duration::from_secs(20), "the views have both", async || {
        (dev.get("/stats").await["totals"]["failed"] == 1).then_some(())
    })
    .await;

    let overview = dom(&base);
    assert!(
        overview.contains(&done) && overview.contains("2 submitted, 2 accounted for"),
        "{overview}"
    );
    // The script ran and swapped the page: the status line counts seconds.
    assert!(overview.contains("s ago</span>"), "{overview}");
    let page = dom(&format!("{base}/tasks/{dead}"));
    for part in [
        "Submitted",
        "Started",
        "DeadLettered",
        "asked to fail",
        "Retry",
        "&lt;script&gt;x",
    ] {
        assert!(page.contains(part), "{part} not in {page}");
    }
    assert!(dom(&format!("{base}/dlq")).contains(&dead));
    assert!(dom(&format!("{base}/workers")).contains("✓ active"));
    assert!(dom(&format!("{base}/tasks?status=completed")).contains(&done));

    forms(&dev, &base, &dead).await;
    assert!(process.stop().await.success());
}

/// The forms, as a browser would send them.
async fn forms(dev: &Dev, base: &str, dead: &str) {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let post = async |path: &str, body: &'static str, site: &str| {
        let request = http
            .post(format!("{base}{path}"))
            .header("sec-fetch-site", site);
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .unwrap()
    };
    let form = "type=echo&data=%5B1%5D&queue=default&priority=low&max_retries=&delay=";
    let refused = post("/tasks/new", form, "cross-site").await;
    assert_eq!(refused.status().as_u16(), 403, "no forms of other sites");
    let made = post("/tasks/new", form, "same-origin").await;
    assert_eq!(made.status().as_u16(), 303);
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    let task = dev
        .reaches(location.strip_prefix("/tasks/").unwrap(), "completed")
        .await;
    assert_eq!(
        (task["priority"].clone(), task["result"].to_string()),
        (json!("low"), "[1]".to_owned())
    );
    let wrong = post("/tasks/new", "type=a+b&data=nope", "same-origin").await;
    assert_eq!(wrong.status().as_u16(), 422);

    let attempts = dev.get(&format!("/tasks/{dead}")).await["attempt"]
        .as_u64()
        .unwrap();
    let retried = post(&format!("/dlq/{dead}/retry"), "", "same-origin").await;
    assert_eq!(retried.headers()["location"], "/dlq?done=retried");
    eventually_within(
        Duration::from_secs(20),
        "it ran and died again",
        async || {
            let task = dev.get(&format!("/tasks/{dead}")).await;
            (task["status"] == "failed" && task["attempt"].as_u64() == Some(attempts + 1))
                .then_some(())
        },
    )
    .await;
    post(&format!("/dlq/{dead}/remove"), "", "same-origin").await;
    dev.reaches(dead, "removed").await;
    let missing = http
        .get(format!("{base}/tasks/nonsense"))
        .send()
        .await
        .unwrap();
    assert_eq!(missing.status().as_u16(), 404);
    let policy = missing.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"));
}
