//! Which tasks are meant: what lists and bulk commands have in common.

use clap::Args;

/// Of what tasks.
#[derive(Debug, Args)]
pub struct Which {
    /// Only of this queue.
    #[arg(long)]
    pub queue: Option<String>,
    /// Only of this type.
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Only of this class: high, normal or low.
    #[arg(long)]
    pub priority: Option<String>,
    /// Only with this label, as name=value.
    #[arg(long)]
    pub label: Option<String>,
    /// Only with this error class.
    #[arg(long)]
    pub error: Option<String>,
    /// Only held or last held by this worker.
    #[arg(long)]
    pub worker: Option<String>,
    /// Prefix of the id, or part of the type or of the error.
    #[arg(long, short)]
    pub q: Option<String>,
}

impl Which {
    /// As the API names them.
    pub fn into_fields(self) -> [(&'static str, Option<String>); 7] {
        [
            ("queue", self.queue),
            ("type", self.kind),
            ("priority", self.priority),
            ("label", self.label),
            ("error", self.error),
            ("worker", self.worker),
            ("q", self.q),
        ]
    }
}

/// A page of a list.
#[derive(Debug, Args)]
pub struct Page {
    /// At most so many, 1 to 500.
    #[arg(long)]
    pub limit: Option<u32>,
    /// The cursor of the page before.
    #[arg(long)]
    pub cursor: Option<String>,
}

impl Page {
    /// As the API names it.
    pub fn into_fields(self) -> [(&'static str, Option<String>); 2] {
        [
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("cursor", self.cursor),
        ]
    }
}
