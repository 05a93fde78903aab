//! The client commands: call the gateway, print a table or JSON.

mod bulk;
mod submit;
mod table;
mod watch;

use taskweir_client::{Answer, Client, ClientError};
use taskweir_runtime::Env;
use taskweir_store::clock;

use crate::cli::{
    ClientCommand, DeadLetters, Dlq, List, OperationAction, Page, QueueAction, Stats, Which,
};
use crate::output::{Misuse, say_json};
use crate::when;

/// Calls the gateway and prints its answer.
pub async fn run(command: ClientCommand, json: bool) -> anyhow::Result<()> {
    let env = Env::process();
    let client = gateway(&env)?;
    let (answer, show): (Answer, fn(&Answer)) = match command {
        ClientCommand::Submit(submit) => match submit.batch {
            Some(path) => return submit::batch(&client, &path, json).await,
            None => (submit::one(&client, *submit).await?, table::accepted),
        },
        ClientCommand::Cancel(target) => match &target.id {
            Some(id) => {
                let reason = target.bulk.reason.as_deref();
                (client.cancel(id, reason).await?, table::accepted)
            }
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
            let as_of = past("as-of", as_of)?;
            (client.task(&id, as_of.as_deref()).await?, table::task)
        }
        ClientCommand::List(list) => (client.tasks(&query(list)?).await?, table::tasks),
        ClientCommand::History { id } => (client.history(&id).await?, table::history),
        ClientCommand::Dlq { action } => dlq(&client, *action).await?,
        ClientCommand::Queues { action: None, page } => {
            let query: Vec<_> = present(page.into_fields()).collect();
            (client.queues(&query).await?, table::queues)
        }
        ClientCommand::Queues {
            action: Some(QueueAction::Pause { queue, reason }),
            ..
        } => {
            let answer = client.pause(&queue, true, reason.as_deref()).await?;
            (answer, table::queue)
        }
        ClientCommand::Queues {
            action: Some(QueueAction::Resume { queue, reason }),
            ..
        } => {
            let answer = client.pause(&queue, false, reason.as_deref()).await?;
            (answer, table::queue)
        }
        ClientCommand::Workers => (client.workers().await?, table::workers),
        ClientCommand::Stats(Stats { as_of, from, to }) => {
            let given = [
                ("as_of", past("as-of", as_of)?),
                ("from", past("from", from)?),
                ("to", past("to", to)?),
            ];
            let query: Vec<_> = present(given).collect();
            if query.iter().any(|(name, _)| *name == "from") {
                (client.stats_diff(&query).await?, table::diff)
            } else {
                (client.stats(&query).await?, table::stats)
            }
        }
    };
    if json {
        say_json(answer.text());
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

/// A call about dead letters, and how its answer is shown.
async fn dlq(client: &Client, action: Dlq) -> anyhow::Result<(Answer, fn(&Answer))> {
    Ok(match action {
        Dlq::List(list) => (client.dead_letters(&dead_query(list)?).await?, table::tasks),
        Dlq::Retry(target) => match &target.id {
            Some(id) => {
                let reason = target.bulk.reason.as_deref();
                (client.retry_dead_letter(id, reason).await?, table::accepted)
            }
            None => (
                bulk::of_dead(client, "retry", target).await?,
                table::operation,
            ),
        },
        Dlq::Remove(target) => match &target.id {
            Some(id) => {
                let reason = target.bulk.reason.as_deref();
                client.remove_dead_letter(id, reason).await?;
                let removed = serde_json::json!({ "id": id, "status": "removed" });
                (removed.into(), table::accepted)
            }
            None => (
                bulk::of_dead(client, "delete", target).await?,
                table::operation,
            ),
        },
    })
}

/// An instant of the past, as the API takes it.
fn past(name: &str, text: Option<String>) -> Result<Option<String>, Misuse> {
    let now_ms = clock::now_ms();
    text.map(|text| when::as_of(name, text, now_ms)).transpose()
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
