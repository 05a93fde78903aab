//! HTTP client of a Taskweir gateway: the calls of the API, JSON in and out.

mod answer;
mod error;
pub mod http;

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde_json::Value;

pub use answer::Answer;
pub use error::{ClientError, Problem};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of one gateway.
#[derive(Clone)]
pub struct Client {
    base: String,
    /// `Bearer <secret>`
    authorization: Option<reqwest::header::HeaderValue>,
    http: reqwest::Client,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the gateway at `base`, such as `http://localhost:8000`, with the secret of an API key
    /// where the gateway wants one.
    ///
    /// # Errors
    /// `base` is no URL of http or https, the secret is none, or the system has no certificates to trust.
    pub fn new(base: &str, secret: Option<&str>) -> Result<Self, ClientError> {
        let authorization = match secret {
            None => None,
            Some(secret) => {
                let text = format!("Bearer {secret}");
                let mut value = reqwest::header::HeaderValue::from_str(&text)
                    .map_err(|_| ClientError::Secret)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let parsed =
            reqwest::Url::parse(base).map_err(|_| ClientError::Address(base.to_owned()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(ClientError::Address(base.to_owned()));
        }
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            authorization,
            http: http::for_base(base)
                .timeout(PATIENCE)
                .build()
                .map_err(ClientError::Tls)?,
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.authorization {
            Some(value) => request.header(reqwest::header::AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Answer, ClientError> {
        let response = request.send().await.map_err(|error| ClientError::Away {
            base: self.base.clone(),
            source: error,
        })?;
        read(response).await
    }

    async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, ClientError> {
        self.answer(self.request(Method::GET, path).query(query))
            .await
    }

    /// `POST /tasks`: submits a task under an idempotency key: the same key and task again is the same
    /// task, so a lost answer may be asked for again.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn submit(&self, task: &impl Serialize, key: &str) -> Result<Answer, ClientError> {
        let request = self
            .request(Method::POST, "/tasks")
            .header("idempotency-key", key);
        self.answer(request.json(task)).await
    }

    /// `POST /tasks/batch`: submits up to 1,000 tasks together; each may carry an `idempotency_key` of its own.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn submit_batch(&self, tasks: &[impl Serialize]) -> Result<Answer, ClientError> {
        let body = BTreeMap::from([("tasks", tasks)]);
        let request = self.request(Method::POST, "/tasks/batch").json(&body);
        self.answer(request).await
    }

    /// Asks for something, and says why where there is a reason.
    async fn ask(&self, path: &str, reason: Option<&str>) -> Result<Answer, ClientError> {
        let request = self.request(Method::POST, path);
        self.answer(match reason {
            Some(reason) => request.json(&BTreeMap::from([("reason", reason)])),
            None => request,
        })
        .await
    }

    /// `POST /tasks/{id}/cancel`: cancels a task.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn cancel(&self, id: &str, reason: Option<&str>) -> Result<Answer, ClientError> {
        let path = format!("/tasks/{}/cancel", segment(id));
        self.ask(&path, reason).await
    }

    /// `POST /queues/{q}/pause` or `…/resume`.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn pause(
        &self,
        queue: &str,
        paused: bool,
        reason: Option<&str>,
    ) -> Result<Answer, ClientError> {
        let verb = if paused { "pause" } else { "resume" };
        let path = format!("/queues/{}/{verb}", segment(queue));
        self.ask(&path, reason).await
    }

    /// `GET /tasks/{id}`: a task now, or as it was at an instant (an RFC 3339 time or a position).
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn task(&self, id: &str, as_of: Option<&str>) -> Result<Answer, ClientError> {
        let query = as_of.map(|as_of| ("as_of", as_of.to_owned()));
        let query: Vec<_> = query.into_iter().collect();
        self.get(&format!("/tasks/{}", segment(id)), &query).await
    }

    /// `GET /tasks/{id}/history`: its events.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn history(&self, id: &str) -> Result<Answer, ClientError> {
        self.get(&format!("/tasks/{}/history", segment(id)), &[])
            .await
    }

    /// `GET /tasks`: a page of tasks; `query` is the filter as the API names it.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn tasks(&self, query: &[(&str, String)]) -> Result<Answer, ClientError> {
        self.get("/tasks", query).await
    }

