//! The command line.

mod bulk;
mod load;
mod which;

use clap::{Args, Parser, Subcommand};

pub use bulk::{Bulk, CancelTarget, DeadTarget, Dlq, OperationAction};
pub use load::LoadTest;
pub use which::{Page, Which};

use crate::help;

/// An event-sourced distributed task queue on Redis Streams.
#[derive(Debug, Parser)]
#[command(name = "taskweir", version, about, max_term_width = 100)]
pub struct Cli {
    /// Print answers as JSON (client commands).
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole system with a private, durable Redis.
    #[command(after_help = help::DEV)]
    Dev,
    /// Run one service.
    #[command(flatten)]
    Service(Service),
    /// Make or upgrade the layout in Redis.
    #[command(after_help = help::MIGRATE)]
    Migrate,
    /// Fold the log afresh and compare records, queues and views with it.
    #[command(after_help = help::VERIFY)]
    Verify,
    /// Make the views afresh from the log, compare, and swap them in.
    #[command(after_help = help::VERIFY)]
    Rebuild,
    /// Kill, freeze and cut off real processes under load, then check every promise.
    #[command(after_help = help::CHAOS)]
    Chaos(Chaos),
    /// Submit tasks over HTTP, wait for their ends, and tell rates and latencies.
    #[command(after_help = help::CLIENT)]
    Loadtest(LoadTest),
    /// Ask a probe whether a process of this machine is ready: for health checks of containers.
    Probe {
        /// Which probe; without one, that of the service that runs in this container.
        url: Option<String>,
    },
    /// Print completions for a shell, to be sourced.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Talk to a gateway.
    #[command(flatten)]
    Client(ClientCommand),
}

/// A run of chaos: a private Redis, gateways, workers, projectors and schedulers of this binary.
#[derive(Debug, Args)]
pub struct Chaos {
    /// Draws the schedule of faults; the same seed is the same schedule.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many seeds in a row, from that one on.
    #[arg(long, default_value_t = 1)]
    pub runs: u64,
    /// Seconds of faults and load per run.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// When Redis syncs its append-only file.
    #[arg(long, default_value = "everysec", value_parser = ["no", "everysec", "always"])]
    pub fsync: String,
    /// What a submit waits for, as DURABILITY of the gateways; with replicas:1, one stands by and takes over.
    #[arg(long, default_value = "aof", value_parser = ["aof", "replicas:1"])]
    pub durability: String,
    /// Only these kinds of faults; all where none is named.
    #[arg(long = "fault", value_name = "KIND", value_parser = clap::builder::PossibleValuesParser::new(taskweir_loadtest::chaos::Plan::names()))]
    pub faults: Vec<String>,
    /// Clients that submit.
    #[arg(long, default_value_t = 8)]
    pub clients: usize,
    /// Break the product on purpose, to see the checker find it (debug builds only).
    #[arg(long, hide = true)]
    pub sabotage: Option<String>,
    /// Print each fault as it is done; the schedule is printed always.
    #[arg(long)]
    pub verbose: bool,
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Service {
    /// Serve the REST API.
    #[command(after_help = help::GATEWAY)]
    Gateway,
    /// Run tasks of the demo types.
    #[command(after_help = help::WORKER)]
    Worker,
    /// Fold the log into the views.
    #[command(after_help = help::PROJECTOR)]
    Projector,
    /// Promote what is due, redeliver what was lost.
    #[command(after_help = help::SCHEDULER)]
    Scheduler,
    /// Serve the dashboard.
    #[command(after_help = help::DASHBOARD)]
    Dashboard,
}

impl Service {
    /// Its name among traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "taskweir-gateway",
            Self::Worker => "taskweir-worker",
            Self::Projector => "taskweir-projector",
            Self::Scheduler => "taskweir-scheduler",
            Self::Dashboard => "taskweir-dashboard",
        }
    }
}

/// A call of a gateway.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Submit a task.
    #[command(after_help = help::CLIENT)]
    Submit(Box<Submit>),
    /// Show a task, now or as it was.
    #[command(after_help = help::CLIENT)]
    Get {
        /// Its id.
        id: String,
        /// As it was then: RFC 3339, 03:12 (UTC, the latest one), 90m (2h, 3d ago), or a position.
        #[arg(long, value_name = "INSTANT")]
        as_of: Option<String>,
    },
    /// List tasks, newest first.
    #[command(after_help = help::CLIENT)]
    List(List),
    /// Show everything that happened to a task.
    #[command(after_help = help::CLIENT)]
    History {
        /// Its id.
        id: String,
    },
    /// Look at the dead letters, retry or remove them.
    #[command(after_help = help::CLIENT)]
    Dlq {
        /// What to do.
        #[command(subcommand)]
        action: Box<Dlq>,
    },
    /// Cancel a task, or all that pass a filter: waiting ones at once, running ones by telling their handlers.
    #[command(after_help = help::CLIENT)]
    Cancel(Box<CancelTarget>),
    /// Show bulk operations, or stop one.
    #[command(after_help = help::CLIENT)]
    Operations {
        /// What to do; shows the latest where absent.
        #[command(subcommand)]
        action: Option<OperationAction>,
    },
    /// Watch a task until it ends (status 0 where it completed), or the whole system.
    #[command(after_help = help::CLIENT)]
    Watch {
        /// A task; the whole system where absent.
        id: Option<String>,
        /// Seconds between two looks at the system.
        #[arg(long, default_value_t = 1.0, value_parser = seconds)]
        every: f64,
        /// Looks at the system; any number where absent.
        #[arg(long)]
        times: Option<u64>,
    },
    /// Show the queues, pause or resume one.
    #[command(after_help = help::CLIENT)]
    Queues {
        /// What to do; shows the queues where absent.
        #[command(subcommand)]
        action: Option<QueueAction>,
        /// How many, and from where on.
        #[command(flatten)]
        page: Page,
    },
    /// Show every worker.
    #[command(after_help = help::CLIENT)]
    Workers,
    /// Show counts by status: now, as they were, or what changed between two instants.
    #[command(after_help = help::CLIENT)]
    Stats(Stats),
}

