//! What happened to this one? Everything here is folded from the same events, so the page cannot
//! disagree with the system.

use maud::{Markup, html};
use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Response, handler};
use taskweir_domain::{Phase, Recorded, Status, TaskDetail, TaskId, format_ms};
use taskweir_store::Story;

use super::failed;
use crate::app::State;
use crate::components::{ago, dlq_buttons, span, state_badge};
use crate::gate::Visitor;
use crate::{layout, url};

/// The longest payload or result that is shown whole.
const SHOWN: usize = 20_000;

fn pretty(text: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let mut pretty = serde_json::to_string_pretty(&value).unwrap_or_default();
    if pretty.len() > SHOWN {
        pretty.truncate(pretty.floor_char_boundary(SHOWN));
        pretty.push_str("\n… (cut here; GET /tasks/{id} gives it whole)");
    }
    pretty
}

fn history(story: &Story) -> Markup {
    let mut after: Option<TaskDetail> = story.base.clone();
    let mut rows: Vec<(&Recorded, &str, Status, Option<u64>)> = Vec::new();
    for (entry, recorded) in story.entries.iter().zip(&story.events) {
        let before_ms = after.as_ref().map(|detail| detail.task.last.ms);
        // The story was folded when it was read: it folds again.
        let Ok(next) = TaskDetail::evolve(after.take(), recorded) else {
            break;
        };
        let passed = before_ms.map(|ms| recorded.position.ms.saturating_sub(ms));
        rows.push((recorded, &entry.d, next.task.status(), passed));
        after = Some(next);
    }
    html! {
        div.scroll {
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
                    @for (recorded, body, status, passed) in &rows {
                        @let told = recorded.event.told();
                        tr {
                            td.num { (recorded.version) }
                            th scope="row" { (recorded.event.event_type()) }
                            td { (state_badge(*status)) }
                            td { time datetime=(format_ms(recorded.position.ms)) { (format_ms(recorded.position.ms)) } }
                            td.num { @if let Some(ms) = passed { "+" (span(*ms)) } }
                            td.num { @if let Some(attempt) = told.attempt { (attempt) } }
                            td.mono { (told.worker.or(told.actor).unwrap_or_default()) }
                            td.wide { (told.cause.unwrap_or_default()) }
                            td {
                                details id=(format!("event-{}", recorded.version)) {
                                    summary { "body" }
                                    p.mono { "position " (recorded.position) }
                                    pre { (pretty(body)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn facts(story: &Story, now_ms: u64) -> Markup {
    let detail = &story.detail;
    let task = &detail.task;
    let retry = &task.limits.retry;
    html! {
        dl.facts {
            div { dt { "Status" } dd {
                (state_badge(task.status()))
                @if task.cancelling() { " " span.muted { "being cancelled" } }
                @if story.record.is_parked() { " " span.muted { "no worker of its queue knows its type" } }
            } }
            div { dt { "Type" } dd { (task.task_type) } }
            div { dt { "Queue" } dd { (task.queue) } }
            div { dt { "Priority" } dd { (task.priority) } }
            div { dt { "Attempt" } dd { (task.attempt) } }
            div { dt { "Retries used" } dd { (task.failures) " of " (retry.max_retries) } }
            div { dt { "Workers lost" } dd { (task.losses) ", at most " (task.limits.max_deliveries) } }
            div { dt { "Submitted" } dd { (ago(task.first.ms, now_ms)) } }
            @if let Some(ms) = detail.started_ms { div { dt { "Latest start" } dd { (ago(ms, now_ms)) } } }
            @if let Some(ms) = detail.ended_ms { div { dt { "Ended" } dd { (ago(ms, now_ms)) } } }
            @if let Phase::Scheduled { due_ms } | Phase::Retrying { due_ms } = task.phase {
                div { dt { "Next run" } dd { (format_ms(due_ms)) " (in " (span(due_ms.saturating_sub(now_ms))) ")" } }
            }
            @if let Some(holder) = &detail.holder { div { dt { "Worker" } dd.mono { (holder.worker()) } } }
            @if let Some(ms) = task.limits.timeout_ms { div { dt { "Timeout" } dd { (span(ms)) } } }
            @if let Some(progress) = &detail.progress {
                div { dt { "Progress" } dd {
                    (format!("{:.0} %", progress.percent)) " " (progress.message.as_deref().unwrap_or_default())
                } }
            }
            @for (name, value) in &detail.labels { div { dt { "Label " (name) } dd { (value) } } }
        }
    }
}

#[handler]
pub(crate) async fn task_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Path(id): Path<String>,
) -> poem::Result<Response> {
    let missing = || poem::Error::from_string("there is no such task", StatusCode::NOT_FOUND);
    let id: TaskId = id.parse().map_err(|_| missing())?;
    let store = &state.store;
    let story = store.story(id).await.map_err(failed)?.ok_or_else(missing)?;
    let now_ms = store.server_time_ms().await.map_err(failed)?;
    let partition = store.partition_of(id).ok_or_else(missing)?;
    let detail = &story.detail;
    let mut data = detail.data.as_ref().map(|json| json.as_str().to_owned());
    if detail.data_stored.is_some() {
        data = partition.stored_data(id).await.map_err(failed)?;
    }
    let mut result = detail.result.as_ref().map(|json| json.as_str().to_owned());
    if detail.result_stored.is_some() {
        result = partition.stored_result(id).await.map_err(failed)?;
    }
    let body = html! {
        div.card { (facts(&story, now_ms)) }
        @if let Some(error) = &detail.error {
            h2 { "Latest error" }
            div.card { span.error { (error.class()) } " " (error.message) }
        }
        @if detail.task.status() == Status::Failed { p { (dlq_buttons(visitor, id)) } }
        h2 { "History" }
        (history(&story))
        h2 { "Data" }
        div.card { pre { (pretty(data.as_deref().unwrap_or("null"))) } }
        @if let Some(result) = &result {
            h2 { "Result" }
            div.card { pre { (pretty(result)) } }
        }
    };
    Ok(layout::page(
        visitor,
        &format!("Task {id}"),
        url::TASKS,
        true,
        &body,
    ))
}
