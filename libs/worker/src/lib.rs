#![doc = include_str!("../README.md")]

mod attempt;
mod context;
mod engine;
mod error;
mod fetch;
mod handler;
mod hands;
mod hidden;
mod lottery;
pub mod metrics;
mod producer;
mod registry;
mod settle;
mod shutdown;
mod suspects;
mod upkeep;
mod worker;

pub use context::{CancelReason, Context};
pub use error::TaskError;
pub use handler::Handler;
pub use producer::{Producer, ProducerError, Refusal, SubmitError};
pub use taskweir_domain::{Json, Priority, Redaction, RetryPolicy, TaskId, TaskSpec};
pub use taskweir_store::{Limits, RedisSettings};
pub use worker::{Worker, WorkerBuilder, WorkerError};
