//! A private Redis, workers on it, and waiting for what they do.

use std::time::Duration;

use taskweir_domain::{Event, EventType, Recorded, Status, TaskDetail};
use taskweir_store::{
    Limits, MigrateOptions, Partition, RedisSettings, Store, Submission, migrate,
};
use taskweir_testkit::{TestRedis, eventually};
use taskweir_worker::{
    Context, Handler, TaskError, TaskId, TaskSpec, Worker, WorkerBuilder, WorkerError,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub struct Bench {
    pub redis: TestRedis,
    pub store: Store,
    pub partition: Partition,
}

pub struct Running {
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), WorkerError>>,
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(30), self.task)
            .await
            .expect("it stops")
            .unwrap()
            .unwrap();
    }
}

impl Bench {
    pub async fn new() -> Self {
        Self::on(TestRedis::start()).await
    }

    pub async fn on(redis: TestRedis) -> Self {
        Self::with_partitions(redis, taskweir_testkit::partitions()).await
    }

    pub async fn with_partitions(redis: TestRedis, partitions: usize) -> Self {
        let settings = settings(&redis);
        migrate(&settings, MigrateOptions { partitions })
            .await
            .unwrap();
        let store = Store::connect(&settings, Limits::default()).await.unwrap();
        let partition = store.partitions().remove(0);
        Self {
            redis,
            store,
            partition,
        }
    }

    pub fn builder(&self) -> WorkerBuilder {
        Worker::builder(settings(&self.redis))
    }

    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    pub fn run(&self, builder: WorkerBuilder) -> Running {
        let worker = builder.build().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(worker.run(stop.clone()));
        Running { stop, task }
    }

    pub async fn submit(&self, kind: &str, data: &str) -> TaskId {
        self.submit_with(kind, data, |_| {}).await
    }

    pub async fn submit_with(
        &self,
        kind: &str,
        data: &str,
        change: impl FnOnce(&mut TaskSpec),
    ) -> TaskId {
        let mut spec = TaskSpec::new("default".parse().unwrap(), kind.parse().unwrap());
        spec.data = taskweir_domain::Json::parse(data.to_owned()).unwrap();
        change(&mut spec);
        let id = self.store.mint_in(self.partition.keys().partition());
        self.partition
            .submit(&[Submission {
                id,
                spec,
                idempotency: None,
            }])
            .await
            .unwrap();
        id
    }

    pub fn partition_of(&self, id: TaskId) -> Partition {
        self.store.partition_of(id).unwrap()
    }

    /// Waits until our own connection is back.
    pub async fn connected(&self) {
        eventually("our own connection is back", async || {
            self.store.ping().await.ok()
        })
        .await;
    }

    /// Events of all logs.
    pub async fn events_in_all(&self) -> u64 {
        let mut events = 0;
        for partition in self.store.partitions() {
            events += partition.log_end().await.unwrap().1;
        }
        events
    }

    pub async fn history(&self, id: TaskId) -> Vec<Recorded> {
        let partition = self.partition_of(id);
        let history = partition.histories(&[id]).await.unwrap().remove(0);
        history
            .entries
            .iter()
            .map(|entry| entry.decode().unwrap())
            .collect()
    }

    pub async fn events(&self, id: TaskId) -> Vec<EventType> {
        self.history(id)
            .await
            .iter()
            .map(|recorded| recorded.event.event_type())
            .collect()
    }

    pub async fn status(&self, id: TaskId) -> Status {
        self.partition_of(id).records(&[id]).await.unwrap()[0]
            .as_ref()
            .unwrap()
            .task
            .status()
    }

    /// Waits for a status and gives the task.
    pub async fn reaches(&self, id: TaskId, status: Status) -> TaskDetail {
        eventually(&format!("{status}"), async || {
            (self.status(id).await == status).then_some(())
        })
        .await;
        TaskDetail::fold(&self.history(id).await).unwrap().unwrap()
    }

    pub async fn last_event(&self, id: TaskId) -> Event {
        self.history(id).await.pop().unwrap().event
    }
}

pub fn settings(redis: &TestRedis) -> RedisSettings {
    RedisSettings::at(redis.url())
}

/// Gives its data back.
pub struct Echo;

impl Handler for Echo {
    const TYPE: &'static str = "echo";
    type Payload = serde_json::Value;
    type Output = serde_json::Value;

    async fn run(
        &self,
        _: &Context,
        payload: serde_json::Value,
    ) -> Result<serde_json::Value, TaskError> {
        Ok(payload)
    }
}

/// Waits until it is told to stop, or for as many ms as its data says.
pub struct Wait;

impl Handler for Wait {
    const TYPE: &'static str = "wait";
    type Payload = u64;
    type Output = ();

    async fn run(&self, context: &Context, ms: u64) -> Result<(), TaskError> {
        context.progress(10.0, Some("began"));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms)) => Ok(()),
            () = context.cancelled() => Err(TaskError::retry(format!("{:?}", context.cancel_reason()))),
        }
    }
}
