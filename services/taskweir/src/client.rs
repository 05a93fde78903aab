//! The client commands: call the gateway, print a table or JSON.

mod bulk;
mod table;
mod watch;

use std::time::Duration;

use serde_json::{Map, Value};
use taskweir_client::{Client, ClientError};
use taskweir_runtime::Env;

use crate::cli::{
    ClientCommand, DeadLetters, Dlq, List, OperationAction, Page, QueueAction, Stats, Submit, Which,
};
use crate::output::{Misuse, say_json};

/// Calls the gateway and prints its answer.
pub async fn run(command: ClientCommand, json: bool) -> anyhow::Result<()> {
    let env = Env::process();
    let client = gateway(&env)?;
    let (answer, show): (Value, fn(&Value)) = match command {
        ClientCommand::Submit(submit) => (submitted(&client, *submit).await?, table::accepted),
        ClientCommand::Cancel(target) => match &target.id {
            Some(id) => (client.cancel(id).await?, table::accepted),
            None => (bulk::cancel(&client, *target).await?, table::operation),
        },
        ClientCommand::Operations { action: None } => {
            (client.operations().await?, table::operations)
        }
        ClientCommand::Operations {
            action: Some(OperationAction::Get { id }),
        } => (client.operation(&id).await?, table::operation),
        ClientCommand::Operations {
            action: Some(OperationAction::Stop { id }),
        } => (client.stop_operation(&id).await?, table::operation),
        ClientCommand::Watch { id: Some(id), .. } => return watch::task(&client, &id, json).await,
        ClientCommand::Watch { every, times, .. } => {
            let every = std::time::Duration::from_secs_f64(every.min(86_400.0));
            return watch::system(&client, every, times, json).await;
        }
        ClientCommand::Get { id, as_of } => {
            (client.task(&id, as_of.as_deref()).await?, table::task)
        }
        ClientCommand::List(list) => (client.tasks(&query(list)?).await?, table::tasks),
        ClientCommand::History { id } => (client.history(&id).await?, table::history),
        ClientCommand::Dlq { action } => dlq(&client, *action).await?,
        ClientCommand::Queues { action: None } => (client.queues().await?, table::queues),
        ClientCommand::Queues {
            action: Some(QueueAction::Pause { queue }),
        } => (client.pause(&queue, true).await?, table::queue),
        ClientCommand::Queues {
            action: Some(QueueAction::Resume { queue }),
        } => (client.pause(&queue, false).await?, table::queue),
        ClientCommand::Workers => (client.workers().await?, table::workers),
        ClientCommand::Stats(Stats { as_of, from, to }) => {
            let given = [("as_of", as_of), ("from", from), ("to", to)];
            let query: Vec<_> = present(given).collect();
            if query.iter().any(|(name, _)| *name == "from") {
                (client.stats_diff(&query).await?, table::diff)
            } else {
                (client.stats(&query).await?, table::stats)
            }
        }
    };
    if json {
        say_json(&answer);
    } else {
        show(&answer);
    }
    Ok(())
}

/// The client of the gateway that the environment names.
fn gateway(env: &Env) -> anyhow::Result<Client> {
    let base = env.text("TASKWEIR_URL")?;
    let base = base.unwrap_or_else(|| "http://localhost:8000".to_owned());
    let secret = env.text("TASKWEIR_API_KEY")?;
    Ok(Client::new(&base, secret.as_deref()).map_err(|error| {
        let variable = match &error {
            ClientError::Secret => "TASKWEIR_API_KEY",
            ClientError::Tls(_) => "SSL_CERT_FILE",
            _ => "TASKWEIR_URL",
        };
        Misuse(format!("{variable}: {error}"))
    })?)
}

