//! A task with everything its record and its events tell, and what people do to dead letters.

use taskweir_domain::{Ask, Position, Recorded, Status, TaskDetail, TaskId};

use crate::ops::{ActionOutcome, DlqAction, RetryOutcome};
use crate::{LogEntry, Partition, Record, Store, StoreError, entropy};

/// A task, read in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// Its record.
    pub record: Record,
    /// The task as retention has left it, where its first events were cut.
    pub base: Option<TaskDetail>,
    /// Up to here the log was cut; of nothing before it can be told.
    pub base_position: Position,
    /// Its events since then as they stand in the log, oldest first.
    pub entries: Vec<LogEntry>,
    /// Its events since then, oldest first.
    pub events: Vec<Recorded>,
    /// What they fold to.
    pub detail: TaskDetail,
}

/// A task at an instant.
#[derive(Debug, Clone, PartialEq)]
pub enum StoryAt {
    /// As it was.
    Was(Box<Story>),
    /// Before its first event.
    NotYet,
    /// Before what retention has left.
    Gone,
}

impl Story {
    /// The task as it was when this position had been written.
    ///
    /// # Errors
    /// Its events are broken.
    pub fn as_of(&self, position: Position) -> Result<StoryAt, StoreError> {
        if position < self.detail.task.first {
            return Ok(StoryAt::NotYet);
        }
        if position < self.base_position {
            return Ok(StoryAt::Gone);
        }
        let count = self
            .events
            .partition_point(|recorded| recorded.position <= position);
        let events = self.events[..count].to_vec();
        let detail = TaskDetail::fold_from(self.base.clone(), &events)
            .map_err(|error| StoreError::reply("log", error.to_string()))?;
        let Some(detail) = detail else {
            return Ok(StoryAt::NotYet);
        };
        Ok(StoryAt::Was(Box::new(Self {
            record: Record {
                task: detail.task.clone(),
                work: String::new(),
                holder: detail.holder.clone(),
                unique: None,
                command: None,
            },
            base: self.base.clone(),
            base_position: self.base_position,
            entries: self.entries[..count].to_vec(),
            events,
            detail,
        })))
    }
}

/// What a person does to a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DlqVerb {
    /// Back to pending with a fresh budget.
    Retry,
    /// Out for good.
    Remove,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DlqOutcome {
    /// Done.
    Done,
    /// The task is not among the dead letters.
    NotDead(Status),
    /// Somebody else was faster.
    Raced,
    /// This task holds its unique key now.
    Taken(TaskId),
    /// No such task.
    NotFound,
}

impl Store {
    /// A task with its story; `None` where there is none.
    ///
    /// # Errors
    /// Redis is away, or the task's events are broken.
    pub async fn story(&self, id: TaskId) -> Result<Option<Story>, StoreError> {
        let Some(partition) = self.partition_of(id) else {
            return Ok(None);
        };
        let history = partition.histories(&[id]).await?.remove(0);
        let Some(record) = history.record else {
            return Ok(None);
        };
        let broken =
            |error: &dyn std::fmt::Display| StoreError::reply("log", format!("task {id}: {error}"));
        let mut events = Vec::with_capacity(history.entries.len());
        for entry in &history.entries {
            events.push(entry.decode().map_err(|error| broken(&error))?);
        }
        let detail = TaskDetail::fold_from(history.base.clone(), &events);
        let detail = detail.map_err(|error| broken(&error))?;
        let detail = detail.ok_or_else(|| broken(&"a record without events"))?;
        Ok(Some(Story {
            record,
            base: history.base,
            base_position: history.base_position,
            entries: history.entries,
            events,
            detail,
        }))
    }

    /// Retries or removes a dead letter.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn act_on_dead(
        &self,
        id: TaskId,
        verb: DlqVerb,
        ask: impl Into<Ask>,
    ) -> Result<DlqOutcome, StoreError> {
        let Some(partition) = self.partition_of(id) else {
            return Ok(DlqOutcome::NotFound);
        };
        let Some(record) = partition.records(&[id]).await?.remove(0) else {
            return Ok(DlqOutcome::NotFound);
        };
        let (task, unique) = (record.task, record.unique);
        if task.status() != Status::Failed {
            return Ok(DlqOutcome::NotDead(task.status()));
        }
        let (kind, attempt) = (task.task_type, task.attempt);
        let action = DlqAction {
            id,
            queue: task.queue,
            priority: task.priority,
            unique,
            nonce: entropy::nonce(),
            ask: ask.into(),
            bulk: None,
        };
        // The nonce makes a second try safe where the first one's reply was lost.
        let outcome = match act(&partition, verb, &action).await {
            Err(error) if error.is_transient() => act(&partition, verb, &action).await?,
            other => other?,
        };
        match (outcome, verb) {
            (DlqOutcome::Done, DlqVerb::Retry) => {
                tracing::info!(task.id = %id, task.type = %kind, attempt, worker = "", reason = "taken back from the dead letters",
                    actor = %action.ask.actor.0, "🔄 REQUEUED");
            }
            (DlqOutcome::Done, DlqVerb::Remove) => {
                tracing::info!(task.id = %id, task.type = %kind, attempt, actor = %action.ask.actor.0, "dead letter removed");
            }
            _ => {}
        }
        Ok(outcome)
    }
}

async fn act(
    partition: &Partition,
    verb: DlqVerb,
    action: &DlqAction,
) -> Result<DlqOutcome, StoreError> {
    let batch = std::slice::from_ref(action);
    Ok(match verb {
        DlqVerb::Retry => match partition.dlq_retry(batch).await?.as_slice() {
            [RetryOutcome::Done] => DlqOutcome::Done,
            [RetryOutcome::Taken(id)] => DlqOutcome::Taken(*id),
            _ => DlqOutcome::Raced,
        },
        DlqVerb::Remove => match partition.dlq_remove(batch).await?.as_slice() {
            [ActionOutcome::Done] => DlqOutcome::Done,
            _ => DlqOutcome::Raced,
        },
    })
}
