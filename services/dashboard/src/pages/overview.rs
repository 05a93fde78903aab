//! Is it healthy?

use maud::{Markup, html};
use poem::web::Data;
use poem::{Response, handler};
use taskweir_domain::{EventType, Priority, Status};
use taskweir_store::{Filter, QueueOverview};

use super::failed;
use crate::app::State;
use crate::components::{empty, span, summary_strip, task_table};
use crate::gate::Visitor;
use crate::{layout, url};

const RECENT: usize = 15;

fn queue_row(name: &str, queue: &QueueOverview, now_ms: u64) -> Markup {
    let rate = |event: EventType| queue.rates.get(event.as_str()).copied().unwrap_or(0.0);
    let ready = |priority: Priority| queue.depths.get(&priority).map_or(0, |depth| depth.ready);
    html! {
        tr {
            th scope="row" {
                a href=(url::with_query(url::TASKS, &[("queue", Some(name))])) { (name) }
                @if queue.paused { " " span.state.state-retrying { "paused" } }
            }
            @for priority in Priority::ALL { td.num { (ready(priority)) } }
            td.num { (queue.parked) }
            td.num { (queue.depths.values().map(|depth| depth.held).sum::<u64>()) }
            td.num { (queue.of(Status::Retrying) + queue.of(Status::Scheduled)) }
            td.num { (queue.of(Status::Failed)) }
            td.num {
                @match queue.oldest_ms() { Some(ms) => (span(now_ms.saturating_sub(ms))), None => "–" }
            }
            td.num { (format!("{:.1}", rate(EventType::Completed))) }
            td.num { (format!("{:.1}", rate(EventType::AttemptFailed) + rate(EventType::DeadLettered))) }
        }
    }
}

#[handler]
pub(crate) async fn overview_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
) -> poem::Result<Response> {
    let store = &state.store;
    let totals = store.totals().await.map_err(failed)?;
    let queues = store.queues(&totals).await.map_err(failed)?;
    let (workers, now_ms) = store.workers().await.map_err(failed)?;
    let lags = store.lags().await.map_err(failed)?;
    let recent = store
        .list(&Filter::default(), None, RECENT)
        .await
        .map_err(failed)?;
    let active = workers
        .iter()
        .filter(|worker| worker.is_active(now_ms))
        .count();
    let lag_ms = lags.iter().map(taskweir_store::Lag::ms).max().unwrap_or(0);
    let submitted = totals.of_event(EventType::Submitted);
    let accounted: u64 = totals.counts.values().sum();
    let body = html! {
        @if active == 0 {
            div.card.trouble role="alert" { "No worker is active: nothing is being run." }
        }
        @if lag_ms > 60_000 {
            div.card.trouble role="alert" { "The views are " (span(lag_ms)) " behind: is a projector running?" }
        }
        (summary_strip(&totals))
        p.muted {
            "Ledger: " (submitted) " submitted, " (accounted) " accounted for"
            @if submitted == accounted { " ✓" } @else { span.error { " – they differ" } }
            " · " (totals.of_event(EventType::LeaseExpired)) " redelivered · "
            (totals.of_event(EventType::LateCompletionRefused)) " late completions refused · views "
            (span(lag_ms)) " behind · active workers: " (active)
        }
        h2 { "Queues" }
        div.scroll {
            @if queues.is_empty() {
                (empty("No task was submitted yet."))
            } @else {
                table {
                    caption { "What waits and runs now; rates per minute over the last five minutes." }
                    thead { tr {
                        th scope="col" { "Queue" } th.num scope="col" { "High" } th.num scope="col" { "Normal" }
                        th.num scope="col" { "Low" } th.num scope="col" { "Unknown type" } th.num scope="col" { "Running" } th.num scope="col" { "Waiting for a time" }
                        th.num scope="col" { "Dead" } th.num scope="col" { "Oldest ready" }
                        th.num scope="col" { "Completed/min" } th.num scope="col" { "Failed/min" }
                    } }
                    tbody { @for (name, queue) in &queues { (queue_row(name, queue, now_ms)) } }
                }
            }
        }
        h2 { "Recent tasks" }
        (task_table("The latest tasks, newest first.", &recent.items, now_ms, "No task was submitted yet."))
    };
    Ok(layout::page(
        visitor,
        "Overview",
        url::OVERVIEW,
        true,
        &body,
    ))
}
