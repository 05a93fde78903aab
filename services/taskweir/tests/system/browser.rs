//! The dashboard in a real browser, and its forms.

use std::time::Duration;

use serde_json::json;
use taskweir_testkit::{eventually, eventually_within};

use crate::chrome::{Chrome, Look};
use crate::dev::Dev;

/// Tasks in every status, and a bulk operation.
async fn furnish(dev: &Dev) -> String {
    let batch = async |tasks: serde_json::Value| {
        let url = dev.url("/tasks/batch");
        let answer = dev.http.post(url).json(&json!({ "tasks": tasks })).send();
        assert_eq!(answer.await.unwrap().status().as_u16(), 202);
    };
    let many = |task: serde_json::Value, count: usize| json!(vec![task; count]);
    batch(many(
        json!({ "type": "echo", "data": { "card": "4111" }, "labels": { "customer": "7" } }),
        60,
    ))
    .await;
    batch(many(json!({ "type": "echo", "queue": "mail" }), 20)).await;
    batch(many(
        json!({ "type": "echo", "queue": "mail", "expires_in": 0.1 }),
        3,
    ))
    .await;
    batch(many(json!({ "type": "echo", "delay": 3_600 }), 4)).await;
    batch(many(
        json!({ "type": "fail", "retry": { "initial_delay": 600 } }),
        3,
    ))
    .await;
    batch(many(
        json!({ "type": "sleep", "data": { "seconds": 600 } }),
        2,
    ))
    .await;
    batch(many(
        json!({ "type": "fail", "data": { "fatal": true, "note": "<script>x</script>" } }),
        12,
    ))
    .await;
    for _ in 0..2 {
        let gone = dev.submit(&json!({ "type": "echo", "delay": 60 })).await;
        let cancel = dev.url(&format!("/tasks/{gone}/cancel"));
        dev.http.post(cancel).send().await.unwrap();
    }
    let dead = dev
        .submit(&json!({ "type": "fail", "max_retries": 0 }))
        .await;
    dev.reaches(&dead, "failed").await;
    let removed = dev
        .submit(&json!({ "type": "fail", "max_retries": 0 }))
        .await;
    dev.reaches(&removed, "failed").await;
    let remove = dev.url(&format!("/dlq/failed-tasks/{removed}"));
    dev.http.delete(remove).send().await.unwrap();
    eventually_within(
        Duration::from_secs(30),
        "every status is there",
        async || {
            let totals = dev.get("/stats").await["totals"].clone();
            let statuses = totals.as_object()?;
            (statuses["failed"] == 13
                && statuses["completed"] == 60
                && statuses.values().all(|count| *count != 0))
            .then_some(())
        },
    )
    .await;
    dead
}

/// Every page, with what it must say.
fn pages(dead: &str) -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("overview", "/".to_owned(), "accounted for ✓"),
        ("queues", "/queues".to_owned(), "mail"),
        ("tasks", "/tasks?type=echo".to_owned(), "Newest first."),
        ("task", format!("/tasks/{dead}"), "DeadLettered"),
        (
            "as-of",
            format!("/tasks/{dead}?event=1"),
            "This is how it was after event 1",
        ),
        ("dlq", "/dlq".to_owned(), "Alike:"),
        ("operations", "/operations".to_owned(), "Operations"),
        (
            "bulk",
            "/bulk?kind=dlq_retry&type=fail".to_owned(),
            "13 match",
        ),
        ("workers", "/workers".to_owned(), "✓ active"),
        ("system", "/system".to_owned(), "Views are at"),
        ("new-task", "/tasks/new".to_owned(), "Data (JSON)"),
        (
            "nothing",
            "/tasks?type=nobody".to_owned(),
            "No task passes this filter.",
        ),
    ]
}

