//! Bulk operations from the command line: the request, and waiting for its end.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::bail;
use serde_json::{Map, Value};
use taskweir_client::{Answer, Client};
use taskweir_domain::format_ms;
use taskweir_store::clock;

use crate::cli::{Bulk, CancelTarget, DeadTarget};
use crate::output::Misuse;
use crate::when::{Direction, instant, is_of_day};

/// How often an operation is looked at.
const LOOK: Duration = Duration::from_millis(300);
const DAY_MS: u64 = 86_400_000;

/// The two ends of a span, of which either may be open.
pub(super) fn span(
    since: Option<&str>,
    until: Option<&str>,
) -> anyhow::Result<(Option<String>, Option<String>)> {
    let (since, until) = ends(since, until, clock::now_ms())?;
    Ok((since.map(format_ms), until.map(format_ms)))
}

/// The same, ms since the epoch, as somebody means it who says it now.
fn ends(
    since: Option<&str>,
    until: Option<&str>,
    now_ms: u64,
) -> Result<(Option<u64>, Option<u64>), Misuse> {
    let time = |name: &str, text: Option<&str>| {
        let wrong = |why| Misuse(format!("--{name} {why}"));
        text.map(|text| instant(text, Direction::Past, now_ms).map_err(wrong))
            .transpose()
    };
    let (from, mut to) = (time("since", since)?, time("until", until)?);
    if let (Some(from), Some(end)) = (from, to) {
        // A time of the day is the first one after the beginning, also where it lies ahead of us.
        if until.is_some_and(is_of_day) && end <= from {
            to = Some(end + DAY_MS).filter(|end| *end - from < DAY_MS);
        }
        if to.is_none_or(|to| to <= from) {
            let why = format!(
                "--since must be before --until, and these are {} and {}",
                format_ms(from),
                format_ms(end)
            );
            return Err(Misuse(why));
        }
    }
    Ok((from, to))
}

/// The body of a request; `mine` are fields of this call alone.
fn body<const N: usize>(
    bulk: Bulk,
    mine: [(&'static str, Option<String>); N],
) -> anyhow::Result<Value> {
    let fields = bulk.which.into_fields().into_iter().chain(mine);
    let mut body: Map<String, Value> = fields
        .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))))
        .collect();
    if body.is_empty() && !bulk.all && !bulk.dry_run {
        return Err(Misuse("name an id or a filter, or say --all".to_owned()).into());
    }
    if bulk.dry_run {
        body.insert("dry_run".to_owned(), true.into());
    }
    if let Some(reason) = bulk.reason {
        body.insert("reason".to_owned(), reason.into());
    }
    Ok(Value::Object(body))
}

/// Begins an operation on dead letters, and waits for its end.
pub async fn of_dead(client: &Client, verb: &str, target: DeadTarget) -> anyhow::Result<Answer> {
    let (since, until) = span(target.since.as_deref(), target.until.as_deref())?;
    let mine = [("failed_after", since), ("failed_before", until)];
    run(client, &format!("/dlq/{verb}"), target.bulk, mine).await
}

/// Begins to cancel many tasks, and waits for the end.
pub async fn cancel(client: &Client, target: CancelTarget) -> anyhow::Result<Answer> {
    let (since, until) = span(target.since.as_deref(), target.until.as_deref())?;
    let mine = [
        ("status", target.status),
        ("created_after", since),
        ("created_before", until),
    ];
    run(client, "/tasks/cancel", target.bulk, mine).await
}

async fn run<const N: usize>(
    client: &Client,
    path: &str,
    bulk: Bulk,
    mine: [(&'static str, Option<String>); N],
) -> anyhow::Result<Answer> {
    let at_once = bulk.dry_run || bulk.detach;
    let body = body(bulk, mine)?;
    let mut answer = client.begin(path, &body).await?;
    if at_once {
        return Ok(answer);
    }
    let Some(id) = answer["id"].as_str().map(ToOwned::to_owned) else {
        bail!("the gateway names no operation");
    };
    let shown = std::io::stderr().is_terminal();
    while answer["state"] == "running" {
        if shown {
            eprint!("\r{} of {} …", answer["done"], answer["matching"]);
            std::io::stderr().flush().ok();
        }
        tokio::time::sleep(LOOK).await;
        answer = client.operation(&id).await?;
    }
    if shown {
        eprint!("\r\x1b[K");
    }
    if answer["state"] != "completed" {
        bail!(
            "stopped by {} after {} of {}: what was done stays done",
            answer["stopped_by"].as_str().unwrap_or("somebody"),
            answer["done"],
            answer["matching"]
        );
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::ends;

    #[test]
    fn a_span_of_the_day_may_reach_past_now_and_past_midnight() {
        // 02:50 on the second day.
        let now = super::DAY_MS + (2 * 60 + 50) * 60_000;
        let minutes = |text: Option<&str>, until: Option<&str>| {
            let (from, to) = ends(text, until, now).ok()?;
            Some((from.map(|ms| ms / 60_000), to.map(|ms| ms / 60_000)))
        };
        let day = 24 * 60;
        let span = |from, to| Some((Some(from), Some(to)));
        assert_eq!(
            minutes(Some("02:10"), Some("02:55")),
            span(day + 130, day + 175)
        );
        assert_eq!(
            minutes(Some("23:50"), Some("00:10")),
            span(day - 10, day + 10)
        );
        assert_eq!(minutes(Some("2h"), Some("1h")), span(day + 50, day + 110));
        assert_eq!(minutes(Some("1h"), Some("2h")), None);
        assert_eq!(minutes(Some("02:10"), Some("02:10")), None);
        assert_eq!(minutes(Some("soon"), None), None);
    }
}
