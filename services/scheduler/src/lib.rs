//! Taskweir's scheduler: promotes what is due, redelivers what was lost.
