use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use taskweir_testkit::{TestRedis, eventually};

use crate::fleet::{Fleet, Process, SERVICES, command};

fn run(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    command(Path::new("/"))
        .args(arguments)
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_client_commands_do_what_they_say() {
    let fleet = Fleet::start("10").await;
    let _worker = fleet.spawn("worker", &[]);
    let env = [("TASKWEIR_URL", fleet.base.as_str())];
    let cli = |arguments: &[&str]| run(arguments, &env);

    let submitted = json(&cli(&[
        "submit",
        "echo",
        "[1]",
        "--priority",
        "high",
        "--label",
        "tenant=a",
        "--json",
    ]));
    let id = submitted["id"].as_str().unwrap();
    fleet
        .reaches(id, "completed", Duration::from_secs(20))
        .await;
    let task = json(&cli(&["get", id, "--json"]));
    assert_eq!(
        (task["result"].to_string(), task["labels"]["tenant"].clone()),
        ("[1]".to_owned(), "a".into())
    );
    let shown = cli(&["get", id]);
    assert!(
        String::from_utf8(shown.stdout)
            .unwrap()
            .contains("completed")
    );
    let history = String::from_utf8(cli(&["history", id]).stdout).unwrap();
    for event in ["Submitted", "Started", "Completed"] {
        assert!(history.contains(event), "{history}");
    }

    let dead = json(&cli(&["submit", "fail", "--max-retries", "0", "--json"]));
    let dead = dead["id"].as_str().unwrap();
    fleet.reaches(dead, "failed", Duration::from_secs(20)).await;
    fleet.settled(Duration::from_secs(10)).await;
    assert!(
        String::from_utf8(cli(&["list", "--status", "failed"]).stdout)
            .unwrap()
            .contains(dead)
    );
    assert_eq!(
        json(&cli(&["dlq", "list", "--json"]))["tasks"][0]["id"],
        dead
    );
    assert!(cli(&["dlq", "retry", dead]).status.success());
    fleet.reaches(dead, "failed", Duration::from_secs(20)).await;
    assert!(cli(&["dlq", "remove", dead]).status.success());
    assert_eq!(
        cli(&["dlq", "retry", dead]).status.code(),
        Some(1),
        "refused"
    );
    assert!(
        String::from_utf8(cli(&["queues"]).stdout)
            .unwrap()
            .contains("default")
    );
    let paused = String::from_utf8(cli(&["queues", "pause", "mail"]).stdout).unwrap();
    assert_eq!(paused.trim(), "mail paused");
    assert_eq!(
        json(&cli(&["queues", "resume", "mail", "--json"]))["paused"],
        false
    );
    let keyed = [
        "submit",
        "echo",
        "--delay",
        "600",
        "--unique-key",
        "u",
        "--idempotency-key",
        "k",
        "--json",
    ];
    let waits = json(&cli(&keyed));
    assert_eq!(
        json(&cli(&keyed))["id"],
        waits["id"],
        "the same key is the same task"
    );
    assert_eq!(
        cli(&["submit", "echo", "--unique-key", "u"]).status.code(),
        Some(1),
        "refused"
    );
    assert!(
        cli(&["cancel", waits["id"].as_str().unwrap()])
            .status
            .success()
    );
    assert_eq!(
        json(&cli(&["workers", "--json"]))["workers"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    fleet.settled(Duration::from_secs(10)).await;
    assert_eq!(json(&cli(&["stats", "--json"]))["totals"]["removed"], 1);
}

#[test]
fn the_exit_status_tells_refused_from_misused() {
    let away = [("TASKWEIR_URL", "http://127.0.0.1:9")];
    let output = run(&["stats"], &away);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("no gateway answers")
    );
    assert_eq!(run(&["submit"], &away).status.code(), Some(2));
    assert_eq!(run(&["nonsense"], &away).status.code(), Some(2));
    assert_eq!(
        run(&["stats"], &[("TASKWEIR_URL", "nonsense")])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        run(&["submit", "echo", "--label", "nope"], &away)
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        run(&["submit", "echo", "--delay", "nan"], &away)
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        run(&["submit", "echo", "--delay", "-5"], &away)
            .status
            .code(),
        Some(2)
    );
    let output = run(&["submit", "echo", "not json"], &away);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("DATA must be JSON")
    );
}

#[tokio::test]
async fn refusals_are_json_where_answers_are_and_say_what_helps() {
    let fleet = Fleet::start("10").await;
    let cli = |arguments: &[&str], base: &str| run(arguments, &[("TASKWEIR_URL", base)]);
    let first = cli(
        &["submit", "echo", "--unique-key", "u", "--json"],
        &fleet.base,
    );
    let holder = json(&first)["id"].clone();
    let again = ["submit", "echo", "--unique-key", "u"];
    let told = cli(&again, &fleet.base);
    assert_eq!(told.status.code(), Some(1));
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(
        told.contains("409") && told.contains(holder.as_str().unwrap()),
        "{told}"
    );
    let told = cli(&[&again[..], &["--json"]].concat(), &fleet.base);
    let told: Value = serde_json::from_slice(&told.stderr).unwrap();
    assert_eq!(
        (&told["problem"]["status"], &told["problem"]["existing_id"]),
        (&409.into(), &holder)
    );
    let told = cli(&["list", "--status", "nonsense", "--json"], &fleet.base);
    assert!(!told.status.success());
    // Nobody knows what became of it: the key under which it may be sent again is said.
    let lost = cli(&["submit", "echo"], "http://127.0.0.1:9");
    let lost = String::from_utf8(lost.stderr).unwrap();
    let key = lost.split("--idempotency-key ").nth(1).expect(&lost);
    let key = key.split(' ').next().unwrap();
    let sent = cli(
        &["submit", "echo", "--idempotency-key", key, "--json"],
        &fleet.base,
    );
    assert!(json(&sent)["id"].is_string());
}

/// Every variable that can be set to what it does not take, so.
const NONSENSE: [(&str, &str); 44] = [
    ("REDIS_URL", "nowhere"),
    ("TASKWEIR_PREFIX", "a b"),
    ("TASKWEIR_ALLOW_EVICTION", "x"),
    ("PARTITIONS", "many"),
    ("TASKWEIR_DEV_REDIS_PORT", "x"),
    ("LOG_FORMAT", "x"),
    ("RUST_LOG", "=/="),
    ("JAEGER_HOST", "a b"),
    ("JAEGER_PORT", "x"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "x"),
    ("TRACE_URL", "x"),
    ("GATEWAY_ADDR", "x"),
    ("DASHBOARD_ADDR", "x"),
    ("METRICS_ADDR", "x"),
    ("GATEWAY_BASE_PATH", "x"),
    ("DASHBOARD_BASE_PATH", "x"),
    ("TASKWEIR_ALLOW_ANONYMOUS", "x"),
    ("TASKWEIR_API_KEYS", "x"),
    ("TRUSTED_PROXIES", "x"),
    ("MAX_CONNECTIONS", "x"),
    ("MAX_CONNECTIONS_PER_ADDRESS", "x"),
    ("MAX_EVENT_STREAMS", "x"),
    ("MAX_EVENT_STREAMS_PER_ADDRESS", "x"),
    ("WORKER_CONCURRENCY", "x"),
    ("WORKER_QUEUES", "a b"),
    ("SHUTDOWN_GRACE", "x"),
    ("HTTP_TASK_ALLOW", "http://x"),
    ("LEASE_SECONDS", "x"),
    ("RETENTION", "x"),
    ("DLQ_RETENTION", "x"),
    ("MAX_QUEUE_LENGTH", "x"),
    ("MAX_QUEUES", "x"),
    ("MEMORY_BUDGET", "x"),
    ("DURABILITY", "x"),
    ("REDACT_FIELDS", "."),
    ("MAX_RETRIES", "x"),
    ("INITIAL_RETRY_DELAY", "x"),
    ("RETRY_BACKOFF_MULTIPLIER", "x"),
    ("MAX_RETRY_DELAY", "x"),
    ("RETRY_JITTER", "x"),
    ("MAX_DELIVERIES", "x"),
    ("MAX_PAYLOAD", "x"),
    // Of the client alone: no service reads them.
    ("TASKWEIR_URL", "x"),
    ("TASKWEIR_API_KEY", "x"),
];

/// What a subcommand reads: each variable is refused by name, then set right, until none is refused.
async fn read_by(subcommand: &str) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut env = BTreeMap::from(NONSENSE);
    let mut read = BTreeSet::new();
    loop {
        let mut command = command(dir.path());
        command.arg(subcommand).envs(&env);
        command.stdout(std::process::Stdio::null());
        command.stderr(std::fs::File::create(&log).unwrap());
        let mut process = Process::of(command.spawn().unwrap());
        let said = eventually(&format!("{subcommand} speaks"), async || {
            let ended = process.has_ended();
            let said = std::fs::read_to_string(&log).unwrap();
            (ended || said.contains("waiting for Redis")).then_some(said)
        })
        .await;
        let refused = said.lines().find_map(|line| {
            let (name, _) = line.strip_prefix("taskweir: ")?.split_once(" is ")?;
            env.remove_entry(name)
        });
        // Content with all of them, it found no Redis.
        let Some((name, _)) = refused else {
            return read;
        };
        match name {
            "REDIS_URL" => env.insert(name, "redis://127.0.0.1:9"),
            "GATEWAY_ADDR" | "DASHBOARD_ADDR" | "METRICS_ADDR" => env.insert(name, "127.0.0.1:0"),
            _ => None,
        };
        assert!(read.insert(name.to_owned()), "{said}");
    }
}

