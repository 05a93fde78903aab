//! Embeddable Taskweir worker: write a handler, run it.
