//! A real Prometheus scrapes real services, and its own tools check what we give it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use taskweir_domain::{Json, TaskSpec};
use taskweir_store::Submission;
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
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms" },
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
            http: taskweir_client::http::plain().build().unwrap(),
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

    /// The one number an expression gives; `None` where it gives none, as after a scrape that took too long.
    async fn number(&self, expression: &str) -> Option<f64> {
        let result = self.query(expression).await;
        let value = result.first()?["value"][1].as_str()?;
        value.parse().ok()
    }

    async fn becomes(&self, expression: &str, wanted: f64) {
        eventually_within(SOON, &format!("{expression} = {wanted}"), async || {
            let found = self.number(expression).await?;
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
    let running = [
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
    // A Prometheus that has just begun must have seen none, to know that they are new.
    let none = "max(tasks_in_dlq_total{queue=\"default\"})";
    prometheus.becomes(none, 0.0).await;
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
    let submitted = ledger["submitted"].as_f64().unwrap();
    let known = "sum(max by (queue, status) (tasks_by_status))";
    prometheus.becomes(known, submitted).await;
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
        let found = async || prometheus.number(name).await;
        eventually_within(SOON, name, found).await;
    }
    // Numbers that a run like this leaves above nothing.
    for expression in [
        "sum(stream_bytes)",
        "max(redis_memory_used_bytes)",
        "sum(redis_command_duration_seconds_count)",
        "sum(http_request_duration_seconds_count)",
        // Tasks take from a millisecond to an hour, and more.
        "count(count by (le) (task_duration_seconds_bucket{le=~\"0.001|3600|\\\\+Inf\"})) == 3",
    ] {
        let some = format!("({expression}) > bool 0");
        prometheus.becomes(&some, 1.0).await;
    }
    let projectors = [&fleet.services[2], &running[2]];
    something_waits_runs_and_lags(&fleet, &prometheus, projectors).await;
    // What the panel of the log's memory shows is that of logs alone, and what KEDA asks is answered.
    let text = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let logs = r#"sum(max by (partition) (stream_bytes{stream=\"log\"}))"#;
    assert!(text("grafana/taskweir.json").contains(logs));
    let keda = text("k8s/keda/worker.yaml");
    let asks = keda
        .lines()
        .filter_map(|line| line.trim().strip_prefix("query: "));
    for query in asks {
        assert!(prometheus.number(query).await.is_some(), "{query}");
    }
    let asked = panels_show_something(&prometheus, |expression| !is_of_losses(expression)).await;
    assert!(asked > 20, "{asked}");
    // Twenty new dead letters wake somebody, and nothing else does.
    let firing = |which| format!("count(ALERTS{{alertstate=\"firing\"{which}}})");
    let grown = firing(",alertname=\"TaskweirDlqGrowing\",queue=\"default\"");
    prometheus.becomes(&grown, 1.0).await;
    prometheus.becomes(&firing(""), 1.0).await;
}

/// Gauges that are nothing after a run are something while there is.
async fn something_waits_runs_and_lags(
    fleet: &Fleet,
    prometheus: &Prometheus,
    projectors: [&Process; 2],
) {
    let runs = json!({ "type": "sleep", "data": { "seconds": 600 } });
    fleet.submit_batch(&vec![runs; 2]).await;
    prometheus.becomes("sum(worker_busy_slots)", 2.0).await;
    let waits = json!({ "type": "echo", "queue": "unserved", "priority": "high" });
    fleet.submit_batch(&vec![waits; 3]).await;
    let of = |name: &str| format!("max({name}{{queue=\"unserved\",priority=\"high\"}})");
    prometheus.becomes(&of("pending_tasks_total"), 3.0).await;
    let waited = format!("{} > bool 2", of("oldest_pending_age_seconds"));
    prometheus.becomes(&waited, 1.0).await;
    let parts = "count(count by (stream) (stream_bytes > 0))";
    prometheus.becomes(parts, 3.0).await;
    // No projector: a submit makes one event, and the views do not hear of it.
    for projector in projectors {
        projector.signal("STOP");
    }
    fleet
        .submit(&json!({ "type": "echo", "queue": "unserved" }))
        .await;
    prometheus.becomes("max(projection_lag_events)", 1.0).await;
    prometheus
        .becomes("max(projection_lag_seconds) > bool 0", 1.0)
        .await;
    for projector in projectors {
        projector.signal("CONT");
    }
    prometheus.becomes("max(projection_lag_events)", 0.0).await;
}

/// Counts what happens only where a worker falls silent.
fn is_of_losses(expression: &str) -> bool {
    ["task_redeliveries_total", "task_late_completions_total"]
        .iter()
        .any(|name| expression.contains(name))
}

/// A crash loop, and what was being cancelled when its worker died: losses that make nothing ready again.
async fn losses_for_good(fleet: &Fleet) -> [String; 2] {
    let mut worker = fleet.spawn("worker", &[]);
    let data = json!({ "duration_ms": 60_000 });
    let mut spec = TaskSpec::new("default".parse().unwrap(), "process".parse().unwrap());
    spec.data = Json::of(&data).unwrap();
    spec.max_deliveries = 0;
    let submission = Submission {
        id: fleet.store.mint_for(&spec),
        spec,
        idempotency: None,
    };
    let crashes = submission.id.to_string();
    let partition = fleet.store.partitions().remove(0);
    partition.submit(&[submission]).await.unwrap();
    let task = json!({ "type": "process", "data": data });
    let cancelled = fleet.submit(&task).await;
    for id in [&crashes, &cancelled] {
        fleet.reaches(id, "processing", SOON).await;
    }
    let cancel = format!("{}/tasks/{cancelled}/cancel", fleet.base);
    let answer = fleet.http.post(cancel).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    worker.kill();
    fleet.reaches(&crashes, "failed", SOON).await;
    fleet.reaches(&cancelled, "cancelled", SOON).await;
    [crashes, cancelled]
}

#[tokio::test]
async fn redeliveries_and_late_completions_are_those_of_the_log() {
    let mut fleet = Fleet::with_env("3", &[]).await;
    // Its scheduler once more, where it can be scraped.
    assert!(fleet.services.remove(1).stop().await.success());
    let address = || format!("127.0.0.1:{}", free_port());
    let (scheduler, workers) = ([address()], [address(), address()]);
    // A frozen worker with a slot to spare would be given the task again, and lose it again.
    let spawn = |service: &str, address: &str| {
        let env = [("METRICS_ADDR", address), ("WORKER_CONCURRENCY", "1")];
        fleet.spawn(service, &env)
    };
    let _scheduler = spawn("scheduler", &scheduler[0]);
    let [crashes, cancelled] = losses_for_good(&fleet).await;
    // One that is redelivered, and completed by both who had it.
    let frozen = spawn("worker", &workers[0]);
    let task = json!({ "type": "process", "data": { "duration_ms": 3_000 } });
    let redelivered = fleet.submit(&task).await;
    fleet.reaches(&redelivered, "processing", SOON).await;
    frozen.signal("STOP");
    let _second = spawn("worker", &workers[1]);
    fleet.reaches(&redelivered, "completed", SOON).await;
    frozen.signal("CONT");
    let prometheus = Prometheus::start(&[
        ("taskweir-worker", &workers),
        ("taskweir-scheduler", &scheduler),
    ])
    .await;
    let labels = r#"{queue="default",type="process",priority="normal"}"#;
    for name in ["task_redeliveries_total", "task_late_completions_total"] {
        for labels in ["", labels] {
            let counted = format!("sum({name}{labels})");
            prometheus.becomes(&counted, 1.0).await;
        }
    }
    // The log tells the same.
    let mut told = Vec::new();
    for id in [crashes, cancelled, redelivered] {
        let history = fleet.get(&format!("/tasks/{id}/history")).await;
        let events = history["events"].as_array().unwrap().iter();
        let said = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
        told.extend(events.map(|event| (said(event, "type"), said(event, "status"))));
    }
    for (event, then) in [
        ("DeadLettered", "failed"),
        ("LeaseExpired", "cancelled"),
        ("LeaseExpired", "pending"),
        ("LateCompletionRefused", "completed"),
    ] {
        let wanted = (event.to_owned(), then.to_owned());
        let count = told.iter().filter(|told| **told == wanted).count();
        assert_eq!(count, 1, "{event} {then} in {told:?}");
    }
    fleet.settled(SOON).await;
    let ledger = fleet.get("/stats").await["ledger"].clone();
    assert_eq!(ledger["late_completions_refused"], 1);
    let panels = panels_show_something(&prometheus, is_of_losses).await;
    assert_eq!(panels, 2);
}

/// Asks the queries of the Grafana dashboard that are wanted of a Prometheus that has seen a run; gives how many.
async fn panels_show_something(prometheus: &Prometheus, wanted: impl Fn(&str) -> bool) -> usize {
    let text = std::fs::read_to_string(root().join("grafana/taskweir.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            if !wanted(expression) {
                continue;
            }
            let asked_for = expression.replace("$__rate_interval", "1m");
            eventually_within(
                SOON,
                &format!("{}: {expression}", panel["title"]),
                async || {
                    // A rate needs two scrapes.
                    let result = prometheus.query(&asked_for).await;
                    (!result.is_empty()).then_some(())
                },
            )
            .await;
            asked += 1;
        }
    }
    asked
}
