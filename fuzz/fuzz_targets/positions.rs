//! Positions and times, as people write them; the id a listener goes on from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taskweir_domain::{Position, format_ms, parse_rfc3339_ms};

fuzz_target!(|text: &str| {
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(
            position.to_string().parse::<Position>().expect("our own"),
            position
        );
    }
    if let Ok(ms) = parse_rfc3339_ms(text) {
        assert_eq!(parse_rfc3339_ms(&format_ms(ms)), Ok(ms), "{text}");
    }
    taskweir_gateway::fuzzing::position(text);
    taskweir_gateway::fuzzing::last_event_id(text);
});
