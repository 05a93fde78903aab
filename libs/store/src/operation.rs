//! Bulk operations: what a person asks for of every task that passes a filter. They stand in Redis, in the
//! first partition, and any scheduler takes one up where another left it.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Value;
use serde::{Deserialize, Serialize};
use taskweir_domain::{Actor, Status, TaskId};

use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Filter, Partition, Store, StoreError};

/// Operations that may be under way at once.
pub const MAX_OPERATIONS: usize = 100;
/// How long an ended operation can be looked at.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Longest count before an operation begins.
pub const COUNTING: Duration = Duration::from_secs(2);
const WHAT: &str = "operation";

/// What is done to each task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Dead letters go back to pending with a fresh budget.
    DlqRetry,
    /// Dead letters go for good.
    DlqDelete,
    /// Tasks that have not ended are cancelled.
    TasksCancel,
}

impl OperationKind {
    /// Longest reason, bytes: it stands in the event of every task.
    pub const MAX_REASON: usize = 500;

    /// Whether it is about dead letters.
    #[must_use]
    pub const fn is_of_dead(self) -> bool {
        matches!(self, Self::DlqRetry | Self::DlqDelete)
    }

    /// Checks that a filter is one of this kind: one that asks for what such tasks do not have must not be taken for
    /// one that asks for less.
    ///
    /// # Errors
    /// Tells the part that does not fit, and why.
    pub fn check(self, filter: &Filter) -> Result<(), (&'static str, &'static str)> {
        let wrong = |status: &Status| {
            if self.is_of_dead() {
                *status != Status::Failed
            } else {
                status.is_final() || *status == Status::Failed
            }
        };
        if filter.statuses.iter().any(wrong) {
            return Err(("status", "tasks of this status are none that this is for"));
        }
        if !self.is_of_dead() {
            for (name, limit) in [
                ("failed_after", filter.failed_after_ms),
                ("failed_before", filter.failed_before_ms),
            ] {
                if limit.is_some() {
                    return Err((name, "only dead letters gave up at a time"));
                }
            }
        }
        let label = filter.label.as_ref();
        let label = label.map(|(name, value)| name.len() + value.len());
        let texts = [
            ("queue", &filter.queue),
            ("type", &filter.task_type),
            ("error", &filter.error),
            ("worker", &filter.worker),
            ("q", &filter.text),
        ];
        let lengths = texts.map(|(name, text)| (name, text.as_ref().map(String::len)));
        let mut lengths = lengths.into_iter().chain([("label", label)]);
        let long = lengths.find(|(_, length)| length.is_some_and(|length| length > MAX_TEXT));
        long.map_or(Ok(()), |(name, _)| Err((name, "is too long")))
    }
}

/// Longest part of a filter, bytes: operations are kept, and every part of one is as short as a name.
const MAX_TEXT: usize = 1_024;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What is done.
    pub kind: OperationKind,
    /// To which tasks.
    pub filter: Filter,
    /// Who asked.
    pub actor: Actor,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When, ms since the epoch; what comes later is not touched.
    pub asked_ms: u64,
    /// Whether `matching` is all of them, or as many as could be counted at once.
    pub exact: bool,
}

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationState {
    /// Under way, or about to be.
    Running,
    /// Every task that matched was looked at.
    Completed,
    /// A person stopped it.
    Stopped,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: TaskId,
    /// What was asked for.
    pub order: Order,
    /// Where it is.
    pub state: OperationState,
    /// Tasks that passed the filter when it was asked for.
    pub matching: u64,
    /// Tasks it has changed.
    pub done: u64,
    /// Tasks that had moved on, or whose unique key was taken.
    pub skipped: u64,
    /// When it ended, ms since the epoch.
    pub ended_ms: Option<u64>,
    /// Who stopped it.
    pub stopped_by: Option<String>,
    /// Where it goes on.
    pub(crate) place: Place,
}

/// How far a runner has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The partition it is in.
    pub(crate) partition: usize,
    /// Where the next page begins.
    pub(crate) cursor: Option<String>,
    /// Tasks that it is about to change, or may have changed already.
    pub(crate) planned: Vec<TaskId>,
    /// Whether `planned` came from the last page of its partition.
    pub(crate) last: bool,
}

/// What became of a request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOutcome {
    /// It does nothing more, but for the page that its runner may be at.
    Stopped,
    /// It had come to its end.
    Ended,
    /// There is none.
    NotFound,
}

/// What became of a claim.
pub(crate) enum Claimed {
    Yours(Box<Operation>),
    Held,
    Ended,
}

/// What became of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saved {
    Done,
    Lost,
    Stopped,
}

