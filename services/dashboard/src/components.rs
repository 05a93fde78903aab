//! Pieces that several pages share.

pub(crate) mod chart;

use maud::{Markup, html};
use taskweir_domain::{Status, TaskId, format_ms};
use taskweir_store::{Item, OperationKind, Totals};

use taskweir_runtime::access::Role;

use crate::filter::Asked;
use crate::gate::Visitor;
use crate::layout::form_token;
use crate::url;

const fn icon(status: Status) -> &'static str {
    match status {
        Status::Scheduled => "◷",
        Status::Pending => "○",
        Status::Processing => "◐",
        Status::Retrying => "↻",
        Status::Completed => "✓",
        Status::Failed => "✗",
        Status::Cancelled => "⊘",
        Status::Expired => "◇",
        Status::Removed => "–",
    }
}

/// A status as icon, word and colour: never by colour alone.
pub(crate) fn state_badge(status: Status) -> Markup {
    html! {
        span class=(format!("state state-{status}")) {
            span aria-hidden="true" { (icon(status)) " " } (status)
        }
    }
}

/// The counts of every status, each a link to its list.
pub(crate) fn summary_strip(totals: &Totals) -> Markup {
    html! {
        ul.strip {
            @for status in Status::ALL {
                li {
                    a href=(url::with_query(url::TASKS, &[("status", Some(status.as_str()))])) {
                        b { (grouped(totals.of_status(status))) }
                        (state_badge(status))
                    }
                }
            }
        }
    }
}

/// The same on pages that are about one thing, which a partition that is away must not take with it.
pub(crate) fn summary_if_any(totals: Option<&Totals>) -> Markup {
    totals.map(summary_strip).unwrap_or_default()
}

/// A count with its thousands apart, for the eye: `1,234,567`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A span of time in one or two words.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        3_600_000..86_400_000 => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
        _ => format!("{} d {} h", ms / 86_400_000, ms / 3_600_000 % 24),
    }
}

/// How long ago something was, with the exact time at hand.
pub(crate) fn ago(ms: u64, now_ms: u64) -> Markup {
    let exact = format_ms(ms);
    html! {
        time datetime=(exact) title=(exact) { (span(now_ms.saturating_sub(ms))) " ago" }
    }
}

pub(crate) fn task_link(id: TaskId) -> Markup {
    html! { a.mono href=(url::task(id)) { (id) } }
}

pub(crate) fn empty(text: &str) -> Markup {
    html! { div.empty { p { (text) } a.button.quiet href=(url::NEW_TASK) { "Submit a task" } } }
}

/// A table of tasks.
pub(crate) fn task_table(caption: &str, items: &[Item], now_ms: u64, nothing: &str) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Tasks" {
            @if items.is_empty() {
                (empty(nothing))
            } @else {
                table {
                    caption { (caption) }
                    thead { tr {
                        th scope="col" { "Task" } th scope="col" { "Status" } th scope="col" { "Type" }
                        th scope="col" { "Queue" } th scope="col" { "Priority" }
                        th.num scope="col" { "Attempt" } th scope="col" { "Submitted" } th scope="col" { "Changed" }
                        th scope="col" { "Error" }
                    } }
                    tbody {
                        @for item in items {
                            @let task = &item.record.task;
                            tr {
                                td { (task_link(item.id)) }
                                td {
                                    (state_badge(task.status()))
                                    @if item.record.is_parked() { br; span.muted { "no worker knows this type" } }
                                }
                                td.name { (task.task_type) } td.name { (task.queue) } td { (task.priority) }
                                td.num { (task.attempt) }
                                td { (ago(task.first.ms, now_ms)) } td { (ago(task.last.ms, now_ms)) }
                                td.wide {
                                    @if let Some(error) = &item.extra.error { span.error { (error.class()) } " " (error.message) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A text of a filter.
pub(crate) fn text_field(name: &str, label: &str, value: &str) -> Markup {
    html! { div { label for=(name) { (label) } input id=(name) name=(name) value=(value); } }
}

/// A time of a filter, UTC.
pub(crate) fn time_field(name: &str, label: &str, value: &str) -> Markup {
    html! { div { label for=(name) { (label) } input id=(name) name=(name) value=(value) type="datetime-local" step="1"; } }
}

/// The way to the page that counts what an operation would do, and asks.
pub(crate) fn bulk_link(
    visitor: &Visitor,
    kind: OperationKind,
    asked: &Asked,
    text: &str,
) -> Markup {
    let word = serde_json::to_value(kind).unwrap_or_default();
    html! {
        @if visitor.may(Role::Operator) {
            a.button.quiet href=(asked.url(url::BULK, "kind", word.as_str().unwrap_or_default())) { (text) }
        }
    }
}

/// Retry and remove of a dead letter.
pub(crate) fn dlq_buttons(visitor: &Visitor, id: TaskId) -> Markup {
    html! {
        @if visitor.may(Role::Operator) {
        form.inline method="post" action=(url::retry(id)) { (form_token(visitor)) button type="submit" { "Retry" } }
        " "
        details.confirm id=(format!("remove-{id}")) {
            summary { "Remove…" }
            form method="post" action=(url::remove(id)) { (form_token(visitor)) button.danger type="submit" { "Remove for good" } }
        }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn counts_read_well_at_every_size() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (89_977, "89,977"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(super::grouped(count), text);
        }
    }

    #[test]
    fn spans_read_well_at_every_size() {
        let shown: Vec<String> = [7, 1_500, 61_000, 3_660_000, 90_000_000]
            .into_iter()
            .map(span)
            .collect();
        assert_eq!(
            shown,
            ["7 ms", "1.5 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
        );
    }
}
