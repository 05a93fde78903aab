//! `taskweir probe`: asks a probe of this machine, for images without a shell. Status 0 where it answers 2xx.

use std::time::Duration;

use anyhow::{Context, bail};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest answer that is told, bytes.
const MAX_TOLD: usize = 1_000;

/// Where the services of the image answer probes; one of them runs in a container.
const PLACES: [&str; 3] = [
    "http://127.0.0.1:9091/health/ready",
    "http://127.0.0.1:8000/health/ready",
    "http://127.0.0.1:5001/health/live",
];

/// Asks a probe, or the first that there is.
pub async fn run(url: Option<&str>) -> anyhow::Result<()> {
    let http = taskweir_client::http::for_base(url.unwrap_or_default())
        .timeout(PATIENCE)
        .build()?;
    let places: &[&str] = url.as_ref().map_or(&PLACES, std::slice::from_ref);
    let answer = first_answer(&http, places).await?;
    let status = answer.status();
    if !status.is_success() {
        let mut told = answer.text().await.unwrap_or_default();
        told.truncate(told.floor_char_boundary(MAX_TOLD));
        bail!("{status}: {}", told.trim());
    }
    Ok(())
}

/// The answer of the first place where somebody listens.
async fn first_answer(
    http: &reqwest::Client,
    places: &[&str],
) -> anyhow::Result<reqwest::Response> {
    for place in places {
        match http.get(*place).send().await {
            Err(error) if error.is_connect() => {}
            answer => return answer.with_context(|| format!("no answer from {place}")),
        }
    }
    bail!("nobody listens at {}", places.join(", "))
}
