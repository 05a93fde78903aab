//! The transitions: one file per script, each taking a batch and safe to repeat.

mod apply;
mod cancel;
mod claim;
mod cut;
mod dlq;
mod expire;
mod finish;
mod heartbeat;
mod history;
mod park;
mod pause;
mod presence;
mod progress;
mod promote;
mod reclaim;
mod release;
mod start;
mod submit;
mod unclaim;

#[cfg(fuzzing)]
pub(crate) use claim::{read_claimed, read_waiting, read_work};
#[cfg(fuzzing)]
pub(crate) use start::read as read_started;
#[cfg(fuzzing)]
pub(crate) use submit::read_outcomes;

pub use apply::Applied;
pub use cancel::{CancelOutcome, Cancellation};
pub use claim::{Claim, Claimed, ClaimedWork};
pub use cut::{Cut, CutOutcome};
pub use dlq::{ActionOutcome, DeadEntry, DlqAction, RetryOutcome};
pub use expire::{ExpireOutcome, Expiring};
pub use finish::{Finish, FinishOutcome};
pub use heartbeat::{Beat, HeartbeatState};
pub use history::History;
pub use park::{ParkOutcome, Parking, UnparkOutcome};
pub use pause::{Pause, PauseOutcome};
pub use presence::Presence;
pub use progress::ProgressReport;
pub use promote::{PromoteOutcome, Promotion};
pub use reclaim::{Loss, ReclaimOutcome, SilentEntry};
pub use release::{ReleaseOutcome, Releasing};
pub use start::{Begun, Payload, StartOutcome, Starting};
pub use submit::{Idempotency, Reservation, Submission, SubmitOutcome};
pub use unclaim::{UnclaimOutcome, Unclaiming};

/// The consumer group of every ready stream.
pub(crate) const GROUP: &str = "workers";

/// Most tasks in one script call: about a millisecond of Redis' time.
pub const MAX_BATCH: usize = 100;

/// Longest payload or result that stands in its event, bytes; longer ones have a key of their own.
pub(crate) const INLINE_LIMIT: usize = 1_024;

/// Redis counts from 1.
pub(crate) const fn lua_index(index: usize) -> usize {
    index + 1
}

/// SHA-256 of a text, lower-case hex.
pub(crate) fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;

    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        write!(hex, "{byte:02x}").expect("writing to a string");
    }
    hex
}

/// A long JSON text as what stands for it in the event.
pub(crate) fn stored(text: &str) -> taskweir_domain::Stored {
    taskweir_domain::Stored {
        bytes: text.len() as u64,
        sha256: sha256(text),
    }
}
