use std::time::Duration;

use taskweir_domain::{ErrorKind, Event, EventType, Status};
use taskweir_worker::{Context, Handler, TaskError};

use crate::bench::{Bench, Echo, Wait};
use crate::shutdown::Deaf;

/// Fails as its data says.
pub struct Fails;

impl Handler for Fails {
    const TYPE: &'static str = "fails";
    type Payload = String;
    type Output = String;

    async fn run(&self, _: &Context, how: String) -> Result<String, TaskError> {
        match how.as_str() {
            "panic" => panic!("oh no"),
            "fatal" => Err(TaskError::fatal("never").class("Hopeless")),
            "later" => Err(TaskError::retry_in("later", Duration::from_secs(77))),
            "io" => Err(std::io::Error::other("disk"))?,
            "large" => Ok("x".repeat(300_000)),
            _ => Ok(how),
        }
    }
}

#[tokio::test]
async fn every_way_to_fail_is_told_apart() {
    let bench = Bench::new().await;
    let worker = bench.run(bench.builder().handler(Fails));
    let ends = async |data: &str, status| {
        let id = bench.submit("fails", data).await;
        bench.reaches(id, status).await.error.unwrap()
    };
    let panic = ends(r#""panic""#, Status::Retrying).await;
    assert_eq!(panic.kind, ErrorKind::Panic);
    assert!(panic.message.contains("oh no"));
    let fatal = ends(r#""fatal""#, Status::Failed).await;
    assert_eq!((fatal.kind, fatal.class()), (ErrorKind::Fatal, "Hopeless"));
    assert_eq!(ends(r#""io""#, Status::Retrying).await.message, "disk");
    assert_eq!(
        ends("7", Status::Failed).await.kind,
        ErrorKind::InvalidPayload
    );
    assert_eq!(
        ends(r#""large""#, Status::Failed).await.kind,
        ErrorKind::ResultTooLarge
    );
    worker.stop().await;
}

#[tokio::test]
async fn peer_05_a_panic_is_an_ordinary_failure_and_the_worker_lives() {
    let bench = Bench::new().await;
    let only_slot = bench.builder().handler(Fails).handler(Echo).concurrency(1);
    let worker = bench.run(only_slot);
    let retried = |spec: &mut taskweir_domain::TaskSpec| {
        spec.retry.max_retries = 1;
        spec.retry.initial_delay_ms = 60_000;
    };
    let id = bench.submit_with("fails", r#""panic""#, retried).await;
    let waiting = bench.reaches(id, Status::Retrying).await;
    assert_eq!((waiting.task.attempt, waiting.task.failures), (1, 1));
    let last = bench
        .submit_with("fails", r#""panic""#, |spec| spec.retry.max_retries = 0)
        .await;
    let dead = bench.reaches(last, Status::Failed).await;
    assert_eq!(dead.error.unwrap().kind, ErrorKind::Panic);
    let next = bench.submit("echo", "1").await;
    bench.reaches(next, Status::Completed).await;
    worker.stop().await;
}

#[tokio::test]
async fn peer_15_without_retries_a_failure_is_the_end_and_is_kept() {
    let bench = Bench::new().await;
    let worker = bench.run(bench.builder().handler(Fails));
    let id = bench
        .submit_with("fails", r#""io""#, |spec| spec.retry.max_retries = 0)
        .await;
    let dead = bench.reaches(id, Status::Failed).await;
    assert_eq!(dead.task.attempt, 1);
    let events = bench.events(id).await;
    let expected = [EventType::Submitted, EventType::Started];
    assert_eq!(events[..2], expected);
    assert_eq!(events.last(), Some(&EventType::DeadLettered));
    assert!(!events.contains(&EventType::Requeued), "{events:?}");
    worker.stop().await;
}

#[tokio::test]
async fn a_handler_names_its_own_delay() {
    let bench = Bench::new().await;
    let worker = bench.run(bench.builder().handler(Fails));
    let id = bench.submit("fails", r#""later""#).await;
    bench.reaches(id, Status::Retrying).await;
    let Event::AttemptFailed(body) = bench.last_event(id).await else {
        panic!()
    };
    assert_eq!(body.delay_ms, Some(77_000));
    worker.stop().await;
}

#[tokio::test]
async fn the_retry_policy_is_the_tasks_own() {
    let bench = Bench::new().await;
    let worker = bench.run(bench.builder().handler(Fails));
    let id = bench
        .submit_with("fails", r#""io""#, |spec| {
            spec.retry.initial_delay_ms = 40_000;
            spec.retry.jitter = 0.5;
        })
        .await;
    bench.reaches(id, Status::Retrying).await;
    let Event::AttemptFailed(body) = bench.last_event(id).await else {
        panic!()
    };
    assert!((20_000..=60_000).contains(&body.delay_ms.unwrap()));
    worker.stop().await;
}

#[tokio::test]
async fn a_timeout_is_a_failure_that_is_retried() {
    let bench = Bench::new().await;
    let worker = bench.run(bench.builder().handler(Wait));
    let id = bench
        .submit_with("wait", "60000", |spec| spec.timeout_ms = Some(50))
        .await;
    let detail = bench.reaches(id, Status::Retrying).await;
    assert_eq!(detail.error.unwrap().kind, ErrorKind::Timeout);
    worker.stop().await;
}

/// What never ends and hears nothing is dropped, and its slot is free for the next.
#[tokio::test]
async fn a_timeout_ends_a_handler_that_does_not_listen() {
    let bench = Bench::new().await;
    let only_slot = bench.builder().handler(Deaf).handler(Echo).concurrency(1);
    let worker = bench.run(only_slot);
    let id = bench
        .submit_with("deaf", "null", |spec| {
            spec.timeout_ms = Some(50);
            spec.retry.max_retries = 0;
        })
        .await;
    let detail = bench.reaches(id, Status::Failed).await;
    assert_eq!(detail.error.unwrap().kind, ErrorKind::Timeout);
    let next = bench.submit("echo", "1").await;
    bench.reaches(next, Status::Completed).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_cannot_work_says_why() {
    let bench = Bench::new().await;
    assert!(bench.builder().build().is_err(), "no handler");
    assert!(
        bench
            .builder()
            .handler(Fails)
            .handler(Fails)
            .build()
            .is_err(),
        "twice the same type"
    );
    assert!(
        bench
            .builder()
            .handler(Fails)
            .concurrency(0)
            .build()
            .is_err()
    );
    assert!(
        bench
            .builder()
            .handler(Fails)
            .lease(Duration::from_millis(10))
            .build()
            .is_err()
    );
    assert!(
        bench
            .builder()
            .handler(Fails)
            .queues(Vec::new())
            .build()
            .is_err()
    );
}

/// Panics where it is dropped, as some clients do that are made within a runtime.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped")
        }
    }
}

struct Explosive;

impl Handler for Explosive {
    const TYPE: &'static str = "explosive";
    type Payload = ();
    type Output = ();

    async fn run(&self, _: &Context, (): ()) -> Result<(), TaskError> {
        let _bomb = Bomb;
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_handler_that_panics_when_it_is_dropped_has_ended() {
    let bench = Bench::new().await;
    let worker = bench.run(
        bench
            .builder()
            .concurrency(1)
            .handler(Explosive)
            .handler(Echo),
    );
    let short = |spec: &mut taskweir_worker::TaskSpec| {
        spec.timeout_ms = Some(50);
        spec.retry.max_retries = 0;
    };
    let id = bench.submit_with("explosive", "null", short).await;
    let detail = bench.reaches(id, Status::Failed).await;
    assert_eq!(detail.error.unwrap().kind, ErrorKind::Panic);
    // Its place is free again.
    let next = bench.submit("echo", "1").await;
    bench.reaches(next, Status::Completed).await;
    worker.stop().await;
}

/// Quotes its payload in all that it says.
struct Quotes;

impl Handler for Quotes {
    const TYPE: &'static str = "quotes";
    type Payload = serde_json::Value;
    type Output = ();

    async fn run(&self, context: &Context, data: serde_json::Value) -> Result<(), TaskError> {
        let card = data["card"].as_str().unwrap_or_default();
        context.progress(10.0, Some(&format!("charges {card}")));
        Err(TaskError::fatal(format!("{card} of {data} was refused")).class(card))
    }
}

#[tokio::test]
async fn what_is_hidden_of_a_payload_is_in_no_word_about_it() {
    let bench = Bench::new().await;
    let redaction = "card".parse().unwrap();
    let worker = bench.run(bench.builder().handler(Quotes).redaction(redaction));
    let data = r#"{"card":"4111-1111","to":"ann"}"#;
    let id = bench.submit("quotes", data).await;
    let error = bench.reaches(id, Status::Failed).await.error.unwrap();
    assert_eq!(error.class(), "[redacted]");
    assert!(error.message.starts_with("[redacted] of ") && error.message.contains("ann"));
    let told: Vec<String> = bench
        .history(id)
        .await
        .iter()
        .skip(1)
        .map(|recorded| recorded.event.body())
        .collect();
    assert!(!told.concat().contains("4111"), "{told:?}");
    worker.stop().await;
}
