//! What the fold must know of a live task to place its next event.

use taskweir_domain::{
    Event, EventClass, IllegalTransition, Position, Recorded, Status, Submitted, next_status,
};
use taskweir_store::{Counter, Extra};

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

    /// The task after a history; `None` where it does not begin with a lawful `Submitted`.
    pub(crate) fn of_history(history: &[Recorded]) -> Option<Self> {
        let (first, rest) = history.split_first()?;
        let Event::Submitted(body) = &first.event else {
            return None;
        };
        let status = next_status(None, false, EventClass::from(&first.event)).ok()?;
        let mut row = Self::first(body, status, first.position);
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

    pub(crate) fn group(&self) -> Counter {
        Counter {
            status: self.status,
            queue: self.queue.clone(),
            task_type: self.task_type.clone(),
        }
    }
}
