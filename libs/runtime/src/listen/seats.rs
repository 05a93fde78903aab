//! Seats for those who listen to a stream of events, which ends only when they leave.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::limits::{ConnectionLimits, most};

/// The seats of a service.
#[derive(Debug, Clone)]
pub struct Seats {
    taken: Arc<Mutex<HashMap<Option<IpAddr>, usize>>>,
    all: usize,
    per_address: usize,
}

impl Seats {
    /// As many as these limits say.
    #[must_use]
    pub fn new(limits: ConnectionLimits) -> Self {
        Self {
            taken: Arc::default(),
            all: most(limits.streams),
            per_address: most(limits.streams_per_address),
        }
    }

    /// A seat for somebody from an address; `None` where none is left for them.
    #[must_use]
    pub fn take(&self, address: Option<IpAddr>) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = taken.get(&address).copied().unwrap_or(0);
        if taken.values().sum::<usize>() >= self.all || of_address >= self.per_address {
            return None;
        }
        taken.insert(address, of_address + 1);
        Some(Seat {
            seats: self.clone(),
            address,
        })
    }
}

/// A seat, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    address: Option<IpAddr>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self
            .seats
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionLimits, Seats};

    #[test]
    fn there_are_so_many_in_all_and_so_many_for_one_address() {
        let seats = Seats::new(ConnectionLimits {
            streams: 3,
            streams_per_address: 2,
            ..ConnectionLimits::default()
        });
        let [one, two, three] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|ip| ip.parse().ok());
        let first = seats.take(one).unwrap();
        let _second = seats.take(one).unwrap();
        assert!(seats.take(one).is_none(), "its own are taken");
        let _third = seats.take(two).unwrap();
        assert!(seats.take(three).is_none(), "all are taken");
        drop(first);
        assert!(seats.take(three).is_some());
    }
}
