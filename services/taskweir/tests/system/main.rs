//! The whole system as real processes on a private Redis.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod audit;
mod chrome;
mod fleet;

mod access;
mod blocked;
mod book;
mod browser;
mod bulk;
mod chaos;
mod cli;
mod cluster;
mod control;
mod crash;
mod dev;
mod emptied;
mod forms;
mod growth;
mod health;
mod http_task;
mod https;
mod live;
mod loadtest;
mod logs;
mod nginx;
mod outage;
mod pages;
mod peers;
mod poison;
mod prometheus;
mod readme;
mod redaction;
mod retention;
mod rights;
mod tls;
mod traces;
mod traffic;
mod upgrade;
mod verify;
