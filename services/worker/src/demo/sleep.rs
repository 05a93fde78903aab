use std::time::Duration;

use serde::Deserialize;
use taskweir_worker::{CancelReason, Context, Handler, TaskError};

/// `sleep`: sleeps `data.seconds`, tells how far it is, and can be cancelled.
#[derive(Debug)]
pub struct Sleep;

/// What `sleep` takes.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with the number `seconds`")]
pub struct Seconds {
    seconds: f64,
}

const STEPS: u32 = 20;
/// Longest sleep, seconds: a day.
const MAX_SECONDS: f64 = 86_400.0;

impl Handler for Sleep {
    const TYPE: &'static str = "sleep";
    type Payload = Seconds;
    type Output = ();

    async fn run(&self, context: &Context, Seconds { seconds }: Seconds) -> Result<(), TaskError> {
        if !(0.0..=MAX_SECONDS).contains(&seconds) {
            return Err(TaskError::fatal("data.seconds must be from 0 to 86400"));
        }
        let step = Duration::from_secs_f64(seconds / f64::from(STEPS));
        for done in 0..STEPS {
            tokio::select! {
                () = tokio::time::sleep(step) => {}
                () = context.cancelled() => {
                    let told = match context.cancel_reason() {
                        Some(CancelReason::Cancelled) => "woken: somebody cancelled the task",
                        Some(CancelReason::LeaseLost) => "woken: the worker lost its lease",
                        Some(CancelReason::Timeout) => "woken: the timeout has passed",
                        _ => "woken: the worker stops",
                    };
                    return Err(TaskError::retry(told));
                }
            }
            context.progress(f64::from(done + 1) * 100.0 / f64::from(STEPS), None);
        }
        Ok(())
    }
}
