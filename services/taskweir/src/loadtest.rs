//! `taskweir loadtest`: exit status 0 where every task ended as it should and the ledger says so, 1 where not.

use std::time::Duration;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use taskweir_loadtest::load::{self, LoadOptions, Progress};
use taskweir_runtime::Env;

use crate::cli::LoadTest;
use crate::output::{say, say_json};

/// A bar on a terminal; nothing elsewhere.
struct Bar(ProgressBar);

impl Progress for Bar {
    fn show(&self, accepted: u64, ended: u64) {
        self.0.set_position(ended);
        self.0.set_message(format!("{accepted} accepted"));
    }
}

/// Runs a load test and tells.
pub async fn run(wanted: LoadTest, json: bool) -> anyhow::Result<()> {
    let env = Env::process();
    let base = env.text("TASKWEIR_URL")?;
    let options = LoadOptions {
        base: base.unwrap_or_else(|| "http://localhost:8000".to_owned()),
        secret: env.text("TASKWEIR_API_KEY")?,
        count: wanted.count,
        rate: wanted.rate,
        connections: wanted.connections,
        mix: wanted.mix,
        queue: wanted.queue,
        patience: Duration::from_secs(wanted.patience),
    };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} ended, {msg}, {elapsed}")?;
    let bar = ProgressBar::new(options.count).with_style(style);
    let bar = Bar(bar);
    let report = load::run(&options, &bar).await;
    bar.0.finish_and_clear();
    let report = report?;
    if json {
        say_json(&serde_json::to_string(&report)?);
    } else {
        say(&format!(
            "{}\n",
            taskweir_runtime::printable::printable(&report.to_string())
        ));
    }
    if !report.passed() {
        bail!("the load test has failed");
    }
    Ok(())
}
