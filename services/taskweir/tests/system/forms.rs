//! The forms of the dashboard as a browser without scripts sends them, and as other sites try to.

use std::time::Duration;

use serde_json::json;
use taskweir_testkit::{eventually_within, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::dev::Dev;
use crate::fleet::{Fleet, Process};

#[tokio::test]
async fn the_forms_work_without_a_browser_and_not_from_other_sites() {
    let dev = Dev::new();
    let process = dev.start().await;
    let base = format!("http://127.0.0.1:{}", dev.dashboard);
    let dead = dev
        .submit(
            &json!({ "type": "fail", "max_retries": 0, "data": { "note": "<script>x</script>" } }),
        )
        .await;
    dev.reaches(&dead, "failed").await;
    let page = dev
        .http
        .get(format!("{base}/tasks/{dead}"))
        .send()
        .await
        .unwrap();
    let page = page.text().await.unwrap();
    assert!(
        page.contains("&lt;script&gt;x") && !page.contains("<script>x"),
        "{page}"
    );
    forms(&dev, &base, &dead).await;
    assert!(process.stop().await.success());
}

/// The forms, as a browser would send them.
async fn forms(dev: &Dev, base: &str, dead: &str) {
    let http = taskweir_client::http::plain()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let post = async |path: &str, body: &'static str, site: &str| {
        let request = http
            .post(format!("{base}{path}"))
            .header("sec-fetch-site", site);
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .unwrap()
    };
    let form = "type=echo&data=%5B1%5D&queue=default&priority=low&max_retries=&delay=";
    let refused = post("/tasks/new", form, "cross-site").await;
    assert_eq!(refused.status().as_u16(), 403, "no forms of other sites");
    let made = post("/tasks/new", form, "same-origin").await;
    assert_eq!(made.status().as_u16(), 303);
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    let task = dev
        .reaches(location.strip_prefix("/tasks/").unwrap(), "completed")
        .await;
    assert_eq!(
        (task["priority"].clone(), task["result"].to_string()),
        (json!("low"), "[1]".to_owned())
    );
    let wrong = post("/tasks/new", "type=a+b&data=nope", "same-origin").await;
    assert_eq!(wrong.status().as_u16(), 422);

    let attempts = dev.get(&format!("/tasks/{dead}")).await["attempt"]
        .as_u64()
        .unwrap();
    let retried = post(&format!("/dlq/{dead}/retry"), "", "same-origin").await;
    assert_eq!(retried.headers()["location"], "/dlq?done=retried");
    eventually_within(
        Duration::from_secs(20),
        "it ran and died again",
        async || {
            let task = dev.get(&format!("/tasks/{dead}")).await;
            (task["status"] == "failed" && task["attempt"].as_u64() == Some(attempts + 1))
                .then_some(())
        },
    )
    .await;
    post(&format!("/dlq/{dead}/remove"), "", "same-origin").await;
    dev.reaches(dead, "removed").await;
    let missing = http
        .get(format!("{base}/tasks/nonsense"))
        .send()
        .await
        .unwrap();
    assert_eq!(missing.status().as_u16(), 404);
    let policy = missing.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"));
}

/// Every address that takes a form.
fn posts(task: &str, operation: &str) -> Vec<String> {
    vec![
        "/tasks/new".to_owned(),
        format!("/tasks/{task}/cancel"),
        "/queues/default/pause".to_owned(),
        "/bulk".to_owned(),
        format!("/operations/{operation}/stop"),
        format!("/dlq/{task}/retry"),
        format!("/dlq/{task}/remove"),
        "/sign-in".to_owned(),
        "/sign-out".to_owned(),
    ]
}

/// What is answered to a form whose length is said and that is not sent.
async fn announced(port: u16, path: &str, length: usize) -> String {
    let mut wire = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost:{port}\r\nsec-fetch-site: same-origin\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    wire.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    wire.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn no_form_of_another_site_and_none_too_long_is_taken_anywhere() {
    let dev = Dev::new();
    let process = dev.start().await;
    let base = format!("http://127.0.0.1:{}", dev.dashboard);
    let dead = dev
        .submit(&json!({ "type": "fail", "max_retries": 0 }))
        .await;
    dev.reaches(&dead, "failed").await;
    let before = dev.get(&format!("/tasks/{dead}/history")).await;
    for path in posts(&dead, &dead) {
        let post = || dev.http.post(format!("{base}{path}"));
        let form = |request: reqwest::RequestBuilder| {
            request
                .header("content-type", "application/x-www-form-urlencoded")
                .body("kind=dlq_delete&type=echo&data=1")
        };
        for (header, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://elsewhere.example"),
            ("origin", "null"),
        ] {
            let answer = form(post().header(header, value)).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 403, "{path} {header}: {value}");
        }
        let page = announced(dev.dashboard, &path, 2_000_000).await;
        assert!(page.starts_with("HTTP/1.1 413"), "{path}: {page}");
        assert!(page.contains("longer than any that fits"), "{page}");
    }
    let after = dev.get(&format!("/tasks/{dead}/history")).await;
    assert_eq!(before, after, "nothing happened to it");
    let operations = dev.get("/operations").await;
    assert_eq!(operations["operations"], json!([]));
    assert_eq!(dev.get("/stats").await["ledger"]["submitted"], 1);
    assert!(process.stop().await.success());
}

