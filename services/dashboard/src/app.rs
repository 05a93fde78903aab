//! From the environment to a running dashboard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poem::endpoint::BoxEndpoint;
use poem::{EndpointExt, Route, get, post};
use taskweir_domain::{DraftLimits, Redaction};
use taskweir_runtime::access::{Doorkeeper, Signer};
use taskweir_runtime::listen::{BasePath, Door, HostGuard, ListenAddress, Seats};
use taskweir_runtime::{Env, EnvError, Feeder, door};
use taskweir_store::{Limits, RedisSettings, Store, StoreError, Submitter};
use tokio_util::sync::CancellationToken;

use crate::gate::Gate;
use crate::ticks::{Ticks, ticks};
use crate::{actions, assets, guard, pages, sign_in};

const TRACE_URL_TAKES: &str =
    "a URL with {trace_id} in it, such as http://localhost:16686/trace/{trace_id}";

/// What a dashboard is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Redis is.
    pub redis: RedisSettings,
    /// How long ended tasks stay.
    pub limits: Limits,
    /// Defaults and limits of the new-task form.
    pub submit: DraftLimits,
    /// Who may do what, from `TASKWEIR_API_KEYS` and `TRUSTED_PROXIES`.
    pub doorkeeper: Doorkeeper,
    /// What is hidden of payloads and results, from `REDACT_FIELDS`.
    pub redaction: Redaction,
    /// Where a trace is looked at, with `{trace_id}` in it, from `TRACE_URL`.
    pub trace_url: Option<String>,
    /// The path under which a proxy shows it, from `DASHBOARD_BASE_PATH`.
    pub base_path: BasePath,
    /// Where it listens, from `DASHBOARD_ADDR`.
    pub listen: ListenAddress,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable cannot be used.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        let default = SocketAddr::from(([127, 0, 0, 1], 5_001));
        Ok(Self {
            redis: taskweir_settings::redis(env)?,
            limits: taskweir_settings::limits(env)?,
            submit: taskweir_settings::submit(env)?,
            doorkeeper: Doorkeeper::from_env(env)?,
            redaction: taskweir_settings::redaction(env)?,
            trace_url: env.read("TRACE_URL", None, TRACE_URL_TAKES, |text| {
                let url = text.starts_with("http://") || text.starts_with("https://");
                (url && text.contains("{trace_id}")).then(|| Some(text.to_owned()))
            })?,
            base_path: BasePath::from_env(env, "DASHBOARD_BASE_PATH")?,
            listen: ListenAddress::from_env(env, "DASHBOARD_ADDR", default)?,
        })
    }

    /// Begins to listen and connects, waiting while Redis is away.
    ///
    /// # Errors
    /// The port is taken, or the layout is not usable.
    pub async fn build(self) -> anyhow::Result<App> {
        let (door, address) = self.listen.bind().await?;
        Ok(App {
            door,
            address,
            state: self.connect(address).await?,
        })
    }

    async fn connect(self, address: SocketAddr) -> Result<State, StoreError> {
        let store = Store::connect_waiting(&self.redis, self.limits).await?;
        let secret = store.signing_secret().await?;
        let signer = Signer::new(self.doorkeeper.keys().clone(), secret.as_bytes());
        Ok(State {
            submitter: Submitter::new(&store),
            ticks: Ticks::new(&store),
            seats: Seats::new(self.listen.limits),
            redaction: self.redaction,
            trace_url: self.trace_url.map(Into::into),
            store,
            submit: self.submit,
            gate: Gate::new(
                self.doorkeeper,
                signer,
                address.ip().is_loopback(),
                self.base_path.clone(),
            ),
            base_path: self.base_path,
        })
    }

    /// Listens and serves until `stop`; while Redis is away at the start, readers are told so. `ready` is fed once
    /// it is connected.
    ///
    /// # Errors
    /// The port is taken, or the layout is not usable.
    pub async fn serve(self, ready: Feeder, stop: CancellationToken) -> anyhow::Result<()> {
        let listen = self.listen;
        let opening = async |address| {
            let state = self.connect(address).await?;
            ready.feed();
            tracing::info!(%address, "dashboard listens");
            Ok(routes(state, HostGuard::of(address)))
        };
        door::serve(listen, opening, door::closed, DRAIN, stop).await
    }
}

/// What the pages share.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) submitter: Submitter,
    pub(crate) submit: DraftLimits,
    pub(crate) gate: Gate,
    pub(crate) ticks: Ticks,
    /// Whose pages hear the ticks.
    pub(crate) seats: Seats,
    pub(crate) redaction: Redaction,
    trace_url: Option<Arc<str>>,
    base_path: BasePath,
}

impl State {
    /// Where a trace is looked at.
    pub(crate) fn trace_url(&self, trace_id: &str) -> Option<String> {
        let template = self.trace_url.as_ref()?;
        Some(template.replace("{trace_id}", trace_id))
    }
}

/// A dashboard, listening.
pub struct App {
    door: Door,
    address: SocketAddr,
    state: State,
}

/// Time for requests on their way when it stops.
const DRAIN: Duration = Duration::from_secs(2);

/// What a form takes beside the data of a task, bytes.
const REST_OF_FORM: u64 = 64 * 1_024;

fn routes(state: State, hosts: HostGuard) -> BoxEndpoint<'static> {
    let (gate, base) = (state.gate.clone(), state.base_path.clone());
    // Each byte of the data is three at most in a form.
    let most = 3 * state.submit.max_payload as u64 + REST_OF_FORM;
    Route::new()
        .at("/", get(pages::overview_page))
        .at("/tasks", get(pages::tasks_page))
        .at(
            "/tasks/new",
            get(pages::new_task_page).post(actions::submit),
        )
        .at("/tasks/:id", get(pages::task_page))
        .at("/tasks/:id/cancel", post(actions::cancel))
        .at("/queues", get(pages::queues_page))
        .at("/queues/:queue/:verb", post(actions::switch_queue))
        .at("/bulk", get(pages::bulk_page).post(actions::bulk))
        .at("/operations", get(pages::operations_page))
        .at("/operations/:id", get(pages::operation_page))
        .at("/operations/:id/stop", post(actions::stop_operation))
        .at("/system", get(pages::system_page))
        .at("/ticks", get(ticks))
        .at("/dlq", get(pages::dlq_page))
        .at("/dlq/:id/retry", post(actions::retry))
        .at("/dlq/:id/remove", post(actions::remove))
        .at("/workers", get(pages::workers_page))
        .at("/sign-in", get(sign_in::show).post(sign_in::enter))
        .at("/sign-out", post(sign_in::leave))
        .at("/assets/style.css", get(assets::style))
        .at("/assets/live.js", get(assets::live))
        .at("/assets/icon.svg", get(assets::icon))
        .at("/health/live", get(assets::alive))
        .data(state)
        .around(move |next, request| guard::guard(most, hosts, gate.clone(), next, request))
        .around(move |next, request| guard::under(base.clone(), next, request))
        .boxed()
}

impl App {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tracing::info!(address = %self.address, "dashboard listens");
        let app = routes(self.state, HostGuard::of(self.address));
        self.door.serve(app, DRAIN, stop).await;
    }
}
