//! `taskweir probe`: asks a probe of this machine, for images without a shell. Status 0 where it answers 2xx.

use std::time::Duration;

use anyhow::{Context, bail};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks.
pub async fn run(url: &str) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let answer = http.get(url).send().await.context("no answer")?;
    let status = answer.status();
    if !status.is_success() {
        bail!(
            "{status}: {}",
            answer.text().await.unwrap_or_default().trim()
        );
    }
    Ok(())
}
