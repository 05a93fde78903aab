//! What a handler says when it fails.

use std::fmt;
use std::time::Duration;

use taskweir_domain::{AttemptError, ErrorKind};

/// Why an attempt failed, and whether another may help.
///
/// Any error becomes a retry by `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    kind: ErrorKind,
    class: Option<String>,
    message: String,
    retry_in: Option<Duration>,
}

impl TaskError {
    pub(crate) fn of_kind(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            class: None,
            message: message.to_string(),
            retry_in: None,
        }
    }

    /// Try again, after the delay of the task's retry policy.
    #[must_use]
    pub fn retry(message: impl fmt::Display) -> Self {
        Self::of_kind(ErrorKind::Error, message)
    }

    /// Try again after this delay, whatever the policy says. It counts as a failure.
    #[must_use]
    pub fn retry_in(message: impl fmt::Display, delay: Duration) -> Self {
        Self {
            retry_in: Some(delay),
            ..Self::retry(message)
        }
    }

    /// Never try again: the task goes to the dead letters.
    #[must_use]
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self::of_kind(ErrorKind::Fatal, message)
    }

    /// Names the class that groups alike failures in lists and bulk retries, such as
    /// `SmtpTimeout`. At most 64 bytes are kept; an empty one is none.
    #[must_use]
    pub fn class(mut self, class: impl Into<String>) -> Self {
        let class: String = class.into();
        self.class = Some(class.trim().to_owned()).filter(|class| !class.is_empty());
        self
    }

    /// The class it is grouped by.
    pub(crate) fn group(&self) -> &str {
        self.class.as_deref().unwrap_or(self.kind.as_str())
    }

    pub(crate) const fn is_fatal(&self) -> bool {
        self.kind.is_fatal()
    }

    /// The same error in other words.
    pub(crate) fn reworded(mut self, reword: impl Fn(&str) -> String) -> Self {
        self.message = reword(&self.message);
        self.class = self.class.map(|class| reword(&class));
        self
    }

    pub(crate) fn into_parts(self) -> (AttemptError, Option<Duration>) {
        (
            AttemptError::new(self.kind, self.class, self.message),
            self.retry_in,
        )
    }
}

impl<E: std::error::Error> From<E> for TaskError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            source = inner.source();
        }
        Self::retry(message)
    }
}
