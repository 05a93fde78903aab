//! From the environment to a running gateway.

use std::net::SocketAddr;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use taskweir_domain::{DraftLimits, Redaction};
use taskweir_runtime::access::{Doorkeeper, Signer};
use taskweir_runtime::listen::{BasePath, Door, HostGuard, ListenAddress, Seats};
use taskweir_runtime::{Env, EnvError, door};
use taskweir_store::{Limits, RedisSettings, Store, StoreError, Submitter};
use tokio_util::sync::CancellationToken;

use crate::feed::Feed;
use crate::gate::Gate;
use crate::state::State;
use crate::{api, problem};

/// What a gateway is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Redis is.
    pub redis: RedisSettings,
    /// How long ended tasks stay.
    pub limits: Limits,
    /// Defaults and limits of submits.
    pub submit: DraftLimits,
    /// Who may do what, from `TASKWEIR_API_KEYS` and `TRUSTED_PROXIES`.
    pub doorkeeper: Doorkeeper,
    /// What is hidden in histories and the feed, from `REDACT_FIELDS`.
    pub redaction: Redaction,
    /// The path under which a proxy shows it, from `GATEWAY_BASE_PATH`.
    pub base_path: BasePath,
    /// Where it listens, from `GATEWAY_ADDR`.
    pub listen: ListenAddress,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable cannot be used.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        let default = SocketAddr::from(([127, 0, 0, 1], 8_000));
        Ok(Self {
            redis: taskweir_settings::redis(env)?,
            limits: taskweir_settings::limits(env)?,
            submit: taskweir_settings::submit(env)?,
            doorkeeper: Doorkeeper::from_env(env)?,
            redaction: taskweir_settings::redaction(env)?,
            base_path: BasePath::from_env(env, "GATEWAY_BASE_PATH")?,
            listen: ListenAddress::from_env(env, "GATEWAY_ADDR", default)?,
        })
    }

    /// Begins to listen and connects, waiting while Redis is away.
    ///
    /// # Errors
    /// The port is taken, or the layout is not usable.
    pub async fn build(self, metrics: PrometheusHandle) -> anyhow::Result<App> {
        let (door, address) = self.listen.bind().await?;
        Ok(App {
            door,
            address,
            state: self.connect(metrics).await?,
        })
    }

    async fn connect(self, metrics: PrometheusHandle) -> Result<State, StoreError> {
        let store = Store::connect_waiting(&self.redis, self.limits).await?;
        let secret = store.signing_secret().await?;
        let signer = Signer::new(self.doorkeeper.keys().clone(), secret.as_bytes());
        Ok(State {
            submitter: Submitter::new(&store),
            feed: Feed::new(&store),
            seats: Seats::new(self.listen.limits),
            redaction: self.redaction,
            store,
            submit: self.submit,
            metrics,
            gate: Gate::new(self.doorkeeper, signer),
            base_path: self.base_path,
        })
    }

    /// Listens and serves until `stop`; while Redis is away at the start, callers are told so.
    ///
    /// # Errors
    /// The port is taken, or the layout is not usable.
    pub async fn serve(
        self,
        metrics: PrometheusHandle,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let listen = self.listen;
        let opening = async |address| {
            let state = self.connect(metrics).await?;
            tracing::info!(%address, "gateway listens");
            Ok(api::routes(state, HostGuard::of(address)))
        };
        door::serve(listen, opening, problem::starting, DRAIN, stop).await
    }
}

/// A gateway, listening.
pub struct App {
    door: Door,
    address: SocketAddr,
    state: State,
}

/// Time for requests on their way when the gateway stops.
const DRAIN: Duration = Duration::from_secs(5);

impl App {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tracing::info!(address = %self.address, "gateway listens");
        let app = api::routes(self.state, HostGuard::of(self.address));
        self.door.serve(app, DRAIN, stop).await;
    }
}
