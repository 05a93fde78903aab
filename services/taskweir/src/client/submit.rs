//! `taskweir submit`: one task, or many from a file.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;
use taskweir_client::{Answer, Client};
use taskweir_domain::{Json, format_ms, members};
use taskweir_runtime::printable::printable_line;
use taskweir_store::{clock, entropy};

use crate::cli::Submit;
use crate::output::{Misuse, say, say_json_line};
use crate::when::{Direction, instant};

/// Tries of a submit, and the pause between two.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// Tasks and bytes of one batch; a gateway takes 1,000 tasks and 16 MiB.
const BATCH: usize = 1_000;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

type Fields = BTreeMap<String, Json>;

/// Submits under a key, drawn where none is given, so that what a lost answer hides is not submitted twice: neither
/// by us nor by who is told the key.
pub async fn one(client: &Client, mut submit: Submit) -> anyhow::Result<Answer> {
    let key = submit.idempotency_key.take();
    let key = key.unwrap_or_else(entropy::nonce);
    let task = request(submit)?;
    let mut tries = 1;
    loop {
        match client.submit(&task, &key).await {
            Err(error) if error.is_transient() && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) if error.is_transient() => {
                let again = format!(
                    "not known to be submitted; once more with --idempotency-key {} is safe",
                    shell(&key)
                );
                return Err(anyhow::Error::new(error).context(again));
            }
            ended => return Ok(ended?),
        }
    }
}

/// A text as one word of a shell.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Opens a file, or standard input where it is `-`.
fn open(path: &str) -> anyhow::Result<Box<dyn Read>> {
    if path == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    match std::fs::File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(Misuse(format!("{path}: {error}")).into()),
    }
}

/// The payload that somebody typed, or named a file of.
fn payload(given: &str) -> anyhow::Result<Json> {
    let path = match given {
        "-" => Some("-"),
        given => given.strip_prefix('@'),
    };
    let text = match path {
        Some(path) => {
            let mut text = String::new();
            let read = open(path)?.read_to_string(&mut text);
            read.map_err(|error| Misuse(format!("{path}: {error}")))?;
            text.trim().to_owned()
        }
        None => given.to_owned(),
    };
    let typed = path.is_none();
    Json::parse(text.clone()).map_err(|error| {
        let hint = if typed {
            let quoted = serde_json::to_string(&text).unwrap_or_default();
            format!("; a text is written {}", shell(&quoted))
        } else {
            String::new()
        };
        Misuse(format!("DATA must be JSON: {error}{hint}")).into()
    })
}

/// The body of a submit.
fn request(submit: Submit) -> anyhow::Result<Fields> {
    let mut body = Fields::new();
    if let Some(data) = &submit.data {
        body.insert("data".to_owned(), payload(data)?);
    }
    put(&mut body, "type", submit.kind)?;
    put(&mut body, "queue", submit.queue)?;
    put(&mut body, "priority", submit.priority)?;
    put(&mut body, "max_retries", submit.max_retries)?;
    put(&mut body, "delay", submit.delay)?;
    put(&mut body, "timeout", submit.timeout)?;
    put(&mut body, "expires_in", submit.expires_in)?;
    put(&mut body, "unique_key", submit.unique_key)?;
    if let Some(text) = submit.run_at {
        let at = instant(&text, Direction::Future, clock::now_ms());
        let at = at.map_err(|why| Misuse(format!("--run-at {why}")))?;
        put(&mut body, "run_at", Some(format_ms(at)))?;
    }
    let retry = submit
        .initial_delay
        .map(|delay| BTreeMap::from([("initial_delay", delay)]));
    put(&mut body, "retry", retry)?;
    let mut labels = BTreeMap::new();
    for label in &submit.labels {
        let (name, value) = label
            .split_once('=')
            .ok_or_else(|| Misuse("--label takes NAME=VALUE".to_owned()))?;
        labels.insert(name, value);
    }
    put(
        &mut body,
        "labels",
        Some(labels).filter(|labels| !labels.is_empty()),
    )?;
    Ok(body)
}

fn put(body: &mut Fields, name: &str, value: Option<impl Serialize>) -> anyhow::Result<()> {
    if let Some(value) = value {
        body.insert(name.to_owned(), Json::of(&value)?);
    }
    Ok(())
}

