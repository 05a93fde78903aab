//! Suspects: tasks with which workers have died. What kills its worker takes all that runs beside it along; were
//! those redelivered together with it, they would die together until all of them are given up. So, of tasks
//! that were lost twice, a process runs one at a time, and gives the others back before it begins: who is
//! innocent then runs without the culprit beside it.

use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Losses from which on a task is a suspect. One is common: a machine that goes takes all of its tasks.
const LOSSES: u32 = 2;

/// How long a lane looks for nothing new after it gave suspects back, or it would claim them at once.
pub(crate) const SHY: Duration = Duration::from_millis(200);

/// Whether a task may begin.
pub(crate) enum Admission {
    /// Nobody suspects it.
    Free,
    /// It is the one suspect of this process, until this is dropped.
    Alone(OwnedSemaphorePermit),
    /// Another suspect runs: give it back.
    NotNow,
}

/// Admits a task by its losses.
pub(crate) fn admit(suspects: &std::sync::Arc<Semaphore>, losses: u32) -> Admission {
    if losses < LOSSES {
        return Admission::Free;
    }
    match std::sync::Arc::clone(suspects).try_acquire_owned() {
        Ok(permit) => Admission::Alone(permit),
        Err(_) => Admission::NotNow,
    }
}
