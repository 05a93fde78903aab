//! Behind a real nginx that ends TLS, gathers answers, and shows gateway and dashboard below paths: one that it passes on,
//! one that it takes away.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use taskweir_testkit::{eventually_within, free_port};

use crate::fleet::{Fleet, Process, spawn};
use crate::tls::certificates;

const SOON: Duration = Duration::from_secs(20);
const KEYS: &str = "ann:operator:ann-runs-the-place";
const SECRET: &str = "ann-runs-the-place";

/// Starts nginx; gives its port.
fn nginx(dir: &Path, gateway: u16, dashboard: u16) -> (Process, u16) {
    certificates(dir);
    let port = free_port();
    let here = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {here}/{kind};\n"))
        .concat();
    let settings = format!(
        "daemon off; pid {here}/pid; error_log {here}/error.log; worker_processes 1;
        events {{ worker_connections 64; }}
        http {{
          access_log off; {temporary}
          server {{
            listen 127.0.0.1:{port} ssl;
            ssl_certificate {here}/server.pem; ssl_certificate_key {here}/server.key;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_http_version 1.1; proxy_buffering on;
            location /queue/ {{ proxy_pass http://127.0.0.1:{gateway}; }}
            location /ops/board/ {{ proxy_pass http://127.0.0.1:{dashboard}/; }}
          }}
        }}"
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new("nginx");
    command
        .arg("-c")
        .arg(&file)
        .arg("-e")
        .arg(dir.join("error.log"));
    (spawn(&mut command), port)
}

/// The addresses of a page.
fn addresses(page: &str) -> Vec<String> {
    let pieces = ["href=\"", "action=\"", "src=\""];
    let pieces = pieces.iter().flat_map(|piece| page.split(piece).skip(1));
    let mut found: Vec<String> = pieces
        .filter_map(|rest| Some(rest.split('"').next()?.replace("&amp;", "&")))
        .collect();
    found.sort();
    found.dedup();
    found
}

#[tokio::test]
async fn gateway_and_dashboard_work_below_a_path_of_a_proxy() {
    let fleet = Fleet::start("10").await;
    let dir = tempfile::tempdir().unwrap();
    let (gateway, dashboard) = (free_port(), free_port());
    let env = [
        ("GATEWAY_ADDR", format!("127.0.0.1:{gateway}")),
        ("DASHBOARD_ADDR", format!("127.0.0.1:{dashboard}")),
        ("GATEWAY_BASE_PATH", "/queue".to_owned()),
        ("DASHBOARD_BASE_PATH", "/ops/board".to_owned()),
        ("TASKWEIR_API_KEYS", KEYS.to_owned()),
        ("TRUSTED_PROXIES", "1".to_owned()),
    ];
    let env: Vec<(&str, &str)> = env
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let _services = ["gateway", "dashboard", "worker"].map(|service| fleet.spawn(service, &env));
    let (_nginx, port) = nginx(dir.path(), gateway, dashboard);
    let ca = std::fs::read(dir.path().join("ca.pem")).unwrap();
    let http = taskweir_client::http::plain()
        .add_root_certificate(reqwest::Certificate::from_pem(&ca).unwrap())
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let host = format!("https://localhost:{port}");
    for probe in ["/queue/health/ready", "/ops/board/sign-in"] {
        eventually_within(SOON, probe, async || {
            let answer = http.get(format!("{host}{probe}")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    // The gateway: its path is passed on.
    let document: Value = http
        .get(format!("{host}/queue/openapi.json"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(document["servers"][0]["url"], "/queue");
    let docs = http.get(format!("{host}/queue/docs")).send().await.unwrap();
    assert!(docs.text().await.unwrap().contains("\"/queue\""));
    let submit = http.post(format!("{host}/queue/tasks")).bearer_auth(SECRET);
    let accepted = submit
        .json(&json!({ "type": "echo", "delay": 600 }))
        .send()
        .await
        .unwrap();
    assert_eq!(accepted.status().as_u16(), 202);
    let place = accepted.headers()["location"].to_str().unwrap().to_owned();
    assert!(place.starts_with("/queue/tasks/"), "{place}");
    let task = http
        .get(format!("{host}{place}"))
        .bearer_auth(SECRET)
        .send()
        .await
        .unwrap();
    assert_eq!(task.status().as_u16(), 200);
    let id = place.rsplit('/').next().unwrap().to_owned();

    // Its feed, by a ticket, from the beginning on, though nginx gathers answers.
    let ticket = http.post(format!("{host}/queue/events/ticket"));
    assert_eq!(ticket.send().await.unwrap().status().as_u16(), 401);
    let ticket = http
        .post(format!("{host}/queue/events/ticket"))
        .bearer_auth(SECRET);
    let ticket: Value = ticket.send().await.unwrap().json().await.unwrap();
    let token = ticket["token"].as_str().unwrap();
    let from = match fleet.store.partition_count() {
        1 => "0-0".to_owned(),
        count => (0..count)
            .map(|index| format!("{index}@0-0"))
            .collect::<Vec<_>>()
            .join(","),
    };
    let feed = format!("{host}/queue/events?task={id}&last_event_id={from}&token={token}");
    let mut feed = http.get(&feed).send().await.unwrap();
    assert_eq!(feed.status().as_u16(), 200);
    let first = tokio::time::timeout(Duration::from_secs(5), feed.chunk()).await;
    let first = first.expect("nothing is gathered").unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).contains(&id));
    for (path, status) in [
        (format!("/queue/events?token={token}x"), 401),
        (format!("/queue/tasks?token={token}"), 401),
    ] {
        let answer = http.get(format!("{host}{path}")).send().await.unwrap();
        assert_eq!(
            answer.status().as_u16(),
            status,
            "a ticket is good for the feed alone"
        );
    }

    // The dashboard: its path is taken away.
    let board = format!("{host}/ops/board");
    let away = http.get(format!("{board}/tasks")).send().await.unwrap();
    assert_eq!(away.headers()["location"], "/ops/board/sign-in");
    let enter = http
        .post(format!("{board}/sign-in"))
        .header("origin", &host)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("secret={SECRET}"));
    let entered = enter.send().await.unwrap();
    assert_eq!(entered.status().as_u16(), 303);
    assert_eq!(entered.headers()["location"], "/ops/board/");
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("Path=/ops/board/;"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let get = async |path: &str| {
        let call = http.get(format!("{host}{path}")).header("cookie", &cookie);
        call.send().await.unwrap()
    };
    fleet.settled(SOON).await;
    let mut seen = 0;
    for path in [
        "/",
        "/tasks",
        "/queues",
        "/dlq",
        "/operations",
        "/workers",
        "/system",
        "/tasks/new",
        &format!("/tasks/{id}"),
    ] {
        let page = get(&format!("/ops/board{path}")).await;
        assert_eq!(page.status().as_u16(), 200, "{path}");
        for address in addresses(&page.text().await.unwrap()) {
            if address.starts_with('#') {
                continue;
            }
            assert!(address.starts_with("/ops/board/"), "{path}: {address}");
            // What forms are sent to takes no GET.
            let status = get(&address).await.status().as_u16();
            assert!(
                matches!(status, 200 | 303 | 404 | 405),
                "{address}: {status}"
            );
            seen += usize::from(status == 200);
        }
    }
    assert!(seen > 60, "{seen} addresses were followed");
    let page = get(&format!("/ops/board/tasks/{id}"))
        .await
        .text()
        .await
        .unwrap();
    let token = page
        .split("name=\"token\" value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let cancel = addresses(&page)
        .into_iter()
        .find(|to| to.ends_with("/cancel"))
        .unwrap();
    let cancelled = http
        .post(format!("{host}{cancel}"))
        .header("cookie", &cookie)
        .header("origin", &host)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("token={token}"));
    let cancelled = cancelled.send().await.unwrap();
    assert_eq!(cancelled.status().as_u16(), 303);
    let place = cancelled.headers()["location"].to_str().unwrap();
    assert!(
        place.starts_with(&format!("/ops/board/tasks/{id}")),
        "{place}"
    );
    fleet.reaches(&id, "cancelled", SOON).await;
    let ticks = http.get(format!("{board}/ticks")).header("cookie", &cookie);
    let mut ticks = ticks.send().await.unwrap();
    let tick = tokio::time::timeout(Duration::from_secs(14), ticks.chunk()).await;
    assert!(tick.expect("a tick is not gathered").unwrap().is_some());
}
