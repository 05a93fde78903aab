//! The worker process: the worker library with the demo task types.

mod config;
pub mod demo;

pub use config::{App, Config};
