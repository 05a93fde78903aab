//! What happened to this one? Everything here is folded from the same events, so the page cannot
//! disagree with the system.

mod history;

use maud::{Markup, html};
use poem::http::StatusCode;
use poem::web::{Data, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;
use taskweir_domain::{Phase, Status, TaskDetail, TaskId, format_ms, pretty};
use taskweir_runtime::access::Role;
use taskweir_store::{Story, StoryAt};

use super::failed;
use crate::app::State;
use crate::components::{ago, dlq_buttons, span, state_badge, summary_if_any};
use crate::gate::Visitor;
use crate::layout::form_token;
use crate::{layout, url};

/// The longest payload or result that is shown whole.
const SHOWN: usize = 20_000;

/// JSON over several lines, each number as it is written.
fn shown(json: &str) -> String {
    let mut pretty = pretty(json);
    if pretty.len() > SHOWN {
        pretty.truncate(pretty.floor_char_boundary(SHOWN));
        pretty.push_str("\n… (cut here; GET /tasks/{id} gives it whole)");
    }
    pretty
}

/// A trace by its id, as a link where the dashboard knows where it can be looked at.
/// Lines that are shown without a click.
const SHORT: usize = 30;

/// JSON, folded where it is long.
fn folded(json: &str) -> Markup {
    let lines = json.lines().count();
    let text = html! { pre tabindex="0" { (json) } };
    html! {
        div.card {
            @if lines > SHORT { details { summary { (lines) " lines" } (text) } } @else { (text) }
        }
    }
}

fn trace(state: &State, traceparent: Option<&str>) -> Markup {
    let id = traceparent.and_then(|text| text.split('-').nth(1));
    html! {
        @if let Some(id) = id {
            @match state.trace_url(id) {
                Some(url) => a.mono href=(url) { (id) },
                None => span.mono { (id) },
            }
        }
    }
}

fn facts(state: &State, story: &Story, now_ms: u64) -> Markup {
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
            @if detail.trace.is_some() { div { dt { "Trace of its submit" } dd { (trace(state, detail.trace.as_deref())) } } }
            @for (name, value) in &detail.labels { div { dt { "Label " (name) } dd { (value) } } }
        }
    }
}

/// The slider over the events, and the way back to the present.
fn slider(story: &Story, at: Option<u64>) -> Markup {
    let versions = story.events.iter().map(|recorded| recorded.version);
    let (first, last) = (versions.clone().min(), versions.max());
    html! {
        @if let (Some(first), Some(last)) = (first, last) {
            form.slider method="get" action=(url::task(story.detail.id)) data-auto="1" {
                label for="event" { "As of event " output { (at.unwrap_or(last)) } " of " (last) }
                input #event name="event" type="range" min=(first) max=(last) value=(at.unwrap_or(last)) autofocus[at.is_some()];
                button.quiet type="submit" { "Show" }
                @if at.is_some() { a.button.quiet href=(url::task(story.detail.id)) { "Now" } }
            }
        }
    }
}

fn buttons(visitor: &Visitor, detail: &TaskDetail) -> Markup {
    let (id, task) = (detail.id, &detail.task);
    let status = task.status();
    let open = !status.is_final() && status != Status::Failed && !task.cancelling();
    html! {
        p.actions {
            @if status == Status::Failed { (dlq_buttons(visitor, id)) " " }
            @if open && visitor.may(Role::Operator) {
                form.inline method="post" action=(url::cancel(id)) { (form_token(visitor)) button.danger type="submit" { "Cancel" } } " "
            }
            @if visitor.may(Role::Submitter) {
                a.button.quiet href=(url::with_query(url::NEW_TASK, &[("from", Some(&id.to_string()))])) { "Submit again…" }
            }
        }
    }
}

/// As of which event the page is wanted, and what was just done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct At {
    event: String,
    done: String,
}

#[handler]
pub(crate) async fn task_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Path(id): Path<String>,
    Query(asked): Query<At>,
) -> poem::Result<Response> {
    let missing = || poem::Error::from_string("there is no such task", StatusCode::NOT_FOUND);
    let id: TaskId = id.parse().map_err(|_| missing())?;
    let store = &state.store;
    let story = store.story(id).await.map_err(failed)?.ok_or_else(missing)?;
    let now_ms = store.server_time_ms().await.map_err(failed)?;
    let totals = store.totals().await.ok();
    let at: Option<u64> = asked.event.parse().ok();
    let at = story
        .events
        .iter()
        .find(|recorded| Some(recorded.version) == at);
    let then = match at.map(|recorded| story.as_of(recorded.position)) {
        Some(found) => match found.map_err(failed)? {
            StoryAt::Was(then) => Some(*then),
            StoryAt::NotYet | StoryAt::Gone => None,
        },
        None => None,
    };
    let shown = then.as_ref().unwrap_or(&story);
    let at = at.map(|recorded| recorded.version);
    let partition = store.partition_of(id).ok_or_else(missing)?;
    let detail = &shown.detail;
    let mut data = detail.data.as_ref().map(|json| json.as_str().to_owned());
    if detail.data_stored.is_some() {
        data = partition.stored_data(id).await.map_err(failed)?;
    }
    let mut result = detail.result.as_ref().map(|json| json.as_str().to_owned());
    if detail.result_stored.is_some() {
        result = partition.stored_result(id).await.map_err(failed)?;
    }
    let said = match asked.done.as_str() {
        "cancelled" => Some("The task is cancelled."),
        "requested" => Some("Its handler is being told to stop."),
        "ended" => Some("The task had ended already."),
        _ => None,
    };
    let body = html! {
        (summary_if_any(totals.as_ref()))
        @if let Some(said) = said { div.card.notice role="status" { (said) } }
        @if let Some(version) = at {
            div.card.notice role="status" { "This is how it was after event " (version) ", at " (format_ms(detail.task.last.ms)) "." }
        }
        (history::way(shown, now_ms))
        div.card { (facts(state, shown, now_ms)) }
        @if let Some(error) = &detail.error {
            h2 { "Latest error" }
            div.card { span.error { (error.class()) } " " (error.message) }
        }
        @if at.is_none() { (buttons(visitor, detail)) }
        h2 { "History" }
        (slider(&story, at))
        (history::table(state, &story, at))
        h2 { "Data" }
        (folded(&self::shown(&state.redaction.of(data.as_deref().unwrap_or("null")))))
        @if let Some(result) = &result {
            h2 { "Result" }
            (folded(&self::shown(&state.redaction.of(result))))
        }
    };
    let ended = story.detail.task.status().is_final();
    Ok(layout::page(
        visitor,
        &format!("Task {id}"),
        url::TASKS,
        at.is_none() && !ended,
        &body,
    ))
}
