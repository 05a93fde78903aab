//! Why a server that is reached cannot be spoken to. A client only sees a connection that is reset or silent, which
//! looks as if nobody were there; what it speaks past is found by asking the server the other way.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::StoreError;
use crate::target::{prepare_tls, servers_of};

/// Longest wait for each word of a server.
const PATIENCE: Duration = Duration::from_secs(1);

/// What rustls says of a certificate that it does not trust.
const DISTRUST: &str = "invalid peer certificate";

/// Says what waiting does not mend: TLS spoken to a server without it, the reverse, a certificate that is not trusted.
/// `error` is what the connection failed with, where it did.
pub(crate) async fn diagnose(url: &str, error: Option<&StoreError>) -> Option<StoreError> {
    for server in servers_of(url).ok()? {
        let (host, port, tls) = match server.addr() {
            ConnectionAddr::Tcp(host, port) => (host, *port, false),
            ConnectionAddr::TcpTls { host, port, .. } => (host, *port, true),
            _ => continue,
        };
        let Some(answer) = greet(host, port).await else {
            continue;
        };
        let plain = matches!(answer.first(), Some(b'+' | b'-'));
        let why = if tls && plain {
            format!(
                "{host}:{port} does not speak TLS: begin the address with redis instead of rediss"
            )
        } else if tls {
            let text = error.map(ToString::to_string).unwrap_or_default();
            let (_, reason) = text.split_once(DISTRUST)?;
            format!(
                "the certificate of {host}:{port} is not trusted{reason}: set SSL_CERT_FILE to the certificates to trust"
            )
        } else if !plain && speaks_tls(host, port).await {
            format!("{host}:{port} speaks TLS: begin the address with rediss instead of redis")
        } else {
            continue;
        };
        return Some(StoreError::Unusable(why));
    }
    None
}

/// What a server answers to a word without TLS; `None` where nobody is reached.
async fn greet(host: &str, port: u16) -> Option<Vec<u8>> {
    let connecting = timeout(PATIENCE, TcpStream::connect((host, port)));
    let mut stream = connecting.await.ok()?.ok()?;
    let mut answer = [0; 64];
    let asked = async {
        stream.write_all(b"PING\r\n").await?;
        stream.read(&mut answer).await
    };
    let read = timeout(PATIENCE, asked).await;
    let length = read.ok().and_then(Result::ok).unwrap_or_default();
    Some(answer[..length].to_vec())
}

/// Whether a server that is spoken to with TLS answers with it: by taking us, by asking for a password, by a
/// certificate that we do not trust.
async fn speaks_tls(host: &str, port: u16) -> bool {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let Ok(client) = Client::open(format!("rediss://{host}:{port}")) else {
        return false;
    };
    let info: &ConnectionInfo = client.get_connection_info();
    prepare_tls(info);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    match connecting.await {
        Ok(_) => true,
        Err(error) => error.to_string().contains(DISTRUST) || error.code().is_some(),
    }
}
