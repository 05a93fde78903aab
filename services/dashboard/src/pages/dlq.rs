//! What gave up?

use maud::html;
use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;
use taskweir_store::Filter;

use super::failed;
use crate::app::State;
use crate::components::{ago, dlq_buttons, task_link};
use crate::gate::Visitor;
use crate::{layout, url};

const PAGE: usize = 50;

/// Where the page begins, and what was just done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    cursor: String,
    done: String,
}

#[handler]
pub(crate) async fn dlq_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Query(asked): Query<Asked>,
) -> poem::Result<Response> {
    let store = &state.store;
    let cursor = (!asked.cursor.is_empty()).then_some(asked.cursor.as_str());
    let now_ms = store.server_time_ms().await.map_err(failed)?;
    let page = store
        .dead_letters(&Filter::default(), cursor, PAGE)
        .await
        .map_err(failed)?;
    let said = match asked.done.as_str() {
        "retried" => Some("The task is pending again, with a fresh retry budget."),
        "removed" => Some("The task is out of the dead letters; its history stays."),
        "gone" => Some("Somebody else was faster: the task is not among the dead letters."),
        _ => None,
    };
    let body = html! {
        @if let Some(said) = said { div.card.notice role="status" { (said) } }
        div.scroll {
            @if page.items.is_empty() {
                div.empty { "Nothing has given up. Tasks come here after their last retry, or at once by a fatal error." }
            } @else {
                table {
                    caption { "The latest to give up first." }
                    thead { tr {
                        th scope="col" { "Task" } th scope="col" { "Action" } th scope="col" { "Type" }
                        th scope="col" { "Queue" } th.num scope="col" { "Attempt" } th scope="col" { "Gave up" }
                        th scope="col" { "Error" }
                    } }
                    tbody {
                        @for item in &page.items {
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
        @if let Some(cursor) = &page.next {
            p { a.button.quiet href=(url::with_query(url::DLQ, &[("cursor", Some(cursor))])) { "Older" } }
        }
    };
    Ok(layout::page(visitor, "Dead letters", url::DLQ, true, &body))
}
