//! Who works?

use maud::html;
use poem::web::Data;
use poem::{Response, handler};

use super::failed;
use crate::app::State;
use crate::components::{ago, span, summary_strip};
use crate::gate::Visitor;
use crate::{layout, url};

#[handler]
pub(crate) async fn workers_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
) -> poem::Result<Response> {
    let (workers, now_ms) = state.store.workers().await.map_err(failed)?;
    let totals = state.store.totals().await.map_err(failed)?;
    let body = html! {
        (summary_strip(&totals))
        div.scroll tabindex="0" role="region" aria-label="Workers" {
            @if workers.is_empty() {
                div.empty { "No worker has said that it lives. Start one with " code { "taskweir worker" } "." }
            } @else {
                table {
                    caption { "Every worker that spoke lately; one that falls silent loses its tasks after its lease." }
                    thead { tr {
                        th scope="col" { "Worker" } th scope="col" { "State" } th.num scope="col" { "Running" }
                        th scope="col" { "Queues" } th scope="col" { "Types" } th.num scope="col" { "Lease" }
                        th scope="col" { "Started" } th scope="col" { "Last spoke" } th scope="col" { "Version" }
                    } }
                    tbody {
                        @for worker in &workers {
                            tr {
                                th.mono scope="row" { (worker.id) }
                                td {
                                    @if !worker.is_active(now_ms) { span.state.state-failed { "✗ silent" } }
                                    @else if worker.info.draining { span.state.state-retrying { "↻ draining" } }
                                    @else { span.state.state-completed { "✓ active" } }
                                }
                                td.num {
                                    a href=(url::with_query(url::TASKS, &[("status", Some("processing")), ("worker", Some(&worker.id))])) { (worker.info.running) }
                                    " / " (worker.info.concurrency)
                                }
                                td { (worker.info.queues.join(", ")) }
                                td.wide { (worker.info.types.join(", ")) }
                                td.num { (span(worker.info.lease_ms)) }
                                td { (ago(worker.info.started_ms, now_ms)) }
                                td { (ago(worker.seen_ms, now_ms)) }
                                td { (worker.info.version) }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(layout::page(visitor, "Workers", url::WORKERS, true, &body))
}
