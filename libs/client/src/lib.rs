//! HTTP client of a Taskweir gateway.
