//! Taskweir's projector: folds the log into views.
