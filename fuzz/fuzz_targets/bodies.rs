//! Request bodies: a task, a batch of tasks, a bulk operation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taskweir_domain::{DraftLimits, Json, draft_from_json};

fuzz_target!(|text: &str| {
    if let Ok(json) = Json::parse(text.to_owned()) {
        draft_from_json(json.as_str(), &DraftLimits::default()).ok();
    }
    draft_from_json(text, &DraftLimits::default()).ok();
    taskweir_gateway::fuzzing::batch(text);
    taskweir_gateway::fuzzing::bulk(text);
});
