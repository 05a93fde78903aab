//! The forms of the dashboard as a browser without scripts sends them, and as other sites try to.

use std::time::Duration;

use serde_json::json;
use taskweir_testkit::eventually_within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::dev::Dev;

#[tokio::test]
async fn the_forms_work_without_a_browser_and_not_from_other_sites() {
    let dev = Dev::new();
    let process = dev.start().await;
    let base = format!("http://127.0.0.1:{}", dev.dashboard);
    let dead = dev
        .submit(
            &json!({ "type": "fail", "max_retries": 0, "data": { "note": "<script>x</script>" } }),
        )
        .await;
    dev.reaches(&dead, "failed").await;
    let page = dev
        .http
        .get(format!("{base}/tasks/{dead}"))
        .send()
        .await
        .unwrap();
    let page = page.text().await.unwrap();
    assert!(
        page.contains("&lt;script&gt;x") && !page.contains("<script>x"),
        "{page}"
    );
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

/// Every address that takes a form.
fn posts(task: &str, operation: &str) -> Vec<String> {
    vec![
        "/tasks/new".to_owned(),
        format!("/tasks/{task}/cancel"),
        "/queues/default/pause".to_owned(),
        "/bulk".to_owned(),
        format!("/operations/{operation}/stop"),
        format!("/dlq/{task}/retry"),
        format!("/dlq/{task}/remove"),
        "/sign-in".to_owned(),
        "/sign-out".to_owned(),
    ]
}

/// What is answered to a form whose length is said and that is not sent.
async fn announced(port: u16, path: &str, length: usize) -> String {
    let mut wire = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost:{port}\r\nsec-fetch-site: same-origin\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    wire.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    wire.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn no_form_of_another_site_and_none_too_long_is_taken_anywhere() {
    let dev = Dev::new();
    let process = dev.start().await;
    let base = format!("http://127.0.0.1:{}", dev.dashboard);
    let dead = dev
        .submit(&json!({ "type": "fail", "max_retries": 0 }))
        .await;
    dev.reaches(&dead, "failed").await;
    let before = dev.get(&format!("/tasks/{dead}/history")).await;
    for path in posts(&dead, &dead) {
        let post = || dev.http.post(format!("{base}{path}"));
        let form = |request: reqwest::RequestBuilder| {
            request
                .header("content-type", "application/x-www-form-urlencoded")
                .body("kind=dlq_delete&type=echo&data=1")
        };
        for (header, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://elsewhere.example"),
            ("origin", "null"),
        ] {
            let answer = form(post().header(header, value)).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 403, "{path} {header}: {value}");
        }
        let page = announced(dev.dashboard, &path, 2_000_000).await;
        assert!(page.starts_with("HTTP/1.1 413"), "{path}: {page}");
        assert!(page.contains("longer than any that fits"), "{page}");
    }
    let after = dev.get(&format!("/tasks/{dead}/history")).await;
    assert_eq!(before, after, "nothing happened to it");
    let operations = dev.get("/operations").await;
    assert_eq!(operations["operations"], json!([]));
    assert_eq!(dev.get("/stats").await["ledger"]["submitted"], 1);
    assert!(process.stop().await.success());
}

/// What gave up in a span of time is counted, and then retried, and nothing else.
#[tokio::test]
async fn dead_letters_of_a_span_are_counted_first_and_retried_then() {
    let dev = Dev::new();
    let process = dev.start().await;
    let base = format!("http://127.0.0.1:{}", dev.dashboard);
    let dies = async || {
        let id = dev
            .submit(&json!({ "type": "fail", "max_retries": 0 }))
            .await;
        let task = dev.reaches(&id, "failed").await;
        (id, task["updated_at"].as_str().unwrap().to_owned())
    };
    let (early, _) = dies().await;
    let (middle, from) = dies().await;
    let (late, until) = dies().await;
    let span = format!("kind=dlq_retry&failed_after={from}&failed_before={until}");
    let count = async || {
        let page = dev.http.get(format!("{base}/bulk?{span}")).send().await;
        let page = page.unwrap().text().await.unwrap();
        page.contains("Retry dead letters: 1<").then_some(())
    };
    eventually_within(Duration::from_secs(20), "one matches", count).await;
    let list = dev.http.get(format!(
        "{base}/dlq?failed_after={from}&failed_before={until}"
    ));
    let list = list.send().await.unwrap().text().await.unwrap();
    assert!(list.contains(&middle) && !list.contains(&early) && !list.contains(&late));
    let request = dev.http.post(format!("{base}/bulk"));
    let request = request.header("sec-fetch-site", "same-origin");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = request
        .body(format!("{span}&reason=the+outage"))
        .send()
        .await
        .unwrap();
    assert!(
        answer.url().path().starts_with("/operations/"),
        "{}",
        answer.url()
    );
    let retries = async |id: &str| {
        let history = dev.get(&format!("/tasks/{id}/history")).await;
        let events = history["events"].as_array().unwrap().clone();
        let retried = events.iter().filter(|event| event["type"] == "DlqRetried");
        retried.count()
    };
    eventually_within(Duration::from_secs(20), "it is retried", async || {
        let listed = dev.get("/operations").await;
        (listed["operations"][0]["state"] == "completed").then_some(())
    })
    .await;
    assert_eq!(
        (
            retries(&early).await,
            retries(&middle).await,
            retries(&late).await
        ),
        (0, 1, 0)
    );
    assert!(process.stop().await.success());
}
