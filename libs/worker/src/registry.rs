//! The handlers of a worker by task type.

use std::collections::HashMap;
use std::sync::Arc;

use taskweir_domain::TaskType;

use crate::handler::AnyHandler;

#[derive(Clone, Default)]
pub(crate) struct Registry {
    handlers: HashMap<TaskType, Arc<dyn AnyHandler>>,
}

impl Registry {
    /// Adds a handler; gives false where its type was taken.
    pub(crate) fn add(&mut self, task_type: TaskType, handler: Arc<dyn AnyHandler>) -> bool {
        self.handlers.insert(task_type, handler).is_none()
    }

    pub(crate) fn get(&self, task_type: &TaskType) -> Option<&Arc<dyn AnyHandler>> {
        self.handlers.get(task_type)
    }

    pub(crate) fn types(&self) -> Vec<TaskType> {
        let mut types: Vec<TaskType> = self.handlers.keys().cloned().collect();
        types.sort();
        types
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.handlers.is_empty()
    }
}
