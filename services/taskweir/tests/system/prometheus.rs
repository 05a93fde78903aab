//! A real Prometheus scrapes real services, and its own tools check what we give it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use taskweir_testkit::{eventually_within, free_port};

use crate::fleet::{Fleet, Process};

const SOON: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Gauges whose names the contract with our users fixes; promtool would rather not see `_total` there.
const FIXED: [&str; 3] = [
    "active_workers_total",
    "pending_tasks_total",
    "tasks_in_dlq_total",
];

/// What promtool finds in a text of metrics, but for those names.
fn lint(text: &str) -> Vec<String> {
    let (_, said) = promtool(&["check", "metrics"], text);
    let finding = |line: &&str| {
        let fixed = FIXED.iter().any(|name| line.starts_with(name));
        let expected = fixed && line.contains("\"_total\" suffix");
        !expected && !line.trim().is_empty()
    };
    said.lines()
        .filter(finding)
        .map(ToOwned::to_owned)
        .collect()
}

fn passes(arguments: &[&str]) {
    let (passed, said) = promtool(arguments, "");
    assert!(passed, "{arguments:?}: {said}");
}

/// Whether promtool is content, and what it says.
fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("prometheus is installed: see `make tools`");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

/// A Prometheus that scrapes these addresses by job.
struct Prometheus {
    _process: Process,
    _dir: tempfile::TempDir,
    base: String,
    http: reqwest::Client,
}