/// What gave up in a span of time is counted, and then retried, and nothing else.
#[tokio::test]
async fn dead_letters_of_a_span_are_counted_first_and_retried_then() {
    let dev = Dev::new();
    let process = dev.start().await;
    let base = format!("http://127.0.0.1:{}", dev.dashboard);
    let dies = async || {
        let id = dev
            .submit(&json!({ "type": "fail", "max_retries": 0 }))
            .await;
        let task = dev.reaches(&id, "failed").await;
        (id, task["updated_at"].as_str().unwrap().to_owned())
    };
    let (early, _) = dies().await;
    let (middle, from) = dies().await;
    let (late, until) = dies().await;
    let span = format!("kind=dlq_retry&failed_after={from}&failed_before={until}");
    let count = async || {
        let page = dev.http.get(format!("{base}/bulk?{span}")).send().await;
        let page = page.unwrap().text().await.unwrap();
        page.contains("Retry dead letters: 1<").then_some(())
    };
    eventually_within(Duration::from_secs(20), "one matches", count).await;
    let list = dev.http.get(format!(
        "{base}/dlq?failed_after={from}&failed_before={until}"
    ));
    let list = list.send().await.unwrap().text().await.unwrap();
    assert!(list.contains(&middle) && !list.contains(&early) && !list.contains(&late));
    let request = dev.http.post(format!("{base}/bulk"));
    let request = request.header("sec-fetch-site", "same-origin");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = request
        .body(format!("{span}&reason=the+outage"))
        .send()
        .await
        .unwrap();
    assert!(
        answer.url().path().starts_with("/operations/"),
        "{}",
        answer.url()
    );
    let retries = async |id: &str| {
        let history = dev.get(&format!("/tasks/{id}/history")).await;
        let events = history["events"].as_array().unwrap().clone();
        let retried = events.iter().filter(|event| event["type"] == "DlqRetried");
        retried.count()
    };
    eventually_within(Duration::from_secs(20), "it is retried", async || {
        let listed = dev.get("/operations").await;
        (listed["operations"][0]["state"] == "completed").then_some(())
    })
    .await;
    assert_eq!(
        (
            retries(&early).await,
            retries(&middle).await,
            retries(&late).await
        ),
        (0, 1, 0)
    );
    assert!(process.stop().await.success());
}

/// A dashboard beside a gateway and a projector; nobody runs operations.
async fn beside(fleet: &mut Fleet, env: &[(&str, &str)]) -> (Process, String) {
    fleet.services.remove(1).kill();
    let address = format!("127.0.0.1:{}", free_port());
    let env = [&[("DASHBOARD_ADDR", address.as_str())], env].concat();
    let dashboard = fleet.spawn("dashboard", &env);
    let base = format!("http://{address}");
    eventually_within(
        Duration::from_secs(20),
        "the dashboard answers",
        async || {
            // Alive comes earlier: what is not connected yet refuses everything else.
            let live = format!("{base}/sign-in");
            let answer = fleet.http.get(live).send().await.ok()?;
            answer.status().is_success().then_some(())
        },
    )
    .await;
    (dashboard, base)
}

