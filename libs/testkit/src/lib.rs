#![doc = include_str!("../README.md")]

mod redis_server;
mod wait;

pub use redis_server::{Persistence, TestRedis, free_port};
pub use wait::{eventually, eventually_within};