impl Operation {
    pub(crate) fn read(id: TaskId, fields: Vec<(String, String)>) -> Result<Self, StoreError> {
        let fields: BTreeMap<String, String> = fields.into_iter().collect();
        let text = |name: &str| fields.get(name).map_or("", String::as_str);
        let broken = |name: &str| StoreError::reply(WHAT, format!("{name} is {:?}", text(name)));
        let number = |name: &str| text(name).parse::<u64>().map_err(|_| broken(name));
        let planned = text("planned");
        let (last, planned) = planned
            .strip_prefix('!')
            .map_or((false, planned), |planned| (true, planned));
        let planned = planned.split_whitespace().map(str::parse).collect();
        Ok(Self {
            id,
            order: serde_json::from_str(text("body")).map_err(|_| broken("body"))?,
            state: match text("state") {
                "running" => OperationState::Running,
                "completed" => OperationState::Completed,
                "stopped" => OperationState::Stopped,
                _ => return Err(broken("state")),
            },
            matching: number("matching")?,
            done: number("done")?,
            skipped: number("skipped")?,
            ended_ms: text("ended").parse().ok(),
            stopped_by: fields.get("stopped_by").cloned(),
            place: Place {
                partition: text("partition").parse().map_err(|_| broken("partition"))?,
                cursor: Some(text("cursor").to_owned()).filter(|text| !text.is_empty()),
                planned: Result::from_iter::<Vec<Result<TaskId, _>>>(planned)
                    .map_err(|_| broken("planned"))?,
                last,
            },
        })
    }
}

impl Store {
    /// The partition in which operations stand.
    fn registry(&self) -> Partition {
        self.partitions().remove(0)
    }

