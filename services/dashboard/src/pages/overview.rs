//! Is it healthy?

use maud::{Markup, html};
use poem::web::Data;
use poem::{Response, handler};
use taskweir_domain::{EventType, Priority};
use taskweir_store::{Filter, Item, QueueOverview, Totals};

use super::failed;
use super::queues::per_minute;
use super::tasks::NO_TASK;
use crate::app::State;
use crate::components::chart::throughput;
use crate::components::{ago, empty, grouped, span, summary_strip, task_link, task_table};
use crate::gate::Visitor;
use crate::{layout, url};

const RECENT: usize = 10;
const DEAD: usize = 5;
const HOUR: u64 = 60;
/// Queues that are shown: those whose work waits longest.
const QUEUES: usize = 25;

fn oldest(name: &str, queue: &QueueOverview, now_ms: u64) -> Markup {
    let ready: u64 = queue.depths.values().map(|depth| depth.ready).sum();
    let held: u64 = queue.depths.values().map(|depth| depth.held).sum();
    html! {
        tr {
            th scope="row" {
                a href=(url::with_query(url::TASKS, &[("queue", Some(name))])) { (name) }
                @if queue.paused { " " span.state.state-retrying { "paused" } }
            }
            @for priority in Priority::ALL {
                td.num { (grouped(queue.depths.get(&priority).map_or(0, |depth| depth.ready))) }
            }
            td.num { (grouped(held)) }
            td.num { @match queue.oldest_ms().filter(|_| ready > 0) { Some(ms) => (span(now_ms.saturating_sub(ms))), None => "–" } }
        }
    }
}

fn dead_list(items: &[Item], now_ms: u64) -> Markup {
    html! {
        @if items.is_empty() {
            div.card.muted { "Nothing has given up." }
        } @else {
            ul.card.plain {
                @for item in items {
                    li {
                        (task_link(item.id)) " " b { (item.record.task.task_type) } " "
                        @if let Some(error) = &item.extra.error { span.error { (error.class()) } " " (error.message) " " }
                        span.muted { (ago(item.dead_ms.unwrap_or(item.record.task.last.ms), now_ms)) }
                    }
                }
            }
        }
    }
}

fn ledger(totals: &Totals, lag_ms: u64, active: usize) -> Markup {
    let submitted = totals.submitted();
    let accounted = totals.accounted();
    html! {
        p.muted {
            "Ledger: " (grouped(submitted)) " submitted, " (grouped(accounted)) " accounted for"
            @if submitted == accounted { " ✓" } @else { span.error { " – they differ" } }
            " · " (grouped(totals.of_event(EventType::LeaseExpired))) " redelivered · "
            (grouped(totals.of_event(EventType::LateCompletionRefused))) " late completions refused · views "
            (span(lag_ms)) " behind · active workers: " (active)
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
    let past = store.past(HOUR).await.map_err(failed)?;
    let every = Filter::default();
    let recent = store.list(&every, None, RECENT).await.map_err(failed)?;
    let dead = store
        .dead_letters(&every, None, DEAD)
        .await
        .map_err(failed)?;
    let active = workers
        .iter()
        .filter(|worker| worker.is_active(now_ms))
        .count();
    let lag_ms = lags.iter().map(|lag| lag.ms).max().unwrap_or(0);
    let completed = per_minute(&past, |totals| totals.of_event(EventType::Completed));
    let failing = per_minute(&past, |totals| {
        totals.of_event(EventType::AttemptFailed) + totals.of_event(EventType::DeadLettered)
    });
    // Those whose work waits longest, and a few of the others.
    let mut waiting: Vec<_> = queues.iter().collect();
    waiting.sort_by_key(|(name, queue)| (queue.oldest_ms().unwrap_or(u64::MAX), *name));
    waiting.truncate(QUEUES);
    let body = html! {
        @if active == 0 {
            div.card.trouble role="alert" { "No worker is active: nothing is being run." }
        }
        @if lag_ms > 60_000 {
            div.card.trouble role="alert" { "The views are " (span(lag_ms)) " behind: is a projector running?" }
        }
        (summary_strip(&totals))
        (ledger(&totals, lag_ms, active))
        (throughput(&completed, &failing))
        h2 { "Oldest that waits, by queue" }
        div.scroll tabindex="0" role="region" aria-label="Queues" {
            @if queues.is_empty() {
                (empty(NO_TASK))
            } @else {
                table {
                    caption { "Ready and running now; " a href=(url::QUEUES) { "more on each queue" } "." }
                    thead { tr {
                        th scope="col" { "Queue" } th.num scope="col" { "High" } th.num scope="col" { "Normal" }
                        th.num scope="col" { "Low" } th.num scope="col" { "Running" } th.num scope="col" { "Oldest ready" }
                    } }
                    tbody { @for (name, queue) in waiting { (oldest(name, queue, now_ms)) } }
                }
            }
        }
        h2 { "Newest dead letters" }
        (dead_list(&dead.items, now_ms))
        h2 { "Recent tasks" }
        (task_table("The latest tasks, newest first.", &recent.items, now_ms, NO_TASK))
    };
    Ok(layout::page(
        visitor,
        "Overview",
        url::OVERVIEW,
        true,
        &body,
    ))
}
