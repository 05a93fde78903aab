//! Printing for people and pipes.

use std::io::Write;

use serde_json::Value;

/// Prints to standard output. A reader that has gone (`| head`) is no error.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .ok();
}

/// Prints an answer as JSON.
pub fn say_json(answer: &Value) {
    say(&format!("{answer:#}\n"));
}

/// The command line was used wrongly: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);