/// What the help of a subcommand lists.
fn listed_by(subcommand: &str) -> BTreeSet<String> {
    let help = String::from_utf8(run(&[subcommand, "--help"], &[]).stdout).unwrap();
    let (_, environment) = help.split_once("Environment:").expect(&help);
    let words = environment.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    let variable = |word: &&str| {
        let short = ["DURABILITY", "PARTITIONS", "RETENTION"].contains(word);
        short || (word.contains('_') && word.len() > 1)
    };
    words.filter(variable).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn every_subcommand_lists_its_environment() {
    for subcommand in SERVICES
        .into_iter()
        .chain(["dev", "migrate", "verify", "rebuild"])
    {
        let mut read = read_by(subcommand).await;
        assert!(read.contains("REDIS_URL"), "{subcommand}: {read:?}");
        // These take anything, and go with others.
        read.extend(["REDIS_HOST", "REDIS_PORT"].map(ToOwned::to_owned));
        assert_eq!(listed_by(subcommand), read, "{subcommand}");
    }
    for subcommand in [
        "submit",
        "get",
        "list",
        "watch",
        "history",
        "cancel",
        "dlq",
        "operations",
        "queues",
        "workers",
        "stats",
        "loadtest",
    ] {
        let listed = listed_by(subcommand);
        let read = ["TASKWEIR_API_KEY", "TASKWEIR_URL"].map(ToOwned::to_owned);
        assert_eq!(listed, BTreeSet::from(read), "{subcommand}");
    }
}

#[test]
fn a_service_that_cannot_start_says_why() {
    let redis = TestRedis::start();
    let url = redis.url();
    let taken = format!("127.0.0.1:{}", redis.port());
    let refusal = |service: &str, env: &[(&str, &str)]| {
        let mut all = vec![("REDIS_URL", url.as_str())];
        all.extend(env);
        let output = run(&[service], &all);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refusal("worker", &[("WORKER_CONCURRENCY", "many")]);
    assert!(said.contains(r#"WORKER_CONCURRENCY is "many""#), "{said}");
    let said = refusal("gateway", &[("GATEWAY_ADDR", "0.0.0.0:0")]);
    assert!(said.contains("not loopback"), "{said}");
    for service in ["worker", "projector", "scheduler", "dashboard"] {
        let own = ("DASHBOARD_ADDR", "127.0.0.1:0");
        let said = refusal(service, &[("METRICS_ADDR", "0.0.0.0:0"), own]);
        assert!(said.contains("METRICS_ADDR is 0.0.0.0:0"), "{said}");
        let said = refusal(service, &[("METRICS_ADDR", &taken), own]);
        assert!(
            said.contains(&format!("cannot listen on {taken}")),
            "{said}"
        );
    }
    let output = run(
        &["migrate"],
        &[("REDIS_URL", url.as_str()), ("PARTITIONS", "3")],
    );
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("0 -> 1, 3 partitions")
    );
    let output = run(&["migrate"], &[("REDIS_URL", url.as_str())]);
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("nothing to do")
    );
}

#[tokio::test]
async fn services_wait_for_the_layout_and_begin_when_it_is_made() {
    let redis = TestRedis::start();
    let url = redis.url();
    let dir = tempfile::tempdir().unwrap();
    let mut waiting = Vec::new();
    for service in SERVICES {
        let log = dir.path().join(service);
        let mut command = command(dir.path());
        command
            .arg(service)
            .env("REDIS_URL", &url)
            .env("GATEWAY_ADDR", "127.0.0.1:0")
            .env("DASHBOARD_ADDR", "127.0.0.1:0")
            .stdout(std::process::Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap());
        waiting.push((service, Process::of(command.spawn().unwrap()), log));
    }
    let says = async |service: &str, log: &Path, what: &str| {
        eventually(&format!("{service} says {what}"), async || {
            let said = std::fs::read_to_string(log).unwrap();
            said.contains(what).then_some(())
        })
        .await;
    };
    for (service, _, log) in &waiting {
        says(service, log, "run `taskweir migrate` first").await;
    }
    // Many at once: one makes it, the others find it made.
    let migrations: Vec<_> = (0..4)
        .map(|_| {
            let mut migrate = command(dir.path());
            migrate.arg("migrate").env("REDIS_URL", &url);
            let piped = std::process::Stdio::piped();
            migrate.stdout(piped).spawn().unwrap()
        })
        .collect();
    let said = migrations.into_iter().map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    });
    let said: Vec<String> = said.collect();
    let made = said.iter().filter(|said| said.contains("0 -> 1"));
    assert_eq!(made.count(), 1, "{said:?}");
    for (service, _, log) in &waiting {
        let begun = match *service {
            "gateway" | "dashboard" => "listens",
            _ => "runs",
        };
        says(service, log, begun).await;
    }
}

