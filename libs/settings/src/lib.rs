//! The settings that several of Taskweir's services share, read from the environment.

use std::time::Duration;

use taskweir_domain::{DraftLimits, Redaction, RetryPolicy, TaskSpec};
use taskweir_store::{Durability, Limits, MigrateOptions, RedisSettings};

pub use taskweir_env::{Env, EnvError};

/// Reads `REDIS_URL`, or `REDIS_HOST` and `REDIS_PORT`, `TASKWEIR_PREFIX` and `TASKWEIR_ALLOW_EVICTION`.
///
/// # Errors
/// One of them cannot be used.
pub fn redis(env: &Env) -> Result<RedisSettings, EnvError> {
    let prefix = env.read(
        "TASKWEIR_PREFIX",
        RedisSettings::PREFIX.to_owned(),
        "1 to 16 letters, digits, '-' or '_'",
        |text| {
            let fits = (1..=16).contains(&text.len());
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            (fits && text.chars().all(plain)).then(|| text.to_owned())
        },
    )?;
    let given = env.text("REDIS_URL")?;
    let name = if given.is_some() {
        "REDIS_URL"
    } else {
        "REDIS_HOST"
    };
    let url = match given {
        Some(url) => url.trim().to_owned(),
        None => {
            let host = env.host("REDIS_HOST")?;
            let host = host.unwrap_or_else(|| "localhost".to_owned());
            let port: u16 = env.parse("REDIS_PORT", 6379, "a port number")?;
            format!("redis://{host}:{port}")
        }
    };
    let allow_eviction = env.switch("TASKWEIR_ALLOW_EVICTION")?;
    let settings = RedisSettings {
        url,
        prefix,
        allow_eviction,
    };
    // The value may hold a password: it is not shown.
    settings
        .check()
        .map_err(|why| EnvError::unusable(name, why.to_string()))?;
    Ok(settings)
}

/// Reads `RETENTION`, `MAX_QUEUE_LENGTH`, `MEMORY_BUDGET` and `DURABILITY`.
///
/// # Errors
/// One of them cannot be used.
pub fn limits(env: &Env) -> Result<Limits, EnvError> {
    let week = Duration::from_secs(7 * 24 * 3_600);
    let retention = env.span("RETENTION", week)?;
    if retention < Duration::from_secs(1) {
        return Err(EnvError::Value {
            name: "RETENTION".to_owned(),
            value: env.text("RETENTION")?.unwrap_or_default(),
            takes: "at least 1s".to_owned(),
        });
    }
    let budget = env.size("MEMORY_BUDGET", 0)?;
    let takes = "aof, fsync, replicas:N or fsync+replicas:N (N from 1 to 255)";
    let durability = env.read("DURABILITY", Durability::Aof, takes, |text| {
        text.parse().ok()
    })?;
    Ok(Limits {
        durability,
        memory_budget: (budget > 0).then_some(budget as u64),
        retention_ms: u64::try_from(retention.as_millis()).unwrap_or(u64::MAX),
        max_queue_length: env.parse("MAX_QUEUE_LENGTH", 0, "a whole number; 0 for no limit")?,
        max_queues: env.parse("MAX_QUEUES", 0, "a whole number; 0 for no limit")?,
    })
}

/// Reads `DLQ_RETENTION`: how long dead letters are kept; `None` = until somebody removes them.
///
/// # Errors
/// It is no span of time, or too short.
pub fn keep_dead(env: &Env) -> Result<Option<Duration>, EnvError> {
    let keep = env.span("DLQ_RETENTION", Duration::ZERO)?;
    match env.text("DLQ_RETENTION")? {
        None => Ok(None),
        Some(value) if keep < Duration::from_secs(1) => Err(EnvError::Value {
            name: "DLQ_RETENTION".to_owned(),
            value,
            takes: "at least 1s".to_owned(),
        }),
        Some(_) => Ok(Some(keep)),
    }
}

/// Reads `REDACT_FIELDS`.
///
/// # Errors
/// It is no list of paths.
pub fn redaction(env: &Env) -> Result<Redaction, EnvError> {
    let takes = "paths such as card.number, $.users[*].email or ..password, separated by commas";
    env.parse("REDACT_FIELDS", Redaction::default(), takes)
}

