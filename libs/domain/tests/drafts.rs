//! Requests: what is taken, and how each bad field is named.

use taskweir_domain::{DraftLimits, Priority, TaskSpec, draft_from_json};

fn read(text: &str) -> Result<TaskSpec, Vec<(String, String)>> {
    draft_from_json(text, &DraftLimits::default()).map_err(|errors| {
        errors
            .into_iter()
            .map(|error| (error.field, error.message))
            .collect()
    })
}

#[track_caller]
fn refused(text: &str, field: &str) {
    let errors = read(text).expect_err(text);
    assert!(
        errors.iter().any(|(name, _)| name == field),
        "{field} not in {errors:?}"
    );
}

#[test]
fn the_smallest_request_takes_every_default() {
    let spec = read(r#"{"type":"work"}"#).unwrap();
    assert_eq!(
        spec,
        TaskSpec::new("default".parse().unwrap(), "work".parse().unwrap())
    );
}

#[test]
fn a_full_request_is_taken_whole() {
    let spec = read(
        r#"{"type":"mail","data":{"to": 1},"queue":"fast","priority":"high","max_retries":7,
            "retry":{"initial_delay":0.25,"multiplier":3,"max_delay":60,"jitter":0},
            "delay":1.5,"timeout":30,"labels":{"tenant":"a"}}"#,
    )
    .unwrap();
    assert_eq!(spec.priority, Priority::High);
    assert_eq!(spec.data.as_str(), r#"{"to": 1}"#);
    assert_eq!(
        (spec.retry.max_retries, spec.retry.initial_delay_ms),
        (7, 250)
    );
    assert_eq!(
        (spec.delay_ms, spec.timeout_ms),
        (Some(1_500), Some(30_000))
    );
    assert_eq!(spec.labels["tenant"], "a");
}

#[test]
fn each_bad_field_is_named() {
    refused("[]", "");
    refused("{}", "type");
    refused(r#"{"type":7}"#, "type");
    refused(r#"{"type":"a b"}"#, "type");
    refused(r#"{"type":"a","queue":"x:y"}"#, "queue");
    refused(r#"{"type":"a","priority":"urgent"}"#, "priority");
    refused(r#"{"type":"a","max_retries":-1}"#, "max_retries");
    refused(r#"{"type":"a","max_retries":1001}"#, "max_retries");
    refused(r#"{"type":"a","retry":{"jitter":2}}"#, "retry.jitter");
    refused(r#"{"type":"a","retry":{"speed":2}}"#, "retry.speed");
    refused(r#"{"type":"a","retry":3}"#, "retry");
    refused(r#"{"type":"a","delay":-1}"#, "delay");
    refused(r#"{"type":"a","delay":1e300}"#, "delay");
    refused(r#"{"type":"a","run_at":"soon"}"#, "run_at");
    refused(
        r#"{"type":"a","delay":1,"run_at":"2026-01-31T03:12:00Z"}"#,
        "run_at",
    );
    refused(r#"{"type":"a","timeout":0}"#, "timeout");
    refused(r#"{"type":"a","expires_in":0}"#, "expires_in");
    refused(r#"{"type":"a","unique_key":""}"#, "unique_key");
    refused(r#"{"type":"a","unique_key":7}"#, "unique_key");
    refused(r#"{"type":"a","labels":{"a":1}}"#, "labels");
    refused(r#"{"type":"a","labels":{"a=b":"x"}}"#, "labels");
    refused(r#"{"type":"a","colour":"red"}"#, "colour");
    refused(r#"{"type":"a","data":"\ud800"}"#, "data");
    refused(r#"{"type":"a","data":1e400}"#, "data");
    let deep = format!(
        r#"{{"type":"a","data":{}1{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    refused(&deep, "data");
    refused(
        &format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(300_000)),
        "data",
    );
}

#[test]
fn all_bad_fields_are_named_at_once() {
    let errors = read(r#"{"queue":"?","priority":"no","delay":"x"}"#).unwrap_err();
    let fields: Vec<&str> = errors.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["type", "queue", "priority", "delay"]);
}
