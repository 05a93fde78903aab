//! `taskweir watch`: a task until it ends, or the whole system until interrupted.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;
use serde_json::Value;
use taskweir_client::Client;
use taskweir_domain::{Json, compact};

use super::table;
use crate::output::{say, say_json, say_json_line};

/// How often a task is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// The texts of a task's events.
#[derive(Default, Deserialize)]
struct History {
    events: Vec<Json>,
}

/// Prints the events of a task as they come; its end is ours: status 0 where it completed, 1 where not.
pub async fn task(client: &Client, id: &str, json: bool) -> anyhow::Result<()> {
    let mut seen = 0;
    loop {
        let history = client.history(id).await?;
        let events = history["events"].as_array().cloned().unwrap_or_default();
        // As they came: their payloads may hold longer numbers than a value does.
        let texts: History = serde_json::from_str(history.text()).unwrap_or_default();
        let version = |event: &Value| event["version"].as_u64().unwrap_or(0);
        for (event, text) in events.iter().zip(&texts.events) {
            if version(event) <= seen {
                continue;
            }
            if json {
                say_json_line(&compact(text.as_str()));
            } else {
                table::event(event);
            }
        }
        // Of what retention has cut, the base tells how far it had come.
        let base = history["base"].get("version").and_then(Value::as_u64);
        seen = events.last().map_or(seen.max(base.unwrap_or(0)), version);
        let task = client.task(id, None).await?;
        // What came between the two looks is shown by the next one.
        if task["version"].as_u64() == Some(seen) {
            match task["status"].as_str().unwrap_or_default() {
                "completed" => return Ok(()),
                ended @ ("failed" | "cancelled" | "expired" | "removed") => bail!("it is {ended}"),
                _ => {}
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Shows queues and workers again and again; `times` looks, any number where absent.
pub async fn system(
    client: &Client,
    every: Duration,
    times: Option<u64>,
    json: bool,
) -> anyhow::Result<()> {
    let clears = std::io::stdout().is_terminal();
    let mut looks = 0;
    loop {
        let (stats, queues, workers) =
            tokio::try_join!(client.stats(&[]), client.queues(&[]), client.workers())?;
        if json {
            say_json(&format!(
                r#"{{"stats":{},"queues":{},"workers":{}}}"#,
                stats.text(),
                queues.text(),
                workers.text()
            ));
        } else {
            if clears {
                say("\x1b[H\x1b[2J");
            }
            table::stats(&stats);
            table::queues(&queues);
            table::workers(&workers);
        }
        looks += 1;
        if times.is_some_and(|times| looks >= times) {
            return Ok(());
        }
        tokio::time::sleep(every).await;
    }
}
