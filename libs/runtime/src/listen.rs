//! Listening addresses.

use std::net::SocketAddr;

use poem::listener::{Acceptor, Listener, TcpAcceptor, TcpListener};

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
         submit and remove tasks. Listen on 127.0.0.1, or set TASKWEIR_ALLOW_ANONYMOUS=1 if \
         something in front keeps strangers out"
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
    /// Strangers are kept out by other means.
    pub allow_anonymous: bool,
}

impl ListenAddress {
    /// Reads an address and `TASKWEIR_ALLOW_ANONYMOUS`.
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
            allow_anonymous: env.switch("TASKWEIR_ALLOW_ANONYMOUS")?,
        })
    }

    /// Begins to listen; gives the address too, since port 0 stands for any.
    ///
    /// # Errors
    /// The port is taken, or the address would be open to strangers.
    pub async fn bind(self) -> Result<(TcpAcceptor, SocketAddr), ListenError> {
        let Self {
            address,
            variable,
            allow_anonymous,
        } = self;
        if !address.ip().is_loopback() && !allow_anonymous {
            return Err(ListenError::Open { address, variable });
        }
        let bound = TcpListener::bind(address).into_acceptor().await;
        let acceptor = bound.map_err(|cause| ListenError::Bind {
            address,
            variable,
            cause,
        })?;
        let local = acceptor.local_addr();
        let bound = local
            .first()
            .and_then(|addr| addr.as_socket_addr().copied());
        Ok((acceptor, bound.unwrap_or(address)))
    }
}
