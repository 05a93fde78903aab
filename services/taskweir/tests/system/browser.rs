//! A person at the dashboard, in a real browser.

use std::time::Duration;

use serde_json::json;
use taskweir_testkit::{eventually, eventually_within};

use crate::chrome::{Chrome, Look};
use crate::dev::Dev;

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
    // The slider by the keyboard, which keeps it.
    let slider = chrome.client.find(fantoccini::Locator::Css("#event")).await;
    slider.unwrap().send_keys("\u{e014}").await.unwrap();
    chrome.says("This is how it was after event 2").await;
    let focused = "return document.activeElement.id";
    assert_eq!(chrome.run(focused).await, json!("event"));
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
    // Numbers too long for a script's are kept as they were typed.
    let long = r#"{"order":12345678901234567890123}"#;
    chrome.fill("#data", long).await;
    chrome.press("Submit").await;
    chrome.says("Completed").await;
    let log = "return redis.call('XRANGE', redis.call('KEYS', '*:log')[1], '-', '+')";
    let log = std::process::Command::new("redis-cli")
        .args(["-p", &dev.redis_port(), "--raw", "EVAL", log, "0"])
        .output()
        .unwrap();
    let log = String::from_utf8(log.stdout).unwrap();
    assert!(log.contains(long), "{log}");
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
    // Another one of that name pauses the live updates.
    chrome.click("form[action$='/pause'] button").await;
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
