#![doc = include_str!("../README.md")]

pub mod access;
pub mod admin;
pub mod door;
pub mod lifecycle;
pub mod listen;
pub mod printable;
pub mod readiness;
pub mod telemetry;
pub mod traces;

pub use readiness::{Feeder, Readiness};
pub use taskweir_env::{Env, EnvError};
