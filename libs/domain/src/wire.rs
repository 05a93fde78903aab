//! Events as they stand in the log: five fields in fixed order.
//!
//! | field | what |
//! | --- | --- |
//! | `t` | type and version, such as `Started.1` |
//! | `i` | task id, or `q:<queue>` |
//! | `n` | version within the task, from 1 |
//! | `b` | position of the task's previous event, empty for the first |
//! | `d` | JSON body |

use std::collections::BTreeMap;

use crate::event::{Event, EventType};
use crate::{Position, TaskId};

/// An event of a task with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Place in the log; its ms are the time of the event.
    pub position: Position,
    /// The task.
    pub id: TaskId,
    /// Number of the event within the task, from 1.
    pub version: u64,
    /// Place of the task's previous event.
    pub previous: Option<Position>,
    /// What happened.
    pub event: Event,
}

/// An entry that cannot be read as an event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not one of ours: other fields, or fields that do not parse. Such entries are skipped.
    #[error("not an event: {0}")]
    Malformed(&'static str),
    /// Ours, but newer than this program: reading on would lose it.
    #[error("unknown event type or version {0:?}")]
    Unknown(String),
    /// Ours by its type, with a body that does not parse.
    #[error("body of {event} does not parse: {source}")]
    Body {
        /// The type.
        event: EventType,
        /// What the parser said.
        source: serde_json::Error,
    },
}

/// Version of every body written by this program.
const VERSION: &str = ".1";

impl EventType {
    /// The text of field `t`.
    #[must_use]
    pub fn wire(self) -> String {
        format!("{}{VERSION}", self.as_str())
    }

    /// Reads field `t`.
    ///
    /// # Errors
    /// [`DecodeError::Unknown`] for a type or version this program does not know.
    pub fn from_wire(text: &str) -> Result<Self, DecodeError> {
        text.strip_suffix(VERSION)
            .and_then(|name| Self::ALL.iter().find(|event| event.as_str() == name))
            .copied()
            .ok_or_else(|| DecodeError::Unknown(text.to_owned()))
    }
}

/// Reads fields `t` and `d`.
///
/// # Errors
/// The type is unknown or the body does not parse.
pub fn event_from_wire(t: &str, d: &str) -> Result<Event, DecodeError> {
    let event = EventType::from_wire(t)?;
    event
        .body(d)
        .map_err(|source| DecodeError::Body { event, source })
}

impl Recorded {
    /// Reads an entry of the log that belongs to a task.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(
        position: Position,
        t: &str,
        i: &str,
        n: &str,
        b: &str,
        d: &str,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            position,
            id: i
                .parse()
                .map_err(|_| DecodeError::Malformed("i is no task id"))?,
            version: n
                .parse()
                .map_err(|_| DecodeError::Malformed("n is no number"))?,
            previous: if b.is_empty() {
                None
            } else {
                Some(
                    b.parse()
                        .map_err(|_| DecodeError::Malformed("b is no position"))?,
                )
            },
            event: event_from_wire(t, d)?,
        })
    }
}

/// The JSON Schema of every event body, by the text of its field `t`.
#[must_use]
pub fn schemas() -> BTreeMap<String, serde_json::Value> {
    EventType::ALL
        .iter()
        .map(|event| (event.wire(), event.schema().to_value()))
        .collect()
}