/// A task of a file, and its line.
struct Line {
    number: usize,
    task: Fields,
}

/// Reads the next tasks, as many as go into one batch; none at the end.
fn next_lines(
    lines: &mut impl Iterator<Item = (usize, std::io::Result<String>)>,
) -> anyhow::Result<Vec<Line>> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    while found.len() < BATCH && bytes < BATCH_BYTES {
        let Some((number, text)) = lines.next() else {
            break;
        };
        let text = text.map_err(|error| Misuse(format!("line {number}: {error}")))?;
        if text.trim().is_empty() {
            continue;
        }
        bytes += text.len();
        let (mut task, twice) = members(&text).ok_or_else(|| {
            Misuse(format!(
                "line {number} must be the JSON of a task, as {{\"type\": \"echo\"}}"
            ))
        })?;
        if let Some(twice) = twice.first() {
            let why = format!("line {number}: {} is given twice", printable_line(twice));
            return Err(Misuse(why).into());
        }
        // So that a batch whose answer was lost can be sent again.
        if !task.contains_key("idempotency_key") {
            put(&mut task, "idempotency_key", Some(entropy::nonce()))?;
        }
        found.push(Line { number, task });
    }
    Ok(found)
}

/// Submits every task of a file, batch by batch, and tells of those that were not taken.
pub async fn batch(client: &Client, path: &str, json: bool) -> anyhow::Result<()> {
    let mut lines = (1..).zip(BufReader::new(open(path)?).lines());
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    loop {
        let batch = next_lines(&mut lines)?;
        if batch.is_empty() {
            break;
        }
        let tasks: Vec<&Fields> = batch.iter().map(|line| &line.task).collect();
        let answer = sent(client, &tasks).await.map_err(|error| {
            let (first, last) = (batch[0].number, batch[batch.len() - 1].number);
            error.context(format!(
                "{accepted} tasks before line {first} are submitted; lines {first} to {last} are not known to be"
            ))
        })?;
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        for (line, item) in batch.iter().zip(&items) {
            let taken = item["task"].is_object();
            if taken {
                accepted += 1;
            } else {
                refused += 1;
            }
            if json {
                say_json_line(&item.to_string());
            } else if taken {
                let id = item["task"]["id"].as_str().unwrap_or_default();
                say(&format!("{}\n", printable_line(id)));
            } else {
                let why = item["errors"].as_array().into_iter().flatten();
                let why = why.map(|error| {
                    let part = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
                    format!("{} {}", part("field"), part("message"))
                });
                let why = why.collect::<Vec<_>>().join("; ");
                eprintln!(
                    "taskweir: line {}: {}",
                    line.number,
                    printable_line(why.trim())
                );
            }
        }
    }
    if refused > 0 {
        bail!("{accepted} tasks are submitted, {refused} are not");
    }
    Ok(())
}

/// Sends a batch until an answer comes, a few times.
async fn sent(client: &Client, tasks: &[&Fields]) -> anyhow::Result<Answer> {
    let mut tries = 1;
    loop {
        match client.submit_batch(tasks).await {
            Err(error) if error.is_transient() && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            ended => return Ok(ended?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{payload, shell};

    #[test]
    fn a_hint_is_what_a_shell_takes() {
        for (typed, hint) in [
            ("hello", r#"a text is written '"hello"'"#),
            ("it's", r#"a text is written '"it'\''s"'"#),
            (r#"say "hi""#, r#"a text is written '"say \"hi\""'"#),
        ] {
            let refused = payload(typed).unwrap_err().to_string();
            assert!(refused.ends_with(hint), "{refused}");
        }
        assert_eq!(shell("k-1"), "k-1");
    }

    #[test]
    fn a_payload_comes_from_a_file_as_it_stands_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("data.json");
        std::fs::write(&file, " {\"n\": 12345678901234567890.10}\n").unwrap();
        let found = payload(&format!("@{}", file.display())).unwrap();
        assert_eq!(found.as_str(), "{\"n\": 12345678901234567890.10}");
        std::fs::write(&file, "no").unwrap();
        let refused = payload(&format!("@{}", file.display())).unwrap_err();
        assert!(!refused.to_string().contains("written"), "{refused}");
        let missing = payload("@/no/such/file").unwrap_err().to_string();
        assert!(missing.contains("/no/such/file"), "{missing}");
    }
}
