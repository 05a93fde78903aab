//! Pages that keep themselves fresh: by ticks, not while somebody says no, and without taking the keyboard away.

use std::time::Duration;

use serde_json::json;
use taskweir_testkit::eventually_within;

use crate::chrome::{Chrome, Look};
use crate::dev::Dev;
use crate::fleet::Process;

const SOON: Duration = Duration::from_secs(20);

/// The list of tasks in a browser, beside somebody else who listens to the same ticks.
struct Watched {
    dev: Dev,
    process: Process,
    chrome: Chrome,
}

impl Watched {
    async fn new() -> Self {
        let dev = Dev::new();
        let process = dev.start().await;
        let first = dev.submit(&json!({ "type": "echo" })).await;
        dev.reaches(&first, "completed").await;
        let chrome = Chrome::start(Look::default()).await;
        let page = format!("http://127.0.0.1:{}/tasks", dev.dashboard);
        chrome.client.goto(&page).await.unwrap();
        chrome.says(&first).await;
        Self {
            dev,
            process,
            chrome,
        }
    }

    /// From now on it shows whether the page was swapped.
    async fn mark(&self) {
        let mark = "document.getElementById('page').stays = true";
        self.chrome.run(mark).await;
    }

    async fn is_swapped(&self) -> bool {
        let stays = "return document.getElementById('page').stays === true";
        self.chrome.run(stays).await == json!(false)
    }

    async fn becomes_swapped(&self) {
        eventually_within(SOON, "a live update", async || {
            self.is_swapped().await.then_some(())
        })
        .await;
    }

    /// Lets something happen, of which those who listen have heard; gives its id.
    async fn something_happens(&self) -> String {
        let ticks = format!("http://127.0.0.1:{}/ticks", self.dev.dashboard);
        let mut ticks = self.dev.http.get(ticks).send().await.unwrap();
        let id = self.dev.submit(&json!({ "type": "echo" })).await;
        self.dev.reaches(&id, "completed").await;
        // Two ticks: what the first one tells may have begun before.
        for _ in 0..2 {
            let tick = tokio::time::timeout(SOON, ticks.chunk()).await;
            assert!(tick.unwrap().unwrap().is_some());
            self.dev.submit(&json!({ "type": "echo" })).await;
        }
        id
    }

    async fn end(self) {
        self.chrome.close().await;
        assert!(self.process.stop().await.success());
    }
}

#[tokio::test]
async fn a_page_rests_while_it_is_paused_or_hidden_and_then_catches_up() {
    let watched = Watched::new().await;
    let chrome = &watched.chrome;
    watched.mark().await;
    watched.something_happens().await;
    watched.becomes_swapped().await;

    chrome.click("#live-pause").await;
    let state = "return [document.getElementById('live').innerText, document.getElementById('live-pause').innerText, document.getElementById('live-pause').getAttribute('aria-pressed')]";
    assert_eq!(chrome.run(state).await, json!(["paused", "Resume", "true"]));
    watched.mark().await;
    let missed = watched.something_happens().await;
    assert!(!watched.is_swapped().await, "paused");
    assert!(!chrome.text().await.contains(&missed));
    chrome.click("#live-pause").await;
    let state = chrome.run(state).await;
    assert!(state[0].as_str().unwrap().starts_with("live"), "{state}");
    watched.something_happens().await;
    chrome.says(&missed).await;

    // As a browser says it of a tab that nobody sees.
    let hidden = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {hidden} }}); document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    chrome.run(&hidden(true)).await;
    watched.mark().await;
    let missed = watched.something_happens().await;
    assert!(!watched.is_swapped().await, "hidden");
    chrome.run(&hidden(false)).await;
    chrome.says(&missed).await;
    watched.end().await;
}

#[tokio::test]
async fn a_page_says_when_it_cannot_be_fresh_and_why() {
    let watched = Watched::new().await;
    let chrome = &watched.chrome;
    let says = async |what: &str| {
        eventually_within(SOON, what, async || {
            let state = "return document.getElementById('live').innerText";
            let state = chrome.run(state).await;
            state.as_str()?.starts_with(what).then_some(())
        })
        .await;
    };
    says("live, updated").await;
    // As if nobody answered, and three looks later still.
    chrome
        .run("window.real = window.fetch; window.looks = 0; window.fetch = () => { window.looks += 1; return Promise.reject(new Error('away')) }")
        .await;
    watched.something_happens().await;
    says("the dashboard does not answer").await;
    eventually_within(SOON, "it tries again and again", async || {
        let looks = chrome.run("return window.looks").await;
        (looks.as_u64()? >= 4).then_some(())
    })
    .await;
    says("the dashboard does not answer").await;
    chrome.run("window.fetch = window.real").await;
    says("live, updated").await;
    // What somebody types into is left alone.
    chrome.run("document.getElementById('type').focus()").await;
    says("waits while you type").await;
    chrome.run("document.getElementById('type').blur()").await;
    says("live, updated").await;
    watched.end().await;
}

#[tokio::test]
async fn the_keyboard_stays_where_it_is_when_the_page_is_swapped() {
    let watched = Watched::new().await;
    let chrome = &watched.chrome;
    // The first stop of the keyboard leads past the navigation.
    let body = chrome
        .client
        .find(fantoccini::Locator::Css("body"))
        .await
        .unwrap();
    body.send_keys("\u{e004}").await.unwrap();
    let focused = "return document.activeElement.innerText";
    assert_eq!(chrome.run(focused).await, json!("Skip to content"));
    let at = chrome.client.active_element().await.unwrap();
    at.send_keys("\u{e007}").await.unwrap();
    let focused = "return document.activeElement.id";
    eventually_within(SOON, "the content has the keyboard", async || {
        (chrome.run(focused).await == json!("page")).then_some(())
    })
    .await;
    watched.mark().await;
    watched.something_happens().await;
    watched.becomes_swapped().await;
    assert_eq!(chrome.run(focused).await, json!("page"), "over a swap, too");
    // A link of the table keeps it over a swap, although its row moves down.
    let take = "const link = document.querySelector('td a.mono'); link.focus(); return link.getAttribute('href')";
    let link = chrome.run(take).await;
    watched.mark().await;
    watched.something_happens().await;
    watched.becomes_swapped().await;
    let focused = "return document.activeElement.getAttribute('href')";
    assert_eq!(chrome.run(focused).await, link);
    // What is folded open stays open.
    chrome
        .run("document.getElementById('more-filters').open = true")
        .await;
    watched.mark().await;
    watched.something_happens().await;
    watched.becomes_swapped().await;
    let open = "return document.getElementById('more-filters').open";
    assert_eq!(chrome.run(open).await, json!(true));
    watched.end().await;
}
