//! Printing for people and pipes.

use std::io::{IsTerminal, Write};

use serde_json::json;
use taskweir_client::{ClientError, Problem};
use taskweir_domain::pretty;
use taskweir_runtime::printable::{printable, printable_json};

/// Prints to standard output. A reader that has gone (`| head`) is no error.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .ok();
}

/// Whether standard output is for eyes that like colours.
pub fn has_colour() -> bool {
    let unwanted = taskweir_runtime::Env::process().text("NO_COLOR") != Ok(None);
    std::io::stdout().is_terminal() && !unwanted
}

/// Prints a JSON text over several lines, as it came but for what steers terminals: that is written as JSON escapes it.
pub fn say_json(text: &str) {
    say(&format!("{}\n", printable_json(&pretty(text))));
}

/// Prints a JSON text on one line, in the same way.
pub fn say_json_line(text: &str) {
    say(&format!("{}\n", printable_json(text)));
}

/// Tells on standard error why a command failed: in words, or as JSON, then with all that the gateway said.
pub fn tell(error: &anyhow::Error, json: bool) {
    let problem = error.downcast_ref::<ClientError>();
    if !json {
        eprintln!("taskweir: {}", printable(&format!("{error:#}")));
        if let Some(ClientError::Refused(Problem { status: 401, .. })) = problem {
            eprintln!("          TASKWEIR_API_KEY holds the secret that this command sends");
        }
        return;
    }
    let told = match problem {
        Some(ClientError::Refused(problem)) => {
            json!({ "error": format!("{error:#}"), "problem": problem })
        }
        _ => json!({ "error": format!("{error:#}") }),
    };
    eprintln!("{}", printable_json(&told.to_string()));
}

/// The command line was used wrongly: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);
