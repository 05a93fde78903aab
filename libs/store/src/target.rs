//! Where Redis is: one server, a cluster, or whatever Sentinels say is the primary.

use std::fmt;
use std::sync::Arc;

use redis::aio::{ConnectionLike, ConnectionManager, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    Pipeline, RedisError, RedisFuture, RedisResult, TlsMode, Value,
};
use tokio::sync::Mutex;

use crate::link::{BLOCK_PATIENCE, CONNECT_TIMEOUT, KEEPALIVE, RESPONSE_TIMEOUT, manager_config};

/// The forms of an address, by what they begin with.
const CLUSTER: &str = "+cluster://";
const SENTINEL: &str = "+sentinel://";

/// Where Redis is.
#[derive(Clone)]
pub(crate) enum Target {
    /// One server.
    Single(Arc<Client>),
    /// A cluster, known by some of its nodes; and the same for connections that block, which wait longer.
    Cluster(Arc<ClusterClient>, Arc<ClusterClient>),
    /// The primary of a service that Sentinels watch.
    Sentinel(Arc<Mutex<SentinelClient>>),
}

/// An address that is none.
fn wrong(what: &str) -> RedisError {
    RedisError::from((
        redis::ErrorKind::InvalidClientConfig,
        "address",
        what.to_owned(),
    ))
}

fn tcp() -> TcpSettings {
    // Without these, a peer that vanished without a word is waited for a quarter of an hour.
    let keepalive = redis::io::tcp::socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(KEEPALIVE * 2);
    tcp
}

/// User, hosts and rest of `[user:password@]host:port,host:port[/rest]`.
fn parts(text: &str) -> (Option<&str>, &str, &str) {
    let (authority, rest) = text.split_once('/').unwrap_or((text, ""));
    match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts, rest),
        None => (None, authority, rest),
    }
}

/// Each server of `scheme+kind://[user:password@]host:port,host:port[/rest]`, as an address of its own, and the rest.
fn servers(scheme: &str, text: &str) -> RedisResult<(Vec<ConnectionInfo>, String)> {
    let (user, hosts, rest) = parts(text);
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    let servers: RedisResult<Vec<ConnectionInfo>> = hosts
        .split(',')
        .map(|host| format!("{scheme}://{user}{host}").into_connection_info())
        .collect();
    Ok((servers?, rest.to_owned()))
}

/// The scheme and the user by which Sentinels are asked, by what stands behind the service.
fn watching<'a>(scheme: &'a str, options: &'a str) -> RedisResult<(&'a str, String)> {
    let (mut scheme, mut user, mut password) = (scheme, "", "");
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("sentinel_user", value)) => user = value,
            Some(("sentinel_password", value)) => password = value,
            Some(("sentinel_tls", "no")) => scheme = "redis",
            Some(("sentinel_tls", "yes")) => scheme = "rediss",
            // Refused before by `address::check`.
            _ => return Err(wrong("an option of redis+sentinel:// that is none")),
        }
    }
    let who = if user.is_empty() && password.is_empty() {
        String::new()
    } else {
        format!("{user}:{password}@")
    };
    Ok((scheme, who))
}

/// TLS with ring; who embeds us may have chosen another one before.
pub(crate) fn prepare_tls(info: &ConnectionInfo) {
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
    }
}