/// Tries of a submit, and the pause between two.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Submits under a key, drawn where none is given, so that what a lost answer hides is not submitted twice: neither
/// by us nor by who is told the key.
async fn submitted(client: &Client, mut submit: Submit) -> anyhow::Result<Value> {
    let key = submit.idempotency_key.take();
    let key = key.unwrap_or_else(taskweir_store::entropy::nonce);
    let task = request(submit)?;
    let mut tries = 1;
    loop {
        match client.submit(&task, &key).await {
            Err(error) if error.is_transient() && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) if error.is_transient() => {
                let again = format!(
                    "not known to be submitted; once more with --idempotency-key {key} is safe"
                );
                return Err(anyhow::Error::new(error).context(again));
            }
            ended => return Ok(ended?),
        }
    }
}

/// A call about dead letters, and how its answer is shown.
async fn dlq(client: &Client, action: Dlq) -> anyhow::Result<(Value, fn(&Value))> {
    Ok(match action {
        Dlq::List(list) => (client.dead_letters(&dead_query(list)?).await?, table::tasks),
        Dlq::Retry(target) => match &target.id {
            Some(id) => (client.retry_dead_letter(id).await?, table::accepted),
            None => (
                bulk::of_dead(client, "retry", target).await?,
                table::operation,
            ),
        },
        Dlq::Remove(target) => match &target.id {
            Some(id) => {
                client.remove_dead_letter(id).await?;
                let removed = serde_json::json!({ "id": id, "status": "removed" });
                (removed, table::accepted)
            }
            None => (
                bulk::of_dead(client, "delete", target).await?,
                table::operation,
            ),
        },
    })
}

/// The body of a submit.
fn request(submit: Submit) -> anyhow::Result<Value> {
    let mut body = Map::new();
    body.insert("type".to_owned(), submit.kind.into());
    if let Some(data) = submit.data {
        let data: Value = serde_json::from_str(&data).map_err(|_| {
            Misuse(format!(
                "DATA must be JSON; for a text, quote it twice: '\"{data}\"'"
            ))
        })?;
        body.insert("data".to_owned(), data);
    }
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("queue", submit.queue.map(Value::from));
    put("priority", submit.priority.map(Value::from));
    put("max_retries", submit.max_retries.map(Value::from));
    put("delay", submit.delay.map(Value::from));
    put("run_at", submit.run_at.map(Value::from));
    put("timeout", submit.timeout.map(Value::from));
    put("expires_in", submit.expires_in.map(Value::from));
    put("unique_key", submit.unique_key.map(Value::from));
    put(
        "retry",
        submit
            .initial_delay
            .map(|delay| serde_json::json!({ "initial_delay": delay })),
    );
    let mut labels = Map::new();
    for label in submit.labels {
        let (name, value) = label
            .split_once('=')
            .ok_or_else(|| Misuse("--label takes NAME=VALUE".to_owned()))?;
        labels.insert(name.to_owned(), value.into());
    }
    if !labels.is_empty() {
        body.insert("labels".to_owned(), labels.into());
    }
    Ok(Value::Object(body))
}

fn query(list: List) -> anyhow::Result<Vec<(&'static str, String)>> {
    let (since, until) = bulk::span(list.since.as_deref(), list.until.as_deref())?;
    let mine = [
        ("status", list.status),
        ("created_after", since),
        ("created_before", until),
    ];
    Ok(asked(mine, list.which, list.page))
}

/// The parameters that were given.
fn present<const N: usize>(
    given: [(&'static str, Option<String>); N],
) -> impl Iterator<Item = (&'static str, String)> {
    let given = given.into_iter();
    given.filter_map(|(name, value)| Some((name, value?)))
}

fn dead_query(list: DeadLetters) -> anyhow::Result<Vec<(&'static str, String)>> {
    let (since, until) = bulk::span(list.since.as_deref(), list.until.as_deref())?;
    let mine = [("failed_after", since), ("failed_before", until)];
    Ok(asked(mine, list.which, list.page))
}

/// What a list is asked for.
fn asked<const N: usize>(
    mine: [(&'static str, Option<String>); N],
    which: Which,
    page: Page,
) -> Vec<(&'static str, String)> {
    present(mine)
        .chain(present(which.into_fields()))
        .chain(present(page.into_fields()))
        .collect()
}
