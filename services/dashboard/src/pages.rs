//! The pages, one file each.

mod dlq;
mod new_task;
mod operations;
mod overview;
mod queues;
mod system;
mod task;
mod tasks;
mod workers;

use poem::http::StatusCode;
use taskweir_store::StoreError;

pub(crate) use dlq::dlq_page;
pub(crate) use new_task::{Draft, form, new_task_page};
pub(crate) use operations::{bulk_page, kind_of, operation_page, operations_page};
pub(crate) use overview::overview_page;
pub(crate) use queues::queues_page;
pub(crate) use system::system_page;
pub(crate) use task::task_page;
pub(crate) use tasks::tasks_page;
pub(crate) use workers::workers_page;

/// An error of the store as the status of a page.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
pub(crate) fn failed(error: StoreError) -> poem::Error {
    tracing::warn!(%error, "a page could not be made");
    if error.is_transient() {
        poem::Error::from_status(StatusCode::SERVICE_UNAVAILABLE)
    } else {
        poem::Error::from_string(error.to_string(), StatusCode::INTERNAL_SERVER_ERROR)
    }
}
