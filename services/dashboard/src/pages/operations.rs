//! What is being done to many tasks at once, and how far is it?

use std::time::Duration;

use maud::{Markup, html};
use poem::http::StatusCode;
use poem::web::{Data, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;
use taskweir_domain::TaskId;
use taskweir_runtime::access::Role;
use taskweir_store::{Operation, OperationKind, OperationState};

use super::failed;
use crate::app::State;
use crate::components::{ago, grouped, summary_if_any, summary_strip};
use crate::filter::Asked;
use crate::gate::Visitor;
use crate::layout::form_token;
use crate::{layout, url};

const LISTED: usize = 50;

/// What a kind does, as people say it.
pub(crate) const fn verb(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::DlqRetry => "Retry dead letters",
        OperationKind::DlqDelete => "Remove dead letters",
        OperationKind::TasksCancel => "Cancel tasks",
    }
}

/// A kind by the word that stands in addresses.
pub(crate) fn kind_of(word: &str) -> Option<OperationKind> {
    serde_json::from_value(serde_json::Value::from(word)).ok()
}

fn state(operation: &Operation) -> Markup {
    html! {
        @match operation.state {
            OperationState::Running => span.state.state-processing { "◐ running" },
            OperationState::Completed => span.state.state-completed { "✓ completed" },
            OperationState::Stopped => span.state.state-cancelled { "⊘ stopped" },
        }
    }
}

fn row(operation: &Operation, now_ms: u64) -> Markup {
    let seen = operation.done + operation.skipped;
    html! {
        tr {
            td { a.mono href=(url::operation(operation.id)) { (operation.id) } }
            td { (verb(operation.order.kind)) } td { (state(operation)) }
            td { progress max=(operation.matching.max(seen).max(1)) value=(seen) aria-label="progress" {} }
            td.num { (grouped(operation.done)) } td.num { (grouped(operation.skipped)) }
            td { (operation.order.actor.0) } td.wide { (operation.order.reason.as_deref().unwrap_or_default()) }
            td { (ago(operation.order.asked_ms, now_ms)) }
        }
    }
}

#[handler]
pub(crate) async fn operations_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
) -> poem::Result<Response> {
    let operations = state.store.operations(LISTED).await.map_err(failed)?;
    let totals = state.store.totals().await.map_err(failed)?;
    let now_ms = state.store.server_time_ms().await.map_err(failed)?;
    let body = html! {
        (summary_strip(&totals))
        div.scroll tabindex="0" role="region" aria-label="Operations" {
            @if operations.is_empty() {
                div.empty { "Nothing was done to many tasks at once. Filter " a href=(url::TASKS) { "tasks" } " or " a href=(url::DLQ) { "dead letters" } " and choose what to do with all that match." }
            } @else {
                table {
                    caption { "The latest first; ended ones stay for a week." }
                    thead { tr {
                        th scope="col" { "Operation" } th scope="col" { "What" } th scope="col" { "State" } th scope="col" { "Progress" }
                        th.num scope="col" { "Done" } th.num scope="col" { "Skipped" } th scope="col" { "By" }
                        th scope="col" { "Reason" } th scope="col" { "Asked" }
                    } }
                    tbody { @for operation in &operations { (row(operation, now_ms)) } }
                }
            }
        }
    };
    Ok(layout::page(
        visitor,
        "Operations",
        url::OPERATIONS,
        true,
        &body,
    ))
}

