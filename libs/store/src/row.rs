//! What the fold must know of a live task to place its next event.

use crate::{Counter, Extra};
use taskweir_domain::{
    Event, EventClass, EventType, IllegalTransition, Position, Recorded, Status, Submitted,
    TaskDetail, next_status,
};

/// A task as the views show it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) status: Status,
    pub(crate) cancelling: bool,
    pub(crate) queue: String,
    pub(crate) task_type: String,
    pub(crate) extra: Extra,
    /// When it gave up, while it stands among the dead letters.
    pub(crate) dead_ms: Option<u64>,
    /// Starts so far.
    pub(crate) starts: u32,
    pub(crate) version: u64,
    pub(crate) last: Position,
}

impl Row {
    /// The task after its first event.
    pub(crate) fn first(body: &Submitted, status: Status, position: Position) -> Self {
        Self {
            status,
            cancelling: false,
            queue: body.queue.to_string(),
            task_type: body.task_type.to_string(),
            extra: Extra {
                error: None,
                labels: body.labels.clone(),
            },
            dead_ms: None,
            starts: 0,
            version: 1,
            last: position,
        }
    }

    /// The task after one more event. `class` and `event` are of the same entry; `event` is only
    /// needed where its body says something that views show.
    pub(crate) fn step(
        &mut self,
        class: EventClass,
        event: Option<&Event>,
        version: u64,
        position: Position,
    ) -> Result<(), IllegalTransition> {
        self.status = next_status(Some(self.status), self.cancelling, class)?;
        self.version = version;
        self.last = position;
        if class == EventClass::Plain(EventType::Started) {
            self.starts += 1;
        }
        match event {
            Some(Event::AttemptFailed(body)) => self.extra.error = Some(body.error.clone()),
            Some(Event::DeadLettered(body)) => {
                self.extra.error = Some(body.error.clone());
                self.dead_ms = Some(position.ms);
            }
            Some(Event::CancelRequested(_)) => self.cancelling = true,
            _ => {}
        }
        if self.status != Status::Processing {
            self.cancelling = false;
        }
        if self.status != Status::Failed {
            self.dead_ms = None;
        }
        Ok(())
    }

    /// The task as a base holds it.
    pub(crate) fn of_detail(detail: &TaskDetail) -> Self {
        let task = &detail.task;
        Self {
            status: task.status(),
            cancelling: task.cancelling(),
            queue: task.queue.to_string(),
            task_type: task.task_type.to_string(),
            extra: Extra {
                error: detail.error.clone(),
                labels: detail.labels.clone(),
            },
            dead_ms: detail.ended_ms.filter(|_| task.status() == Status::Failed),
            starts: task.attempt,
            version: task.version,
            last: task.last,
        }
    }

    /// The task after a history; `None` where it begins neither with a base nor with a lawful
    /// `Submitted`.
    pub(crate) fn of_history(base: Option<&TaskDetail>, history: &[Recorded]) -> Option<Self> {
        let (mut row, rest) = match base {
            Some(detail) => (Self::of_detail(detail), history),
            None => Self::begin(history)?,
        };
        for recorded in rest {
            let class = EventClass::from(&recorded.event);
            row.step(
                class,
                Some(&recorded.event),
                recorded.version,
                recorded.position,
            )
            .ok()?;
        }
        Some(row)
    }

    fn begin(history: &[Recorded]) -> Option<(Self, &[Recorded])> {
        let (first, rest) = history.split_first()?;
        let Event::Submitted(body) = &first.event else {
            return None;
        };
        let status = next_status(None, false, EventClass::from(&first.event)).ok()?;
        Some((Self::first(body, status, first.position), rest))
    }

    pub(crate) fn group(&self) -> Counter {
        Counter {
            status: self.status,
            queue: self.queue.clone(),
            task_type: self.task_type.clone(),
        }
    }
}
