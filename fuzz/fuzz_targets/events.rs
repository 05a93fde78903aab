//! Entries of the log, and the story of a task that they tell.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taskweir_domain::{Position, Recorded, TaskDetail, event_from_wire};

// Five fields per entry, one entry per line, fields separated by tabs.
fuzz_target!(|text: &str| {
    let mut story = Vec::new();
    for (seq, line) in text.lines().enumerate() {
        let mut fields = line.splitn(5, '\t');
        let mut next = || fields.next().unwrap_or_default();
        let (t, i, n, b, d) = (next(), next(), next(), next(), next());
        event_from_wire(t, d).ok();
        let position = Position {
            ms: 1,
            seq: seq as u64,
        };
        if let Ok(recorded) = Recorded::decode(position, t, i, n, b, d) {
            // What was read is written and read again alike.
            let body = recorded.event.body();
            let again = event_from_wire(t, body.as_ref()).expect("our own body");
            assert_eq!(again.body(), body);
            story.push(recorded);
        }
    }
    TaskDetail::fold(&story).ok();
});