impl Target {
    /// Whether there are several primaries.
    pub(crate) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(..))
    }

    /// Reads `redis://…`, `redis+cluster://host:port,host:port`, or
    /// `redis+sentinel://host:port,host:port/service`; each with `rediss` for TLS. User and password are those of the
    /// servers; Sentinels have their own, as `?sentinel_user=…&sentinel_password=…` behind the service, and are asked
    /// over TLS where the servers are, unless `sentinel_tls=no` is there.
    pub(crate) fn read(url: &str) -> RedisResult<Self> {
        if let Some((scheme, rest)) = url.split_once(CLUSTER) {
            let (nodes, _) = servers(scheme, rest)?;
            nodes.iter().for_each(prepare_tls);
            let client = |patience| {
                let client = ClusterClient::builder(nodes.clone())
                    .tcp_settings(tcp())
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(patience)
                    // A replica that takes over needs its time; callers wait no longer than for one server.
                    .overall_response_timeout(Some(patience))
                    .retries(4)
                    .min_retry_wait(50)
                    .max_retry_wait(500)
                    .build();
                client.map(Arc::new)
            };
            let (shared, alone) = (client(RESPONSE_TIMEOUT)?, client(BLOCK_PATIENCE)?);
            return Ok(Self::Cluster(shared, alone));
        }
        if let Some((scheme, all)) = url.split_once(SENTINEL) {
            let (sentinels, rest) = servers(scheme, all)?;
            let (service, options) = rest.split_once('?').unwrap_or((&rest, ""));
            let service = service.split('/').next().unwrap_or_default();
            let first = sentinels.first().filter(|_| !service.is_empty());
            let Some(first) = first.cloned() else {
                return Err(wrong("redis+sentinel:// ends with the name of the service"));
            };
            let (by, who) = watching(scheme, options)?;
            let (_, hosts, _) = parts(all);
            let (watchers, _) = servers(by, &format!("{who}{hosts}"))?;
            watchers.iter().chain([&first]).for_each(prepare_tls);
            let mut node = SentinelNodeConnectionInfo::default()
                .set_redis_connection_info(first.redis_settings().clone())
                .set_tcp_settings(tcp());
            if matches!(first.addr(), ConnectionAddr::TcpTls { .. }) {
                node = node.set_tls_mode(TlsMode::Secure);
            }
            let client =
                SentinelClient::build(watchers, service, Some(node), SentinelServerType::Master)?;
            return Ok(Self::Sentinel(Arc::new(Mutex::new(client))));
        }
        let info = url.into_connection_info()?;
        prepare_tls(&info);
        let client = Client::open(info.set_tcp_settings(tcp()))?;
        Ok(Self::Single(Arc::new(client)))
    }

    /// The server of a target that is none of many, as it is now.
    async fn server(&self) -> RedisResult<Option<Client>> {
        match self {
            Self::Single(client) => Ok(Some(Client::clone(client))),
            Self::Cluster(..) => Ok(None),
            Self::Sentinel(sentinel) => {
                let client = sentinel.lock().await.async_get_client().await?;
                Ok(Some(client))
            }
        }
    }

    /// A connection that is shared by many and comes back by itself, and the address of its server where it is one.
    pub(crate) async fn connect(&self) -> RedisResult<(Connection, Option<String>)> {
        if let Self::Cluster(client, _) = self {
            let connection = client.get_async_connection().await?;
            return Ok((Connection::Cluster(connection), None));
        }
        let client = self.server().await?.ok_or_else(|| wrong("no server"))?;
        let address = client.get_connection_info().addr().to_string();
        let manager = ConnectionManager::new_with_config(client, manager_config()).await?;
        Ok((Connection::Single(manager), Some(address)))
    }

    /// A connection that nobody else uses, for commands that block, up to [`MAX_BLOCK`](crate::link::MAX_BLOCK).
    pub(crate) async fn connect_alone(&self) -> RedisResult<Alone> {
        if let Self::Cluster(_, client) = self {
            return Ok(Alone::Cluster(client.get_async_connection().await?));
        }
        let client = self.server().await?.ok_or_else(|| wrong("no server"))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(BLOCK_PATIENCE));
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Alone::Single(connection.await?))
    }

    /// The address of the one server that is asked now; `None` for a cluster.
    pub(crate) async fn address(&self) -> RedisResult<Option<String>> {
        let client = self.server().await?;
        Ok(client.map(|client| client.get_connection_info().addr().to_string()))
    }

    /// Whether the address leads to other servers from time to time.
    pub(crate) const fn wanders(&self) -> bool {
        matches!(self, Self::Sentinel(_))
    }
}

