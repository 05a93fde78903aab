//! Which tasks? The filter is the address.

use std::collections::BTreeMap;
use std::time::Duration;

use maud::{Markup, html};
use poem::http::StatusCode;
use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;
use taskweir_domain::{Priority, Status};
use taskweir_store::{Most, OperationKind, Totals};

use super::failed;
use crate::app::State;
use crate::components::{bulk_link, grouped, state_badge, task_table, text_field, time_field};
use crate::filter::Asked;
use crate::gate::Visitor;
use crate::{layout, url};

const PAGE: usize = 50;
/// How long a page looks for what passes its filter; then it shows what it has found, and where to go on.
pub(super) const GLANCE: Duration = Duration::from_millis(15);
/// What an empty page says that is not the last one: a call looks at 5,000 tasks, and not for long.
pub(super) const NONE_YET: &str =
    "None among those looked at so far. There are older ones: go on with Older.";
/// What a page without tasks says that asks for any.
pub(super) const NO_TASK: &str = "No task was submitted yet.";
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

/// Whether the views count what is asked for: by its other parts, only the list itself tells.
fn is_counted(asked: &Asked) -> bool {
    let counted = |name: &str| ["status", "queue", "type"].contains(&name);
    asked.parts().iter().all(|(name, _)| counted(name))
}

fn facet(
    asked: &Asked,
    label: &str,
    name: &str,
    chosen: &str,
    counts: &BTreeMap<String, u64>,
    counted: bool,
) -> Markup {
    let mut counts: Vec<(&String, &u64)> = counts.iter().collect();
    counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    html! {
        @if counts.len() > 1 || !chosen.is_empty() {
            div.facet {
                span.muted { (label) }
                @for (value, count) in counts.iter().take(NAMED) {
                    " " a.chip href=(asked.url(url::TASKS, name, value)) aria-current=[(chosen == value.as_str()).then_some("true")] {
                        (value) @if counted { " " b { (grouped(**count)) } }
                    }
                }
                @if counts.len() > NAMED { " " span.muted { "and " @if counted { (counts.len() - NAMED) " " } "more" } }
                @if !chosen.is_empty() { " " a.chip href=(asked.url(url::TASKS, name, "")) { "any" } }
            }
        }
    }
}

fn strip(asked: &Asked, counts: &BTreeMap<String, u64>, counted: bool) -> Markup {
    html! {
        ul.strip {
            @for status in Status::ALL {
                @let chosen = asked.status == status.as_str();
                li { a href=(asked.url(url::TASKS, "status", if chosen { "" } else { status.as_str() })) aria-current=[chosen.then_some("true")] {
                    @if counted { b { (grouped(counts.get(status.as_str()).copied().unwrap_or(0))) } }
                    (state_badge(status))
                } }
            }
        }
    }
}

/// The ways to narrow the list, with what each would leave where that is known.
fn choices(totals: &Totals, asked: &Asked) -> Markup {
    let [statuses, queues, kinds] = facets(totals, asked);
    let counted = is_counted(asked);
    html! {
        (strip(asked, &statuses, counted))
        (facet(asked, "Queues", "queue", &asked.queue, &queues, counted))
        (facet(asked, "Types", "type", &asked.kind, &kinds, counted))
        @if !counted {
            p.muted { "No counts under this filter: they are kept by status, queue and type." }
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
    let most = Most::within(PAGE, GLANCE);
    let page = store.list(&filter, cursor, most).await.map_err(failed)?;
    let body = html! {
        (choices(&totals, &asked))
        (form(&asked))
        @if !page.items.is_empty() || page.next.is_some() { p.actions { (bulk(visitor, &asked)) } }
        @let nothing = match (&page.next, asked.is_empty()) {
            (Some(_), _) => NONE_YET,
            (None, true) => NO_TASK,
            (None, false) => "No task passes this filter.",
        };
        (task_table("Newest first.", &page.items, now_ms, nothing))
        @if let Some(cursor) = &page.next {
            p { a.button.quiet href=(asked.url(url::TASKS, "cursor", cursor)) { "Older" } }
        }
    };
    Ok(layout::page(visitor, "Tasks", url::TASKS, true, &body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use taskweir_domain::Status;
    use taskweir_store::{Counter, Totals};

    use super::{Asked, choices};

    /// Five tasks of one type fail, two of another in another queue wait.
    fn totals() -> Totals {
        let counter = |status, queue: &str, task_type: &str| Counter {
            status,
            queue: queue.to_owned(),
            task_type: task_type.to_owned(),
        };
        let mut totals = Totals::default();
        totals.counts.extend([
            (counter(Status::Failed, "mail", "send"), 5),
            (counter(Status::Pending, "default", "echo"), 2),
        ]);
        totals
    }

    fn page(asked: &serde_json::Value) -> String {
        let asked: Asked = serde_json::from_value(asked.clone()).unwrap();
        choices(&totals(), &asked).into_string()
    }

    #[test]
    fn counts_of_the_counted_parts_are_those_of_the_list() {
        let all = page(&json!({}));
        assert!(
            all.contains("<b>5</b>") && all.contains("<b>2</b>"),
            "{all}"
        );
        let mail = page(&json!({ "queue": " mail ", "status": "failed", "type": "" }));
        assert!(mail.contains("<b>5</b>"), "{mail}");
        let none = page(&json!({ "queue": "mail", "type": "echo" }));
        assert!(!none.contains("No counts"), "{none}");
    }

    #[test]
    fn under_a_filter_that_is_not_counted_there_are_links_and_no_numbers() {
        for (name, value) in [
            ("priority", "high"),
            ("label", "customer=7"),
            ("error", "Timeout"),
            ("worker", "w"),
            ("created_after", "2026-01-31T03:12"),
            ("created_before", "2026-01-31T03:12"),
            ("failed_after", "2026-01-31T03:12"),
            ("failed_before", "2026-01-31T03:12"),
            ("q", "send"),
        ] {
            let page = page(&json!({ name: value }));
            assert!(!page.contains("<b>"), "{name}: {page}");
            assert!(page.contains("No counts under this filter"), "{name}");
            for link in ["status=pending", "queue=mail", "type=send"] {
                assert!(page.contains(link), "{name}: {link} in {page}");
            }
            assert!(page.contains(&format!("{name}=")), "the links keep it");
        }
    }
}
