//! What does it run on, and how far are its parts?

use maud::{Markup, html};
use poem::web::Data;
use poem::{Response, handler};
use taskweir_domain::format_ms;

use super::failed;
use crate::app::State;
use crate::components::{ago, grouped, span, summary_strip};
use crate::gate::Visitor;
use crate::{layout, url};

/// What is shown of Redis' `INFO`: the field, and what it is.
const REDIS: [(&str, &str); 14] = [
    ("redis_version", "Version"),
    ("role", "Role"),
    ("connected_slaves", "Replicas"),
    ("uptime_in_seconds", "Up for, s"),
    ("connected_clients", "Clients"),
    ("instantaneous_ops_per_sec", "Commands per second"),
    ("used_memory_human", "Memory used"),
    ("maxmemory_human", "Memory at most (0: any)"),
    ("maxmemory_policy", "When full"),
    ("mem_fragmentation_ratio", "Fragmentation"),
    ("aof_enabled", "Append-only file"),
    ("aof_last_write_status", "Its latest write"),
    ("aof_last_bgrewrite_status", "Its latest rewrite"),
    ("rdb_last_bgsave_status", "Latest snapshot"),
];

fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = count as f64;
    let mut unit = 0;
    while size >= 1_024.0 && unit + 1 < units.len() {
        size /= 1_024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{size:.1} {}", units[unit])
    }
}

fn fact(name: &str, value: impl maud::Render) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

#[handler]
pub(crate) async fn system_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
) -> poem::Result<Response> {
    let store = &state.store;
    let totals = store.totals().await.map_err(failed)?;
    let lags = store.lags().await.map_err(failed)?;
    let sizes = store.stream_bytes([]).await.unwrap_or_default();
    let info = store.server_info().await.map_err(failed)?;
    let verified = store.verified().await.map_err(failed)?;
    let layout = store.layout_version().await.map_err(failed)?;
    let layout = layout.map_or("none".to_owned(), |version| version.to_string());
    let malformed = store.malformed().await.map_err(failed)?;
    let now_ms = store.server_time_ms().await.map_err(failed)?;
    let mut rows = Vec::new();
    for (partition, lag) in store.partitions().iter().zip(&lags) {
        let (_, length) = partition.log_end().await.map_err(failed)?;
        let base = partition.base_position().await.map_err(failed)?;
        let size = sizes.iter().find(|(index, _)| *index == lag.partition);
        rows.push((lag, length, base, size.map_or(0, |(_, size)| size.log)));
    }
    let body = html! {
        (summary_strip(&totals))
        h2 { "Log and views" }
        div.scroll tabindex="0" role="region" aria-label="Log and views" {
            table {
                caption { "Each partition has a log; the projector folds it into views and notes how far it is. Retention folds what is old into the base." }
                thead { tr {
                    th.num scope="col" { "Partition" } th.num scope="col" { "Events" } th.num scope="col" { "Memory" }
                    th scope="col" { "Base" } th scope="col" { "End of the log" } th scope="col" { "Views are at" }
                    th.num scope="col" { "Behind" }
                } }
                tbody {
                    @for (lag, length, base, size) in &rows {
                        tr {
                            td.num { (lag.partition.0) } td.num { (grouped(*length)) } td.num { (bytes(*size)) }
                            td.mono { @if base.ms == 0 { "the first event" } @else { (base) } }
                            td.mono { (lag.end) } td.mono { (lag.checkpoint) }
                            td.num { (grouped(lag.events)) " events, " (span(lag.ms)) }
                        }
                    }
                }
            }
        }
        h2 { "Checks" }
        div.card { dl.facts {
            (fact("Latest verification", html! {
                @match &verified {
                    None => { "never: run " code { "taskweir verify" } },
                    Some(verified) => { (ago(verified.at_ms, now_ms)) ", " (verified.differences) " differences" },
                }
            }))
            @if malformed.is_empty() { (fact("Malformed entries", "none")) }
            @for (place, seen) in &malformed { (fact(&format!("Malformed in {place}"), html! { (seen.count) ", the latest " (ago(seen.last_ms, now_ms)) })) }
        } }
        h2 { "Redis" }
        div.card { dl.facts {
            @for (field, name) in REDIS {
                @if let Some(value) = info.get(field) { (fact(name, value)) }
            }
        } }
        h2 { "This dashboard" }
        div.card { dl.facts {
            (fact("Taskweir", env!("CARGO_PKG_VERSION")))
            (fact("Layout", layout))
            (fact("Partitions", store.partition_count()))
            (fact("Time of Redis", format_ms(now_ms)))
        } }
    };
    Ok(layout::page(visitor, "System", url::SYSTEM, true, &body))
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(7), "7 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(5 * 1_024 * 1_024 * 1_024), "5.0 GiB");
    }
}
