//! `taskweir verify`: exit status 0 where everything agrees with the log, 1 where something differs.

use anyhow::bail;
use serde_json::{Value, json};
use taskweir_projector::Report;
use taskweir_runtime::printable::printable_line;

use crate::output::{say, say_json};
use crate::serve;

fn as_json(report: &Report) -> Value {
    let by_status: serde_json::Map<String, Value> = report
        .by_status
        .iter()
        .map(|(status, count)| (status.to_string(), json!(count)))
        .collect();
    json!({
        "clean": report.is_clean(),
        "events": report.events,
        "tasks": report.tasks,
        "by_status": by_status,
        "started_twice": report.started_twice,
        "digest": format!("{:032x}", report.digest),
        "difference_count": report.count,
        "differences": report.differences,
    })
}

/// Verifies and tells.
pub async fn run(json: bool) -> anyhow::Result<()> {
    let store = serve::store_for_upkeep().await?;
    let report = taskweir_projector::verify(&store).await?;
    store.note_verified(report.count).await?;
    if json {
        say_json(&as_json(&report).to_string());
    } else {
        say(&format!(
            "{} events, {} tasks, {} started more than once, views {:032x}\n",
            report.events, report.tasks, report.started_twice, report.digest
        ));
        for difference in &report.differences {
            say(&format!(
                "differs: {}\n",
                printable_line(&difference.to_string())
            ));
        }
    }
    if !report.is_clean() {
        bail!("{} differences", report.count);
    }
    if !json {
        say("everything agrees with the log\n");
    }
    Ok(())
}
