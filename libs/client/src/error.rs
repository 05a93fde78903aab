//! Why a call failed.

use serde::Deserialize;

/// What a gateway says when it refuses (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what helps.
    pub detail: String,
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
    /// The gateway refused.
    #[error("{} {}: {}", .0.status, .0.title, .0.detail)]
    Refused(Problem),
    /// Somebody answers who is no gateway.
    #[error("the answer (status {0}) is not one of a gateway: is something else at this address?")]
    Unreadable(u16),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] reqwest::Error),
}
