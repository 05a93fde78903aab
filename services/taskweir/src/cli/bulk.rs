//! Arguments of what is done to many tasks at once.

use clap::{Args, Subcommand};

use super::Which;

/// One dead letter by its id, or all that pass a filter.
#[derive(Debug, Args)]
pub struct DeadTarget {
    /// One task; else the filter chooses.
    #[arg(conflicts_with_all = ["queue", "kind", "priority", "label", "error", "worker", "q", "since", "until", "all", "dry_run", "detach"])]
    pub id: Option<String>,
    /// Only what gave up since then: RFC 3339, 02:10 (UTC, within the last day), or 90m, 2h, 3d ago.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what gave up before then.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Which, and how.
    #[command(flatten)]
    pub bulk: Bulk,
}

/// Which tasks, and how.
#[derive(Debug, Args)]
pub struct Bulk {
    /// Of what tasks.
    #[command(flatten)]
    pub which: Which,
    /// All there are, where nothing else is said.
    #[arg(long)]
    pub all: bool,
    /// Count, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Why, for the history of each task.
    #[arg(long)]
    pub reason: Option<String>,
    /// Do not wait for the end.
    #[arg(long)]
    pub detach: bool,
}

/// One task by its id, or all that pass a filter.
#[derive(Debug, Args)]
pub struct CancelTarget {
    /// One task; else the filter chooses.
    #[arg(conflicts_with_all = ["status", "queue", "kind", "priority", "label", "error", "worker", "q", "since", "until", "all", "dry_run", "detach"])]
    pub id: Option<String>,
    /// Only of this status: scheduled, pending, processing or retrying.
    #[arg(long)]
    pub status: Option<String>,
    /// Only submitted since then: RFC 3339, 02:10 (UTC, within the last day), or 90m, 2h, 3d ago.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only submitted before then.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Which, and how.
    #[command(flatten)]
    pub bulk: Bulk,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// List them, the latest first.
    #[command(after_help = crate::help::CLIENT)]
    List(super::DeadLetters),
    /// Retry one, or all that pass a filter, with a fresh budget.
    #[command(after_help = crate::help::CLIENT)]
    Retry(DeadTarget),
    /// Remove one, or all that pass a filter, for good; histories stay.
    #[command(after_help = crate::help::CLIENT)]
    #[command(alias = "delete")]
    Remove(DeadTarget),
}

/// What to do with bulk operations.
#[derive(Debug, Subcommand)]
pub enum OperationAction {
    /// Show one.
    #[command(after_help = crate::help::CLIENT)]
    Get {
        /// Its id.
        id: String,
    },
    /// Stop one; what it has done stays done.
    #[command(after_help = crate::help::CLIENT)]
    Stop {
        /// Its id.
        id: String,
    },
}
