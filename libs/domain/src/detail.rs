//! A task with everything its events tell, for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::command::{Actor, AttemptError};
use crate::event::Event;
use crate::evolve::{IllegalEvent, evolve};
use crate::task::{Holder, Phase, Task};
use crate::wire::Recorded;
use crate::{Json, Status, Stored, TaskId};

/// How far the running attempt is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: f64,
    /// A word from the handler.
    pub message: Option<String>,
    /// When it was said, ms since the epoch.
    pub at_ms: u64,
}

/// The state of a task with what decisions do not need: payload, result, errors, times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDetail {
    /// Its id.
    pub id: TaskId,
    /// What decisions need.
    pub task: Task,
    /// The payload, where it stands in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
    /// Stands for a payload beside the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_stored: Option<Stored>,
    /// Its unique key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
    /// When it expires unless it has started, ms since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Free words for searching.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Who submitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// W3C `traceparent` of the span that submitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Start of the latest attempt, ms since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it reached its present end, ms since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Who holds or last held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// The latest error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AttemptError>,
    /// The result, where it stands in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Stands for a result beside the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_stored: Option<Stored>,
    /// The latest progress of the latest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

impl TaskDetail {
    /// Folds one more event; starts with `None`.
    ///
    /// # Errors
    /// The event does not fit, see [`evolve()`].
    pub fn evolve(state: Option<Self>, recorded: &Recorded) -> Result<Self, IllegalEvent> {
        let (task, rest) = match state {
            Some(detail) => (Some(detail.task.clone()), Some(detail)),
            None => (None, None),
        };
        let task = evolve(task, recorded)?;
        let mut detail = rest.unwrap_or_else(|| Self::empty(recorded.id, task.clone()));
        detail.task = task;
        detail.note(recorded);
        Ok(detail)
    }

    /// Folds a whole history.
    ///
    /// # Errors
    /// An event does not fit, see [`evolve()`].
    pub fn fold<'a>(
        history: impl IntoIterator<Item = &'a Recorded>,
    ) -> Result<Option<Self>, IllegalEvent> {
        Self::fold_from(None, history)
    }

    /// Folds what followed a state.
    ///
    /// # Errors
    /// An event does not fit, see [`evolve()`].
    pub fn fold_from<'a>(
        state: Option<Self>,
        history: impl IntoIterator<Item = &'a Recorded>,
    ) -> Result<Option<Self>, IllegalEvent> {
        history.into_iter().try_fold(state, |state, recorded| {
            Self::evolve(state, recorded).map(Some)
        })
    }

    fn empty(id: TaskId, task: Task) -> Self {
        Self {
            id,
            task,
            data: None,
            data_stored: None,
            unique_key: None,
            expires_ms: None,
            labels: BTreeMap::new(),
            actor: None,
            trace: None,
            started_ms: None,
            ended_ms: None,
            holder: None,
            error: None,
            result: None,
            result_stored: None,
            progress: None,
        }
    }

    fn note(&mut self, recorded: &Recorded) {
        let now = recorded.position.ms;
        match &recorded.event {
            Event::Submitted(body) => {
                self.data = body.data.clone();
                self.data_stored = body.data_stored.clone();
                self.unique_key = body.unique_key.clone();
                let ready_ms = match self.task.phase {
                    Phase::Scheduled { due_ms } => due_ms,
                    _ => now,
                };
                self.expires_ms = body.expires_in_ms.map(|ms| ready_ms.saturating_add(ms));
                self.labels = body.labels.clone();
                self.actor = body.actor.clone();
                self.trace.clone_from(&body.trace);
            }
            Event::Started(body) => {
                self.started_ms = Some(now);
                self.holder = Some(body.holder.clone());
                self.progress = None;
            }
            Event::Progressed(body) => {
                self.progress = Some(Progress {
                    percent: body.percent,
                    message: body.message.clone(),
                    at_ms: now,
                });
            }
            Event::Completed(body) => {
                self.result = body.result.clone();
                self.result_stored = body.result_stored.clone();
            }
            Event::AttemptFailed(body) => self.error = Some(body.error.clone()),
            Event::DeadLettered(body) => self.error = Some(body.error.clone()),
            _ => {}
        }
        let status = self.task.status();
        if status.is_final() || status == Status::Failed {
            self.ended_ms = self.ended_ms.or(Some(now));
        } else {
            self.ended_ms = None;
        }
    }
}
