//! Taskweir's worker process with the demo task types.
