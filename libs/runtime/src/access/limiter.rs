//! Rationing of failed sign-ins.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use poem::Request;

use crate::{Env, EnvError};

/// Failures an address may have within [`WINDOW`].
const MAX_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered; beyond, those whose window has passed are forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// Most proxies one behind the other.
const MAX_PROXIES: usize = 8;

/// Counts failures per address of a client.
#[derive(Debug, Clone, Default)]
pub(super) struct Limiter {
    failures: Arc<Mutex<Failures>>,
    /// Proxies in front of us, each of which adds to `X-Forwarded-For` who called it.
    proxies: usize,
}

/// How often an address failed, since when.
type Failures = HashMap<Option<IpAddr>, (u32, Instant)>;

/// Whose failures count together: of IPv6 a whole /64, which is what one customer of a provider has.
fn who(address: Option<IpAddr>) -> Option<IpAddr> {
    let network = |v6: Ipv6Addr| Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX));
    Some(match address?.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => network(v6).into(),
        other => other,
    })
}

/// An address as proxies write it, some with a port.
fn read_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip()).ok();
    text.parse().ok().or_else(with_port)
}

/// Reads `TRUSTED_PROXIES`: how many proxies stand in front.
///
/// # Errors
/// It is no such number.
pub(crate) fn trusted_proxies(env: &Env) -> Result<usize, EnvError> {
    let takes = "the number of proxies in front, 0 to 8";
    env.read("TRUSTED_PROXIES", 0, takes, |text| {
        text.parse().ok().filter(|proxies| *proxies <= MAX_PROXIES)
    })
}

impl Limiter {
    /// Reads `TRUSTED_PROXIES`: how many proxies stand one behind the other before this process.
    ///
    /// # Errors
    /// It is no such number.
    pub(super) fn from_env(env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            failures: Arc::default(),
            proxies: trusted_proxies(env)?,
        })
    }

    /// Who sent a request, as far as those in front are trusted. What a client itself writes into the header stands
    /// before what they add, and is not looked at.
    pub(super) fn client(&self, request: &Request) -> Option<IpAddr> {
        let peer = request.remote_addr().as_socket_addr();
        let peer = peer.map(SocketAddr::ip);
        let headers = request.headers().get_all("x-forwarded-for").iter();
        let added = headers
            .filter_map(|header| header.to_str().ok())
            .flat_map(|header| header.split(','));
        let added: Vec<&str> = added.collect();
        let first = added.len().checked_sub(self.proxies);
        let told = first.and_then(|first| added.get(first));
        told.and_then(|told| read_address(told)).or(peer)
    }

    /// Notes that a request bore a wrong secret; whether more came from there lately than are answered as such.
    pub(super) fn has_failed_again(&self, request: &Request) -> bool {
        self.note(self.client(request)) > MAX_FAILURES
    }

    /// Notes a failure, and gives how many there were within the window.
    fn note(&self, address: Option<IpAddr>) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let who = who(address);
        if failures.len() >= MAX_ADDRESSES && !failures.contains_key(&who) {
            failures.retain(|_, (_, since)| since.elapsed() < WINDOW);
            // Still as many: who failed longest ago is forgotten.
            if failures.len() >= MAX_ADDRESSES {
                let oldest = failures.iter().min_by_key(|(_, (_, since))| *since);
                if let Some(oldest) = oldest.map(|(who, _)| *who) {
                    failures.remove(&oldest);
                }
            }
        }
        let (count, since) = failures.entry(who).or_insert_with(|| (0, Instant::now()));
        if since.elapsed() >= WINDOW {
            (*count, *since) = (0, Instant::now());
        }
        *count = count.saturating_add(1);
        *count
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use poem::Request;

    use super::{Limiter, MAX_ADDRESSES, MAX_FAILURES};
    use crate::Env;

    #[test]
    fn failures_are_counted_by_address() {
        let limiter = Limiter::default();
        let (one, other) = ("192.0.2.1".parse().ok(), "192.0.2.2".parse().ok());
        for count in 1..=MAX_FAILURES {
            assert_eq!(limiter.note(one), count);
        }
        assert_eq!(limiter.note(other), 1);
        assert_eq!(limiter.note(one), MAX_FAILURES + 1);
    }

    #[test]
    fn one_network_of_ipv6_counts_as_one_and_a_mapped_address_as_itself() {
        let limiter = Limiter::default();
        for n in 0..MAX_FAILURES {
            limiter.note(format!("2001:db8:1:2::{n:x}").parse().ok());
            limiter.note(format!("::ffff:192.0.2.{n}").parse().ok());
        }
        let count = |address: &str| limiter.note(address.parse().ok());
        assert_eq!(count("2001:db8:1:2:ffff::1"), MAX_FAILURES + 1);
        assert_eq!(count("2001:db8:1:3::1"), 1);
        assert_eq!(count("192.0.2.1"), 2);
    }

    #[test]
    fn whoever_has_many_addresses_fills_no_memory() {
        let limiter = Limiter::default();
        let address = |n: u32| Some(Ipv4Addr::from_bits(0x0a00_0000 + n).into());
        let many = u32::try_from(MAX_ADDRESSES).unwrap();
        for n in 0..many + 100 {
            limiter.note(address(n));
        }
        assert!(limiter.failures.lock().unwrap().len() <= MAX_ADDRESSES);
        assert_eq!(limiter.note(address(many + 1_000)), 1);
        assert_eq!(limiter.note(address(many + 1_000)), 2);
    }

    #[test]
    fn clients_behind_proxies_are_known_by_what_those_say() {
        for (proxies, headers, client) in [
            ("0", &["192.0.2.1"][..], None),
            ("1", &["192.0.2.1"], Some("192.0.2.1")),
            ("1", &["198.51.100.7, 192.0.2.1"], Some("192.0.2.1")),
            ("1", &["198.51.100.7", "192.0.2.1:4711"], Some("192.0.2.1")),
            (
                "2",
                &["198.51.100.7, 192.0.2.1 , 10.0.0.1"],
                Some("192.0.2.1"),
            ),
            ("2", &["[2001:db8::1]:80,10.0.0.1"], Some("2001:db8::1")),
            ("2", &["10.0.0.1"], None),
            ("1", &["unknown"], None),
            ("1", &[], None),
        ] {
            let env = Env::of([("TRUSTED_PROXIES", proxies)]);
            let limiter = Limiter::from_env(&env).unwrap();
            let mut request = Request::builder();
            for header in headers {
                request = request.header("x-forwarded-for", *header);
            }
            let client = client.map(|client| client.parse().unwrap());
            assert_eq!(limiter.client(&request.finish()), client, "{headers:?}");
        }
        let wrong = Limiter::from_env(&Env::of([("TRUSTED_PROXIES", "10.0.0.0/8")]));
        assert!(wrong.unwrap_err().to_string().contains("TRUSTED_PROXIES"));
    }
}
