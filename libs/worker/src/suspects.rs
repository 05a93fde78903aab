//! Suspects: tasks with which workers have died. What kills its worker takes all that runs beside it along; were
//! those redelivered together with it, they would die together until all of them are given up. So, of tasks
//! that were lost twice, a process runs one at a time, and gives the others back before it begins: who is
//! innocent then runs, and is settled, without the culprit beside it. What a process has claimed when it dies
//! is lost too, begun or not: beside a suspect that has just begun nothing is claimed, since most that kill do
//! so at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

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
    Alone(Right),
    /// Another suspect runs: give it back.
    NotNow,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Free,
    /// On its way to its handler, or with it, since then.
    Admitted(Instant),
}

/// The suspects of a process, shared by its lanes.
#[derive(Clone, Default)]
pub(crate) struct Suspects(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    freed: Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run as the one suspect; the next may have it once this is dropped.
pub(crate) struct Right(Arc<Shared>);

impl Right {
    /// Its handler begins.
    pub(crate) fn begin(&self) {
        *self.0.state() = State::Admitted(Instant::now());
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        *self.0.state() = State::Free;
        self.0.freed.notify_waiters();
    }
}

impl Suspects {
    /// Admits a task by its losses.
    pub(crate) fn admit(&self, losses: u32) -> Admission {
        if losses < LOSSES {
            return Admission::Free;
        }
        let mut state = self.0.state();
        if !matches!(*state, State::Free) {
            return Admission::NotNow;
        }
        *state = State::Admitted(Instant::now());
        Admission::Alone(Right(Arc::clone(&self.0)))
    }

    /// Until when nothing may be claimed beside the suspect that runs; `None` where none does.
    pub(crate) fn shy_until(&self) -> Option<Instant> {
        match *self.0.state() {
            State::Free => None,
            State::Admitted(since) => Some(since + SHY),
        }
    }

    /// Completes when the right becomes free, from this call on.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.0.freed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beside_a_suspect_that_has_just_begun_nothing_is_claimed() {
        let suspects = Suspects::default();
        assert!(suspects.shy_until().is_none());
        assert!(matches!(suspects.admit(LOSSES - 1), Admission::Free));
        assert!(suspects.shy_until().is_none());
        let Admission::Alone(right) = suspects.admit(LOSSES) else {
            panic!("the first is admitted");
        };
        // On its way to its handler, which may take long where Redis is away: others need not wait for that.
        let admitted = suspects.shy_until().expect("it is on its way");
        assert_eq!(suspects.shy_until(), Some(admitted));
        right.begin();
        let begun = suspects.shy_until().expect("it has begun");
        assert!(begun >= admitted && begun <= Instant::now() + SHY);
        assert!(matches!(suspects.admit(LOSSES), Admission::NotNow));
        let freed = suspects.freed();
        drop(right);
        assert!(suspects.shy_until().is_none(), "it has ended");
        freed.await;
        assert!(matches!(suspects.admit(LOSSES), Admission::Alone(_)));
    }
}
