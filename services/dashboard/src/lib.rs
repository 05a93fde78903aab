//! The dashboard: HTML for people, made from projections, refreshed every 5 s at most.

mod actions;
mod app;
mod assets;
mod components;
mod gate;
mod guard;
mod layout;
mod pages;
mod sign_in;
mod url;

pub use app::{App, Config};
