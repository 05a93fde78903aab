//! `taskweir chaos`: exit status 0 where every promise held, 1 where one was broken.

use std::time::Duration;

use anyhow::bail;
use taskweir_loadtest::chaos::{self, Options};

use crate::cli::Chaos;
use crate::output::{say, say_json};

/// Runs chaos and tells.
pub async fn run(wanted: Chaos, json: bool) -> anyhow::Result<()> {
    let binary = std::env::current_exe()?;
    let mut broken = 0;
    for seed in wanted.seed..wanted.seed + wanted.runs {
        let options = Options {
            binary: binary.clone(),
            seed,
            length: Duration::from_secs(wanted.seconds),
            fsync: wanted.fsync.clone(),
            durability: wanted.durability.clone(),
            faults: wanted.faults.clone(),
            sabotage: wanted.sabotage.clone(),
            clients: wanted.clients,
            verbose: wanted.verbose,
        };
        let report = chaos::run(&options).await?;
        if json {
            say_json(&serde_json::to_string(&report)?);
        } else {
            say(&format!("{report}\n"));
        }
        broken += report.violation_count;
    }
    if broken > 0 {
        bail!("{broken} broken promises");
    }
    Ok(())
}