#[tokio::test]
async fn services_without_http_of_their_own_answer_probes_on_metrics_addr() {
    let fleet = Fleet::start("10").await;
    for service in ["worker", "scheduler", "projector"] {
        let address = format!("127.0.0.1:{}", taskweir_testkit::free_port());
        let _process = fleet.spawn(service, &[("METRICS_ADDR", &address)]);
        let get = async |path: &str| {
            fleet
                .http
                .get(format!("http://{address}{path}"))
                .send()
                .await
                .ok()
        };
        taskweir_testkit::eventually("ready", async || {
            let answer = get("/health/ready").await?;
            answer.status().is_success().then_some(())
        })
        .await;
        assert!(get("/health/live").await.unwrap().status().is_success());
        // As the health check of a container asks.
        let ready = format!("http://{address}/health/ready");
        assert!(run(&["probe", &ready], &[]).status.success());
        let metrics = get("/metrics").await.unwrap().text().await.unwrap();
        assert!(
            metrics.contains("taskweir_build_info{version="),
            "{service}: {metrics}"
        );
    }
}

#[tokio::test]
async fn dead_letters_are_retried_and_removed_by_filter_from_the_command_line() {
    let fleet = Fleet::start("10").await;
    let worker = fleet.spawn("worker", &[]);
    let env = [("TASKWEIR_URL", fleet.base.as_str())];
    let cli = |arguments: &[&str]| run(arguments, &env);
    let text = |output: Output| String::from_utf8(output.stdout).unwrap();
    for kind in ["fail", "fail", "sleep"] {
        // A sleep without seconds is an invalid payload.
        let id = json(&cli(&["submit", kind, "--max-retries", "0", "--json"]));
        let id = id["id"].as_str().unwrap().to_owned();
        fleet.reaches(&id, "failed", Duration::from_secs(20)).await;
    }
    drop(worker);
    fleet.settled(Duration::from_secs(10)).await;
    let since = [
        "dlq",
        "retry",
        "--type",
        "fail",
        "--since",
        "1h",
        "--dry-run",
    ];
    assert_eq!(text(cli(&since)), "2 tasks match; nothing was done\n");
    let until = [
        "dlq",
        "retry",
        "--type",
        "fail",
        "--until",
        "1h",
        "--dry-run",
    ];
    assert_eq!(text(cli(&until)), "0 tasks match; nothing was done\n");
    for misuse in [
        &["dlq", "retry"][..],
        &["dlq", "retry", "--since", "soon"],
        // A span that holds nothing.
        &["dlq", "retry", "--since", "1h", "--until", "2h"],
        &["dlq", "list", "--since", "1h", "--until", "2h"],
        &["dlq", "remove", "01M89JEEYT03N7WCWQA7EJ56B4", "--detach"],
        &["cancel"],
    ] {
        assert_eq!(cli(misuse).status.code(), Some(2), "{misuse:?}");
    }
    // What HTTP chooses by, the command line does.
    let all = json(&cli(&["list", "--json"]));
    let worker = all["tasks"][0]["worker"].as_str().unwrap().to_owned();
    for (filter, wanted) in [
        (["--priority", "normal"], 3),
        (["--priority", "high"], 0),
        (["--worker", &worker], 3),
        (["--worker", "nobody"], 0),
        (["--since", "1h"], 3),
        (["--until", "1h"], 0),
        (["--label", "of=nobody"], 0),
    ] {
        for list in [&["list"][..], &["dlq", "list"]] {
            let listed = json(&cli(&[list, &filter, &["--json"]].concat()));
            assert_eq!(
                listed["tasks"].as_array().unwrap().len(),
                wanted,
                "{list:?} {filter:?}"
            );
        }
        let counted = cli(&[&["dlq", "remove", "--dry-run"][..], &filter].concat());
        assert!(
            text(counted).starts_with(&format!("{wanted} tasks match")),
            "{filter:?}"
        );
    }
    let retry = [
        "dlq", "retry", "--type", "fail", "--reason", "mended", "--json",
    ];
    let operation = json(&cli(&retry));
    assert_eq!(
        (&operation["state"], &operation["done"]),
        (&"completed".into(), &2.into())
    );
    let removed = json(&cli(&[
        "dlq",
        "remove",
        "--error",
        "invalid_payload",
        "--json",
    ]));
    assert_eq!(removed["done"], 1);
    let later = ["cancel", "--until", "1h", "--priority", "normal", "--json"];
    assert_eq!(json(&cli(&later))["done"], 0);
    let cancelled = json(&cli(&[
        "cancel", "--status", "pending", "--since", "1h", "--json",
    ]));
    assert_eq!(cancelled["done"], 2);
    let id = operation["id"].as_str().unwrap();
    let listed = text(cli(&["operations"]));
    assert!(listed.contains(id) && listed.contains("mended"), "{listed}");
    assert!(!listed.contains('\x1b'), "a pipe gets no colours");
    assert_eq!(json(&cli(&["operations", "get", id, "--json"]))["id"], id);
    assert_eq!(
        cli(&["operations", "stop", id]).status.code(),
        Some(1),
        "it has ended"
    );
}

