//! Whether a process gets on with its work: a watchdog that its loops feed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Ready while every loop of the process gets on.
#[derive(Debug, Clone)]
pub struct Readiness {
    parts: Arc<Mutex<Vec<State>>>,
    patience: Duration,
}

/// The food bowl of one loop.
#[derive(Debug, Clone)]
pub struct Feeder {
    parts: Arc<Mutex<Vec<State>>>,
    index: usize,
}

#[derive(Debug)]
struct State {
    name: String,
    fed: Option<Instant>,
    alarm: Option<String>,
}

fn lock(parts: &Mutex<Vec<State>>) -> MutexGuard<'_, Vec<State>> {
    parts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Readiness {
    /// Patient enough for short outages of Redis: it is for probes, not for tasks.
    fn default() -> Self {
        Self::new(Duration::from_secs(15))
    }
}

impl Readiness {
    /// Not ready until every part was fed, and not again when one is unfed for longer than `patience`.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self {
            parts: Arc::default(),
            patience,
        }
    }

    /// Adds a loop that must get on.
    #[must_use]
    pub fn part(&self, name: impl Into<String>) -> Feeder {
        let mut parts = lock(&self.parts);
        parts.push(State {
            name: name.into(),
            fed: None,
            alarm: None,
        });
        Feeder {
            parts: Arc::clone(&self.parts),
            index: parts.len() - 1,
        }
    }

    /// Why the process is not ready; `None` where it is.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let parts = lock(&self.parts);
        if parts.is_empty() {
            return Some("starting".to_owned());
        }
        parts.iter().find_map(|part| {
            let why = match (&part.alarm, part.fed) {
                (Some(alarm), _) => alarm.clone(),
                (None, None) => "starting".to_owned(),
                (None, Some(fed)) if fed.elapsed() > self.patience => {
                    format!("nothing has succeeded for {} s", fed.elapsed().as_secs())
                }
                (None, Some(_)) => return None,
            };
            Some(format!("{}: {why}", part.name))
        })
    }
}

impl Feeder {
    /// The loop got on.
    pub fn feed(&self) {
        let part = &mut lock(&self.parts)[self.index];
        part.fed = Some(Instant::now());
        part.alarm = None;
    }

    /// The loop cannot go on, and says why.
    pub fn alarm(&self, why: impl Into<String>) {
        lock(&self.parts)[self.index].alarm = Some(why.into());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Readiness;

    #[test]
    fn ready_only_while_every_part_is_fed() {
        let ready = Readiness::new(Duration::from_secs(60));
        assert_eq!(ready.trouble().as_deref(), Some("starting"));
        let (one, other) = (ready.part("one"), ready.part("other"));
        one.feed();
        assert_eq!(ready.trouble().as_deref(), Some("other: starting"));
        other.feed();
        assert_eq!(ready.trouble(), None);
        one.alarm("stuck");
        other.feed();
        assert_eq!(ready.trouble().as_deref(), Some("one: stuck"));
        one.feed();
        assert_eq!(ready.trouble(), None);
    }

    #[test]
    fn unfed_for_long_is_not_ready() {
        let impatient = Readiness::new(Duration::ZERO);
        impatient.part("one").feed();
        while impatient.trouble().is_none() {
            std::thread::yield_now();
        }
    }
}
