//! A history of one task in memory: decides, records, folds.

use taskweir_domain::{
    AttemptError, Command, ErrorKind, Event, Failure, Fence, Holder, PartitionIndex, Position,
    Recorded, Rejection, Task, TaskId, TaskSpec, decide, evolve,
};

pub struct History {
    pub now_ms: u64,
    pub events: Vec<Recorded>,
    pub task: Option<Task>,
}

impl History {
    pub fn new() -> Self {
        Self {
            now_ms: 1_700_000_000_000,
            events: Vec::new(),
            task: None,
        }
    }

    /// Decides, and records what follows.
    pub fn when(&mut self, command: &Command) -> Result<Vec<Event>, Rejection> {
        let events = decide(self.task.as_ref(), command, self.now_ms)?;
        for event in &events {
            self.now_ms += 1;
            let recorded = Recorded {
                position: Position {
                    ms: self.now_ms,
                    seq: 0,
                },
                id: TaskId::new(1, PartitionIndex(0), 1),
                version: self.task.as_ref().map_or(1, |task| task.version + 1),
                previous: self.task.as_ref().map(|task| task.last),
                event: event.clone(),
            };
            self.task = Some(evolve(self.task.take(), &recorded).expect("decide is legal"));
            self.events.push(recorded);
        }
        Ok(events)
    }
}

pub fn submit(change: impl FnOnce(&mut TaskSpec)) -> Command {
    let mut spec = TaskSpec::new("default".parse().unwrap(), "work".parse().unwrap());
    change(&mut spec);
    Command::Submit(Box::new(spec))
}

pub fn fence(attempt: u32) -> Fence {
    Fence {
        attempt,
        holder: Holder::new("w", &attempt.to_string()),
    }
}

pub fn start(attempt: u32) -> Command {
    Command::Start {
        holder: fence(attempt).holder,
        lease_ms: 30_000,
    }
}

pub fn fail(attempt: u32, kind: ErrorKind) -> Command {
    Command::Fail {
        fence: fence(attempt),
        failure: Failure {
            error: AttemptError::new(kind, None, "no"),
            unit: 0.5,
            retry_in_ms: None,
        },
    }
}

pub fn complete(attempt: u32) -> Command {
    Command::Complete {
        fence: fence(attempt),
        result: None,
        duration_ms: 1,
    }
}