/// The servers and ports of an address, for people; never a password.
pub(crate) fn shown(url: &str) -> String {
    let nothing = || "an address that is no Redis URL".to_owned();
    for kind in [CLUSTER, SENTINEL] {
        if let Some((scheme, rest)) = url.split_once(kind) {
            let Ok((servers, rest)) = servers(scheme, rest) else {
                return nothing();
            };
            let servers: Vec<String> = servers.iter().map(|info| info.addr().to_string()).collect();
            // What is behind it may be a password.
            let rest = rest.split('?').next().unwrap_or_default();
            let rest = if rest.is_empty() {
                String::new()
            } else {
                format!("/{rest}")
            };
            return format!("{}{rest}", servers.join(","));
        }
    }
    url.into_connection_info()
        .map_or_else(|_| nothing(), |info| info.addr().to_string())
}

/// Each server that an address names.
pub(crate) fn servers_of(url: &str) -> RedisResult<Vec<ConnectionInfo>> {
    for kind in [CLUSTER, SENTINEL] {
        if let Some((scheme, rest)) = url.split_once(kind) {
            return Ok(servers(scheme, rest)?.0);
        }
    }
    Ok(vec![url.into_connection_info()?])
}

/// A connection shared by many.
#[derive(Clone)]
pub(crate) enum Connection {
    /// To one server.
    Single(ConnectionManager),
    /// To the nodes of a cluster.
    Cluster(ClusterConnection),
}

impl Connection {
    pub(crate) async fn send(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => connection.send_packed_command(cmd).await,
            Self::Cluster(connection) => connection.req_packed_command(cmd).await,
        }
    }

    pub(crate) async fn send_pipe(
        &mut self,
        pipe: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(connection) => connection.send_packed_commands(pipe, offset, count).await,
            Self::Cluster(connection) => connection.req_packed_commands(pipe, offset, count).await,
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.send(cmd))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipe: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(self.send_pipe(pipe, offset, count))
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// A connection that nobody else uses.
pub(crate) enum Alone {
    /// To one server.
    Single(MultiplexedConnection),
    /// To the nodes of a cluster.
    Cluster(ClusterConnection),
}

impl fmt::Debug for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alone").finish_non_exhaustive()
    }
}

impl Alone {
    pub(crate) async fn send(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => connection.send_packed_command(cmd).await,
            Self::Cluster(connection) => connection.req_packed_command(cmd).await,
        }
    }

    pub(crate) async fn send_pipe(&mut self, pipe: &Pipeline) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(connection) => connection.send_packed_commands(pipe, 0, pipe.len()).await,
            Self::Cluster(connection) => connection.req_packed_commands(pipe, 0, pipe.len()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Target, shown};

    #[test]
    fn every_form_of_an_address_is_read() {
        for url in [
            "redis://localhost",
            "rediss://user:pw@h:6380/1",
            "redis+cluster://a:1,b:2",
            "rediss+cluster://u:p@a:1,b:2",
            "redis+sentinel://:pw@a:26379,b:26379/main",
            "rediss+sentinel://:pw@a:26379/main?sentinel_user=u&sentinel_password=p%40&sentinel_tls=no",
        ] {
            assert!(Target::read(url).is_ok(), "{url}");
        }
        for url in [
            "redis+sentinel://a:26379",
            "redis+sentinel://a:26379/main?sentinel_tls=maybe",
            "redis+cluster://",
            "http://a",
        ] {
            assert!(Target::read(url).is_err(), "{url}");
        }
        assert_eq!(shown("redis+cluster://u:secret@a:1,b:2"), "a:1,b:2");
        assert_eq!(
            shown("redis+sentinel://:secret@a:1,b:2/main?sentinel_password=secret"),
            "a:1,b:2/main"
        );
        let watcher = |scheme, options| {
            let (scheme, who) = super::watching(scheme, options).unwrap();
            format!("{scheme}://{who}a:1")
        };
        assert_eq!(watcher("redis", ""), "redis://a:1");
        assert_eq!(watcher("rediss", ""), "rediss://a:1");
        let options = "sentinel_password=p%40&sentinel_tls=no";
        assert_eq!(watcher("rediss", options), "redis://:p%40@a:1");
        assert_eq!(shown("redis://:secret@h:7/2"), "h:7");
        assert!(!shown("nonsense:secret").contains("secret"));
    }
}