    /// Counts what an operation would change, as far as that is possible within `patience`.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn matching(
        &self,
        kind: OperationKind,
        filter: &Filter,
        patience: Duration,
    ) -> Result<(u64, bool), StoreError> {
        self.count(&bounded(kind, filter, None), kind.is_of_dead(), patience)
            .await
    }

    /// Begins an operation; `None` where [`MAX_OPERATIONS`] are under way.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn operate(
        &self,
        kind: OperationKind,
        filter: Filter,
        actor: Actor,
        reason: Option<String>,
    ) -> Result<Option<Operation>, StoreError> {
        // What stands in a log is earlier than this, whatever clocks say: events never step back.
        let mut asked_ms = self.server_time_ms().await?;
        for partition in self.partitions() {
            asked_ms = asked_ms.max(partition.log_end().await?.0.ms);
        }
        let (matching, exact) = self.matching(kind, &filter, COUNTING).await?;
        let order = Order {
            kind,
            filter,
            actor,
            reason,
            asked_ms,
            exact,
        };
        let registry = self.registry();
        let id = self.mint_in(registry.keys.partition());
        let body = serde_json::to_string(&order).expect("strings and numbers");
        let create = async || {
            let created = registry.eval(Script::OperationCreate, 4, |cmd| {
                cmd.arg(registry.keys.log())
                    .arg(registry.keys.operation(id));
                cmd.arg(registry.keys.operations())
                    .arg(registry.keys.operations_running());
                cmd.arg(id.to_string()).arg(MAX_OPERATIONS);
                cmd.arg(&body).arg(matching);
            });
            created.await
        };
        // A reply may have been lost: the same id again changes nothing, while a person who asks again would have
        // two operations.
        let reply = match create().await {
            Err(error) if error.is_transient() => create().await?,
            reply => reply?,
        };
        if Reader(WHAT).text(reply)? == "many" {
            return Ok(None);
        }
        tracing::info!(operation = %id, ?kind, actor = %order.actor.0, matching, "bulk operation begins");
        self.operation(id).await
    }

    /// An operation; `None` where there is none, or none any more.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn operation(&self, id: TaskId) -> Result<Option<Operation>, StoreError> {
        let registry = self.registry();
        let value: Value = redis::cmd("HGETALL")
            .arg(registry.keys.operation(id))
            .query_async(&mut registry.link.get())
            .await?;
        let fields = Reader(WHAT).pairs(value)?;
        if fields.is_empty() {
            return Ok(None);
        }
        Operation::read(id, fields).map(Some)
    }

    /// The latest operations, newest first.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn operations(&self, limit: usize) -> Result<Vec<Operation>, StoreError> {
        let registry = self.registry();
        let ids: Vec<String> = redis::cmd("ZREVRANGE")
            .arg(registry.keys.operations())
            .arg(0)
            .arg(limit.max(1) - 1)
            .query_async(&mut registry.link.get())
            .await?;
        let mut operations = Vec::with_capacity(ids.len());
        for id in ids.iter().filter_map(|id| id.parse().ok()) {
            match self.operation(id).await? {
                Some(operation) => operations.push(operation),
                // Kept long enough: forget it in the list too.
                None => {
                    redis::cmd("ZREM")
                        .arg(registry.keys.operations())
                        .arg(id.to_string())
                        .query_async::<()>(&mut registry.link.get())
                        .await?;
                }
            }
        }
        Ok(operations)
    }

    /// Stops an operation. What it has done stays done.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn stop_operation(
        &self,
        id: TaskId,
        actor: &Actor,
    ) -> Result<StopOutcome, StoreError> {
        let registry = self.registry();
        let reply = registry
            .eval(Script::OperationStop, 3, |cmd| {
                cmd.arg(registry.keys.log())
                    .arg(registry.keys.operation(id));
                cmd.arg(registry.keys.operations_running());
                cmd.arg(id.to_string()).arg(&actor.0).arg(kept_ms());
            })
            .await?;
        let reader = Reader(WHAT);
        match reader.text(reply)?.as_str() {
            "done" => Ok(StopOutcome::Stopped),
            "ended" => Ok(StopOutcome::Ended),
            "missing" => Ok(StopOutcome::NotFound),
            other => Err(reader.error(format!("unknown answer {other:?}"))),
        }
    }

    /// Operations that have not ended.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn running_operations(&self) -> Result<Vec<TaskId>, StoreError> {
        let registry = self.registry();
        let ids: Vec<String> = redis::cmd("SMEMBERS")
            .arg(registry.keys.operations_running())
            .query_async(&mut registry.link.get())
            .await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    pub(crate) async fn claim_operation(
        &self,
        id: TaskId,
        runner: &str,
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        let registry = self.registry();
        let reply = registry
            .eval(Script::OperationClaim, 2, |cmd| {
                cmd.arg(registry.keys.log())
                    .arg(registry.keys.operation(id));
                cmd.arg(runner).arg(ms(lease));
            })
            .await?;
        let reader = Reader(WHAT);
        let mut parts = reader.list(reply)?;
        if parts.is_empty() {
            return Err(reader.error("an empty answer"));
        }
        match reader.text(parts.remove(0))?.as_str() {
            "yours" => {
                let fields = reader.pairs(Value::Array(parts))?;
                Ok(Claimed::Yours(Box::new(Operation::read(id, fields)?)))
            }
            "held" => Ok(Claimed::Held),
            "ended" => Ok(Claimed::Ended),
            other => Err(reader.error(format!("unknown answer {other:?}"))),
        }
    }

    pub(crate) async fn save_operation(
        &self,
        operation: &Operation,
        runner: &str,
        lease: Duration,
        completed: bool,
    ) -> Result<Saved, StoreError> {
        let registry = self.registry();
        let place = &operation.place;
        let ids: Vec<String> = place.planned.iter().map(ToString::to_string).collect();
        let mark = if place.last { "!" } else { "" };
        let planned = format!("{mark}{}", ids.join(" "));
        let reply = registry
            .eval(Script::OperationSave, 3, |cmd| {
                cmd.arg(registry.keys.log())
                    .arg(registry.keys.operation(operation.id));
                cmd.arg(registry.keys.operations_running());
                cmd.arg(runner).arg(ms(lease)).arg(operation.id.to_string());
                cmd.arg(place.partition)
                    .arg(place.cursor.as_deref().unwrap_or_default());
                cmd.arg(&planned).arg(operation.done).arg(operation.skipped);
                cmd.arg(if completed { "completed" } else { "running" })
                    .arg(kept_ms());
            })
            .await?;
        let reader = Reader(WHAT);
        match reader.text(reply)?.as_str() {
            "done" => Ok(Saved::Done),
            "lost" => Ok(Saved::Lost),
            "stopped" => Ok(Saved::Stopped),
            other => Err(reader.error(format!("unknown answer {other:?}"))),
        }
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn kept_ms() -> u64 {
    ms(KEPT)
}

/// The filter of an operation that was asked for at a time: what gives up later is not touched. What is submitted
/// later is left out by its first event, for ids are minted by the clocks of many machines.
pub(crate) fn bounded(kind: OperationKind, filter: &Filter, asked_ms: Option<u64>) -> Filter {
    use taskweir_domain::Status::{Failed, Pending, Processing, Retrying, Scheduled};
    let mut filter = filter.clone();
    let earliest = |limit: Option<u64>| match (limit, asked_ms.map(|ms| ms + 1)) {
        (Some(limit), Some(asked)) => Some(limit.min(asked)),
        (limit, asked) => limit.or(asked),
    };
    if kind.is_of_dead() {
        filter.statuses = vec![Failed];
        filter.failed_before_ms = earliest(filter.failed_before_ms);
    } else {
        if filter.statuses.is_empty() {
            filter.statuses = vec![Scheduled, Pending, Processing, Retrying];
        }
    }
    filter
}
