//! Taskweir in one binary: the services, their upkeep, and the client.

mod chaos;
mod cli;
mod client;
mod dev;
mod help;
mod loadtest;
mod output;
mod probe;
mod rebuild;
mod serve;
mod verify;
mod when;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("taskweir: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let json = cli.json;
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::tell(&error, json);
            let misuse = error.is::<output::Misuse>();
            ExitCode::from(if misuse { 2 } else { 1 })
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Dev => dev::run().await,
        Command::Service(service) => serve::run(service).await,
        Command::Migrate => serve::migrate(cli.json).await,
        Command::Rebuild => rebuild::run(cli.json).await,
        Command::Verify => verify::run(cli.json).await,
        Command::Chaos(chaos) => chaos::run(chaos, cli.json).await,
        Command::Loadtest(wanted) => loadtest::run(wanted, cli.json).await,
        Command::Probe { url } => probe::run(url.as_deref()).await,
        Command::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "taskweir", &mut std::io::stdout());
            Ok(())
        }
        Command::Client(command) => client::run(command, cli.json).await,
    }
}
