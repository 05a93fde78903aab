//! A partition on a private Redis, and the shortest way to bring a task somewhere.

use taskweir_domain::{
    Actor, AttemptError, Command, ErrorKind, Event, EventType, Failure, Fence, Holder, Recorded,
    Status, Task, TaskDetail, TaskId, TaskSpec, decide,
};
use taskweir_store::{
    Begun, Cancellation, Claim, Claimed, Finish, FinishOutcome, Limits, MigrateOptions, Partition,
    Record, RedisSettings, StartOutcome, Starting, Store, StreamSet, Submission, migrate,
};
use taskweir_testkit::TestRedis;

pub struct Bench {
    pub redis: TestRedis,
    pub store: Store,
    pub partition: Partition,
    pub streams: StreamSet,
}

/// A running attempt, as its worker knows it.
#[derive(Debug, Clone)]
pub struct Running {
    pub id: TaskId,
    pub stream: usize,
    pub entry: String,
    pub fence: Fence,
    pub unique: Option<String>,
}

pub fn settings(redis: &TestRedis) -> RedisSettings {
    RedisSettings::at(redis.url())
}

impl Bench {
    pub async fn new() -> Self {
        Self::with_partitions(taskweir_testkit::partitions()).await
    }

    pub async fn with_partitions(partitions: usize) -> Self {
        Self::made(TestRedis::start(), partitions, Limits::default()).await
    }

    /// About the partition in which a unique key places its tasks.
    pub async fn about_key(unique: &str) -> Self {
        let mut bench = Self::new().await;
        let mut spec = bench.spec();
        spec.unique_key = Some(unique.to_owned());
        let submitter = taskweir_store::Submitter::new(&bench.store);
        let (id, _) = submitter.submit_keyed(spec, None).await.unwrap();
        let cancelled = bench.store.cancel(id, &Actor::anonymous()).await;
        cancelled.expect("it waits");
        bench.partition = bench.store.partition_of(id).unwrap();
        bench.streams = StreamSet::of_queues(bench.partition.keys(), &["default".parse().unwrap()]);
        bench
    }

    /// On a server that has a layout already.
    pub async fn on(redis: TestRedis) -> Self {
        Self::made(redis, taskweir_testkit::partitions(), Limits::default()).await
    }

    pub async fn limited(limits: Limits) -> Self {
        Self::made(TestRedis::start(), taskweir_testkit::partitions(), limits).await
    }

    async fn made(redis: TestRedis, partitions: usize, limits: Limits) -> Self {
        let settings = settings(&redis);
        migrate(&settings, MigrateOptions { partitions })
            .await
            .unwrap();
        let store = Store::connect(&settings, limits).await.unwrap();
        let partition = store.partitions().remove(0);
        let streams = StreamSet::of_queues(partition.keys(), &["default".parse().unwrap()]);
        Self {
            redis,
            store,
            partition,
            streams,
        }
    }

    /// An id in the partition that this bench is about.
    pub fn mint(&self) -> TaskId {
        self.store.mint_in(self.partition.keys().partition())
    }

    pub fn spec(&self) -> TaskSpec {
        TaskSpec::new("default".parse().unwrap(), "work".parse().unwrap())
    }

