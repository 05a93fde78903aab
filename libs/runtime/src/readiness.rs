//! Whether a process gets on with its work: a watchdog that its loops feed.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Fed by a loop whenever it got on; not ready once it has not for a while.
#[derive(Debug, Clone)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
    patience: Duration,
}

#[derive(Debug)]
struct State {
    fed: Option<Instant>,
    alarm: Option<String>,
}

impl Readiness {
    /// Not ready until fed, and not ready again when unfed for longer than `patience`.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                fed: None,
                alarm: None,
            })),
            patience,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop got on.
    pub fn feed(&self) {
        let mut state = self.state();
        state.fed = Some(Instant::now());
        state.alarm = None;
    }

    /// The loop cannot go on, and says why.
    pub fn alarm(&self, why: impl Into<String>) {
        self.state().alarm = Some(why.into());
    }

    /// Why the process is not ready; `None` where it is.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let state = self.state();
        if let Some(alarm) = &state.alarm {
            return Some(alarm.clone());
        }
        match state.fed {
            None => Some("starting".to_owned()),
            Some(fed) if fed.elapsed() > self.patience => Some(format!(
                "nothing has succeeded for {} s",
                fed.elapsed().as_secs()
            )),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Readiness;

    #[test]
    fn ready_only_while_fed() {
        let ready = Readiness::new(Duration::from_secs(60));
        assert_eq!(ready.trouble().as_deref(), Some("starting"));
        ready.feed();
        assert_eq!(ready.trouble(), None);
        ready.alarm("stuck");
        assert_eq!(ready.trouble().as_deref(), Some("stuck"));
        ready.feed();
        assert_eq!(ready.trouble(), None);
        let impatient = Readiness::new(Duration::ZERO);
        impatient.feed();
        std::thread::yield_now();
        while impatient.trouble().is_none() {}
    }
}
