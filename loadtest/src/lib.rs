//! Chaos: real processes of the whole system, killed, frozen, cut off and led astray by a seeded
//! schedule, under load from clients that keep their own journal; and a checker that reads the raw
//! streams of Redis, shares no code with the store, and tells whether every promise held. And a load test over HTTP.

pub mod chaos;
pub mod checker;
pub mod load;
