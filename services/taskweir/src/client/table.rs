//! Answers as tables.

use std::collections::BTreeMap;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Cell, Color, ContentArrangement, Table};
use serde_json::Value;
use taskweir_client::Answer;
use taskweir_domain::Json;

use taskweir_runtime::printable::{printable, printable_line};

use crate::output::say;

/// A value as a cell: texts without quotes, nothing for what is absent.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text).into_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => printable(&other.to_string()).into_owned(),
    }
}

/// The colour of a status word, as on the dashboard; other cells have none.
fn coloured(text: String) -> Cell {
    let colour = match text.as_str() {
        "completed" => Color::Green,
        "failed" => Color::Red,
        "processing" | "running" => Color::Blue,
        "retrying" | "scheduled" => Color::Yellow,
        "cancelled" | "expired" | "removed" | "stopped" => Color::DarkGrey,
        _ => return Cell::new(text),
    };
    Cell::new(text).fg(colour)
}

fn print(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = Table::new();
    // https://no-color.org; a pipe gets none either.
    if !crate::output::has_colour() {
        table.force_no_tty();
    }
    table
        .load_style(UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for row in rows {
        table.add_row(row.into_iter().map(coloured));
    }
    say(&format!("{table}\n"));
}

/// Columns of a list, each by its pointer into the item.
fn list(items: &Value, columns: &[(&str, &str)]) {
    let header: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let rows = items.as_array().into_iter().flatten().map(|item| {
        let value = |pointer: &str| item.pointer(pointer).map(cell).unwrap_or_default();
        columns.iter().map(|(_, pointer)| value(pointer)).collect()
    });
    print(&header, rows);
}

pub fn accepted(answer: &Answer) {
    say(&format!(
        "{} {}\n",
        cell(&answer["id"]),
        cell(&answer["status"])
    ));
}

pub fn task(answer: &Answer) {
    // As they came: a payload's numbers may be longer than a value holds.
    let fields: BTreeMap<String, Json> = serde_json::from_str(answer.text()).unwrap_or_default();
    let shown = |field: &Json| match serde_json::from_str(field.as_str()) {
        Ok(text @ Value::String(_)) => cell(&text),
        _ => printable(field.as_str()).into_owned(),
    };
    print(
        &["Field", "Value"],
        fields
            .iter()
            .map(|(name, field)| vec![name.clone(), shown(field)]),
    );
}

pub fn tasks(answer: &Answer) {
    list(
        &answer["tasks"],
        &[
            ("Task", "/id"),
            ("Status", "/status"),
            ("Type", "/type"),
            ("Queue", "/queue"),
            ("Priority", "/priority"),
            ("Attempt", "/attempt"),
            ("Submitted", "/created_at"),
            ("Error", "/error/message"),
        ],
    );
    more(answer);
}

/// How to see the next page, where there is one.
fn more(answer: &Answer) {
    if let Some(cursor) = answer["cursor"].as_str() {
        say(&format!("more: --cursor {}\n", printable_line(cursor)));
    }
}

pub fn history(answer: &Answer) {
    let base = &answer["base"];
    if base.is_object() {
        say(&format!(
            "cut at {}: it was {} after event {} of {}\n",
            cell(&base["cut_at"]),
            cell(&base["status"]),
            cell(&base["version"]),
            cell(&base["time"]),
        ));
    }
    list(
        &answer["events"],
        &[
            ("#", "/version"),
            ("Time", "/time"),
            ("Event", "/type"),
            ("Then", "/status"),
            ("Attempt", "/attempt"),
            ("Worker", "/worker"),
            ("By", "/actor"),
            ("Cause", "/cause"),
        ],
    );
}

/// An event of a task that is being watched, in a line.
pub fn event(event: &Value) {
    let told = [
        "/time", "/type", "/status", "/attempt", "/worker", "/actor", "/cause",
    ];
    let told = told.map(|pointer| event.pointer(pointer).map(cell).unwrap_or_default());
    let [time, kind, status, attempt, worker, actor, cause] =
        told.map(|text| printable_line(&text).into_owned());
    let attempt = if attempt.is_empty() {
        attempt
    } else {
        format!("attempt {attempt}")
    };
    let rest = [attempt, worker, actor, cause];
    let rest: Vec<String> = rest.into_iter().filter(|text| !text.is_empty()).collect();
    say(&format!(
        "{time}  {kind:<22} {status:<11} {}\n",
        rest.join(" · ")
    ));
}

const OPERATION: [(&str, &str); 9] = [
    ("Operation", "/id"),
    ("Kind", "/kind"),
    ("State", "/state"),
    ("Matching", "/matching"),
    ("Done", "/done"),
    ("Skipped", "/skipped"),
    ("By", "/actor"),
    ("Reason", "/reason"),
    ("Asked", "/created_at"),
];

pub fn operations(answer: &Answer) {
    list(&answer["operations"], &OPERATION);
}

pub fn operation(answer: &Answer) {
    if answer["dry_run"] == true {
        let more = if answer["exact"] == true {
            ""
        } else {
            " or more"
        };
        say(&format!(
            "{}{more} tasks match; nothing was done\n",
            cell(&answer["matching"])
        ));
        return;
    }
    list(&Value::Array(vec![Value::clone(answer)]), &OPERATION);
}

pub fn queues(answer: &Answer) {
    list(
        &answer["queues"],
        &[
            ("Queue", "/name"),
            ("Paused", "/paused"),
            ("High", "/depth/high/ready"),
            ("Normal", "/depth/normal/ready"),
            ("Low", "/depth/low/ready"),
            ("Parked", "/parked"),
            ("Running", "/by_status/processing"),
            ("Scheduled", "/by_status/scheduled"),
            ("Retrying", "/by_status/retrying"),
            ("Dead", "/by_status/failed"),
            ("Oldest (s)", "/oldest_ready_age_seconds"),
        ],
    );
    more(answer);
}

pub fn workers(answer: &Answer) {
    list(
        &answer["workers"],
        &[
            ("Worker", "/id"),
            ("Active", "/active"),
            ("Draining", "/draining"),
            ("Running", "/running"),
            ("Slots", "/concurrency"),
            ("Queues", "/queues"),
            ("Last spoke", "/last_heartbeat"),
        ],
    );
}

pub fn stats(answer: &Answer) {
    let totals = answer["totals"].as_object().into_iter().flatten();
    print(
        &["Status", "Tasks"],
        totals.map(|(status, count)| vec![printable(status).into_owned(), cell(count)]),
    );
    let ledger = &answer["ledger"];
    say(&format!(
        "submitted {}, accounted {}, started twice {}, redelivered {}, late completions refused {}\n",
        cell(&ledger["submitted"]),
        cell(&ledger["accounted"]),
        cell(&ledger["started_twice"]),
        cell(&ledger["redeliveries"]),
        cell(&ledger["late_completions_refused"]),
    ));
}

/// Numbers that are not zero, with a sign where they may fall.
fn changes(header: &[&str], numbers: &Value, signed: bool) {
    let numbers = numbers.as_object().into_iter().flatten();
    let changed = numbers.filter(|(_, count)| count.as_i64() != Some(0));
    print(
        header,
        changed.map(|(name, count)| {
            let sign = if signed && count.as_i64() > Some(0) {
                "+"
            } else {
                ""
            };
            vec![name.clone(), format!("{sign}{}", cell(count))]
        }),
    );
}

pub fn diff(answer: &Answer) {
    say(&format!(
        "from {} to {}\n",
        cell(&answer["from"]),
        cell(&answer["to"])
    ));
    changes(&["Status", "Change"], &answer["totals"], true);
    changes(&["Event", "Happened"], &answer["events"], false);
}

pub fn queue(answer: &Answer) {
    let paused = answer["paused"].as_bool() == Some(true);
    say(&format!(
        "{} {}\n",
        cell(&answer["name"]),
        if paused { "paused" } else { "runs" }
    ));
}
