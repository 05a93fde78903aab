//! What gave up, and why?

use std::collections::BTreeMap;

use maud::{Markup, html};
use poem::http::StatusCode;
use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;
use taskweir_store::{Item, Most, OperationKind};

use super::failed;
use super::tasks::{GLANCE, NONE_YET};
use crate::app::State;
use crate::components::{
    ago, bulk_link, dlq_buttons, grouped, summary_strip, task_link, text_field, time_field,
};
use crate::filter::Asked;
use crate::gate::Visitor;
use crate::{layout, url};

const PAGE: usize = 50;
/// Dead letters that are looked at for the groups.
const GROUPED: usize = 1_000;

/// Where the page begins, and what was just done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct At {
    cursor: String,
    done: String,
}

/// Alike dead letters.
struct Group {
    count: usize,
    latest_ms: u64,
    message: String,
}

/// Dead letters by type and error class, the most first.
fn groups(items: &[Item]) -> Vec<((String, String), Group)> {
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for item in items {
        let error = item.extra.error.as_ref();
        let class = error.map_or("", |error| error.class()).to_owned();
        let key = (item.record.task.task_type.to_string(), class);
        let group = groups.entry(key).or_insert_with(|| Group {
            count: 0,
            latest_ms: item.dead_ms.unwrap_or(0),
            // The latest comes first.
            message: error.map_or(String::new(), |error| error.message.clone()),
        });
        group.count += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
    groups
}

fn group_table(
    visitor: &Visitor,
    asked: &Asked,
    items: &[Item],
    partial: bool,
    now_ms: u64,
) -> Markup {
    let groups = groups(items);
    html! {
        div.scroll tabindex="0" role="region" aria-label="Groups" {
            table {
                caption { @if partial { "Alike among the latest " (grouped(items.len() as u64)) ":" } @else { "Alike:" } }
                thead { tr {
                    th scope="col" { "Type" } th scope="col" { "Error class" } th.num scope="col" { "How many" }
                    th scope="col" { "Latest" } th scope="col" { "It says" } th scope="col" { "All of them" }
                } }
                tbody {
                    @for ((kind, class), group) in &groups {
                        @let narrow = Asked { kind: kind.clone(), error: class.clone(), ..asked.clone() };
                        tr {
                            td.name { a href=(narrow.url(url::DLQ, "", "")) { (kind) } }
                            td { span.error { (class) } }
                            td.num { (grouped(group.count as u64)) }
                            td { (ago(group.latest_ms, now_ms)) }
                            td.wide { (group.message) }
                            td.actions {
                                (bulk_link(visitor, OperationKind::DlqRetry, &narrow, "Retry…")) " "
                                (bulk_link(visitor, OperationKind::DlqDelete, &narrow, "Remove…"))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn form(asked: &Asked) -> Markup {
    html! {
        form.filters method="get" action=(url::DLQ) role="search" aria-label="Filter dead letters" {
            (text_field("queue", "Queue", &asked.queue))
            (text_field("type", "Type", &asked.kind))
            (text_field("error", "Error class", &asked.error))
            (text_field("q", "Id, type or error", &asked.q))
            (time_field("failed_after", "Gave up from (UTC)", &asked.failed_after))
            (time_field("failed_before", "Gave up before (UTC)", &asked.failed_before))
            button type="submit" { "Filter" }
            a.button.quiet href=(url::DLQ) { "Clear" }
        }
    }
}

fn list(visitor: &Visitor, items: &[Item], now_ms: u64) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Dead letters" {
            table {
                caption { "The latest to give up first." }
                thead { tr {
                    th scope="col" { "Task" } th scope="col" { "Action" } th scope="col" { "Type" }
                    th scope="col" { "Queue" } th.num scope="col" { "Attempt" } th scope="col" { "Gave up" }
                    th scope="col" { "Error" }
                } }
                tbody {
                    @for item in items {
                        @let task = &item.record.task;
                        tr {
                            td { (task_link(item.id)) } td.actions { (dlq_buttons(visitor, item.id)) }
                            td.name { (task.task_type) } td.name { (task.queue) }
                            td.num { (task.attempt) }
                            td { (ago(item.dead_ms.unwrap_or(task.last.ms), now_ms)) }
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

#[handler]
pub(crate) async fn dlq_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Query(asked): Query<Asked>,
    Query(at): Query<At>,
) -> poem::Result<Response> {
    let store = &state.store;
    let filter = asked
        .filter()
        .map_err(|why| poem::Error::from_string(why, StatusCode::UNPROCESSABLE_ENTITY))?;
    let cursor = Some(at.cursor.as_str()).filter(|cursor| !cursor.is_empty());
    let totals = store.totals().await.map_err(failed)?;
    let now_ms = store.server_time_ms().await.map_err(failed)?;
    let limit = if cursor.is_none() { GROUPED } else { PAGE };
    let mut page = store
        .dead_letters(&filter, cursor, Most::within(limit, GLANCE))
        .await
        .map_err(failed)?;
    let alike = cursor
        .is_none()
        .then(|| group_table(visitor, &asked, &page.items, page.next.is_some(), now_ms));
    if page.items.len() > PAGE {
        page.items.truncate(PAGE);
        let last = page.items.last();
        page.next = last.map(|item| format!("{:015}:{}", item.dead_ms.unwrap_or(0), item.id));
    }
    let said = match at.done.as_str() {
        "retried" => Some("The task is pending again, with a fresh retry budget."),
        "removed" => Some("The task is out of the dead letters; its history stays."),
        "taken" => Some("Another task holds its unique key now: it stays among the dead letters."),
        "gone" => Some("Somebody else was faster: the task is not among the dead letters."),
        _ => None,
    };
    let body = html! {
        (summary_strip(&totals))
        @if let Some(said) = said { div.card.notice role="status" { (said) } }
        (form(&asked))
        @if page.items.is_empty() && page.next.is_some() {
            div.scroll { div.empty { (NONE_YET) } }
        } @else if page.items.is_empty() {
            div.scroll { div.empty {
                @if asked.is_empty() { "Nothing has given up. Tasks come here after their last retry, or at once by a fatal error." }
                @else { "No dead letter passes this filter." }
            } }
        } @else {
            p.actions {
                (bulk_link(visitor, OperationKind::DlqRetry, &asked, "Retry all that match…")) " "
                (bulk_link(visitor, OperationKind::DlqDelete, &asked, "Remove all that match…"))
            }
            @if let Some(alike) = alike { (alike) br; }
            (list(visitor, &page.items, now_ms))
        }
        @if let Some(cursor) = &page.next {
            p { a.button.quiet href=(asked.url(url::DLQ, "cursor", cursor)) { "Older" } }
        }
    };
    Ok(layout::page(visitor, "Dead letters", url::DLQ, true, &body))
}
