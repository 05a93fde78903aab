//! Which tasks? The filter is the address.

use maud::html;
use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;
use taskweir_domain::Status;
use taskweir_store::Filter;

use super::failed;
use crate::app::State;
use crate::components::{summary_strip, task_table};
use crate::gate::Visitor;
use crate::{layout, url};

const PAGE: usize = 50;

/// The filter as it stands in the address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    status: String,
    queue: String,
    #[serde(rename = "type")]
    kind: String,
    q: String,
    cursor: String,
}

fn given(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[handler]
pub(crate) async fn tasks_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Query(asked): Query<Asked>,
) -> poem::Result<Response> {
    let store = &state.store;
    let filter = Filter {
        statuses: asked.status.parse().into_iter().collect(),
        queue: given(&asked.queue),
        task_type: given(&asked.kind),
        text: given(&asked.q),
        ..Filter::default()
    };
    let cursor = given(&asked.cursor);
    let totals = store.totals().await.map_err(failed)?;
    let now_ms = store.server_time_ms().await.map_err(failed)?;
    let page = store
        .list(&filter, cursor.as_deref(), PAGE)
        .await
        .map_err(failed)?;
    let next = |cursor: &str| {
        url::with_query(
            url::TASKS,
            &[
                ("status", Some(&asked.status)),
                ("queue", Some(&asked.queue)),
                ("type", Some(&asked.kind)),
                ("q", Some(&asked.q)),
                ("cursor", Some(cursor)),
            ],
        )
    };
    let body = html! {
        (summary_strip(&totals))
        form.filters method="get" action=(url::TASKS) role="search" {
            div { label for="status" { "Status" }
                select #status name="status" {
                    option value="" { "any" }
                    @for status in Status::ALL {
                        option value=(status) selected[asked.status == status.as_str()] { (status) }
                    }
                } }
            div { label for="queue" { "Queue" } input #queue name="queue" value=(asked.queue); }
            div { label for="type" { "Type" } input #type name="type" value=(asked.kind); }
            div { label for="q" { "Id, type or error" } input #q name="q" value=(asked.q); }
            button type="submit" { "Filter" }
            a.button.quiet href=(url::TASKS) { "Clear" }
        }
        (task_table("Newest first.", &page.items, now_ms, "No task passes this filter."))
        @if let Some(cursor) = &page.next {
            p { a.button.quiet href=(next(cursor)) { "Older" } }
        }
    };
    Ok(layout::page(visitor, "Tasks", url::TASKS, true, &body))
}
