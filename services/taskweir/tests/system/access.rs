//! With API keys: the dashboard's sign-in, the command line, and what reaches the log.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use taskweir_testkit::{TestRedis, eventually_within};

use crate::dev::Dev;
use crate::fleet::command;

const KEYS: &str = "eve:viewer:eve-looks-only,ann:operator:ann-runs-the-place";

fn token(page: &str) -> String {
    let field = page
        .split("name=\"token\" value=\"")
        .nth(1)
        .expect("a form of the session");
    field.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn people_sign_in_to_the_dashboard_and_their_names_are_in_the_events() {
    let redis = TestRedis::start();
    let dev = Dev::new();
    let mut process = command(dev.dir.path())
        .arg("dev")
        .env("REDIS_URL", redis.url())
        .env("GATEWAY_ADDR", format!("127.0.0.1:{}", dev.gateway))
        .env("DASHBOARD_ADDR", format!("127.0.0.1:{}", dev.dashboard))
        .env("TASKWEIR_API_KEYS", KEYS)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually_within(Duration::from_secs(60), "the system answers", async || {
        dev.http
            .get(dev.url("/health/ready"))
            .send()
            .await
            .ok()?
            .error_for_status()
            .ok()
    })
    .await;

    let cli = |arguments: &[&str], secret: &str| {
        let mut command = command(dev.dir.path());
        command
            .args(arguments)
            .env("TASKWEIR_URL", dev.url(""))
            .env("TASKWEIR_API_KEY", secret);
        command.output().unwrap()
    };
    let refused = cli(&["stats"], "wrong-wrong-wrong");
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("TASKWEIR_API_KEY"), "{told}");
    let submitted = cli(
        &["submit", "fail", "{\"fatal\":true}", "--json"],
        "ann-runs-the-place",
    );
    let id: Value = serde_json::from_slice(&submitted.stdout).unwrap();
    let id = id["id"].as_str().unwrap().to_owned();
    eventually_within(Duration::from_secs(20), "dead", async || {
        let task = cli(&["get", &id, "--json"], "eve-looks-only");
        let task: Value = serde_json::from_slice(&task.stdout).ok()?;
        (task["status"] == "failed").then_some(())
    })
    .await;

    let http = taskweir_client::http::plain()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let base = format!("http://127.0.0.1:{}", dev.dashboard);
    let stranger = http.get(&base).send().await.unwrap();
    assert_eq!(
        (
            stranger.status().as_u16(),
            stranger.headers()["location"].to_str().unwrap()
        ),
        (303, "/sign-in")
    );
    let post = async |path: &str, cookie: Option<&str>, body: String| {
        let request = http
            .post(format!("{base}{path}"))
            .header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("cookie", cookie.unwrap_or_default());
        request.body(body).send().await.unwrap()
    };
    assert_eq!(
        post("/sign-in", None, "secret=wrong".to_owned())
            .await
            .status()
            .as_u16(),
        401
    );
    for _ in 0..10 {
        post("/sign-in", None, "secret=guess-guess-guess".to_owned()).await;
    }
    let guess = post("/sign-in", None, "secret=guess-guess-guess".to_owned()).await;
    assert_eq!(guess.status().as_u16(), 429, "guesses are rationed");
    // And yet the right secrets pass, from the same address.
    let sign_in = async |secret: &str| {
        let answer = post("/sign-in", None, format!("secret={secret}")).await;
        assert_eq!(answer.status().as_u16(), 303);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
            "{cookie}"
        );
        cookie.split(';').next().unwrap().to_owned()
    };
    let page = async |path: &str, cookie: &str| {
        http.get(format!("{base}{path}"))
            .header("cookie", cookie)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    let eve = sign_in("eve-looks-only").await;
    let seen = page(&format!("/tasks/{id}"), &eve).await;
    assert!(
        seen.contains(&id) && !seen.contains("Remove for good"),
        "a viewer has no buttons"
    );
    let retry = format!("/dlq/{id}/retry");
    let refused = post(&retry, Some(&eve), format!("token={}", token(&seen))).await;
    assert_eq!(refused.status().as_u16(), 403, "a viewer may not");

    let ann = sign_in("ann-runs-the-place").await;
    let seen = page(&format!("/tasks/{id}"), &ann).await;
    assert_eq!(
        post(&retry, Some(&ann), String::new())
            .await
            .status()
            .as_u16(),
        403,
        "no token, no deed"
    );
    assert_eq!(
        post(
            &retry,
            Some(&ann),
            format!("token={}", token(&page("/", &eve).await))
        )
        .await
        .status()
        .as_u16(),
        403
    );
    assert_eq!(
        post(&retry, Some(&ann), format!("token={}", token(&seen)))
            .await
            .status()
            .as_u16(),
        303
    );
    let history = cli(&["history", &id, "--json"], "eve-looks-only");
    let history: Value = serde_json::from_slice(&history.stdout).unwrap();
    let retried = history["events"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["type"] == "DlqRetried")
        .unwrap();
    assert_eq!(retried["actor"], "ann");
    let left = post("/sign-out", Some(&ann), format!("token={}", token(&seen))).await;
    assert!(
        left.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );

    assert!(
        std::process::Command::new("kill")
            .arg(process.id().to_string())
            .status()
            .unwrap()
            .success()
    );
    let mut log = String::new();
    std::io::Read::read_to_string(&mut process.stderr.take().unwrap(), &mut log).unwrap();
    assert!(process.wait().unwrap().success());
    for secret in ["eve-looks-only", "ann-runs-the-place", "wrong-wrong-wrong"] {
        assert!(!log.contains(secret), "secrets reach no log");
    }
}
