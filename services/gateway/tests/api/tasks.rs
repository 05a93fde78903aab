use serde_json::json;
use taskweir_domain::{Position, TaskId};

use crate::bench::{Bench, json};

#[tokio::test]
async fn a_task_can_be_read_the_moment_it_was_accepted() {
    let bench = Bench::new().await;
    for n in 0..50 {
        let answer = bench
            .post("/tasks", &format!(r#"{{"type":"a","data":{n}}}"#))
            .await;
        assert_eq!(answer.status().as_u16(), 202);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let accepted = json(answer).await;
        assert_eq!(
            location,
            format!("/tasks/{}", accepted["id"].as_str().unwrap())
        );
        let task = json(bench.get(&location).await).await;
        assert_eq!(
            (task["status"].clone(), task["data"].clone()),
            (json!("pending"), json!(n))
        );
        assert_eq!(task["position"], accepted["position"]);
    }
}

#[tokio::test]
async fn many_at_once_are_all_taken() {
    let bench = Bench::new().await;
    let one = || bench.post("/tasks", r#"{"type":"a"}"#);
    let answers = futures_util::future::join_all((0..300).map(|_| one())).await;
    assert!(answers.iter().all(|answer| answer.status().as_u16() == 202));
    let mut events = 0;
    for partition in bench.store.partitions() {
        events += partition.log_end().await.unwrap().1;
    }
    assert_eq!(events, 300);
}

#[tokio::test]
async fn a_large_payload_comes_back_whole() {
    let bench = Bench::new().await;
    let text = "ü".repeat(60_000);
    let id = bench
        .submit(&format!(r#"{{"type":"a","data":"{text}"}}"#))
        .await;
    assert_eq!(
        json(bench.get(&format!("/tasks/{id}")).await).await["data"],
        text
    );
}

#[tokio::test]
async fn peer_12_a_batch_takes_the_good_and_names_the_bad() {
    let bench = Bench::new().await;
    let body =
        r#"{"tasks":[{"type":"a"},{"type":"b c"},{"data":1,"x":2},{"type":"d","queue":"q"}]}"#;
    let answer = bench.post("/tasks/batch", body).await;
    assert_eq!(answer.status().as_u16(), 202);
    let answer = json(answer).await;
    assert_eq!(
        (answer["accepted"].clone(), answer["rejected"].clone()),
        (json!(2), json!(2))
    );
    let items = answer["items"].as_array().unwrap();
    assert!(items[0]["task"]["id"].is_string() && items[0]["errors"].is_null());
    assert_eq!(items[1]["errors"][0]["field"], "type");
    let fields: Vec<_> = items[2]["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["field"].clone())
        .collect();
    assert_eq!(fields, ["type", "x"]);
    assert_eq!(items[3]["task"]["queue"], "q");
}

#[tokio::test]
async fn history_shows_each_event_with_the_state_after_it() {
    let bench = Bench::new().await;
    let id = bench
        .submit(r#"{"type":"a","delay":60,"labels":{"tenant":"x"}}"#)
        .await;
    let history = json(bench.get(&format!("/tasks/{id}/history")).await).await;
    assert_eq!(history["complete"], true);
    let event = &history["events"][0];
    assert_eq!(
        (event["type"].clone(), event["status"].clone()),
        (json!("Submitted"), json!("scheduled"))
    );
    let position = event["position"].as_str().unwrap();
    let position = position.split_once('@').map_or(position, |(_, rest)| rest);
    assert!(position.parse::<Position>().is_ok());
    assert!(event["time"].as_str().unwrap().ends_with('Z'));
    let task = json(bench.get(&format!("/tasks/{id}")).await).await;
    assert!(task["next_run_at"].is_string());
    assert_eq!(task["labels"]["tenant"], "x");
}

#[tokio::test]
async fn with_several_partitions_ids_and_positions_name_theirs() {
    let bench = Bench::with_partitions(4).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let accepted = json(bench.post("/tasks", r#"{"type":"a"}"#).await).await;
        let position = accepted["position"].as_str().unwrap();
        seen.insert(position.split_once('@').unwrap().0.to_owned());
        let path = format!("/tasks/{}", accepted["id"].as_str().unwrap());
        assert_eq!(json(bench.get(&path).await).await["position"], position);
    }
    assert_eq!(seen.len(), 4, "placed over all partitions");
    let queues = json(bench.get("/queues/default").await).await;
    assert_eq!(queues["depth"]["normal"]["ready"], 40);
}

#[tokio::test]
async fn a_task_is_shown_as_it_was_at_any_instant_of_its_life() {
    let bench = Bench::new().await;
    let id = bench.submit(r#"{"type":"a","delay":60}"#).await;
    let path = format!("/tasks/{id}");
    // The next event must not fall into the same millisecond, or the time does not tell them apart.
    let created = json(bench.get(&path).await).await["created_at"]
        .as_str()
        .unwrap()
        .to_owned();
    taskweir_testkit::eventually("a later millisecond", async || {
        let now = bench.store.server_time_ms().await.unwrap();
        (taskweir_domain::format_ms(now) > created).then_some(())
    })
    .await;
    bench.post(&format!("{path}/cancel"), "").await;
    let history = json(bench.get(&format!("{path}/history")).await).await;
    let then = async |as_of: &str| bench.get(&format!("{path}?as_of={as_of}")).await;
    for (index, status) in ["scheduled", "cancelled"].into_iter().enumerate() {
        let event = &history["events"][index];
        for as_of in [&event["position"], &event["time"]] {
            let as_of = as_of.as_str().unwrap().replace('@', "%40");
            let task = json(then(&as_of).await).await;
            assert_eq!(
                (task["status"].clone(), task["version"].clone()),
                (json!(status), json!(index + 1)),
                "{as_of}"
            );
        }
    }
    assert_eq!(
        then("2020-01-01T00:00:00Z").await.status().as_u16(),
        404,
        "before it was made"
    );
    let partition = id.parse::<TaskId>().unwrap().partition().0;
    let early = match bench.store.partition_count() {
        1 => "1-0".to_owned(),
        _ => format!("{partition}%401-0"),
    };
    assert_eq!(then(&early).await.status().as_u16(), 404);
    for wrong in [
        "2999-01-01T00:00:00Z",
        "9999999999999-0",
        "yesterday",
        "300@1-0",
    ] {
        let answer = then(wrong).await;
        assert_eq!(answer.status().as_u16(), 422, "{wrong}");
        assert_eq!(json(answer).await["errors"][0]["field"], "as_of");
    }
}
