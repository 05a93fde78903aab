//! Suspects: tasks with which workers have died. What kills its worker takes all that runs beside it along; were
//! those redelivered together with it, they would die together until all of them are given up. So, of tasks
//! that were lost twice, a process runs one at a time, and gives the others back before it begins: who is
//! innocent then runs, and is settled, without the culprit beside it. What a process has claimed when it dies is lost too, begun
//! or not: beside a suspect that has just begun nothing is claimed, since most that kill do so at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Losses from which on a task is a suspect. One is common: a machine that goes takes all of its tasks.
const LOSSES: u32 = 2;

/// How long nothing new is claimed beside a suspect that has begun, or where only suspects were found and given
/// back, which would be claimed again at once.
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

/// The suspects of a process, shared by its lanes.
#[derive(Clone)]
pub(crate) struct Suspects {
    /// The right to run, of which there is one.
    right: Arc<Semaphore>,
    admitted: Arc<Mutex<Option<Instant>>>,
}

impl Default for Suspects {
    fn default() -> Self {
        Self {
            right: Arc::new(Semaphore::new(1)),
            admitted: Arc::default(),
        }
    }
}

impl Suspects {
    /// Admits a task by its losses.
    pub(crate) fn admit(&self, losses: u32) -> Admission {
        if losses < LOSSES {
            return Admission::Free;
        }
        match Arc::clone(&self.right).try_acquire_owned() {
            Ok(right) => {
                *self.admitted() = Some(Instant::now());
                Admission::Alone(right)
            }
            Err(_) => Admission::NotNow,
        }
    }

    /// Until when nothing may be claimed, because a suspect has just begun; `None` once it ended.
    pub(crate) fn shy_until(&self) -> Option<Instant> {
        if self.right.available_permits() > 0 {
            return None;
        }
        self.admitted().map(|at| at + SHY)
    }

    fn admitted(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_a_suspect_that_has_just_begun_nothing_is_claimed() {
        let suspects = Suspects::default();
        assert!(suspects.shy_until().is_none());
        assert!(matches!(suspects.admit(LOSSES - 1), Admission::Free));
        assert!(suspects.shy_until().is_none());
        let before = Instant::now();
        let Admission::Alone(right) = suspects.admit(LOSSES) else {
            panic!("the first is admitted");
        };
        assert!(
            suspects
                .shy_until()
                .is_some_and(|until| until >= before + SHY)
        );
        assert!(matches!(suspects.admit(LOSSES), Admission::NotNow));
        drop(right);
        assert!(suspects.shy_until().is_none(), "it has ended");
        assert!(matches!(suspects.admit(LOSSES), Admission::Alone(_)));
    }
}
