//! What Redis does to those who talk to it, with a worker at work: nothing is lost, nothing runs twice, and
//! nobody must be restarted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use taskweir_domain::{EventType, Status};
use taskweir_store::{GROUPS_RECREATED, Limits, RedisSettings, Store};
use taskweir_testkit::{Persistence, TestRedis, eventually};
use taskweir_worker::{Context, Handler, TaskError, TaskId, TaskSpec, Worker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bench::{Bench, Echo, Wait, settings};

/// Each task has run once, whatever happened meanwhile.
async fn completed_once(bench: &Bench, ids: &[TaskId]) {
    bench.connected().await;
    for id in ids {
        bench.reaches(*id, Status::Completed).await;
        let events = bench.events(*id).await;
        let starts = events.iter().filter(|event| **event == EventType::Started);
        assert_eq!(starts.count(), 1, "{events:?}");
    }
}

async fn submit_many(bench: &Bench, count: usize, data: &str) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(bench.submit("echo", data).await);
    }
    ids
}

/// Kills Redis and starts it with a file that takes two seconds to load; comes back once it loads.
async fn killed_and_loading(bench: &mut Bench) {
    bench.redis.kill_and_load_slowly().await;
    eventually("it loads", async || {
        let error = bench.store.ping().await.err()?;
        assert!(error.is_transient(), "{error}");
        error.to_string().contains("loading").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_loads_its_file_is_waited_for() {
    let mut bench = Bench::on(TestRedis::start_with(Persistence::Aof, &[])).await;
    let worker = bench.run(bench.builder().handler(Wait));
    let id = bench.submit("wait", "400").await;
    bench.reaches(id, Status::Processing).await;
    killed_and_loading(&mut bench).await;
    completed_once(&bench, &[id]).await;
    worker.stop().await;
}

/// How often somebody was told that Redis loads its file.
fn told_to_wait(redis: &TestRedis) -> u64 {
    redis.counter("errorstats", "errorstat_LOADING:count=")
}

#[tokio::test]
async fn a_worker_that_starts_while_the_server_loads_waits_for_it() {
    let mut bench = Bench::on(TestRedis::start_with(Persistence::Aof, &[])).await;
    let id = bench.submit("echo", "1").await;
    killed_and_loading(&mut bench).await;
    let before = told_to_wait(&bench.redis);
    let worker = bench.run(bench.builder().handler(Echo));
    eventually("the worker is told so too", async || {
        (told_to_wait(&bench.redis) > before).then_some(())
    })
    .await;
    completed_once(&bench, &[id]).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_primary_that_became_a_replica_is_waited_for() {
    let bench = Bench::new().await;
    let worker = bench.run(bench.builder().handler(Wait));
    let id = bench.submit("wait", "700").await;
    bench.reaches(id, Status::Processing).await;
    assert_eq!(bench.redis.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    let actor = taskweir_domain::Actor::anonymous();
    let error = bench.store.cancel(id, &actor).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    // The attempt ends meanwhile.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(bench.redis.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    completed_once(&bench, &[id]).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_replica_without_its_primary_is_waited_for() {
    let bench = Bench::new().await;
    let stale = ["CONFIG", "SET", "replica-serve-stale-data", "no"];
    assert_eq!(bench.redis.cli(&stale), "OK");
    let worker = bench.run(bench.builder().handler(Wait).handler(Echo));
    let id = bench.submit("wait", "700").await;
    bench.reaches(id, Status::Processing).await;
    let waiting = bench.submit("echo", "1").await;
    bench.reaches(waiting, Status::Completed).await;
    assert_eq!(bench.redis.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    let actor = taskweir_domain::Actor::anonymous();
    let error = bench.store.cancel(id, &actor).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    // The attempt ends meanwhile.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(bench.redis.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    completed_once(&bench, &[id]).await;
    worker.stop().await;
}

/// Two nodes of a cluster, of which the first has every slot.
async fn cluster() -> (TestRedis, TestRedis) {
    let node = || TestRedis::start_with(Persistence::None, &["--cluster-enabled", "yes"]);
    let (first, second) = (node(), node());
    let slots: Vec<String> = (0..16_384).map(|slot| slot.to_string()).collect();
    let mut add = vec!["CLUSTER", "ADDSLOTS"];
    add.extend(slots.iter().map(String::as_str));
    assert_eq!(first.cli(&add), "OK");
    let port = second.port().to_string();
    assert_eq!(first.cli(&["CLUSTER", "MEET", "127.0.0.1", &port]), "OK");
    eventually("both know each other", async || {
        let knows = |node: &TestRedis| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        (knows(&first) && knows(&second)).then_some(())
    })
    .await;
    (first, second)
}

#[tokio::test]
async fn a_server_that_has_our_slots_no_more_is_left() {
    let (first, second) = cluster().await;
    let bench = Bench::on(first).await;
    let wire = Wire::to(&bench.redis).await;
    let through = wire.settings(&bench.redis);
    let store = Store::connect(&through, Limits::default()).await.unwrap();
    let worker = bench.run(Worker::builder(through).handler(Echo));
    let id = bench.submit("echo", "1").await;
    completed_once(&bench, &[id]).await;
    // From here on the address leads to the node that can only say where the slots are.
    wire.lead(second.port());
    let killed = bench.redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(killed.parse::<u32>().is_ok(), "{killed}");
    let actor = taskweir_domain::Actor::anonymous();
    eventually("it says so", async || {
        let error = store.cancel(id, &actor).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        error.to_string().contains("Moved").then_some(())
    })
    .await;
    // No connection to it is closed: whoever has one must leave it by himself.
    wire.lead(bench.redis.port());
    bench.connected().await;
    let ids = submit_many(&bench, 5, "1").await;
    completed_once(&bench, &ids).await;
    worker.stop().await;
}

#[tokio::test]
async fn with_memory_full_a_worker_goes_on() {
    let bench = Bench::new().await;
    let ids = submit_many(&bench, 50, "1").await;
    assert_eq!(bench.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    let worker = bench.run(bench.builder().handler(Echo));
    completed_once(&bench, &ids).await;
    worker.stop().await;
}

#[tokio::test]
async fn forgotten_scripts_and_groups_are_made_again_under_way_and_told() {
    // No other test here records.
    let recorder = PrometheusBuilder::new().install_recorder().unwrap();
    let bench = Bench::new().await;
    let worker = bench.run(bench.builder().handler(Wait).handler(Echo));
    let running = bench.submit("wait", "1500").await;
    bench.reaches(running, Status::Processing).await;
    assert_eq!(bench.redis.cli(&["SCRIPT", "FLUSH"]), "OK");
    let ready = bench.redis.cli(&["KEYS", "*:ready:*"]);
    assert!(!ready.is_empty());
    for stream in ready.lines() {
        let gone = bench.redis.cli(&["XGROUP", "DESTROY", stream, "workers"]);
        assert!(gone == "1" || gone == "0", "{gone}");
    }
    let mut ids = submit_many(&bench, 10, "1").await;
    ids.push(running);
    completed_once(&bench, &ids).await;
    let told = recorder.render();
    let made = told.lines().find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        (name == GROUPS_RECREATED).then(|| value.parse::<u64>().unwrap())
    });
    assert!(made > Some(0), "{told}");
    worker.stop().await;
}

#[tokio::test]
async fn killed_connections_are_made_again() {
    let bench = Bench::new().await;
    let worker = bench.run(bench.builder().handler(Echo));
    let mut ids = Vec::new();
    for _ in 0..20 {
        let killed = bench.redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(killed.parse::<u32>().is_ok(), "{killed}");
        bench.connected().await;
        ids.extend(submit_many(&bench, 2, "1").await);
    }
    completed_once(&bench, &ids).await;
    worker.stop().await;
}

#[tokio::test]
async fn answers_too_long_for_redis_are_asked_for_again() {
    let bench = Bench::new().await;
    let data = format!("\"{}\"", "x".repeat(900));
    let ids = submit_many(&bench, 100, &data).await;
    let limit = |limit: &str| {
        let limit = format!("normal {limit} 0 0");
        bench
            .redis
            .cli(&["CONFIG", "SET", "client-output-buffer-limit", &limit])
    };
    assert_eq!(limit("20kb"), "OK");
    let wire = Wire::to(&bench.redis).await;
    let worker = Worker::builder(wire.settings(&bench.redis)).handler(Echo);
    let worker = bench.run(worker.concurrency(100));
    // Many tasks in one answer are more than Redis wants to keep for a client.
    eventually("Redis hangs up", async || {
        (wire.hung_up() > 0).then_some(())
    })
    .await;
    assert_eq!(limit("0"), "OK");
    for id in &ids {
        bench.reaches(*id, Status::Completed).await;
    }
    worker.stop().await;
}

/// A wire to Redis that can go dead without a word: what is on it is swallowed, and nothing is closed.
struct Wire {
    port: u16,
    /// Connections numbered below this one are dead.
    dead: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
    /// Connections that were closed by Redis.
    hung_up: Arc<AtomicUsize>,
    /// Where new connections lead.
    server: Arc<AtomicU16>,
}

/// Gives whether `from` closed it.
async fn swallow_or_pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    number: usize,
    dead: Arc<AtomicUsize>,
) -> bool {
    let mut buffer = vec![0; 64 * 1_024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if number >= dead.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).await.is_err() {
            return false;
        }
    }
    if number < dead.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    true
}

impl Wire {
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's process")]
    async fn to(redis: &TestRedis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self {
            port: listener.local_addr().unwrap().port(),
            dead: Arc::default(),
            made: Arc::default(),
            hung_up: Arc::default(),
            server: Arc::new(AtomicU16::new(redis.port())),
        };
        let (dead, made) = (Arc::clone(&wire.dead), Arc::clone(&wire.made));
        let (server, hung_up) = (Arc::clone(&wire.server), Arc::clone(&wire.hung_up));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let port = server.load(Ordering::SeqCst);
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let number = made.fetch_add(1, Ordering::SeqCst);
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                let out = swallow_or_pass(client_in, server_out, number, Arc::clone(&dead));
                let back = swallow_or_pass(server_in, client_out, number, Arc::clone(&dead));
                let hung_up = Arc::clone(&hung_up);
                tokio::spawn(async move {
                    // What the client closed is not laid to Redis.
                    tokio::select! {
                        biased;
                        _ = out => {}
                        true = back => {
                            hung_up.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        wire
    }

    /// Settings of who goes through it.
    fn settings(&self, redis: &TestRedis) -> RedisSettings {
        RedisSettings {
            url: format!("redis://127.0.0.1:{}", self.port),
            ..settings(redis)
        }
    }

    fn hung_up(&self) -> usize {
        self.hung_up.load(Ordering::SeqCst)
    }

    fn lead(&self, port: u16) {
        self.server.store(port, Ordering::SeqCst);
    }

    fn kill(&self) {
        let made = self.made.load(Ordering::SeqCst);
        self.dead.store(made, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_dead_wire_that_nobody_closed_is_given_up() {
    let bench = Bench::new().await;
    let wire = Wire::to(&bench.redis).await;
    let through = wire.settings(&bench.redis);
    let worker = bench.run(Worker::builder(through).handler(Echo));
    let first = bench.submit("echo", "1").await;
    completed_once(&bench, &[first]).await;
    wire.kill();
    let ids = submit_many(&bench, 5, "1").await;
    let done = tokio::time::timeout(Duration::from_secs(60), async {
        for id in &ids {
            taskweir_testkit::eventually_within(
                Duration::from_secs(60),
                "it is done",
                async || (bench.status(*id).await == Status::Completed).then_some(()),
            )
            .await;
        }
    });
    done.await.unwrap();
    worker.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once_and_never_shown() {
    let redis = TestRedis::start_with(Persistence::None, &["--requirepass", "hunter2"]);
    let with = |user: &str| RedisSettings::at(format!("redis://{user}127.0.0.1:{}", redis.port()));
    for user in ["", ":swordfish@"] {
        let settings = with(user);
        let connecting = Store::connect_waiting(&settings, Limits::default());
        let refused = tokio::time::timeout(Duration::from_secs(5), connecting).await;
        let error = refused.expect("waiting would not help").unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("swordfish") && !text.contains("hunter2"),
            "{text}"
        );
    }
    let right = with(":hunter2@");
    taskweir_store::migrate(&right, taskweir_store::MigrateOptions { partitions: 1 })
        .await
        .unwrap();
    let store = Store::connect_waiting(&right, Limits::default())
        .await
        .unwrap();
    store.ping().await.unwrap();
}

/// Stops when it is told to, and says so.
struct Obeys(Arc<AtomicUsize>);

impl Handler for Obeys {
    const TYPE: &'static str = "obeys";
    type Payload = ();
    type Output = ();

    async fn run(&self, context: &Context, (): ()) -> Result<(), TaskError> {
        let reason = context.cancelled().await;
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(TaskError::retry(format!("stopped: {reason:?}")))
    }
}

fn signal(pid: u32, name: &str) {
    let mut kill = std::process::Command::new("kill");
    let sent = kill.args([format!("-{name}"), pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// It could have gone on elsewhere, had anybody known; that is no failure of the task.
#[tokio::test]
async fn who_stops_because_the_lease_was_lost_has_not_failed() {
    let bench = Bench::new().await;
    let stopped = Arc::new(AtomicUsize::new(0));
    let builder = bench.builder().lease(Duration::from_secs(1));
    let worker = bench.run(builder.handler(Obeys(Arc::clone(&stopped))));
    let once = |spec: &mut TaskSpec| spec.retry.max_retries = 0;
    let id = bench.submit_with("obeys", "null", once).await;
    bench.reaches(id, Status::Processing).await;
    signal(bench.redis.pid(), "STOP");
    eventually("the handler is told", async || {
        (stopped.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    signal(bench.redis.pid(), "CONT");
    let partition = bench.partition_of(id);
    eventually("the worker holds nothing", async || {
        let (workers, _) = partition.workers().await.ok()?;
        (workers.len() == 1 && workers[0].info.running == 0).then_some(())
    })
    .await;
    // Nobody has taken it from the worker yet; who would, counts a loss.
    let detail = bench.reaches(id, Status::Processing).await;
    assert_eq!((detail.task.failures, detail.task.attempt), (0, 1));
    worker.stop().await;
}
