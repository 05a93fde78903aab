//! Labels of counters: the names of queues and types come from whoever submits, and each is a series that a process
//! keeps for as long as it lives.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Names that get series of their own; the rest is counted together.
pub const MAX_NAMES: usize = 200;
/// What the rest is called.
pub const OTHER: &str = "other";

static SEEN: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// A name as a label: itself for the first [`MAX_NAMES`] that this process has met, else [`OTHER`].
#[must_use]
pub fn label(name: &str) -> Cow<'_, str> {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if is_kept(seen.get_or_insert_default(), name) {
        Cow::Borrowed(name)
    } else {
        Cow::Borrowed(OTHER)
    }
}

fn is_kept(seen: &mut HashSet<String>, name: &str) -> bool {
    if seen.contains(name) {
        return true;
    }
    let room = seen.len() < MAX_NAMES;
    if room {
        seen.insert(name.to_owned());
    }
    room
}

#[cfg(test)]
mod tests {
    use super::{HashSet, MAX_NAMES, is_kept};

    #[test]
    fn the_first_names_are_kept_and_no_more() {
        let mut seen = HashSet::new();
        for number in 0..MAX_NAMES {
            assert!(is_kept(&mut seen, &number.to_string()));
        }
        assert!(!is_kept(&mut seen, "one more"));
        assert!(is_kept(&mut seen, "0"), "known before");
    }
}
