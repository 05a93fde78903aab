//! The REST gateway: takes tasks, tells what became of them. It writes by the store's scripts and
//! reads only projections: the record and history of a task, the views for everything else.

mod accept;
mod api;
mod body;
mod calls;
mod config;
mod feed;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod gauges;
mod instant;
pub mod metrics;
mod position;
mod problem;
mod render;
mod scrape;
mod state;
mod view;

pub use api::openapi;
pub use config::{App, Config};
