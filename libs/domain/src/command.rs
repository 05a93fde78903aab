//! What is asked of a task.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Outcome;
use crate::{Holder, Json, TaskSpec};

/// Who did something by hand: the name of an API key, or `anonymous`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Actor(pub String);

impl Actor {
    /// Somebody who showed no key.
    #[must_use]
    pub fn anonymous() -> Self {
        Self("anonymous".to_owned())
    }
}

/// Who asks for something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who.
    pub actor: Actor,
    /// Why, in the words of who asks.
    pub reason: Option<String>,
}

impl Ask {
    /// Longest reason, bytes: it stands in the event.
    pub const MAX_REASON: usize = 500;

    /// Somebody's, with a reason where one was given.
    #[must_use]
    pub fn new(actor: Actor, reason: Option<String>) -> Self {
        let reason = reason.filter(|reason| !reason.is_empty());
        Self { actor, reason }
    }
}

impl From<Actor> for Ask {
    fn from(actor: Actor) -> Self {
        Self::new(actor, None)
    }
}

impl From<&Actor> for Ask {
    fn from(actor: &Actor) -> Self {
        actor.clone().into()
    }
}

/// Kind of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The handler said: try again.
    Error,
    /// The handler said: never again.
    Fatal,
    /// The handler ran longer than the task's timeout.
    Timeout,
    /// The handler panicked.
    Panic,
    /// The payload is not what the handler takes.
    InvalidPayload,
    /// The result is larger than allowed.
    ResultTooLarge,
    /// Too many workers died with the task.
    CrashLoop,
}

impl ErrorKind {
    /// The word used in events, metrics and as the default error class.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Fatal => "fatal",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::InvalidPayload => "invalid_payload",
            Self::ResultTooLarge => "result_too_large",
            Self::CrashLoop => "crash_loop",
        }
    }

    /// Whether another attempt is pointless.
    #[must_use]
    pub const fn is_fatal(self) -> bool {
        matches!(
            self,
            Self::Fatal | Self::InvalidPayload | Self::ResultTooLarge | Self::CrashLoop
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong in an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptError {
    /// Decides what follows.
    pub kind: ErrorKind,
    /// Groups alike failures; where absent, the kind does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// For people.
    pub message: String,
}

impl AttemptError {
    /// Longest message kept, in bytes; the rest is cut.
    pub const MAX_MESSAGE: usize = 2_000;
    /// Longest class kept, in bytes; the rest is cut.
    pub const MAX_CLASS: usize = 64;

    /// An error with its message and class cut to what an event holds.
    #[must_use]
    pub fn new(kind: ErrorKind, class: Option<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            class: class
                .map(|class| class.trim().to_owned())
                .filter(|class| !class.is_empty())
                .map(|class| cut(class, Self::MAX_CLASS)),
            message: cut(message.into(), Self::MAX_MESSAGE),
        }
    }

    /// The word that groups alike failures.
    #[must_use]
    pub fn class(&self) -> &str {
        self.class.as_deref().unwrap_or(self.kind.as_str())
    }
}

fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
    }
    text
}

/// The right to settle an attempt: number of the attempt and the nonce of its start.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Number of the attempt.
    pub attempt: u32,
    /// Who started it.
    pub holder: Holder,
}

/// A failed attempt as the worker saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What went wrong.
    pub error: AttemptError,
    /// Random draw for the jitter, 0 to 1.
    pub unit: f64,
    /// Delay the handler asked for, ms; it replaces the policy's.
    pub retry_in_ms: Option<u64>,
}

/// What the janitor saw of a task whose worker is silent.
#[derive(Debug, Clone, PartialEq)]
pub enum LossSeen {
    /// Started by this holder, then silent.
    Started(Fence),
    /// Received by a worker, never started.
    NotStarted,
}

/// What can be asked of one task.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Be.
    Submit(Box<TaskSpec>),
    /// A worker takes it.
    Start {
        /// The worker and its nonce.
        holder: Holder,
        /// The worker's lease, ms.
        lease_ms: u64,
    },
    /// The handler tells how far it is.
    Progress {
        /// The right to speak.
        fence: Fence,
        /// 0 to 100.
        percent: f64,
        /// A word from the handler.
        message: Option<String>,
    },
    /// The handler succeeded.
    Complete {
        /// The right to settle.
        fence: Fence,
        /// Its result, unless null.
        result: Option<Json>,
        /// How long it ran, ms.
        duration_ms: u64,
    },
    /// The handler failed.
    Fail {
        /// The right to settle.
        fence: Fence,
        /// What happened.
        failure: Failure,
    },
    /// A worker that lost the task speaks up.
    RefuseLate {
        /// What it thought to hold.
        fence: Fence,
        /// What it wanted to say.
        outcome: Outcome,
    },
    /// Its time has come.
    Promote,
    /// Its worker is silent.
    Lose(LossSeen),
    /// The worker gives it back at shutdown.
    Release(Fence),
    /// No handler of its type here.
    Park,
    /// A person wants it to stop.
    Cancel(Ask),
    /// Not started in time.
    Expire,
    /// A person takes it back from the dead letters.
    DlqRetry(Ask),
    /// A person removes it from the dead letters.
    DlqRemove(Ask),
}

#[cfg(test)]
mod tests {
    use super::{AttemptError, ErrorKind};

    #[test]
    fn a_class_of_nothing_is_none() {
        let class = |text: &str| {
            let error = AttemptError::new(ErrorKind::Fatal, Some(text.to_owned()), "gone");
            error.class().to_owned()
        };
        assert_eq!(class(" "), ErrorKind::Fatal.as_str());
        assert_eq!(class(" SmtpTimeout "), "SmtpTimeout");
    }
}
