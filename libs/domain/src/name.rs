//! Names of queues and task types: short, printable, safe inside a Redis key.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest name in bytes: a record's values stay in Redis' compact encoding up to this length.
const MAX_NAME: usize = 64;

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("must not be empty")]
    Empty,
    /// More than 64 bytes.
    #[error("must be at most {MAX_NAME} characters")]
    TooLong,
    /// A character outside the alphabet of names.
    #[error("may hold only letters, digits and {1}, not {0:?}")]
    Character(char, &'static str),
    /// A part that a path of a URL or of files takes for a way up, or for nothing.
    #[error("must not be, or have between its '/', nothing, '.' or '..': no path could name it")]
    Unaddressable,
}

fn check(text: &str, extra: &str, shown: &'static str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(bad) = text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || extra.contains(*c)))
    {
        return Err(NameError::Character(bad, shown));
    }
    if text.len() > MAX_NAME {
        return Err(NameError::TooLong);
    }
    // Clients, proxies and browsers fold such parts of a path away, encoded ones too.
    if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(NameError::Unaddressable);
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $extra:literal, $shown:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text, $extra, $shown)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Name of a queue: 1 to 64 of letters, digits, `.`, `_`, `-`, and neither `.` nor `..`.
    QueueName,
    "._-",
    "'.', '_', '-'"
);
name!(
    /// Name of a task type: 1 to 64 of letters, digits, `.`, `_`, `-`, `:`, `/`; no part
    /// between its `/` is empty, `.` or `..`.
    TaskType,
    "._-:/",
    "'.', '_', '-', ':', '/'"
);

impl QueueName {
    /// The queue of tasks that name none.
    pub const DEFAULT: &'static str = "default";
}

impl Default for QueueName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

#[cfg(test)]
mod tests {
    use super::{NameError, QueueName, TaskType};

    #[test]
    fn names_that_could_break_a_key_are_refused() {
        assert!("mail.v2_fast-lane".parse::<QueueName>().is_ok());
        assert!("mail:send/now".parse::<TaskType>().is_ok());
        assert_eq!("".parse::<QueueName>(), Err(NameError::Empty));
        assert_eq!("x".repeat(65).parse::<TaskType>(), Err(NameError::TooLong));
        for bad in ["a:b", "a{b", "a b", "ä", "a\n"] {
            assert!(bad.parse::<QueueName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_no_path_can_hold_are_refused() {
        for bad in [".", ".."] {
            assert_eq!(bad.parse::<QueueName>(), Err(NameError::Unaddressable));
            assert_eq!(bad.parse::<TaskType>(), Err(NameError::Unaddressable));
        }
        for bad in ["/", "a/", "/a", "a//b", "a/../b", "./a"] {
            assert_eq!(bad.parse::<TaskType>(), Err(NameError::Unaddressable));
        }
        for good in ["...", ".a", "a.", "..a"] {
            assert!(good.parse::<QueueName>().is_ok(), "{good}");
        }
    }
}
