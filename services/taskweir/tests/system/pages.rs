//! Every page of the dashboard in a real browser, with tasks in every status: what it says, whether all can read it.
//! `FURNISH_TASKS=10000` asks for that many tasks of each status; pictures are kept in `target/screenshots`.

use std::time::Duration;

use serde_json::{Value, json};
use taskweir_testkit::eventually_within;

use crate::chrome::{Chrome, Look};
use crate::dev::Dev;

const SOON: Duration = Duration::from_secs(240);
/// Tasks of one request.
const BATCH: usize = 1_000;
const STATUSES: [&str; 9] = [
    "pending",
    "scheduled",
    "processing",
    "retrying",
    "completed",
    "failed",
    "cancelled",
    "expired",
    "removed",
];

/// A system with as many tasks of each status, and one dead letter more.
struct House {
    dev: Dev,
    count: usize,
    dead: String,
    operation: String,
}

impl House {
    async fn submit(&self, task: &Value, mut count: usize) {
        while count > 0 {
            let batch = count.min(BATCH);
            let url = self.dev.url("/tasks/batch");
            let body = json!({ "tasks": vec![task; batch] });
            let answer = self.dev.http.post(url).json(&body).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 202);
            count -= batch;
        }
    }

    async fn come_to(&self, status: &str, count: usize) {
        eventually_within(SOON, status, async || {
            let totals = self.dev.get("/stats").await["totals"].clone();
            (totals[status] == count).then_some(())
        })
        .await;
    }

    /// Does something to all tasks with a label.
    async fn all_gone(&self, path: &str) -> String {
        let order = json!({ "label": "gone=1", "reason": "they are not wanted" });
        let request = self.dev.http.post(self.dev.url(path)).json(&order);
        let begun: Value = request.send().await.unwrap().json().await.unwrap();
        let id = begun["id"].as_str().unwrap().to_owned();
        eventually_within(SOON, "the operation ends", async || {
            let operation = self.dev.get(&format!("/operations/{id}")).await;
            (operation["state"] == "completed").then_some(())
        })
        .await;
        id
    }

    async fn furnish(dev: Dev, count: usize) -> Self {
        let mut house = Self {
            dev,
            count,
            dead: String::new(),
            operation: String::new(),
        };
        let dies = json!({ "type": "fail", "data": { "fatal": true, "note": "<script>x</script>" }, "labels": { "gone": "1" } });
        house.submit(&dies, count).await;
        house.come_to("failed", count).await;
        house.all_gone("/dlq/delete").await;
        let mut stays = dies;
        stays["labels"] = json!({ "customer": "7" });
        house.submit(&stays, count).await;
        house.dead = house
            .dev
            .submit(&json!({ "type": "fail", "max_retries": 0 }))
            .await;
        let later = json!({ "type": "echo", "delay": 3_600, "labels": { "gone": "1" } });
        house.submit(&later, count).await;
        house.come_to("scheduled", count).await;
        house.operation = house.all_gone("/tasks/cancel").await;
        for task in [
            json!({ "type": "echo", "data": { "card": "4111" }, "labels": { "customer": "7" } }),
            json!({ "type": "echo", "queue": "mail" }),
            json!({ "type": "echo", "queue": "mail", "expires_in": 0.1 }),
            json!({ "type": "echo", "delay": 3_600 }),
            json!({ "type": "fail", "retry": { "initial_delay": 3_600 } }),
        ] {
            house.submit(&task, count).await;
        }
        let runs = json!({ "type": "sleep", "data": { "seconds": 3_600 } });
        house.submit(&runs, expected("processing", count)).await;
        for status in STATUSES {
            house.come_to(status, expected(status, count)).await;
        }
        house
    }

    /// Every page that somebody may look at now: its name, its address, and what it says.
    fn pages(&self) -> Vec<(&'static str, String, Vec<String>)> {
        let count = self.count;
        let said = |facts: &[&str]| facts.iter().map(|fact| (*fact).to_owned()).collect();
        let with = |mut facts: Vec<String>, more: String| {
            facts.push(more);
            facts
        };
        let (dead, operation) = (&self.dead, &self.operation);
        let submitted: usize = STATUSES.iter().map(|status| expected(status, count)).sum();
        vec![
            (
                "overview",
                "/".to_owned(),
                with(
                    said(&[
                        "late completions refused",
                        "active workers: 1",
                        "Oldest that waits, by queue",
                        "mail",
                        "Newest dead letters",
                        "Recent tasks",
                    ]),
                    format!("{0} submitted, {0} accounted for ✓", grouped(submitted)),
                ),
            ),
            (
                "queues",
                "/queues".to_owned(),
                said(&[
                    "default",
                    "mail",
                    "Pause",
                    "Oldest ready",
                    "Half an hour",
                    "Done/min",
                ]),
            ),
            (
                "tasks",
                "/tasks?type=echo".to_owned(),
                said(&[
                    "Newest first.",
                    "Queues",
                    "Types",
                    "echo",
                    "Cancel all that match…",
                    "completed",
                ]),
            ),
            (
                "task",
                format!("/tasks/{dead}"),
                said(&[
                    "Submitted",
                    "Started",
                    "DeadLettered",
                    "Retry",
                    "Remove",
                    "Submit again…",
                    "Latest error",
                    "Data",
                ]),
            ),
            (
                "as-of",
                format!("/tasks/{dead}?event=1"),
                said(&[
                    "This is how it was after event 1",
                    "As of event 1 of",
                    "Now",
                    "pending",
                ]),
            ),
            (
                "dlq",
                "/dlq".to_owned(),
                said(&[
                    "The latest to give up first.",
                    "Alike",
                    "fail",
                    "fatal",
                    "Retry",
                    "Remove",
                ]),
            ),
            (
                "operations",
                "/operations".to_owned(),
                said(&[
                    "Remove dead letters",
                    "Cancel tasks",
                    "✓ completed",
                    "anonymous",
                    "they are not wanted",
                ]),
            ),
            (
                "operation",
                format!("/operations/{operation}"),
                with(
                    said(&[
                        "✓ completed",
                        "Asked by",
                        "anonymous",
                        "they are not wanted",
                        "What is done stays done.",
                    ]),
                    format!("Done\n{}", grouped(count)),
                ),
            ),
            (
                "bulk",
                "/bulk?kind=dlq_retry&type=fail".to_owned(),
                with(
                    said(&["type", "fail", "Not now"]),
                    format!("{} match", grouped(count + 1)),
                ),
            ),
            (
                "workers",
                "/workers".to_owned(),
                with(
                    said(&["✓ active", "default", "echo, fail", "0.1."]),
                    format!("{} / {}", expected("processing", count), slots(count)),
                ),
            ),
            (
                "system",
                "/system".to_owned(),
                said(&[
                    "Views are at",
                    "the first event",
                    "never: run taskweir verify",
                    "noeviction",
                    "Layout",
                    "Partitions",
                ]),
            ),
            (
                "new-task",
                "/tasks/new".to_owned(),
                said(&[
                    "Type",
                    "Queue",
                    "Priority",
                    "Unique key",
                    "Labels",
                    "Data (JSON)",
                    "Submit",
                    "The demo worker knows",
                ]),
            ),
            (
                "new-task-again",
                format!("/tasks/new?from={dead}"),
                said(&["Data (JSON)", "Submit"]),
            ),
            (
                "nothing",
                "/tasks?type=nobody".to_owned(),
                said(&["No task passes this filter."]),
            ),
            (
                "missing",
                "/tasks/nonsense".to_owned(),
                said(&["404 Not Found", "there is no such task", "To the overview"]),
            ),
            (
                "sign-in",
                "/sign-in".to_owned(),
                said(&["Sign in", "API key"]),
            ),
        ]
    }
}

