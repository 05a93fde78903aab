//! Every script against a real Redis: the right path, every refusal, the repeat after a lost
//! reply, and that a replay of the log gives the record.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod bench;

mod accepts;
mod cancel;
mod claim;
mod dlq;
mod durability;
mod expire;
mod failover;
mod finish;
mod heartbeat;
mod keys;
mod layout;
mod operation;
mod park;
mod pause;
mod promote;
mod random;
mod reclaim;
mod release;
mod retention;
mod start;
mod strays;
mod submit;
mod views;
