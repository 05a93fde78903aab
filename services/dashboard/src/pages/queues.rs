//! Where does work wait?

use maud::{Markup, html};
use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;
use taskweir_domain::{EventType, Priority, QueueName, Status};
use taskweir_runtime::access::Role;
use taskweir_store::{QueueOverview, Totals};

use super::failed;
use super::tasks::NO_TASK;
use crate::app::State;
use crate::components::chart::{shares, sparkline};
use crate::components::{empty, grouped, span, summary_strip};
use crate::gate::Visitor;
use crate::layout::form_token;
use crate::{layout, url};

/// Minutes of a sparkline.
const MINUTES: u64 = 30;

/// What happened in each minute between totals.
pub(super) fn per_minute(past: &[Totals], count: impl Fn(&Totals) -> u64) -> Vec<u64> {
    let counts: Vec<u64> = past.iter().map(count).collect();
    counts
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]))
        .collect()
}

fn switch(visitor: &Visitor, name: &str, paused: bool) -> Markup {
    let verb = if paused { "resume" } else { "pause" };
    html! {
        @if visitor.may(Role::Operator) {
            form.inline method="post" action=(url::queue_switch(name, verb)) {
                (form_token(visitor))
                button.quiet type="submit" aria-label=(format!("{verb} queue {name}")) { @if paused { "Resume" } @else { "Pause" } }
            }
        }
    }
}

fn row(
    visitor: &Visitor,
    name: &str,
    queue: &QueueOverview,
    past: &[Totals],
    now_ms: u64,
) -> Markup {
    let rate = |event: EventType| queue.rates.get(event.as_str()).copied().unwrap_or(0.0);
    let ready = |priority: Priority| queue.depths.get(&priority).map_or(0, |depth| depth.ready);
    let held: u64 = queue.depths.values().map(|depth| depth.held).sum();
    let waiting: u64 = Priority::ALL.into_iter().map(ready).sum();
    let failing = rate(EventType::AttemptFailed) + rate(EventType::DeadLettered);
    let ended = rate(EventType::Completed) + failing;
    let done = per_minute(past, |totals| {
        totals.of_event_in(EventType::Completed, name)
    });
    let parts = [
        ("pending", waiting),
        ("processing", held),
        ("retrying", queue.of(Status::Retrying)),
        ("scheduled", queue.of(Status::Scheduled)),
        ("failed", queue.of(Status::Failed)),
    ];
    html! {
        tr {
            th scope="row" {
                a href=(url::with_query(url::TASKS, &[("queue", Some(name))])) { (name) }
                @if queue.paused { " " span.state.state-retrying { "paused" } }
            }
            td { (switch(visitor, name, queue.paused)) }
            td { (shares(&parts)) }
            @for priority in Priority::ALL { td.num { (grouped(ready(priority))) } }
            td.num { (grouped(queue.parked)) }
            td.num { (grouped(held)) }
            td.num { (grouped(queue.of(Status::Retrying))) } td.num { (grouped(queue.of(Status::Scheduled))) }
            td.num { a href=(url::with_query(url::DLQ, &[("queue", Some(name))])) { (grouped(queue.of(Status::Failed))) } }
            td.num { @match queue.oldest_ms() { Some(ms) => (span(now_ms.saturating_sub(ms))), None => "–" } }
            td { (sparkline(&done, "completed in the last half hour")) }
            td.num { (format!("{:.1}", rate(EventType::Completed))) }
            td.num { @if ended > 0.0 { (format!("{:.0} %", 100.0 * failing / ended)) } @else { "–" } }
        }
    }
}

/// Queues of a page.
const SHOWN: usize = 100;

/// Where the page begins.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct At {
    cursor: String,
}

#[handler]
pub(crate) async fn queues_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Query(at): Query<At>,
) -> poem::Result<Response> {
    let store = &state.store;
    let totals = store.totals().await.map_err(failed)?;
    let after = at.cursor.parse::<QueueName>().ok();
    let names = store.queue_names(after.as_ref(), SHOWN + 1).await;
    let mut names = names.map_err(failed)?;
    let next = (names.len() > SHOWN).then(|| names.pop_last()).flatten();
    let next = next.and(names.last().cloned());
    let queues = store.queues_named(&totals, &names).await.map_err(failed)?;
    let past = store.past(MINUTES).await.map_err(failed)?;
    let now_ms = store.server_time_ms().await.map_err(failed)?;
    let body = html! {
        (summary_strip(&totals))
        div.scroll tabindex="0" role="region" aria-label="Queues" {
            @if queues.is_empty() {
                (empty(NO_TASK))
            } @else {
                table {
                    caption { "What waits and runs now, by class; parked tasks are of types that no worker knows; completions per minute and the share of attempts that failed, over the last five full minutes. A paused queue starts nothing; what runs goes on." }
                    thead { tr {
                        th scope="col" { "Queue" } th scope="col" { "Switch" } th scope="col" { "Made of" }
                        th.num scope="col" { "High" } th.num scope="col" { "Normal" } th.num scope="col" { "Low" }
                        th.num scope="col" { "Parked" } th.num scope="col" { "Running" } th.num scope="col" { "Retrying" }
                        th.num scope="col" { "Scheduled" } th.num scope="col" { "Dead" } th.num scope="col" { "Oldest ready" }
                        th scope="col" { "Half an hour" } th.num scope="col" { "Done/min" } th.num scope="col" { "Failing" }
                    } }
                    tbody { @for (name, queue) in &queues { (row(visitor, name, queue, &past, now_ms)) } }
                }
            }
        }
        @if let Some(next) = &next {
            p { a.button.quiet href=(url::with_query(url::QUEUES, &[("cursor", Some(next.as_str()))])) { "More queues" } }
        }
    };
    Ok(layout::page(visitor, "Queues", url::QUEUES, true, &body))
}
