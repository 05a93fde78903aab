use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use taskweir_client::http;
use taskweir_worker::{Context, Handler, Json, TaskError};

/// `http`: POSTs `data.body` to `data.url`, to hosts that are allowed.
#[derive(Debug)]
pub struct Http {
    allowed: Vec<String>,
    client: Option<reqwest::Client>,
    secure: Option<reqwest::Client>,
}

/// What `http` takes.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with `url` and `body`")]
pub struct Request {
    url: String,
    #[serde(default = "Json::null")]
    body: Json,
}

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Http {
    /// A handler that calls these hosts (`host` or `host:port`) and no others.
    #[must_use]
    pub fn new(allowed: Vec<String>) -> Self {
        // An allowed host must not lead elsewhere by a redirect.
        let client = |base: &str| http::for_base(base).redirect(reqwest::redirect::Policy::none());
        Self {
            // As URLs have them.
            allowed: allowed
                .into_iter()
                .map(|host| host.to_lowercase())
                .collect(),
            client: client("http:").build().ok(),
            // None where the system has no certificates to trust.
            secure: client("https:").build().ok(),
        }
    }

    fn allows(&self, url: &reqwest::Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let with_port = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        self.allowed
            .iter()
            .any(|allowed| *allowed == host || *allowed == with_port)
    }
}

impl Handler for Http {
    const TYPE: &'static str = "http";
    type Payload = Request;
    type Output = Value;

    async fn run(&self, _: &Context, request: Request) -> Result<Value, TaskError> {
        let url: reqwest::Url = request
            .url
            .parse()
            .map_err(|_| TaskError::fatal("data.url is no URL"))?;
        let client = match url.scheme() {
            "http" => &self.client,
            "https" => &self.secure,
            _ => return Err(TaskError::fatal("data.url is neither http:// nor https://")),
        };
        let Some(client) = client else {
            let error = "this worker has no certificates to trust: set SSL_CERT_FILE";
            return Err(TaskError::retry(error));
        };
        if !self.allows(&url) {
            let host = url.host_str().unwrap_or_default();
            return Err(
                TaskError::fatal(format!("{host} is not listed in HTTP_TASK_ALLOW"))
                    .class("HostNotAllowed"),
            );
        }
        let sent = client
            .post(url)
            .timeout(PATIENCE)
            .json(&request.body)
            .send()
            .await
            // The address may carry a secret, and errors are logged.
            .map_err(reqwest::Error::without_url)?;
        let status = sent.status().as_u16();
        if sent.status().is_success() {
            return Ok(json!({ "status": status }));
        }
        let error = format!("the host answered {status}");
        // Too slow and too many are of this moment; the rest of 4xx says the same next time.
        let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        if sent.status().is_client_error() && !passes.contains(&sent.status()) {
            return Err(TaskError::fatal(error).class(format!("Http{status}")));
        }
        Err(TaskError::retry(error).class(format!("Http{status}")))
    }
}
