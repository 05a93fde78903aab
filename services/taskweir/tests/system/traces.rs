//! Traces, received as a collector would: OTLP over gRPC.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use taskweir_testkit::{eventually_within, free_port};
use tonic::{Request, Response, Status};

use crate::fleet::{Fleet, Process, command};

const SOON: Duration = Duration::from_secs(30);

/// A span as it was received.
#[derive(Debug, Clone)]
struct Seen {
    service: String,
    span: Span,
    attributes: BTreeMap<String, String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(value: &Any) -> String {
    match value {
        Any::StringValue(text) => text.clone(),
        Any::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

impl Seen {
    fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    fn kind(&self) -> SpanKind {
        SpanKind::try_from(self.span.kind).unwrap()
    }

    fn says(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// Keeps what it receives.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let attributes = |list: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
            let known = list.iter().filter_map(|pair| {
                let value = pair.value.as_ref()?.value.as_ref()?;
                Some((pair.key.clone(), text(value)))
            });
            known.collect::<BTreeMap<_, _>>()
        };
        for resource in request.into_inner().resource_spans {
            let about = attributes(&resource.resource.unwrap_or_default().attributes);
            let spans = resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            let seen = spans.map(|span| Seen {
                service: about["service.name"].clone(),
                attributes: attributes(&span.attributes),
                span,
            });
            self.0.lock().unwrap().extend(seen);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's process")]
    fn start() -> (Self, u16) {
        let (collector, port) = (Self::default(), free_port());
        let service = TraceServiceServer::new(collector.clone());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(async move { server.serve(address).await.unwrap() });
        (collector, port)
    }

    /// Waits for as many spans as pass.
    async fn spans(&self, what: &str, count: usize, passes: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        eventually_within(SOON, what, async || {
            let seen = self.0.lock().unwrap();
            let found: Vec<Seen> = seen.iter().filter(|seen| passes(seen)).cloned().collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }
}

async fn submit(fleet: &Fleet, task: &Value, header: (&str, &str)) -> (String, String) {
    let post = fleet.http.post(format!("{}/tasks", fleet.base));
    let answer = post
        .header(header.0, header.1)
        .json(task)
        .send()
        .await
        .unwrap();
    let told = answer.headers()["traceparent"].to_str().unwrap().to_owned();
    assert!(answer.headers().contains_key("uber-trace-id"));
    let body: Value = answer.json().await.unwrap();
    (body["id"].as_str().unwrap().to_owned(), told)
}

#[tokio::test]
async fn a_task_can_be_followed_from_its_caller_through_every_attempt() {
    let (collector, port) = Collector::start();
    let port = port.to_string();
    let env = [
        ("JAEGER_HOST", "127.0.0.1"),
        ("JAEGER_PORT", port.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ];
    let fleet = Fleet::with_env("10", &env).await;
    let _worker = fleet.spawn("worker", &[]);
    let caller = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{caller}-b7ad6b7169203331-01");
    let task =
        json!({ "type": "fail", "data": { "times": 1 }, "retry": { "initial_delay": 0.05 } });
    let (id, told) = submit(&fleet, &task, ("traceparent", &parent)).await;
    fleet.reaches(&id, "completed", SOON).await;
    // The request, within its caller's trace.
    let of_caller = collector
        .spans("the caller's trace", 3, |seen| seen.trace() == caller)
        .await;
    let find = |name: &str| {
        let found = of_caller.iter().find(|seen| seen.span.name == name);
        found.unwrap_or_else(|| panic!("{name} in {of_caller:#?}"))
    };
    let served = find("POST /tasks");
    assert_eq!(served.service, "taskweir-gateway");
    assert_eq!(served.parent(), "b7ad6b7169203331");
    assert!(
        told.contains(caller) && told.contains(&served.id()),
        "{told}"
    );
    assert_eq!(
        (
            served.says("http.route"),
            served.says("http.response.status_code")
        ),
        ("/tasks", "202")
    );
    let sent = find("send default");
    assert_eq!(sent.parent(), served.id());
    assert_eq!(
        (
            sent.says("messaging.message.id"),
            sent.says("messaging.destination.name")
        ),
        (id.as_str(), "default")
    );
    let redis = find("EVALSHA submit");
    assert_eq!(redis.parent(), sent.id());
    assert_eq!(
        (
            redis.says("db.system.name"),
            redis.says("messaging.destination.name")
        ),
        ("redis", "default")
    );
    let kinds = [served, sent, redis].map(Seen::kind);
    assert_eq!(
        kinds,
        [SpanKind::Server, SpanKind::Producer, SpanKind::Client]
    );
    for (seen, name, value) in [
        (served, "http.request.method", "POST"),
        (sent, "messaging.system", "taskweir"),
        (sent, "messaging.operation.name", "send"),
        (sent, "messaging.operation.type", "send"),
        (sent, "taskweir.task.type", "fail"),
        (redis, "db.operation.name", "EVALSHA"),
        (redis, "db.stored_procedure.name", "submit"),
    ] {
        assert_eq!(seen.says(name), value, "{name}");
    }
    // Two attempts, each a trace of its own, linked to the submit.
    let attempts = collector
        .spans("two attempts", 2, |seen| {
            seen.span.name == "process default" && seen.says("messaging.message.id") == id
        })
        .await;
    for attempt in &attempts {
        assert_eq!(attempt.service, "taskweir-worker");
        assert_ne!(attempt.trace(), caller);
        assert_eq!(attempt.kind(), SpanKind::Consumer);
        for (name, value) in [
            ("messaging.system", "taskweir"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", "default"),
            ("taskweir.task.type", "fail"),
        ] {
            assert_eq!(attempt.says(name), value, "{name}");
        }
        let link = &attempt.span.links[0];
        assert_eq!(
            (hex(&link.trace_id), hex(&link.span_id)),
            (caller.to_owned(), sent.id())
        );
    }
    let numbers: Vec<&str> = attempts
        .iter()
        .map(|attempt| attempt.says("taskweir.task.attempt"))
        .collect();
    assert_eq!(numbers, ["1", "2"]);
    assert_eq!(attempts[0].says("error.type"), "error");
    assert_eq!(
        attempts[0].span.status.as_ref().unwrap().code,
        2,
        "an error"
    );
    // The story tells the same ids.
    let history = fleet.get(&format!("/tasks/{id}/history")).await;
    let events = history["events"].as_array().unwrap();
    let traced = |kind: &str| {
        let event = events.iter().find(|event| event["type"] == kind).unwrap();
        event["trace_id"].as_str().unwrap().to_owned()
    };
    assert_eq!(traced("Submitted"), caller);
    assert_eq!(traced("AttemptFailed"), attempts[0].trace());
    assert_eq!(traced("Completed"), attempts[1].trace());
    assert_eq!(fleet.get(&format!("/tasks/{id}")).await["trace_id"], caller);
    // Callers with Jaeger's own header are joined too.
    let jaeger = "1bf7651916cd43dd8448eb211c80319d";
    let header = format!("{jaeger}:b7ad6b7169203331:0:1");
    submit(
        &fleet,
        &json!({ "type": "echo" }),
        ("uber-trace-id", &header),
    )
    .await;
    collector
        .spans("the other caller's trace", 3, |seen| seen.trace() == jaeger)
        .await;
    let steps = collector
        .spans("a step of the views", 1, |seen| seen.span.name == "project")
        .await;
    assert_eq!(steps[0].service, "taskweir-projector");
    assert_eq!(steps[0].kind(), SpanKind::Consumer);
    assert_eq!(steps[0].says("messaging.system"), "taskweir");
    assert_ne!(steps[0].says("messaging.batch.message_count"), "");
    // Of its steps only one in a hundred is told.
    assert_eq!(steps.len(), 1, "{steps:#?}");
    // The exporter's own calls are no part of it.
    let seen = collector.0.lock().unwrap();
    let strangers: Vec<&str> = seen
        .iter()
        .map(|seen| seen.span.name.as_str())
        .filter(|name| name.contains("Export") || name.contains("h2") || name.contains("poll"))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");
}

#[tokio::test]
async fn a_collector_that_is_away_or_says_nothing_holds_up_no_task_and_no_stop() {
    // One that takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let away = format!("http://127.0.0.1:{}", free_port());
    for endpoint in [silent, away] {
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ];
        let mut fleet = Fleet::with_env("10", &env).await;
        let worker = fleet.spawn("worker", &[]);
        let began = Instant::now();
        fleet
            .submit_batch(&vec![json!({ "type": "echo" }); 1_000])
            .await;
        eventually_within(SOON, "all ran", async || {
            let totals = fleet.get("/stats").await["totals"].clone();
            (totals["completed"] == 1_000).then_some(())
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(60));
        let stopping = Instant::now();
        assert!(worker.stop().await.success());
        assert!(fleet.services.remove(0).stop().await.success());
        assert!(
            stopping.elapsed() < Duration::from_secs(20),
            "{:?}",
            stopping.elapsed()
        );
    }
}

#[tokio::test]
async fn a_process_that_is_told_to_stop_sends_its_last_spans() {
    let (collector, port) = Collector::start();
    let port = port.to_string();
    let env = [
        ("JAEGER_HOST", "127.0.0.1"),
        ("JAEGER_PORT", port.as_str()),
        // Longer than the test: what arrives was sent at a stop.
        ("OTEL_BSP_SCHEDULE_DELAY", "60000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100000"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100000"),
    ];
    let mut fleet = Fleet::with_env("10", &env).await;
    let worker = fleet.spawn("worker", &[]);
    let id = fleet.submit(&json!({ "type": "echo" })).await;
    fleet.reaches(&id, "completed", SOON).await;
    fleet.settled(SOON).await;
    assert_eq!(collector.0.lock().unwrap().len(), 0, "no batch is due");
    assert!(worker.stop().await.success());
    let of_task =
        |name: &str, seen: &Seen| seen.span.name == name && seen.says("messaging.message.id") == id;
    let attempt = collector
        .spans("the attempt", 1, |seen| of_task("process default", seen))
        .await;
    assert_eq!(attempt[0].service, "taskweir-worker");
    for process in std::mem::take(&mut fleet.services) {
        assert!(process.stop().await.success());
    }
    let sent = collector
        .spans("its submit", 1, |seen| of_task("send default", seen))
        .await;
    assert_eq!(sent[0].service, "taskweir-gateway");
    let steps = collector
        .spans("a step of the views", 1, |seen| seen.span.name == "project")
        .await;
    assert_eq!(steps[0].service, "taskweir-projector");
}

#[tokio::test]
async fn a_trace_is_named_in_log_lines_and_linked_on_the_page_of_its_task() {
    let (_collector, port) = Collector::start();
    let endpoint = format!("http://127.0.0.1:{port}");
    let export = ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str());
    let fleet = Fleet::with_env("10", &[export]).await;
    let address = format!("127.0.0.1:{}", free_port());
    let _dashboard = fleet.spawn(
        "dashboard",
        &[
            ("DASHBOARD_ADDR", &address),
            ("TRACE_URL", "http://jaeger.test/trace/{trace_id}"),
        ],
    );
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("worker");
    let mut worker = command(dir.path());
    worker
        .arg("worker")
        .env("REDIS_URL", fleet.redis.url())
        .env("LOG_FORMAT", "json")
        .env(export.0, export.1)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap());
    let worker = Process::of(worker.spawn().unwrap());
    let caller = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{caller}-b7ad6b7169203331-01");
    let task = json!({ "type": "echo" });
    let (id, _) = submit(&fleet, &task, ("traceparent", &parent)).await;
    fleet.reaches(&id, "completed", SOON).await;
    let history = fleet.get(&format!("/tasks/{id}/history")).await;
    let last = history["events"].as_array().unwrap().last().unwrap();
    let attempt = last["trace_id"].as_str().unwrap().to_owned();
    assert!(worker.stop().await.success());
    let lines = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    for (message, trace) in [("📋 ASSIGNED", caller), ("✅ COMPLETED", attempt.as_str())] {
        let of_task = |line: &&Value| line["task.id"] == id && line["message"] == message;
        let line = lines.iter().find(of_task).unwrap();
        assert_eq!(line["trace_id"], trace, "{line}");
    }
    let page = eventually_within(SOON, "the page of the task", async || {
        let url = format!("http://{address}/tasks/{id}");
        let answer = fleet.http.get(url).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    })
    .await;
    for trace in [caller, &attempt] {
        let link = format!(r#"href="http://jaeger.test/trace/{trace}""#);
        assert!(page.contains(&link), "{link} in {page}");
    }
}
