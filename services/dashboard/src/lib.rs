//! Taskweir's dashboard.
