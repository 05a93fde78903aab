//! The events of a task: as a table, and as the way through its states.

use maud::{Markup, html};
use taskweir_domain::{Recorded, Status, TaskDetail, format_ms};
use taskweir_store::Story;

use super::{shown, trace};
use crate::app::State;
use crate::components::{span, state_badge};
use crate::url;

/// An event with the state after it and the time since the one before it.
struct Row<'a> {
    recorded: &'a Recorded,
    body: &'a str,
    status: Status,
    passed_ms: Option<u64>,
}

fn rows(story: &Story) -> Vec<Row<'_>> {
    let mut after: Option<TaskDetail> = story.base.clone();
    let mut rows = Vec::new();
    for (entry, recorded) in story.entries.iter().zip(&story.events) {
        let before_ms = after.as_ref().map(|detail| detail.task.last.ms);
        // The story was folded when it was read: it folds again.
        let Ok(next) = TaskDetail::evolve(after.take(), recorded) else {
            break;
        };
        rows.push(Row {
            recorded,
            body: &entry.d,
            status: next.task.status(),
            passed_ms: before_ms.map(|ms| recorded.position.ms.saturating_sub(ms)),
        });
        after = Some(next);
    }
    rows
}

/// States shown at each end of a long way.
const SHOWN: usize = 6;

/// The way of a task through its states, with how long it was in each.
pub(super) fn way(story: &Story, now_ms: u64) -> Markup {
    let mut steps: Vec<(Status, u64)> = Vec::new();
    if let Some(base) = &story.base {
        steps.push((base.task.status(), base.task.last.ms));
    }
    for row in rows(story) {
        if steps.last().is_none_or(|(status, _)| *status != row.status) {
            steps.push((row.status, row.recorded.position.ms));
        }
    }
    let ends: Vec<u64> = steps.iter().skip(1).map(|(_, ms)| *ms).collect();
    let last = steps.len().saturating_sub(1);
    let hidden = steps.len().saturating_sub(2 * SHOWN);
    html! {
        ol.way aria-label="States" {
            @for (index, (status, since)) in steps.iter().enumerate() {
                @if hidden > 0 && index == SHOWN { li.muted { "… " (hidden) " more …" } }
                @if hidden == 0 || !(SHOWN..SHOWN + hidden).contains(&index) {
                    li aria-current=[(index == last).then_some("step")] {
                        (state_badge(*status))
                        span.muted {
                            @match ends.get(index) {
                                Some(end) => (span(end.saturating_sub(*since))),
                                None if status.is_final() || *status == Status::Failed => { "since " (format_ms(*since)) },
                                None => (span(now_ms.saturating_sub(*since))),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Every event, oldest first; `at` is the one as of which the page shows the task.
pub(super) fn table(state: &State, story: &Story, at: Option<u64>) -> Markup {
    let id = story.detail.id;
    html! {
        div.scroll tabindex="0" role="region" aria-label="History" {
            table {
                caption { "The events of this task, oldest first, as they stand in the log." }
                thead { tr {
                    th.num scope="col" { "#" } th scope="col" { "Event" } th scope="col" { "Then" }
                    th scope="col" { "Time" } th.num scope="col" { "After" } th.num scope="col" { "Attempt" }
                    th scope="col" { "Worker or person" } th scope="col" { "Cause" } th scope="col" { "Detail" }
                } }
                tbody {
                    @if let Some(base) = &story.base {
                        tr {
                            td.num { (base.task.version) }
                            th scope="row" { "Earlier events were cut" }
                            td { (state_badge(base.task.status())) }
                            td { time datetime=(format_ms(base.task.last.ms)) { (format_ms(base.task.last.ms)) } }
                            td {} td.num { @if base.task.attempt > 0 { (base.task.attempt) } }
                            td {}
                            td.wide { "retention has cut the log up to " (format_ms(story.base_position.ms)) }
                            td {}
                        }
                    }
                    @for row in rows(story) {
                        @let recorded = row.recorded;
                        @let told = recorded.event.told();
                        tr aria-current=[(at == Some(recorded.version)).then_some("step")] {
                            td.num { (recorded.version) }
                            th scope="row" { (recorded.event.event_type()) }
                            td { (state_badge(row.status)) }
                            td { time datetime=(format_ms(recorded.position.ms)) { (format_ms(recorded.position.ms)) } }
                            td.num { @if let Some(ms) = row.passed_ms { "+" (span(ms)) } }
                            td.num { @if let Some(attempt) = told.attempt { (attempt) } }
                            td.mono { (told.worker.or(told.actor).unwrap_or_default()) }
                            td.wide { (told.cause.unwrap_or_default()) }
                            td {
                                a href=(url::task_at(id, recorded.version)) { "as of here" } " "
                                details id=(format!("event-{}", recorded.version)) {
                                    summary { "body" }
                                    p.mono { "position " (recorded.position) }
                                    @if recorded.event.traceparent().is_some() { p { "trace " (trace(state, recorded.event.traceparent())) } }
                                    pre tabindex="0" { (shown(&state.redaction.of_body(row.body))) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