/// Who waits for an operation that somebody stops is told so, and by whom.
#[tokio::test]
async fn a_stopped_operation_is_a_failure_of_the_command_that_waits_for_it() {
    let mut fleet = Fleet::start("10").await;
    fleet.submit(&serde_json::json!({ "type": "echo" })).await;
    fleet.settled(Duration::from_secs(10)).await;
    // Nobody takes it up.
    fleet.services.remove(1).kill();
    let mut waits = command(Path::new("/"));
    waits
        .args(["cancel", "--all"])
        .env("TASKWEIR_URL", &fleet.base);
    let waits = waits
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = eventually("it has begun", async || {
        let listed = fleet.get("/operations").await;
        Some(listed["operations"][0]["id"].as_str()?.to_owned())
    })
    .await;
    let env = [("TASKWEIR_URL", fleet.base.as_str())];
    assert!(run(&["operations", "stop", &id], &env).status.success());
    let ended = waits.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("stopped by anonymous after 0 of 1"), "{said}");
    let status = fleet.get("/stats").await["totals"]["pending"].clone();
    assert_eq!(status, 1, "what was not done is not done");
}

#[tokio::test]
async fn a_watched_task_tells_its_story_as_it_happens_and_its_end_is_the_status() {
    let fleet = Fleet::start("10").await;
    let _worker = fleet.spawn("worker", &[]);
    let env = [("TASKWEIR_URL", fleet.base.as_str())];
    let submit = |arguments: &[&str]| {
        let submit = [&["submit", "--json"][..], arguments].concat();
        json(&run(&submit, &env))["id"].as_str().unwrap().to_owned()
    };
    let good = submit(&["process", r#"{"duration_ms":500}"#]);
    let watched = run(&["watch", &good], &env);
    assert!(watched.status.success());
    let told = String::from_utf8(watched.stdout).unwrap();
    let events: Vec<&str> = told
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(events, ["Submitted", "Started", "Completed"], "{told}");
    let bad = submit(&["fail", r#"{"fatal":true}"#]);
    let watched = run(&["watch", &bad], &env);
    assert_eq!(watched.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&watched.stderr).contains("failed"));
    fleet.settled(Duration::from_secs(10)).await;
    let system = run(&["watch", "--times", "2", "--every", "0.1"], &env);
    let system = String::from_utf8(system.stdout).unwrap();
    assert_eq!(system.matches("submitted 2").count(), 2, "{system}");
    let completions = run(&["completions", "bash"], &[]);
    assert!(String::from_utf8_lossy(&completions.stdout).contains("--dry-run"));
}