#[tokio::test]
async fn every_page_is_fit_for_eyes_phones_and_screen_readers_by_day_and_night() {
    let dev = Dev::new();
    let process = dev.start().await;
    let dead = furnish(&dev).await;
    let base = format!("http://127.0.0.1:{}", dev.dashboard);
    for (tag, look) in [
        ("light", Look::default()),
        (
            "dark",
            Look {
                dark: true,
                phone: false,
            },
        ),
        (
            "phone",
            Look {
                dark: false,
                phone: true,
            },
        ),
    ] {
        let chrome = Chrome::start(look).await;
        for (name, path, says) in pages(&dead) {
            chrome.client.goto(&format!("{base}{path}")).await.unwrap();
            chrome.says(says).await;
            chrome.picture(&format!("{name}-{tag}")).await;
            let serious = chrome.serious_findings().await;
            assert!(serious.is_empty(), "{name} {tag}: {serious:#?}");
            let width = chrome
                .run("return document.documentElement.scrollWidth")
                .await;
            let limit = if look.phone { 375 } else { 1_280 };
            assert!(
                width.as_u64().unwrap() <= limit,
                "{name} {tag} is {width} wide"
            );
            // What a page says of its colours: dark text on a bright ground, or the other way round.
            let ground = "return getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number).reduce((a, b) => a + b) / 3";
            let bright = chrome.run(ground).await.as_f64().unwrap();
            assert_eq!(bright < 128.0, look.dark, "{name} {tag}: {bright}");
        }
        chrome.close().await;
    }
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn a_person_submits_watches_repairs_and_looks_back() {
    let dev = Dev::new();
    let process = dev.start().await;
    let base = format!("http://127.0.0.1:{}", dev.dashboard);
    let chrome = Chrome::start(Look::default()).await;
    // A task by the form, watched to its end without a reload.
    chrome
        .client
        .goto(&format!("{base}/tasks/new"))
        .await
        .unwrap();
    chrome.fill("#data", r#"{"duration_ms": 2500}"#).await;
    chrome.fill("#labels", "customer=7").await;
    chrome.press("Submit").await;
    chrome.says("Started").await;
    chrome.run("window.stays = true").await;
    chrome.says("Completed").await;
    assert_eq!(
        chrome.run("return window.stays").await,
        json!(true),
        "the page was not loaded again"
    );
    // From its end back to its beginning.
    chrome.press("as of here").await;
    chrome.says("This is how it was after event 1").await;
    let status = chrome
        .run("return document.querySelector('dl.facts .state').innerText")
        .await;
    assert!(status.as_str().unwrap().contains("pending"), "{status}");
    chrome.press("Now").await;
    chrome.says("Submit again…").await;
    chrome.press("Submit again…").await;
    let data = eventually("the form", async || {
        let data = chrome
            .run("return document.querySelector('#data')?.value ?? null")
            .await;
        (!data.is_null()).then_some(data)
    })
    .await;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(data.as_str().unwrap()).unwrap(),
        json!({ "duration_ms": 2_500 })
    );
    // What fails goes to the dead letters; one is retried alone, the others all at once.
    for _ in 0..5 {
        dev.submit(&json!({ "type": "fail", "data": { "fatal": true } }))
            .await;
    }
    eventually_within(Duration::from_secs(30), "all are dead", async || {
        (dev.get("/stats").await["totals"]["failed"] == 5).then_some(())
    })
    .await;
    chrome.client.goto(&format!("{base}/dlq")).await.unwrap();
    chrome.says("The latest to give up first.").await;
    chrome.press("Retry").await;
    chrome.says("pending again").await;
    eventually_within(Duration::from_secs(30), "it is dead again", async || {
        let stats = dev.get("/stats").await;
        (stats["totals"]["failed"] == 5).then_some(())
    })
    .await;
    chrome.client.goto(&format!("{base}/tasks")).await.unwrap();
    chrome.fill("#type", "fail").await;
    // What is typed and not sent yet outlives a live update, wherever the focus is.
    chrome
        .run("document.activeElement.blur(); document.getElementById('page').stays = true")
        .await;
    dev.submit(&json!({ "type": "echo" })).await;
    eventually_within(Duration::from_secs(20), "a live update", async || {
        let stays = "return document.getElementById('page').stays === true";
        (chrome.run(stays).await == json!(false)).then_some(())
    })
    .await;
    assert_eq!(
        chrome
            .run("return document.getElementById('type').value")
            .await,
        json!("fail")
    );
    chrome.press("Filter").await;
    eventually_within(
        Duration::from_secs(10),
        "the filter is the URL",
        async || {
            let url = chrome.client.current_url().await.unwrap();
            url.query()?.contains("type=fail").then_some(())
        },
    )
    .await;
    chrome.says("Types").await;
    chrome.click("ul.strip a[href*='status=failed']").await;
    chrome.says("Retry all that match…").await;
    chrome.press("Retry all that match…").await;
    chrome.says("5 match:").await;
    chrome.fill("#reason", "the provider is back").await;
    chrome.press("Retry dead letters: 5").await;
    eventually_within(Duration::from_secs(20), "the operation ends", async || {
        let there = chrome.path().await.starts_with("/operations/");
        let state = "return document.querySelector('dl.facts dd')?.textContent ?? ''";
        let state = chrome.run(state).await;
        (there && state.as_str()?.contains("completed")).then_some(())
    })
    .await;
    chrome.says("the provider is back").await;
    // A queue is paused and resumed.
    chrome.client.goto(&format!("{base}/queues")).await.unwrap();
    chrome.press("Pause").await;
    // The first one is the one of the live updates.
    chrome.says("paused").await;
    chrome
        .run("document.querySelector('form[action$=\"/pause\"] button').click()")
        .await;
    eventually_within(Duration::from_secs(10), "the queue is paused", async || {
        (dev.get("/queues/default").await["paused"] == true).then_some(())
    })
    .await;
    eventually_within(Duration::from_secs(10), "its page says so", async || {
        let found = chrome
            .run("return document.querySelectorAll('form[action$=\"/resume\"]').length")
            .await;
        (found == json!(1)).then_some(())
    })
    .await;
    chrome.press("Resume").await;
    eventually_within(Duration::from_secs(10), "the queue runs", async || {
        (dev.get("/queues/default").await["paused"] == false).then_some(())
    })
    .await;
    chrome.close().await;
    assert!(process.stop().await.success());
}

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
