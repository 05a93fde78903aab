//! Who is connected. Where there is no more room, the connection that has waited longest for a request makes way: so
//! those who open many and say nothing keep nobody out who has something to say.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::limits::{ConnectionLimits, most};

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing of a request has come yet.
    Waiting,
    /// A part of a request's header has come.
    Header,
    /// The header of a request has come, and its body not yet.
    Body,
    /// A request is being answered.
    Serving,
}

/// What is known of one connection, by itself and by the crowd.
#[derive(Debug)]
pub(super) struct Watch {
    address: IpAddr,
    began: Instant,
    phase: AtomicU8,
    /// When the phase began, ms after `began`.
    since_ms: AtomicU64,
    /// Cancelled when it shall make way.
    pub(super) dismissed: CancellationToken,
}

impl Watch {
    pub(super) fn new(address: IpAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            began: Instant::now(),
            phase: AtomicU8::new(Phase::Waiting as u8),
            since_ms: AtomicU64::new(0),
            dismissed: CancellationToken::new(),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Waiting,
            1 => Phase::Header,
            2 => Phase::Body,
            _ => Phase::Serving,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(since, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// When the phase began.
    pub(super) fn since(&self) -> Instant {
        self.began + std::time::Duration::from_millis(self.since_ms.load(Ordering::Relaxed))
    }
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// For nobody.
    All,
    /// For this address.
    Address,
}

#[derive(Debug, Default)]
struct Present {
    next: u64,
    all: HashMap<u64, Arc<Watch>>,
    by_address: HashMap<IpAddr, usize>,
}

impl Present {
    fn remove(&mut self, number: u64) {
        let Some(gone) = self.all.remove(&number) else {
            return;
        };
        if let Some(count) = self.by_address.get_mut(&gone.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&gone.address);
            }
        }
    }

    /// Dismisses who has waited longest, of one address or of all; whether there was one.
    fn make_way(&mut self, of: Option<IpAddr>) -> bool {
        let waiting = self.all.iter().filter(|(_, watch)| {
            watch.phase() != Phase::Serving && of.is_none_or(|of| watch.address == of)
        });
        let oldest = waiting.min_by_key(|(_, watch)| watch.since());
        let Some((number, watch)) = oldest.map(|(number, watch)| (*number, Arc::clone(watch)))
        else {
            return false;
        };
        watch.dismissed.cancel();
        self.remove(number);
        true
    }
}

/// Everybody who is connected.
#[derive(Debug, Clone)]
pub(super) struct Crowd {
    present: Arc<Mutex<Present>>,
    connections: usize,
    per_address: usize,
}

impl Crowd {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self {
            present: Arc::default(),
            connections: limits.affordable_connections(),
            per_address: most(limits.connections_per_address),
        }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one more in, in the place of another where it must be.
    pub(super) fn admit(&self, address: IpAddr) -> Result<Place, Full> {
        let address = address.to_canonical();
        let mut present = self.present();
        let of_address = present.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= self.per_address && !present.make_way(Some(address)) {
            return Err(Full::Address);
        }
        if present.all.len() >= self.connections && !present.make_way(None) {
            return Err(Full::All);
        }
        let number = present.next;
        present.next += 1;
        let watch = Watch::new(address);
        present.all.insert(number, Arc::clone(&watch));
        *present.by_address.entry(address).or_default() += 1;
        drop(present);
        Ok(Place {
            crowd: self.clone(),
            number,
            watch,
        })
    }
}

/// A place among those who are connected, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Crowd,
    number: u64,
    pub(super) watch: Arc<Watch>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.present().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::{Crowd, Full, Phase};
    use crate::listen::ConnectionLimits;

    fn crowd(connections: usize, per_address: usize) -> Crowd {
        Crowd::new(ConnectionLimits {
            connections,
            connections_per_address: per_address,
            ..ConnectionLimits::default()
        })
    }

    #[test]
    fn who_waits_longest_makes_way_and_who_is_served_does_not() {
        let crowd = crowd(2, 0);
        let one = "192.0.2.1".parse().unwrap();
        let served = crowd.admit(one).unwrap();
        served.watch.enter(Phase::Serving);
        let silent = crowd.admit(one).unwrap();
        let third = crowd.admit(one).unwrap();
        assert!(silent.watch.dismissed.is_cancelled());
        assert!(!served.watch.dismissed.is_cancelled());
        third.watch.enter(Phase::Serving);
        assert_eq!(crowd.admit(one).unwrap_err(), Full::All);
        drop(served);
        assert!(crowd.admit(one).is_ok());
        drop(silent);
        assert_eq!(
            crowd.present().all.len(),
            1,
            "gone before, and counted once"
        );
    }

    #[test]
    fn one_address_has_its_share() {
        let crowd = crowd(100, 1);
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = crowd.admit(one).unwrap();
        first.watch.enter(Phase::Serving);
        assert_eq!(crowd.admit(one).unwrap_err(), Full::Address);
        assert!(crowd.admit("::ffff:192.0.2.1".parse().unwrap()).is_err());
        let theirs = crowd.admit(other).unwrap();
        first.watch.enter(Phase::Waiting);
        assert!(crowd.admit(one).is_ok());
        assert!(first.watch.dismissed.is_cancelled());
        assert!(!theirs.watch.dismissed.is_cancelled());
    }
}