    /// `GET /dlq/failed-tasks`: a page of dead letters.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn dead_letters(&self, query: &[(&str, String)]) -> Result<Answer, ClientError> {
        self.get("/dlq/failed-tasks", query).await
    }

    /// `POST /dlq/failed-tasks/{id}/retry`: retries a dead letter.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn retry_dead_letter(
        &self,
        id: &str,
        reason: Option<&str>,
    ) -> Result<Answer, ClientError> {
        let path = format!("/dlq/failed-tasks/{}/retry", segment(id));
        self.ask(&path, reason).await
    }

    /// `DELETE /dlq/failed-tasks/{id}`: removes a dead letter.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn remove_dead_letter(
        &self,
        id: &str,
        reason: Option<&str>,
    ) -> Result<Answer, ClientError> {
        let path = format!("/dlq/failed-tasks/{}", segment(id));
        let request = self.request(Method::DELETE, &path);
        let query = reason.map(|reason| ("reason", reason));
        self.answer(request.query(query.as_slice())).await
    }

    /// `POST /dlq/retry`, `/dlq/delete` or `/tasks/cancel` (`path`): begins a bulk operation, or counts what
    /// it would do.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn begin(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.answer(self.request(Method::POST, path).json(body))
            .await
    }

    /// `GET /operations`: the latest bulk operations.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn operations(&self) -> Result<Answer, ClientError> {
        self.get("/operations", &[]).await
    }

    /// `GET /operations/{id}`: how far a bulk operation is.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn operation(&self, id: &str) -> Result<Answer, ClientError> {
        self.get(&format!("/operations/{}", segment(id)), &[]).await
    }

    /// `DELETE /operations/{id}`: stops a bulk operation.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn stop_operation(&self, id: &str) -> Result<Answer, ClientError> {
        let path = format!("/operations/{}", segment(id));
        self.answer(self.request(Method::DELETE, &path)).await
    }

    /// `GET /queues`: a page of queues by name; `query` may hold `limit` and `cursor`.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn queues(&self, query: &[(&str, String)]) -> Result<Answer, ClientError> {
        self.get("/queues", query).await
    }

    /// `GET /workers`: every worker.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn workers(&self) -> Result<Answer, ClientError> {
        self.get("/workers", &[]).await
    }

    /// `GET /stats`: counts by status; `query` may hold `as_of`.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn stats(&self, query: &[(&str, String)]) -> Result<Answer, ClientError> {
        self.get("/stats", query).await
    }

    /// `GET /stats/diff`: what changed between two instants; `query` holds `from` and maybe `to`.
    ///
    /// # Errors
    /// The gateway refuses or is away.
    pub async fn stats_diff(&self, query: &[(&str, String)]) -> Result<Answer, ClientError> {
        self.get("/stats/diff", query).await
    }
}

/// A piece of a path, with everything but letters and digits escaped.
fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut piece, byte| {
        if byte.is_ascii_alphanumeric() {
            piece.push(char::from(byte));
        } else {
            piece.push_str(&format!("%{byte:02X}"));
        }
        piece
    })
}

async fn read(response: Response) -> Result<Answer, ClientError> {
    let status = response.status();
    let body = response.text().await?;
    if status.is_success() {
        return Answer::read(body).ok_or(ClientError::Unreadable(status.as_u16()));
    }
    match serde_json::from_str::<Problem>(&body) {
        Ok(problem) => Err(ClientError::Refused(problem)),
        Err(_) => Err(ClientError::Unreadable(status.as_u16())),
    }
}
