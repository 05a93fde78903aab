//! Which tasks? The filter is the address.

use std::collections::BTreeMap;

use maud::{Markup, html};
use poem::http::StatusCode;
use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;
use taskweir_domain::{Priority, Status};
use taskweir_store::{OperationKind, Totals};

use super::failed;
use crate::app::State;
use crate::components::{bulk_link, state_badge, task_table, text_field, time_field};
use crate::filter::Asked;
use crate::gate::Visitor;
use crate::{layout, url};

const PAGE: usize = 50;
/// Queues and types named beside the list.
const NAMED: usize = 12;

/// Where the page begins.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct At {
    cursor: String,
}

/// Counts of the views by one of their three parts, under the other two parts of the filter.
fn facets(totals: &Totals, asked: &Asked) -> [BTreeMap<String, u64>; 3] {
    let mut facets: [BTreeMap<String, u64>; 3] = Default::default();
    for (counter, count) in &totals.counts {
        let parts = [counter.status.as_str(), &counter.queue, &counter.task_type];
        let asked = [asked.status.trim(), asked.queue.trim(), asked.kind.trim()];
        for (index, facet) in facets.iter_mut().enumerate() {
            let others = (0..3).filter(|other| *other != index);
            let fits = others
                .into_iter()
                .all(|other| asked[other].is_empty() || asked[other] == parts[other]);
            if fits && *count > 0 {
                *facet.entry(parts[index].to_owned()).or_default() += count;
            }
        }
    }
    facets
}

fn facet(
    asked: &Asked,
    label: &str,
    name: &str,
    chosen: &str,
    counts: &BTreeMap<String, u64>,
) -> Markup {
    let mut counts: Vec<(&String, &u64)> = counts.iter().collect();
    counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    html! {
        @if counts.len() > 1 || !chosen.is_empty() {
            div.facet {
                span.muted { (label) }
                @for (value, count) in counts.iter().take(NAMED) {
                    " " a.chip href=(asked.url(url::TASKS, name, value)) aria-current=[(chosen == value.as_str()).then_some("true")] { (value) " " b { (count) } }
                }
                @if counts.len() > NAMED { " " span.muted { "and " (counts.len() - NAMED) " more" } }
                @if !chosen.is_empty() { " " a.chip href=(asked.url(url::TASKS, name, "")) { "any" } }
            }
        }
    }
}

fn strip(asked: &Asked, counts: &BTreeMap<String, u64>) -> Markup {
    html! {
        ul.strip {
            @for status in Status::ALL {
                @let chosen = asked.status == status.as_str();
                li { a href=(asked.url(url::TASKS, "status", if chosen { "" } else { status.as_str() })) aria-current=[chosen.then_some("true")] {
                    b { (counts.get(status.as_str()).copied().unwrap_or(0)) }
                    (state_badge(status))
                } }
            }
        }
    }
}

fn form(asked: &Asked) -> Markup {
    let more = [
        &asked.priority,
        &asked.label,
        &asked.error,
        &asked.worker,
        &asked.created_after,
        &asked.created_before,
    ];
    let more = more.iter().any(|text| !text.is_empty());
    html! {
        form.filters method="get" action=(url::TASKS) role="search" aria-label="Filter tasks" {
            div { label for="status" { "Status" }
                select #status name="status" {
                    option value="" { "any" }
                    @for status in Status::ALL {
                        option value=(status) selected[asked.status == status.as_str()] { (status) }
                    }
                } }
            (text_field("queue", "Queue", &asked.queue))
            (text_field("type", "Type", &asked.kind))
            (text_field("q", "Id, type or error", &asked.q))
            details.more #more-filters open[more] {
                summary { "More" }
                div.row {
                    div { label for="priority" { "Priority" }
                        select #priority name="priority" {
                            option value="" { "any" }
                            @for priority in Priority::ALL {
                                option value=(priority) selected[asked.priority == priority.as_str()] { (priority) }
                            }
                        } }
                    (text_field("label", "Label (name=value)", &asked.label))
                    (text_field("error", "Error class", &asked.error))
                    (text_field("worker", "Worker", &asked.worker))
                    (time_field("created_after", "Submitted from (UTC)", &asked.created_after))
                    (time_field("created_before", "Submitted before (UTC)", &asked.created_before))
                }
            }
            button type="submit" { "Filter" }
            a.button.quiet href=(url::TASKS) { "Clear" }
        }
    }
}

/// What can be done to all that match, by what may match.
fn bulk(visitor: &Visitor, asked: &Asked) -> Markup {
    let status: Option<Status> = asked.status.parse().ok();
    html! {
        @match status {
            Some(Status::Failed) => {
                (bulk_link(visitor, OperationKind::DlqRetry, asked, "Retry all that match…"))
                " " (bulk_link(visitor, OperationKind::DlqDelete, asked, "Remove all that match…"))
            }
            Some(Status::Completed | Status::Cancelled | Status::Expired | Status::Removed) => {}
            _ => (bulk_link(visitor, OperationKind::TasksCancel, asked, "Cancel all that match…")),
        }
    }
}

#[handler]
pub(crate) async fn tasks_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Query(asked): Query<Asked>,
    Query(at): Query<At>,
) -> poem::Result<Response> {
    let store = &state.store;
    let filter = asked
        .filter()
        .map_err(|why| poem::Error::from_string(why, StatusCode::UNPROCESSABLE_ENTITY))?;
    let cursor = Some(at.cursor.trim()).filter(|cursor| !cursor.is_empty());
    let totals = store.totals().await.map_err(failed)?;
    let now_ms = store.server_time_ms().await.map_err(failed)?;
    let page = store.list(&filter, cursor, PAGE).await.map_err(failed)?;
    let [statuses, queues, kinds] = facets(&totals, &asked);
    let body = html! {
        (strip(&asked, &statuses))
        (facet(&asked, "Queues", "queue", &asked.queue, &queues))
        (facet(&asked, "Types", "type", &asked.kind, &kinds))
        (form(&asked))
        @if !page.items.is_empty() { p.actions { (bulk(visitor, &asked)) } }
        (task_table("Newest first.", &page.items, now_ms, "No task passes this filter."))
        @if let Some(cursor) = &page.next {
            p { a.button.quiet href=(asked.url(url::TASKS, "cursor", cursor)) { "Older" } }
        }
    };
    Ok(layout::page(visitor, "Tasks", url::TASKS, true, &body))
}
