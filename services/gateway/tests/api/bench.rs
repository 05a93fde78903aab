//! A gateway in this process on a private Redis.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use taskweir_gateway::Config;
use taskweir_runtime::{Env, telemetry};
use taskweir_store::{Limits, MigrateOptions, RedisSettings, Store, migrate};
use taskweir_testkit::TestRedis;
use tokio_util::sync::CancellationToken;

pub struct Bench {
    pub redis: TestRedis,
    pub store: Store,
    pub http: reqwest::Client,
    base: String,
    stop: CancellationToken,
}

impl Bench {
    pub async fn new() -> Self {
        Self::with_partitions(taskweir_testkit::partitions()).await
    }

    pub async fn with_partitions(partitions: usize) -> Self {
        Self::with_env(partitions, &[]).await
    }

    pub async fn with_env(partitions: usize, more: &[(&str, &str)]) -> Self {
        Self::made(TestRedis::start(), partitions, more).await
    }

    pub async fn on(redis: TestRedis) -> Self {
        Self::made(redis, taskweir_testkit::partitions(), &[]).await
    }

    #[expect(clippy::disallowed_methods, reason = "it ends with the test's process")]
    async fn made(redis: TestRedis, partitions: usize, more: &[(&str, &str)]) -> Self {
        let settings = RedisSettings::at(redis.url());
        migrate(&settings, MigrateOptions { partitions })
            .await
            .unwrap();
        let url = redis.url();
        let known = [("REDIS_URL", url.as_str()), ("GATEWAY_ADDR", "127.0.0.1:0")];
        let env = Env::from_pairs(known.iter().chain(more).copied());
        let metrics = telemetry::init_metrics().unwrap();
        taskweir_gateway::metrics::describe();
        let app = Config::from_env(&env)
            .unwrap()
            .build(metrics)
            .await
            .unwrap();
        let base = format!("http://{}", app.address());
        let stop = CancellationToken::new();
        tokio::spawn(app.run(stop.clone()));
        Self {
            store: Store::connect(&settings, Limits::default()).await.unwrap(),
            redis,
            http: taskweir_client::http::plain().build().unwrap(),
            base,
            stop,
        }
    }

    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.call(Method::GET, path).send().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &str) -> Response {
        let request = self
            .call(Method::POST, path)
            .header("content-type", "application/json");
        request.body(body.to_owned()).send().await.unwrap()
    }

    /// Where a listener begins that wants every event.
    pub fn beginning(&self) -> String {
        match self.store.partition_count() {
            1 => "0-0".to_owned(),
            count => {
                let places: Vec<String> = (0..count).map(|index| format!("{index}@0-0")).collect();
                places.join(",")
            }
        }
    }

    pub async fn submit(&self, body: &str) -> String {
        let answer = self.post("/tasks", body).await;
        assert_eq!(answer.status().as_u16(), 202);
        json(answer).await["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub async fn json(response: Response) -> Value {
    response.json().await.unwrap()
}