/// Which counts to show.
#[derive(Debug, Args)]
pub struct Stats {
    /// As they were then: RFC 3339, 03:12 (UTC, the latest one), 90m (2h, 3d ago), or a position.
    #[arg(long, value_name = "INSTANT")]
    pub as_of: Option<String>,
    /// What changed since then, in the same forms.
    #[arg(long, value_name = "INSTANT", conflicts_with = "as_of")]
    pub from: Option<String>,
    /// What changed until then; now where absent.
    #[arg(long, value_name = "INSTANT", requires = "from")]
    pub to: Option<String>,
}

/// A task to submit.
#[derive(Debug, Args)]
pub struct Submit {
    /// Which handler runs it.
    #[arg(value_name = "TYPE", required_unless_present = "batch")]
    pub kind: Option<String>,
    /// Its data: JSON, @FILE, or - for standard input; null where absent.
    #[arg(value_name = "DATA", allow_hyphen_values = true)]
    pub data: Option<String>,
    /// Submit many: a file (- for standard input) with one task a line, each as the JSON of POST /tasks.
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub batch: Option<String>,
    /// The queue it waits in.
    #[arg(long)]
    pub queue: Option<String>,
    /// high, normal or low.
    #[arg(long)]
    pub priority: Option<String>,
    /// Retries after the first attempt.
    #[arg(long, allow_hyphen_values = true)]
    pub max_retries: Option<u32>,
    /// Seconds before the first retry.
    #[arg(long, allow_hyphen_values = true, value_parser = seconds)]
    pub initial_delay: Option<f64>,
    /// Seconds to wait before it is ready.
    #[arg(long, allow_hyphen_values = true, value_parser = seconds)]
    pub delay: Option<f64>,
    /// When it becomes ready: RFC 3339, 03:12 (UTC, the next one), or 90m (2h, 3d from now).
    #[arg(long, value_name = "TIME")]
    pub run_at: Option<String>,
    /// Longest run of one attempt, seconds.
    #[arg(long, allow_hyphen_values = true, value_parser = seconds)]
    pub timeout: Option<f64>,
    /// Seconds within which it must start; else it expires.
    #[arg(long, allow_hyphen_values = true, value_parser = seconds)]
    pub expires_in: Option<f64>,
    /// At most one task that has not ended carries a unique key, over all queues and types.
    #[arg(long)]
    pub unique_key: Option<String>,
    /// A word for this request: the same one again, within 24 hours, is the same task.
    #[arg(long)]
    pub idempotency_key: Option<String>,
    /// A label, as name=value; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
}

/// Which tasks to list.
#[derive(Debug, Args)]
pub struct List {
    /// Only of this status.
    #[arg(long)]
    pub status: Option<String>,
    /// Only submitted since then: RFC 3339, 02:10 (UTC, within the last day), or 90m, 2h, 3d ago.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only submitted before then.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Of what tasks.
    #[command(flatten)]
    pub which: Which,
    /// How many.
    #[command(flatten)]
    pub page: Page,
}

/// Which dead letters to list.
#[derive(Debug, Args)]
pub struct DeadLetters {
    /// Only what gave up since then: RFC 3339, 02:10 (UTC, within the last day), or 90m, 2h, 3d ago.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what gave up before then.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Of what tasks.
    #[command(flatten)]
    pub which: Which,
    /// How many.
    #[command(flatten)]
    pub page: Page,
}

/// A number of seconds that JSON can carry.
fn seconds(text: &str) -> Result<f64, String> {
    if let Some(ms) = crate::when::span(text) {
        return Ok(ms as f64 / 1_000.0);
    }
    let seconds: f64 = text
        .parse()
        .map_err(|_| "a number of seconds, or a time such as 90m, is needed".to_owned())?;
    if seconds.is_finite() && seconds >= 0.0 {
        Ok(seconds)
    } else {
        Err("a number of seconds from 0 on is needed".to_owned())
    }
}

/// What to do with a queue.
#[derive(Debug, Subcommand)]
pub enum QueueAction {
    /// Start nothing of it from here on.
    #[command(after_help = help::CLIENT)]
    Pause {
        /// Its name.
        queue: String,
        /// Why, for its history.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Start its tasks again.
    #[command(after_help = help::CLIENT)]
    Resume {
        /// Its name.
        queue: String,
        /// Why, for its history.
        #[arg(long)]
        reason: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