    pub async fn submit_with(&self, change: impl FnOnce(&mut TaskSpec)) -> TaskId {
        let mut spec = self.spec();
        change(&mut spec);
        let id = self.mint();
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

    pub async fn submit(&self) -> TaskId {
        self.submit_with(|_| {}).await
    }

    pub async fn claim(&self, worker: &str, most: usize) -> Vec<Claimed> {
        let shares = (0..self.streams.len())
            .map(|stream| (stream, most))
            .collect();
        self.partition
            .claim(&self.streams, worker, &Claim { shares, most })
            .await
            .unwrap()
    }

    pub async fn claim_one(&self, worker: &str) -> Claimed {
        let mut claimed = self.claim(worker, 1).await;
        assert_eq!(claimed.len(), 1, "one ready task");
        claimed.remove(0)
    }

    pub async fn start_as(&self, claimed: &Claimed, holder: &Holder) -> StartOutcome {
        self.start_with_lease(claimed, holder, 30_000).await
    }

    pub async fn start_with_lease(
        &self,
        claimed: &Claimed,
        holder: &Holder,
        lease_ms: u64,
    ) -> StartOutcome {
        let starting = Starting {
            id: claimed.work.as_ref().unwrap().id,
            stream: claimed.stream,
            entry: claimed.entry.clone(),
            needs_payload: true,
        };
        self.partition
            .start(&self.streams, holder, lease_ms, &[starting])
            .await
            .unwrap()
            .remove(0)
    }

    /// Takes and starts the next ready task.
    pub async fn run_with_lease(&self, worker: &str, lease_ms: u64) -> Running {
        let claimed = self.claim_one(worker).await;
        let holder = Holder::new(worker, &taskweir_store::entropy::nonce());
        let begun = started(self.start_with_lease(&claimed, &holder, lease_ms).await);
        Running {
            id: claimed.work.unwrap().id,
            stream: claimed.stream,
            entry: claimed.entry,
            unique: begun.unique,
            fence: Fence {
                attempt: begun.attempt,
                holder,
            },
        }
    }

    pub async fn run(&self, worker: &str) -> Running {
        self.run_with_lease(worker, 30_000).await
    }

    pub async fn task(&self, id: TaskId) -> Task {
        self.record(id).await.expect("a record").task
    }

    pub async fn record(&self, id: TaskId) -> Option<Record> {
        self.partition.records(&[id]).await.unwrap().remove(0)
    }

    pub async fn status(&self, id: TaskId) -> Status {
        self.task(id).await.status()
    }

    /// Decides as the worker does, from the record.
    pub async fn decide(&self, id: TaskId, command: &Command) -> Event {
        let task = self.task(id).await;
        decide(Some(&task), command, u64::MAX)
            .expect("legal")
            .remove(0)
    }

    pub async fn finishing(&self, running: &Running, command: &Command) -> Finish {
        let task = self.task(running.id).await;
        Finish {
            id: running.id,
            stream: running.stream,
            fence: running.fence.clone(),
            unique: running.unique.clone(),
            event: decide(Some(&task), command, 0).expect("legal").remove(0),
        }
    }

    pub async fn finish(&self, finish: &Finish) -> FinishOutcome {
        self.partition
            .finish(&self.streams, std::slice::from_ref(finish))
            .await
            .unwrap()
            .remove(0)
    }

    pub async fn complete(&self, running: &Running) -> FinishOutcome {
        let finish = self.finishing(running, &complete(running)).await;
        self.finish(&finish).await
    }

    pub async fn fail(&self, running: &Running, kind: ErrorKind) -> FinishOutcome {
        let finish = self.finishing(running, &fail(running, kind)).await;
        self.finish(&finish).await
    }

    pub async fn dead(&self) -> TaskId {
        let id = self.submit().await;
        let running = self.run("w").await;
        self.fail(&running, ErrorKind::Fatal).await;
        id
    }

    pub async fn cancellation(&self, id: TaskId, nonce: &str) -> Cancellation {
        let record = self.record(id).await.unwrap();
        let command = Command::Cancel(Actor::anonymous().into());
        Cancellation {
            id,
            nonce: nonce.to_owned(),
            event: decide(Some(&record.task), &command, 0)
                .expect("legal")
                .remove(0),
            record,
        }
    }

    pub async fn events(&self, id: TaskId) -> Vec<EventType> {
        let history = self.partition.histories(&[id]).await.unwrap().remove(0);
        history
            .entries
            .iter()
            .map(|entry| entry.event_type().unwrap())
            .collect()
    }

    /// The fold of the log equals the record, and the record's place in the queues fits its status.
    pub async fn check(&self, id: TaskId) -> TaskDetail {
        let history = self.partition.histories(&[id]).await.unwrap().remove(0);
        assert_eq!(history.base, None);
        let events: Vec<Recorded> = history
            .entries
            .iter()
            .map(|e| e.decode().unwrap())
            .collect();
        let detail = TaskDetail::fold(&events)
            .expect("a lawful log")
            .expect("events");
        let record = history.record.expect("a record");
        assert_eq!(detail.task, record.task, "replay = record");
        let due = self
            .redis
            .cli(&["ZSCORE", &self.partition.keys().due(), &id.to_string()]);
        assert_eq!(!due.is_empty(), record.task.status().is_due(), "in due");
        let ready = self
            .partition
            .keys()
            .ready(&record.task.queue, record.task.priority);
        let entries = self.redis.cli(&["XRANGE", &ready, "-", "+"]);
        let listed = entries
            .lines()
            .filter(|line| *line == id.to_string())
            .count();
        let expected = usize::from(record.task.status().is_ready() && !record.is_parked());
        assert_eq!(listed, expected, "in the ready stream");
        let dead = self.redis.cli(&[
            "XRANGE",
            &self.partition.keys().dlq(&record.task.queue),
            "-",
            "+",
        ]);
        assert_eq!(
            dead.contains(&id.to_string()),
            record.task.status() == Status::Failed,
            "in the dlq"
        );
        detail
    }
}

#[track_caller]
pub fn started(outcome: StartOutcome) -> Begun {
    match outcome {
        StartOutcome::Started(begun) => begun,
        other => panic!("not started: {other:?}"),
    }
}

pub fn complete(running: &Running) -> Command {
    Command::Complete {
        fence: running.fence.clone(),
        result: None,
        duration_ms: 5,
    }
}

pub fn fail(running: &Running, kind: ErrorKind) -> Command {
    Command::Fail {
        fence: running.fence.clone(),
        failure: Failure {
            error: AttemptError::new(kind, None, "no"),
            unit: 0.5,
            retry_in_ms: Some(0),
        },
    }
}
