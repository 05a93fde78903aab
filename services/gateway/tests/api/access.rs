//! API keys: who may call what.

use reqwest::{Method, Response};

use crate::bench::{Bench, json};

const KEYS: &str =
    "eve:viewer:eve-looks-only, bot:submitter:bot-submits-tasks, ann:operator:ann-runs-the-place";

async fn call(bench: &Bench, secret: Option<&str>, method: Method, path: &str) -> Response {
    let request = bench
        .call(method, path)
        .header("content-type", "application/json");
    let request = match secret {
        Some(secret) => request.header("authorization", format!("Bearer {secret}")),
        None => request,
    };
    let request = match path {
        "/tasks" => request.body(r#"{"type":"a","max_retries":0}"#),
        _ => request,
    };
    request.send().await.unwrap()
}

#[tokio::test]
async fn each_key_may_do_what_its_role_says() {
    let bench = Bench::with_env(1, &[("TASKWEIR_API_KEYS", KEYS)]).await;
    let (eve, bot, ann) = (
        Some("eve-looks-only"),
        Some("bot-submits-tasks"),
        Some("ann-runs-the-place"),
    );
    let status = async |secret, method, path: &str| {
        call(&bench, secret, method, path).await.status().as_u16()
    };
    for path in ["/health/live", "/health/ready", "/openapi.json", "/docs"] {
        assert_eq!(status(None, Method::GET, path).await, 200, "{path} is open");
    }
    for path in [
        "/tasks",
        "/stats",
        "/metrics",
        "/health",
        "/queues",
        "/workers",
        "/dlq/failed-tasks",
    ] {
        assert_eq!(status(None, Method::GET, path).await, 401, "{path}");
        assert_eq!(status(eve, Method::GET, path).await, 200, "{path}");
    }
    let refused = call(&bench, None, Method::POST, "/tasks").await;
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    assert_eq!(
        refused.headers()["content-type"],
        "application/problem+json"
    );
    assert_eq!(status(eve, Method::POST, "/tasks").await, 403);
    let task = json(call(&bench, bot, Method::POST, "/tasks").await).await;
    let id = task["id"].as_str().unwrap();
    assert_eq!(
        status(bot, Method::POST, &format!("/tasks/{id}/cancel")).await,
        403
    );
    assert_eq!(
        status(bot, Method::POST, "/queues/default/pause").await,
        403
    );
    assert_eq!(
        status(ann, Method::POST, "/queues/default/pause").await,
        200
    );
    assert_eq!(
        status(ann, Method::POST, &format!("/tasks/{id}/cancel")).await,
        200
    );
    let history = json(call(&bench, eve, Method::GET, &format!("/tasks/{id}/history")).await).await;
    assert_eq!(history["events"][0]["actor"], "bot");
    assert_eq!(history["events"][1]["actor"], "ann");
}

#[tokio::test]
async fn idempotency_keys_are_each_keys_own() {
    let bench = Bench::with_env(1, &[("TASKWEIR_API_KEYS", KEYS)]).await;
    let submit = async |secret: &str| {
        let request = bench
            .call(Method::POST, "/tasks")
            .header("content-type", "application/json");
        let request = request
            .header("authorization", format!("Bearer {secret}"))
            .header("idempotency-key", "k");
        json(request.body(r#"{"type":"a"}"#).send().await.unwrap()).await["id"].clone()
    };
    let first = submit("bot-submits-tasks").await;
    assert_eq!(submit("bot-submits-tasks").await, first);
    assert_ne!(submit("ann-runs-the-place").await, first);
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing_where_there_are_no_keys() {
    let bench = Bench::with_env(1, &[]).await;
    let status = async |method: Method, path: &str, site: &str| {
        let call = bench.call(method, path).header("sec-fetch-site", site);
        call.send().await.unwrap().status().as_u16()
    };
    for (method, path) in [
        (Method::POST, "/queues/mail/pause"),
        (Method::POST, "/tasks"),
        (Method::DELETE, "/operations/x"),
    ] {
        assert_eq!(status(method, path, "cross-site").await, 403, "{path}");
    }
    assert_eq!(
        status(Method::POST, "/queues/mail/pause", "same-origin").await,
        200
    );
    assert_eq!(status(Method::GET, "/stats", "cross-site").await, 200);
    let origin = bench.call(Method::POST, "/queues/mail/resume");
    let origin = origin.header("origin", "http://evil.example");
    assert_eq!(origin.send().await.unwrap().status().as_u16(), 403);
}

#[tokio::test]
async fn with_keys_the_key_is_what_no_other_site_has() {
    let bench = Bench::with_env(1, &[("TASKWEIR_API_KEYS", KEYS)]).await;
    let call = bench.call(Method::POST, "/queues/mail/pause");
    let call = call.header("sec-fetch-site", "cross-site");
    let call = call.header("authorization", "Bearer ann-runs-the-place");
    assert_eq!(call.send().await.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn a_method_that_nobody_knows_is_no_series_of_its_own() {
    let bench = Bench::with_env(1, &[]).await;
    for word in ["BREW", "WHEN"] {
        let method = Method::from_bytes(word.as_bytes()).unwrap();
        bench.call(method, "/tasks").send().await.unwrap();
    }
    let metrics = bench.call(Method::GET, "/metrics").send().await.unwrap();
    let text = metrics.text().await.unwrap();
    assert!(text.contains(r#"method="other""#), "{text}");
    assert!(!text.contains("BREW") && !text.contains("WHEN"), "{text}");
}

#[tokio::test]
async fn guessing_is_rationed() {
    let bench = Bench::with_env(1, &[("TASKWEIR_API_KEYS", KEYS)]).await;
    for _ in 0..10 {
        assert_eq!(
            call(&bench, Some("wrong-wrong-wrong"), Method::GET, "/tasks")
                .await
                .status()
                .as_u16(),
            401
        );
    }
    assert_eq!(
        call(&bench, Some("wrong-wrong-wrong"), Method::GET, "/tasks")
            .await
            .status()
            .as_u16(),
        429
    );
    assert_eq!(
        call(&bench, None, Method::GET, "/health/live")
            .await
            .status()
            .as_u16(),
        200,
        "probes go on"
    );
    let right = call(&bench, Some("eve-looks-only"), Method::GET, "/tasks").await;
    assert_eq!(right.status().as_u16(), 200, "a right key always passes");
    let metrics = call(&bench, Some("wrong"), Method::GET, "/metrics").await;
    assert_eq!(metrics.status().as_u16(), 429, "by one mechanism");
}

#[tokio::test]
async fn behind_a_proxy_wrong_keys_are_rationed_by_client() {
    let env = [("TASKWEIR_API_KEYS", KEYS), ("TRUSTED_PROXIES", "1")];
    let bench = Bench::with_env(1, &env).await;
    // What the client claims comes first, and what the proxy adds last.
    let status = async |secret: &str, forwarded: &str| {
        let call = bench.call(Method::GET, "/tasks").bearer_auth(secret);
        let call = call.header("x-forwarded-for", forwarded);
        call.send().await.unwrap().status().as_u16()
    };
    for n in 0..10 {
        let forwarded = format!("203.0.113.{n}, 192.0.2.1");
        assert_eq!(status("wrong-wrong-wrong", &forwarded).await, 401);
    }
    let guessing = "203.0.113.99, 192.0.2.1";
    assert_eq!(status("wrong-wrong-wrong", guessing).await, 429);
    assert_eq!(status("wrong-wrong-wrong", "192.0.2.2").await, 401);
    assert_eq!(status("eve-looks-only", guessing).await, 200);
}
