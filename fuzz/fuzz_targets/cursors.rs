//! Cursors of pages, ids and names in paths and queries, and the headers of a trace.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taskweir_domain::{Priority, QueueName, Status, TaskId, TaskType};

fuzz_target!(|text: &str| {
    taskweir_gateway::fuzzing::cursor(text);
    if let Ok(id) = text.parse::<TaskId>() {
        assert_eq!(id.to_string().parse::<TaskId>().expect("our own id"), id);
    }
    taskweir_trace::fuzz(text);
    text.parse::<QueueName>().ok();
    text.parse::<TaskType>().ok();
    text.parse::<Priority>().ok();
    text.parse::<Status>().ok();
});
