//! The HTTP API against a real Redis: every answer as documented.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod access;
mod bench;
mod document;
mod faults;
mod feed;
mod instants;
mod keys;
mod lists;
mod names;
mod operations;
mod passage;
mod refusals;
mod tasks;
