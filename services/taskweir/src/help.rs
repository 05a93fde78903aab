//! What each subcommand reads from the environment, with defaults, for `--help`.

macro_rules! environment {
    ($($line:expr),+ $(,)?) => { concat!("Environment:\n", $($line, "\n"),+) };
}

macro_rules! redis {
    () => {
        "  REDIS_URL                 redis://[user:password@]host:port, or
  REDIS_HOST, REDIS_PORT    [localhost, 6379]
  TASKWEIR_PREFIX           first part of every key [tw]
  TASKWEIR_ALLOW_EVICTION   1 to start where Redis may throw tasks away [0]
  LOG_FORMAT, RUST_LOG      pretty or json, log filter [pretty, info]"
    };
}

macro_rules! traces {
    () => {
        "  JAEGER_HOST, JAEGER_PORT  where traces go by OTLP over gRPC [none, 4317], or
  OTEL_EXPORTER_OTLP_ENDPOINT  http://host:port, which wins [none]"
    };
}

macro_rules! retention {
    () => {
        "  RETENTION                 how long the history of ended tasks stays [7d]"
    };
}

macro_rules! dead {
    () => {
        "  DLQ_RETENTION             how long dead letters are kept, such as 30d [until somebody removes them]"
    };
}

macro_rules! redact {
    () => {
        "  REDACT_FIELDS             what is hidden of payloads: card.number,$.users[*].email,..password [none]"
    };
}

macro_rules! connections {
    () => {
        "  TRUSTED_PROXIES           proxies in front, by whose X-Forwarded-For clients are told apart [0]
  MAX_CONNECTIONS           connections at once; 0 for any number [4096]
  MAX_CONNECTIONS_PER_ADDRESS  of one address; any number behind proxies [1024]
  MAX_EVENT_STREAMS         event streams at once [1000]
  MAX_EVENT_STREAMS_PER_ADDRESS  of one client [200]"
    };
}

macro_rules! admin {
    () => {
        concat!(
            "  METRICS_ADDR              probes and metrics over HTTP [off]
  TASKWEIR_ALLOW_ANONYMOUS  1 to listen off loopback without API keys [0]
  TASKWEIR_API_KEYS         name:role:secret,… roles viewer, submitter, operator, admin [none]
",
            connections!()
        )
    };
}

macro_rules! submit {
    () => {
        "  MAX_RETRIES               retries after the first attempt [3]
  INITIAL_RETRY_DELAY       seconds [5]
  RETRY_BACKOFF_MULTIPLIER  factor per retry [2.0]
  MAX_RETRY_DELAY           seconds [3600]
  RETRY_JITTER              share of the delay, 0 to 1 [0.1]
  MAX_DELIVERIES            crashes of workers that a task survives [5]
  MAX_PAYLOAD               longest payload [256KiB]
  MAX_QUEUE_LENGTH          most ready and parked tasks of a queue [0, any]
  MAX_QUEUES                most queues [0, any]
  MEMORY_BUDGET             memory of Redis at which submits are refused, such as 2GiB [none]
  DURABILITY                what a submit waits for: aof, fsync, replicas:N, fsync+replicas:N [aof]"
    };
}

macro_rules! lease {
    () => {
        "  LEASE_SECONDS             silence after which a task is redelivered [30]"
    };
}

macro_rules! worker {
    () => {
        "  WORKER_CONCURRENCY        tasks at once [16]
  WORKER_QUEUES             queues, separated by commas [default]
  SHUTDOWN_GRACE            seconds for running tasks at SIGTERM [25]
  HTTP_TASK_ALLOW           hosts the http demo task may call [none]"
    };
}

macro_rules! listen {
    ($name:literal, $default:literal) => {
        concat!(
            "  ",
            $name,
            "              where it listens [",
            $default,
            "]\n",
            "  TASKWEIR_ALLOW_ANONYMOUS  1 to listen off loopback without API keys [0]
  TASKWEIR_API_KEYS         name:role:secret,… roles viewer, submitter, operator, admin [none]
",
            connections!()
        )
    };
}

pub const DEV: &str = environment!(
    "  REDIS_URL                 use this server and start none [a private one, data in ./data], or",
    "  REDIS_HOST, REDIS_PORT    the same [none, 6379]",
    "  TASKWEIR_DEV_REDIS_PORT   the port its Redis tries first [6390]",
    "  TASKWEIR_PREFIX           first part of every key [tw]",
    "  TASKWEIR_ALLOW_EVICTION   1 to start where Redis may throw tasks away [0]",
    "  PARTITIONS                number of partitions, read when the layout is made [1]",
    "  GATEWAY_ADDR              [127.0.0.1:8000]",
    "  DASHBOARD_ADDR            [127.0.0.1:5001]",
    "  GATEWAY_BASE_PATH, DASHBOARD_BASE_PATH  the path under which a proxy shows it [none]",
    "  TASKWEIR_API_KEYS         name:role:secret,… roles viewer, submitter, operator, admin [none]",
    "  TASKWEIR_ALLOW_ANONYMOUS  1 to listen off loopback without API keys [0]",
    connections!(),
    "  TRACE_URL                 where a trace is looked at: http://localhost:16686/trace/{trace_id} [none]",
    traces!(),
    "  LOG_FORMAT, RUST_LOG      pretty or json, log filter [pretty, info]",
    worker!(),
    lease!(),
    redact!(),
    retention!(),
    dead!(),
    submit!()
);
pub const MIGRATE: &str = environment!(
    redis!(),
    "  PARTITIONS                number of partitions, read when the layout is made [1]",
);
pub const VERIFY: &str = environment!(redis!());
pub const CHAOS: &str = "Needs redis-server; with a C compiler its clock is stepped too.";
pub const GATEWAY: &str = environment!(
    redis!(),
    traces!(),
    listen!("GATEWAY_ADDR", "127.0.0.1:8000"),
    "  GATEWAY_BASE_PATH         the path under which a proxy shows it, such as /queue [none]",
    redact!(),
    retention!(),
    submit!()
);
pub const DASHBOARD: &str = environment!(
    redis!(),
    traces!(),
    listen!("DASHBOARD_ADDR", "127.0.0.1:5001"),
    "  DASHBOARD_BASE_PATH       the path under which a proxy shows it, such as /admin [none]",
    "  METRICS_ADDR              metrics and probes over HTTP [off]",
    "  TRACE_URL                 where a trace is looked at: http://localhost:16686/trace/{trace_id} [none]",
    redact!(),
    retention!(),
    submit!()
);
pub const WORKER: &str = environment!(
    redis!(),
    traces!(),
    worker!(),
    lease!(),
    redact!(),
    retention!(),
    "  DURABILITY, MAX_QUEUES, MAX_QUEUE_LENGTH and MEMORY_BUDGET are of submits: checked, and of no effect here",
    admin!()
);
pub const PROJECTOR: &str = environment!(redis!(), traces!(), admin!());
pub const SCHEDULER: &str = environment!(
    redis!(),
    traces!(),
    lease!(),
    retention!(),
    dead!(),
    "  MEMORY_BUDGET             from nine tenths of it on, history goes before RETENTION [none]",
    "  DURABILITY, MAX_QUEUES and MAX_QUEUE_LENGTH are of submits: checked, and of no effect here",
    admin!()
);
pub const CLIENT: &str = environment!(
    "  TASKWEIR_URL              the gateway, by http or https [http://localhost:8000]",
    "  TASKWEIR_API_KEY          the secret of an API key, where the gateway wants one [none]",
);
