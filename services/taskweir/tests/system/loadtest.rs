//! The load test passes where all is well, and fails where it is not.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::fleet::{Fleet, command};

fn run(fleet: &Fleet, arguments: &[&str]) -> Output {
    let mut command = command(Path::new("/"));
    command
        .arg("loadtest")
        .args(arguments)
        .env("TASKWEIR_URL", &fleet.base);
    command.output().unwrap()
}

#[tokio::test]
async fn a_hundred_tasks_pass_and_what_nobody_runs_fails() {
    let fleet = Fleet::start("10").await;
    let worker = fleet.spawn("worker", &[]);
    let passed = run(&fleet, &[]);
    let said = String::from_utf8_lossy(&passed.stdout).into_owned();
    assert!(
        passed.status.success(),
        "{said} {}",
        String::from_utf8_lossy(&passed.stderr)
    );
    assert!(
        said.contains("submitted  100 tasks") && said.contains("ended      100 tasks"),
        "{said}"
    );
    // Nobody else is here: the ledger tells of these and no others.
    let stats = fleet.get("/stats").await;
    assert_eq!(
        (&stats["totals"]["completed"], &stats["ledger"]["submitted"]),
        (&100.into(), &100.into())
    );
    let mixed = run(
        &fleet,
        &[
            "-n",
            "300",
            "--mix",
            "echo=2,fail=1",
            "--rate",
            "600",
            "--json",
        ],
    );
    let report: Value = serde_json::from_slice(&mixed.stdout).unwrap();
    assert!(mixed.status.success(), "{report:#}");
    assert_eq!(
        (&report["ended"], &report["unexpected"]),
        (&300.into(), &0.into())
    );
    // No faster than asked for.
    let rate = report["submit_rate"].as_f64().unwrap();
    assert!(rate > 0.0 && rate < 640.0, "{rate}");
    let task = &report["task"];
    assert!(task["p50_ms"].as_f64() <= task["p99_ms"].as_f64(), "{task}");
    // People at a terminal see how far it is.
    let shell = format!(
        "{} loadtest -n 40 --rate 100",
        env!("CARGO_BIN_EXE_taskweir")
    );
    let mut terminal = std::process::Command::new("script");
    terminal
        .args(["-qec", &shell, "/dev/null"])
        .env("TASKWEIR_URL", &fleet.base)
        .env("TERM", "xterm");
    let seen = terminal.output().unwrap();
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(
        seen.contains("/40 ended, ") && seen.contains(" accepted, "),
        "{seen}"
    );
    assert!(seen.contains("ended      40 tasks"), "{seen}");
    drop(worker);
    let failed = run(&fleet, &["-n", "5", "--patience", "1"]);
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(said.contains("TROUBLE: 5 tasks have not ended"), "{said}");
    let misuse = run(&fleet, &["--mix", "process=none"]);
    assert_eq!(misuse.status.code(), Some(2));
}
