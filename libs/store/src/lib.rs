//! Taskweir's storage: the only library that knows Redis.