/// What a browser that follows nothing is answered.
async fn sent(base: &str, path: &str, body: &str, cookie: &str) -> (u16, String) {
    let http = taskweir_client::http::plain()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let request = http
        .post(format!("{base}{path}"))
        .header("sec-fetch-site", "same-origin")
        .header("cookie", cookie)
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(body.to_owned()).send().await.unwrap();
    let header = |name: &str| {
        let value = answer.headers().get(name);
        value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    let told = match answer.status().as_u16() {
        303 if !header("set-cookie").is_empty() => header("set-cookie"),
        _ => header("location"),
    };
    (answer.status().as_u16(), told)
}

#[tokio::test]
async fn a_person_cancels_one_cancels_many_and_stops_what_was_begun() {
    let mut fleet = Fleet::start("10").await;
    let (_dashboard, base) = beside(&mut fleet, &[]).await;
    let later = json!({ "type": "echo", "delay": 3_600, "labels": { "customer": "7" } });
    let one = fleet.submit(&later).await;
    fleet.submit_batch(&vec![later; 20]).await;
    fleet.settled(Duration::from_secs(20)).await;
    let (status, to) = sent(&base, &format!("/tasks/{one}/cancel"), "", "").await;
    assert_eq!((status, to), (303, format!("/tasks/{one}?done=cancelled")));
    assert_eq!(
        fleet.get(&format!("/tasks/{one}")).await["status"],
        "cancelled"
    );
    let again = sent(&base, &format!("/tasks/{one}/cancel"), "", "").await;
    assert_eq!(again.1, format!("/tasks/{one}?done=ended"));
    let mut begun = Vec::new();
    for form in [
        "kind=tasks_cancel&label=customer%3D7&reason=by+hand",
        "kind=dlq_delete&type=echo",
    ] {
        let (status, to) = sent(&base, "/bulk", form, "").await;
        assert_eq!(status, 303, "{form}: {to}");
        begun.push(to.strip_prefix("/operations/").unwrap().to_owned());
    }
    let (status, to) = sent(&base, &format!("/operations/{}/stop", begun[1]), "", "").await;
    assert_eq!((status, to), (303, format!("/operations/{}", begun[1])));
    let stopped = fleet.get(&format!("/operations/{}", begun[1])).await;
    assert_eq!(
        (&stopped["state"], &stopped["kind"]),
        (&json!("stopped"), &json!("dlq_delete"))
    );
    // A scheduler takes up the other one.
    let _scheduler = fleet.spawn("scheduler", &[]);
    eventually_within(Duration::from_secs(30), "all are cancelled", async || {
        let totals = fleet.get("/stats").await["totals"].clone();
        (totals["cancelled"] == 21).then_some(())
    })
    .await;
    let done = fleet.get(&format!("/operations/{}", begun[0])).await;
    assert_eq!(
        (&done["done"], &done["reason"]),
        (&json!(20), &json!("by hand"))
    );
    // A form that says too much, or nothing that is known, is told so.
    let long = format!("kind=dlq_retry&reason={}", "x".repeat(501));
    for form in [
        long.as_str(),
        "kind=nothing",
        "kind=tasks_cancel&status=completed",
    ] {
        assert_eq!(sent(&base, "/bulk", form, "").await.0, 422, "{form}");
    }
}

/// Where people sign in, each form carries a word of its session.
#[tokio::test]
async fn a_form_without_the_word_of_its_session_is_refused_everywhere() {
    let mut fleet = Fleet::start("10").await;
    let dead = fleet
        .submit(&json!({ "type": "echo", "delay": 3_600 }))
        .await;
    let keys = [("TASKWEIR_API_KEYS", "ann:admin:ann-runs-the-whole-place")];
    let (_dashboard, base) = beside(&mut fleet, &keys).await;
    let secret = "secret=ann-runs-the-whole-place";
    let (status, cookie) = sent(&base, "/sign-in", secret, "").await;
    assert_eq!(status, 303, "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    for path in posts(&dead, &dead) {
        if path == "/sign-in" {
            continue;
        }
        for token in ["", "&token=of-another-session"] {
            let form = format!("kind=tasks_cancel&type=echo&data=1{token}");
            let (status, _) = sent(&base, &path, &form, &cookie).await;
            assert_eq!(status, 403, "{path} {token}");
        }
        let (status, to) = sent(&base, &path, "", "").await;
        assert_eq!((status, to.as_str()), (303, "/sign-in"), "{path} by nobody");
    }
    assert_eq!(
        fleet.get(&format!("/tasks/{dead}")).await["status"],
        "scheduled"
    );
    // Still signed in, and with its word out.
    let page = fleet
        .http
        .get(format!("{base}/queues"))
        .header("cookie", &cookie);
    let page = page.send().await.unwrap().text().await.unwrap();
    let token = page.split("name=\"token\" value=\"").nth(1).unwrap();
    let token = token.split('"').next().unwrap();
    let (status, _) = sent(&base, "/sign-out", &format!("token={token}"), &cookie).await;
    assert_eq!(status, 303);
}