impl Prometheus {
    async fn start(jobs: &[(&str, &[String])]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scrapes = jobs.iter().map(|(name, targets)| {
            json!({ "job_name": name, "static_configs": [{ "targets": targets }] })
        });
        // JSON is YAML.
        let config = json!({
            "global": { "scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms" },
            "rule_files": [root().join("prometheus/alerts.yml").to_str().unwrap()],
            "scrape_configs": scrapes.collect::<Vec<_>>(),
        });
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed: see `make tools`");
        let prometheus = Self {
            _process: Process::of(child),
            _dir: dir,
            base: format!("http://127.0.0.1:{port}"),
            http: reqwest::Client::new(),
        };
        eventually_within(SOON, "prometheus is ready", async || {
            let url = format!("{}/-/ready", prometheus.base);
            let answer = prometheus.http.get(url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        prometheus
    }

    async fn query(&self, expression: &str) -> Vec<Value> {
        let url = format!("{}/api/v1/query", self.base);
        let request = self.http.get(url).query(&[("query", expression)]);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// The one number an expression gives; 0 where it gives none.
    async fn number(&self, expression: &str) -> f64 {
        let result = self.query(expression).await;
        let value = result
            .first()
            .and_then(|sample| sample["value"][1].as_str());
        value.map_or(0.0, |text| text.parse().unwrap())
    }

    async fn becomes(&self, expression: &str, wanted: f64) {
        eventually_within(SOON, &format!("{expression} = {wanted}"), async || {
            let found = self.number(expression).await;
            ((found - wanted).abs() < 1e-9).then_some(())
        })
        .await;
    }
}

#[test]
fn rules_and_configuration_pass_promtool_and_each_alert_fires() {
    passes(&["check", "rules", "prometheus/alerts.yml"]);
    // The file with the secret is written where it runs.
    passes(&["check", "config", "--syntax-only", "prometheus.yml"]);
    passes(&["test", "rules", "prometheus/alerts.test.yml"]);
    assert_eq!(
        lint("# HELP a a\n# TYPE a counter\na 1\n").len(),
        1,
        "the check can fail"
    );
    // No alert without a test that fires it.
    let text = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (rules, tests) = (
        text("prometheus/alerts.yml"),
        text("prometheus/alerts.test.yml"),
    );
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let name = alert.strip_prefix("Taskweir").unwrap();
        assert!(
            tests.contains(&format!("    name: {name}\n")),
            "{alert} is not tested"
        );
    }
}

#[tokio::test]
async fn a_real_prometheus_tells_what_the_ledger_tells() {
    let fleet = Fleet::start("10").await;
    let address = || format!("127.0.0.1:{}", free_port());
    let (workers, projector, scheduler) = ([address(), address()], [address()], [address()]);
    let dashboard = [address()];
    let gateway = [fleet.base.strip_prefix("http://").unwrap().to_owned()];
    let spawn =
        |service: &str, address: &String| fleet.spawn(service, &[("METRICS_ADDR", address)]);
    let _running = [
        spawn("worker", &workers[0]),
        spawn("worker", &workers[1]),
        spawn("projector", &projector[0]),
        spawn("scheduler", &scheduler[0]),
        fleet.spawn(
            "dashboard",
            &[
                ("METRICS_ADDR", &dashboard[0]),
                ("DASHBOARD_ADDR", &address()),
            ],
        ),
    ];
    let prometheus = Prometheus::start(&[
        ("taskweir-gateway", &gateway),
        ("taskweir-worker", &workers),
        ("taskweir-projector", &projector),
        ("taskweir-scheduler", &scheduler),
        ("taskweir-dashboard", &dashboard),
    ])
    .await;
    prometheus.becomes("sum(up)", 6.0).await;
    prometheus.becomes("max(active_workers_total)", 2.0).await;
    // A known run.
    fleet
        .submit_batch(&vec![json!({ "type": "echo" }); 300])
        .await;
    fleet
        .submit_batch(&vec![
            json!({ "type": "fail", "data": { "fatal": true } });
            20
        ])
        .await;
    let twice =
        json!({ "type": "fail", "data": { "times": 1 }, "retry": { "initial_delay": 0.1 } });
    fleet.submit_batch(&vec![twice; 10]).await;
    fleet
        .submit_batch(&vec![
            json!({ "type": "echo", "delay": 3_600, "queue": "later" });
            7
        ])
        .await;
    eventually_within(SOON, "all have ended", async || {
        let totals = fleet.get("/stats").await["totals"].clone();
        (totals["completed"] == 310 && totals["failed"] == 20).then_some(())
    })
    .await;
    for (expression, wanted) in [
        ("sum(task_submissions_total)", 337.0),
        ("sum(task_completions_total)", 310.0),
        ("sum(task_completions_total{type=\"echo\"})", 300.0),
        ("sum(task_failures_total)", 30.0),
        ("sum(task_retries_total)", 10.0),
        ("sum(task_duration_seconds_count)", 340.0),
        ("sum(task_wait_seconds_count)", 340.0),
        ("max(tasks_in_dlq_total{queue=\"default\"})", 20.0),
        (
            "max(tasks_by_status{queue=\"later\",status=\"scheduled\"})",
            7.0,
        ),
        ("sum(max by (queue, priority) (pending_tasks_total))", 0.0),
        ("max(projection_lag_events)", 0.0),
        ("sum(worker_busy_slots)", 0.0),
    ] {
        prometheus.becomes(expression, wanted).await;
    }
    let ledger = fleet.get("/stats").await["ledger"].clone();
    let submitted = prometheus
        .number("sum(max by (queue, status) (tasks_by_status))")
        .await;
    assert_eq!(json!(submitted as u64), ledger["submitted"]);
    // Every name of the contract is there, and what each service says is in order.
    for address in gateway
        .iter()
        .chain(&workers)
        .chain(&projector)
        .chain(&scheduler)
        .chain(&dashboard)
    {
        let url = format!("http://{address}/metrics");
        let text = fleet
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert_eq!(lint(&text), [] as [String; 0], "{address}");
    }
    for name in [
        "oldest_pending_age_seconds",
        "projection_lag_seconds",
        "stream_bytes",
        "redis_command_duration_seconds_count",
        "http_request_duration_seconds_count",
        "redis_memory_used_bytes",
    ] {
        assert!(!prometheus.query(name).await.is_empty(), "{name}");
    }
    every_panel_shows_something(&prometheus).await;
    assert_eq!(
        prometheus.query("ALERTS{alertstate=\"firing\"}").await,
        [] as [Value; 0]
    );
}

/// The queries of the Grafana dashboard, asked of a Prometheus that has seen a run.
async fn every_panel_shows_something(prometheus: &Prometheus) {
    let text = std::fs::read_to_string(root().join("grafana/taskweir.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    // What never happened in this run has no series.
    let quiet = ["task_redeliveries_total", "task_late_completions_total"];
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let asked_for = expression.replace("$__rate_interval", "1m");
            let quiet = quiet.iter().any(|name| expression.contains(name));
            eventually_within(
                SOON,
                &format!("{}: {expression}", panel["title"]),
                async || {
                    // A rate needs two scrapes.
                    let result = prometheus.query(&asked_for).await;
                    (quiet || !result.is_empty()).then_some(())
                },
            )
            .await;
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked}");
}