/// Reads `LEASE_SECONDS`.
///
/// # Errors
/// It is no number of seconds, or too few.
pub fn lease(env: &Env) -> Result<Duration, EnvError> {
    let takes = "a number of seconds from 0.3 to 86400, decimals allowed";
    let seconds = env.read("LEASE_SECONDS", 30.0, takes, |text| {
        let seconds: f64 = text.parse().ok()?;
        (0.3..=86_400.0).contains(&seconds).then_some(seconds)
    })?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads `PARTITIONS`.
///
/// # Errors
/// It is no number from 1 to 256.
pub fn migrate(env: &Env) -> Result<MigrateOptions, EnvError> {
    let partitions = env.read("PARTITIONS", 1, "a whole number from 1 to 256", |text| {
        text.parse().ok().filter(|count| (1..=256).contains(count))
    })?;
    Ok(MigrateOptions { partitions })
}

/// Reads what tasks get where they do not say: `MAX_RETRIES`, `INITIAL_RETRY_DELAY`,
/// `RETRY_BACKOFF_MULTIPLIER`, `MAX_RETRY_DELAY`, `RETRY_JITTER`, `MAX_DELIVERIES`, `MAX_PAYLOAD`.
///
/// # Errors
/// One of them cannot be used.
pub fn submit(env: &Env) -> Result<DraftLimits, EnvError> {
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let factor = |name, default, min: f64, max: f64| {
        let takes = format!("a number from {min} to {max}");
        env.read(name, default, &takes, |text| {
            text.parse()
                .ok()
                .filter(|factor| (min..=max).contains(factor))
        })
    };
    let count = |name, default| {
        env.read(name, default, "a whole number from 0 to 1000", |text| {
            text.parse().ok().filter(|count| *count <= 1_000)
        })
    };
    let max_payload = env.size("MAX_PAYLOAD", 256 * 1024)?;
    if max_payload == 0 || max_payload > 1024 * 1024 {
        return Err(EnvError::Value {
            name: "MAX_PAYLOAD".to_owned(),
            value: env.text("MAX_PAYLOAD")?.unwrap_or_default(),
            takes: "up to 1MiB: store more elsewhere and pass its address".to_owned(),
        });
    }
    Ok(DraftLimits {
        retry: RetryPolicy {
            max_retries: count("MAX_RETRIES", 3)?,
            initial_delay_ms: ms(env.seconds("INITIAL_RETRY_DELAY", 5.0)?),
            multiplier: factor("RETRY_BACKOFF_MULTIPLIER", 2.0, 1.0, 1_000.0)?,
            max_delay_ms: ms(env.seconds("MAX_RETRY_DELAY", 3_600.0)?),
            jitter: factor("RETRY_JITTER", 0.1, 0.0, 1.0)?,
        },
        max_deliveries: count("MAX_DELIVERIES", TaskSpec::DEFAULT_MAX_DELIVERIES)?,
        max_payload,
    })
}

#[cfg(test)]
mod tests {
    use taskweir_domain::DraftLimits;

    use super::{Env, lease, limits, migrate, redis, submit};

    #[test]
    fn an_empty_environment_gives_the_documented_defaults() {
        let env = Env::of([]);
        assert_eq!(redis(&env).unwrap().url, "redis://localhost:6379");
        assert_eq!(limits(&env).unwrap().retention_ms, 604_800_000);
        assert_eq!(lease(&env).unwrap().as_secs(), 30);
        assert_eq!(migrate(&env).unwrap().partitions, 1);
        assert_eq!(submit(&env).unwrap(), DraftLimits::default());
    }

    #[test]
    fn bad_values_are_refused_and_secrets_are_not_shown() {
        let error = redis(&Env::of([("REDIS_URL", "http://:hunter2@here")])).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("REDIS_URL"));
        for (name, value) in [
            ("MAX_RETRIES", "-1"),
            ("RETRY_JITTER", "2"),
            ("RETRY_BACKOFF_MULTIPLIER", "0.1"),
            ("INITIAL_RETRY_DELAY", "soon"),
            ("MAX_PAYLOAD", "2MiB"),
            ("MAX_DELIVERIES", "x"),
        ] {
            let error = submit(&Env::of([(name, value)])).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
        assert!(lease(&Env::of([("LEASE_SECONDS", "0")])).is_err());
        assert!(limits(&Env::of([("RETENTION", "0s")])).is_err());
        assert!(limits(&Env::of([("DURABILITY", "disk")])).is_err());
        assert!(migrate(&Env::of([("PARTITIONS", "0")])).is_err());
        assert!(redis(&Env::of([("TASKWEIR_PREFIX", "a{b")])).is_err());
    }
}
