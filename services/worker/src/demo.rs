//! The demo task types: enough to see every way of a task.

mod echo;
mod fail;
mod http;
mod process;
mod sleep;

pub use echo::Echo;
pub use fail::Fail;
pub use http::Http;
pub use process::Process;
pub use sleep::Sleep;
