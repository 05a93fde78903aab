//! What every Taskweir process needs: configuration, logs, lifecycle, admin HTTP.