#[handler]
pub(crate) async fn operation_page(
    Data(app): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Path(id): Path<String>,
) -> poem::Result<Response> {
    let missing = || {
        poem::Error::from_string(
            "there is no such operation; ended ones are kept for a week",
            StatusCode::NOT_FOUND,
        )
    };
    let id: TaskId = id.parse().map_err(|_| missing())?;
    let operation = app
        .store
        .operation(id)
        .await
        .map_err(failed)?
        .ok_or_else(missing)?;
    let now_ms = app.store.server_time_ms().await.map_err(failed)?;
    let totals = app.store.totals().await.ok();
    let seen = operation.done + operation.skipped;
    let running = operation.state == OperationState::Running;
    let body = html! {
        (summary_if_any(totals.as_ref()))
        div.card {
            dl.facts {
                div { dt { "State" } dd { (state(&operation)) } }
                div { dt { "Matched" } dd { (grouped(operation.matching.max(seen))) @if running && !operation.order.exact { " or more" } } }
                div { dt { "Done" } dd { (grouped(operation.done)) } }
                div { dt { "Skipped" } dd { (grouped(operation.skipped)) " " span.muted { "had moved on" } } }
                div { dt { "Asked by" } dd { (operation.order.actor.0) ", " (ago(operation.order.asked_ms, now_ms)) } }
                @if let Some(reason) = &operation.order.reason { div { dt { "Reason" } dd { (reason) } } }
                @if let Some(ms) = operation.ended_ms { div { dt { "Ended" } dd { (ago(ms, now_ms)) } } }
                @if let Some(who) = &operation.stopped_by { div { dt { "Stopped by" } dd { (who) } } }
            }
            p { progress.long max=(operation.matching.max(seen).max(1)) value=(seen) aria-label="progress" {} }
            @if running && visitor.may(Role::Operator) {
                form method="post" action=(url::operation_stop(id)) { (form_token(visitor)) button.danger type="submit" { "Stop" } }
            }
        }
        p.muted { "What is done stays done. A scheduler runs it, page by page; another one goes on where one dies." }
    };
    let title = format!("{} {id}", verb(operation.order.kind));
    Ok(layout::page(
        visitor,
        &title,
        url::OPERATIONS,
        running,
        &body,
    ))
}

/// How long the page counts: it must not take long, and the operation itself counts anew.
const GLANCE: Duration = Duration::from_millis(30);

/// Which operation somebody thinks of.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Thought {
    pub(crate) kind: String,
}

#[handler]
pub(crate) async fn bulk_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Query(thought): Query<Thought>,
    Query(asked): Query<Asked>,
) -> poem::Result<Response> {
    let refused = |why: String| poem::Error::from_string(why, StatusCode::UNPROCESSABLE_ENTITY);
    let kind =
        kind_of(&thought.kind).ok_or_else(|| refused("there is no such operation".to_owned()))?;
    let filter = asked.bulk_filter(kind).map_err(refused)?;
    let counting = state.store.matching(kind, &filter, GLANCE);
    let (matching, exact) = counting.await.map_err(failed)?;
    let totals = state.store.totals().await.ok();
    let parts = asked.parts();
    let body = html! {
        (summary_if_any(totals.as_ref()))
        form.card method="post" action=(url::BULK) {
            (form_token(visitor))
            input type="hidden" name="kind" value=(thought.kind);
            @for (name, value) in &parts { input type="hidden" name=(name) value=(value); }
            p.large { b { (grouped(matching)) @if !exact { " or more" } } " match:" }
            ul {
                @if parts.is_empty() { li { b { "every one of them" } } }
                @for (name, value) in &parts { li { (name.replace('_', " ")) " " b { (value) } } }
            }
            p.muted {
                @match kind {
                    OperationKind::DlqRetry => "Each goes back to pending with a fresh retry budget. What gives up from now on is left alone.",
                    OperationKind::DlqDelete => "Each goes out of the dead letters for good; its history stays. What gives up from now on is left alone.",
                    OperationKind::TasksCancel => "Each that has not ended is cancelled; handlers at work are told. What is submitted from now on is left alone.",
                }
            }
            label for="reason" { "Reason, for the histories" }
            input #reason name="reason" maxlength="500" size="50";
            p {
                button.danger[kind != OperationKind::DlqRetry] type="submit" disabled[matching == 0 && exact] { (verb(kind)) ": " (grouped(matching)) @if !exact { " or more" } }
                " " a.button.quiet href=(if kind.is_of_dead() { asked.url(url::DLQ, "status", "") } else { asked.url(url::TASKS, "", "") }) { "Not now" }
            }
        }
    };
    Ok(layout::page(
        visitor,
        verb(kind),
        url::OPERATIONS,
        false,
        &body,
    ))
}
