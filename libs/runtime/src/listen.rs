//! Listening addresses, and the server behind each.

mod base_path;
mod crowd;
mod limits;
mod patience;
mod seats;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use poem::http::HeaderMap;
use poem::{Endpoint, EndpointExt, IntoResponse};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use base_path::BasePath;
pub use limits::ConnectionLimits;
pub use patience::Patience;
pub use seats::{Seat, Seats};

use crate::access::ApiKeys;
use crate::{Env, EnvError};

/// Why a service does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port is taken, or the address is not ours.
    #[error("cannot listen on {address} ({variable}): {cause}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The variable that sets it.
        variable: &'static str,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// Anybody could do anything.
    #[error(
        "{variable} is {address}, which is not loopback, and there are no API keys: anybody could \
         submit and remove tasks. Set TASKWEIR_API_KEYS, listen on 127.0.0.1, or set \
         TASKWEIR_ALLOW_ANONYMOUS=1 if something in front keeps strangers out"
    )]
    Open {
        /// The address.
        address: SocketAddr,
        /// The variable that sets it.
        variable: &'static str,
    },
}

/// An address to listen on, with the variable that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress {
    /// The address.
    pub address: SocketAddr,
    /// The variable.
    pub variable: &'static str,
    /// Strangers are kept out, by API keys or by other means.
    pub allow_anonymous: bool,
    /// How many may be connected.
    pub limits: ConnectionLimits,
}

impl ListenAddress {
    /// Reads an address, `TASKWEIR_ALLOW_ANONYMOUS` and the limits of connections.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn from_env(
        env: &Env,
        variable: &'static str,
        default: SocketAddr,
    ) -> Result<Self, EnvError> {
        Ok(Self {
            address: env.parse(variable, default, "an address such as 127.0.0.1:8000")?,
            variable,
            allow_anonymous: env.switch("TASKWEIR_ALLOW_ANONYMOUS")?
                || !ApiKeys::from_env(env)?.is_empty(),
            limits: ConnectionLimits::from_env(env)?,
        })
    }

    /// Begins to listen; gives the address too, since port 0 stands for any.
    ///
    /// # Errors
    /// The port is taken, or the address would be open to strangers.
    pub async fn bind(self) -> Result<(Door, SocketAddr), ListenError> {
        let Self {
            address,
            variable,
            allow_anonymous,
            limits,
        } = self;
        if !address.ip().is_loopback() && !allow_anonymous {
            return Err(ListenError::Open { address, variable });
        }
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            let bound = listener.local_addr()?;
            Ok((Door { listener, limits }, bound))
        };
        bind.await.map_err(|cause| ListenError::Bind {
            address,
            variable,
            cause,
        })
    }
}

/// An address that is listened on.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    limits: ConnectionLimits,
}

impl Door {
    /// Serves an app until `stop`; then requests on their way have `drain` to end.
    pub async fn serve<E>(self, app: E, drain: Duration, stop: CancellationToken)
    where
        E: Endpoint + 'static,
        E::Output: IntoResponse,
    {
        let app = app.map_to_response();
        server::run(self.listener, app, self.limits, drain, stop).await;
    }
}

/// Which `Host` headers are taken. A service on loopback is meant for this machine; a page of another
/// site that had its name point to loopback (DNS rebinding) would else speak to it as if it were ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostGuard {
    loopback: bool,
}

impl HostGuard {
    /// For a service that listens here.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        Self {
            loopback: address.ip().is_loopback(),
        }
    }

    /// Whether a request with this `Host` header is taken.
    #[must_use]
    pub fn allows(self, host: Option<&str>) -> bool {
        let Some(host) = host.filter(|_| self.loopback) else {
            return true;
        };
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let is_loopback = |ip: std::net::IpAddr| ip.is_loopback();
        name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
    }
}

/// Whether a request was not sent by a page of another site. Browsers say where a request comes from; programs without
/// these headers are no browsers and carry nobody's session.
#[must_use]
pub fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), _, _) => site == "same-origin" || site == "none",
        (None, Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, from)| from == host),
        (None, Some(_), None) => false,
        (None, None, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use poem::http::{HeaderMap, HeaderName, HeaderValue};

    use super::{HostGuard, is_own};

    fn own(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        is_own(&headers.collect::<HeaderMap>())
    }

    #[test]
    fn requests_of_other_sites_are_told_by_their_headers() {
        assert!(own(&[]));
        assert!(own(&[("sec-fetch-site", "same-origin")]));
        assert!(!own(&[("sec-fetch-site", "cross-site")]));
        assert!(!own(&[("sec-fetch-site", "same-site")]));
        assert!(own(&[
            ("origin", "http://localhost:5001"),
            ("host", "localhost:5001")
        ]));
        assert!(!own(&[
            ("origin", "http://evil.example"),
            ("host", "localhost:5001")
        ]));
        assert!(!own(&[("origin", "null"), ("host", "localhost:5001")]));
    }

    #[test]
    fn on_loopback_only_loopback_names_are_taken() {
        let local = HostGuard::of(([127, 0, 0, 1], 8_000).into());
        for host in [
            "localhost",
            "localhost:8000",
            "127.0.0.1:8000",
            "[::1]:8000",
            "LOCALHOST",
        ] {
            assert!(local.allows(Some(host)), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8000",
            "192.168.1.2",
            "",
            "localhost.evil.example",
        ] {
            assert!(!local.allows(Some(host)), "{host}");
        }
        assert!(local.allows(None));
        assert!(HostGuard::of(([0, 0, 0, 0], 8_000).into()).allows(Some("queue.example")));
    }
}
