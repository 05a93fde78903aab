//! What each script accepts, beside the domain's table of moves; a test holds them equal.

use taskweir_domain::{EventClass, EventType, Status};

use crate::scripts::Script;

/// A script's event, and the statuses (with or without a cancel request) it accepts.
#[derive(Debug, Clone, Copy)]
pub struct Accepts {
    /// The script.
    pub script: Script,
    /// The event it appends.
    pub event: EventClass,
    /// Statuses from which it appends the event.
    pub from: &'static [Status],
    /// Whether it appends the event for a running task that is being cancelled.
    pub cancelling: bool,
}

use Status::{Failed, Pending, Processing, Retrying, Scheduled};

const fn plain(
    script: Script,
    event: EventType,
    from: &'static [Status],
    cancelling: bool,
) -> Accepts {
    Accepts {
        script,
        event: EventClass::Plain(event),
        from,
        cancelling,
    }
}

/// One row per script and event.
pub const ACCEPTS: &[Accepts] = &[
    plain(Script::Start, EventType::Started, &[Pending], false),
    plain(Script::Progress, EventType::Progressed, &[Processing], true),
    plain(Script::Finish, EventType::Completed, &[Processing], true),
    plain(
        Script::Finish,
        EventType::AttemptFailed,
        &[Processing],
        true,
    ),
    plain(
        Script::Finish,
        EventType::DeadLettered,
        &[Processing],
        false,
    ),
    plain(
        Script::Promote,
        EventType::Requeued,
        &[Scheduled, Retrying],
        false,
    ),
    Accepts {
        script: Script::Reclaim,
        event: EventClass::LeaseExpired { started: true },
        from: &[Processing],
        cancelling: true,
    },
    Accepts {
        script: Script::Reclaim,
        event: EventClass::LeaseExpired { started: false },
        from: &[Pending],
        cancelling: false,
    },
    plain(
        Script::Reclaim,
        EventType::DeadLettered,
        &[Pending, Processing],
        false,
    ),
    Accepts {
        script: Script::Release,
        event: EventClass::Released { started: true },
        from: &[Processing],
        cancelling: true,
    },
    Accepts {
        script: Script::Park,
        event: EventClass::Released { started: false },
        from: &[Pending],
        cancelling: false,
    },
    plain(
        Script::Cancel,
        EventType::Cancelled,
        &[Scheduled, Pending, Retrying],
        false,
    ),
    plain(
        Script::Cancel,
        EventType::CancelRequested,
        &[Processing],
        false,
    ),
    plain(
        Script::Expire,
        EventType::Expired,
        &[Scheduled, Pending],
        false,
    ),
    plain(Script::DlqRetry, EventType::DlqRetried, &[Failed], false),
    plain(Script::DlqRemove, EventType::DlqRemoved, &[Failed], false),
];

pub use crate::scripts::Script as ScriptName;
