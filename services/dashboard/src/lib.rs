//! The dashboard: HTML for people, made from projections, refreshed as things happen.

mod actions;
mod app;
mod assets;
mod components;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod guard;
mod layout;
mod pages;
mod sign_in;
mod ticks;
mod url;

pub use app::{App, Config};
