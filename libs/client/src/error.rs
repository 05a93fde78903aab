//! Why a call failed.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a gateway says when it refuses (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what helps.
    pub detail: String,
    /// What it says besides, such as the `errors` of fields and `existing_id`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            title,
            detail,
            more,
        } = self;
        write!(f, "{status} {title}: {detail}")?;
        match more.get("existing_id").and_then(Value::as_str) {
            Some(id) => write!(f, ": {id}"),
            None => Ok(()),
        }
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address of the gateway is none.
    #[error("{0:?} is no address of a gateway, such as http://localhost:8000")]
    Address(String),
    /// The secret holds what no header takes.
    #[error("the API key holds characters that no header takes")]
    Secret,
    /// Nobody answers there.
    #[error("no gateway answers at {base}: is it running?")]
    Away {
        /// The address.
        base: String,
        /// What the connection said.
        source: reqwest::Error,
    },
    /// The system names no certificates to trust.
    #[error("there are no certificates to trust: set SSL_CERT_FILE, or install the system's")]
    Tls(#[source] reqwest::Error),
    /// The gateway refused.
    #[error("{0}")]
    Refused(Problem),
    /// Somebody answers who is no gateway.
    #[error("the answer (status {0}) is not one of a gateway: is something else at this address?")]
    Unreadable(u16),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] reqwest::Error),
}

impl ClientError {
    /// Whether the same call may succeed later without anybody's help; where an answer was lost, it may have
    /// been done.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            // What could not even be asked will not be better asked again.
            Self::Away { source, .. } | Self::Broken(source) => !source.is_builder(),
            // A proxy has words of its own for a gateway that is away.
            Self::Refused(Problem { status, .. }) | Self::Unreadable(status) => {
                matches!(status, 502..=504)
            }
            Self::Address(_) | Self::Secret | Self::Tls(_) => false,
        }
    }
}