/// Slots of the worker: for all that run for an hour, and some for the others.
fn slots(count: usize) -> usize {
    (count + 24).min(10_000)
}

/// As people read a number.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> = (digits.as_bytes().rchunks(3).rev())
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    groups.join(",")
}

/// How many have a status in the end.
fn expected(status: &str, count: usize) -> usize {
    match status {
        "failed" => count + 1,
        "processing" => count.min(slots(count) - 24),
        _ => count,
    }
}

const DAY: (&str, Look) = (
    "light",
    Look {
        dark: false,
        phone: false,
    },
);
const NIGHT: (&str, Look) = (
    "dark",
    Look {
        dark: true,
        phone: false,
    },
);
const PHONE: (&str, Look) = (
    "phone",
    Look {
        dark: false,
        phone: true,
    },
);

/// Whether a page says what it must, to everybody, and fits.
async fn fits(chrome: &Chrome, name: &str, (tag, look): (&str, Look)) {
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

#[tokio::test]
async fn every_page_is_fit_for_eyes_phones_and_screen_readers_by_day_and_night() {
    let count = taskweir_testkit::scale("FURNISH_TASKS", 12);
    let dev = Dev::new();
    let slots = slots(count).to_string();
    let process = dev.start_with(&[("WORKER_CONCURRENCY", &slots)]).await;
    let house = House::furnish(dev, count).await;
    let base = format!("http://127.0.0.1:{}", house.dev.dashboard);
    for look in [DAY, NIGHT, PHONE] {
        let chrome = Chrome::start(look.1).await;
        for (name, path, says) in house.pages() {
            chrome.client.goto(&format!("{base}{path}")).await.unwrap();
            for fact in says {
                chrome.says(&fact).await;
            }
            fits(&chrome, name, look).await;
            // The strip of every page counts each status; that of a list counts what passes its filter.
            if !["tasks", "nothing", "missing", "sign-in"].contains(&name) {
                let counts = "return Object.fromEntries([...document.querySelectorAll('ul.strip li')].map(li => li.innerText.split(/\\s+/)).map(words => [words.at(-1), Number(words[0].replaceAll(',', ''))]))";
                let counts = chrome.run(counts).await;
                for status in STATUSES {
                    assert_eq!(counts[status], expected(status, count), "{name}: {counts}");
                }
            }
        }
        if look.1.phone {
            charts(&chrome, &base, count).await;
        }
        chrome.close().await;
    }
    assert!(process.stop().await.success());
}

/// What the charts tell those who do not see them is what happened.
async fn charts(chrome: &Chrome, base: &str, count: usize) {
    chrome.client.goto(&format!("{base}/")).await.unwrap();
    let labels = "return [...document.querySelectorAll('svg[role=img]')].map(svg => svg.getAttribute('aria-label'))";
    let labels_of_page = chrome.run(labels).await.to_string();
    // Completed once; failed: the dead letters, those removed, those that wait for their retry.
    let failed = 3 * count + 1;
    for part in [format!("{count} "), format!("{failed} ")] {
        assert!(labels_of_page.contains(&part), "{part} in {labels_of_page}");
    }
    chrome.client.goto(&format!("{base}/queues")).await.unwrap();
    let bars = chrome.run(labels).await.to_string();
    for part in [
        format!("{} processing", expected("processing", count)),
        format!("{count} retrying"),
        format!("{count} scheduled"),
        format!("{} failed", count + 1),
        format!("{count} pending"),
    ] {
        assert!(bars.contains(&part), "{part} in {bars}");
    }
}

#[tokio::test]
async fn empty_pages_teach_and_are_fit_for_everybody() {
    let dev = Dev::new();
    let process = dev.start().await;
    let base = format!("http://127.0.0.1:{}", dev.dashboard);
    for look in [DAY, NIGHT, PHONE] {
        let chrome = Chrome::start(look.1).await;
        for (name, path, says) in [
            ("empty-overview", "/", "No task was submitted yet."),
            ("empty-queues", "/queues", "No task was submitted yet."),
            ("empty-tasks", "/tasks", "No task was submitted yet."),
            ("empty-dlq", "/dlq", "given up"),
            (
                "empty-operations",
                "/operations",
                "Nothing was done to many tasks at once.",
            ),
        ] {
            chrome.client.goto(&format!("{base}{path}")).await.unwrap();
            chrome.says(says).await;
            fits(&chrome, name, look).await;
        }
        chrome.close().await;
    }
    assert!(process.stop().await.success());
}
