//! Taskweir's REST gateway.
