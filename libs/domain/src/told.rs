//! An event in the columns of a history, for people.

use crate::event::Event;

/// What an event says of itself in the columns of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The attempt it belongs to.
    pub attempt: Option<u32>,
    /// The worker it belongs to.
    pub worker: Option<String>,
    /// The person who did it.
    pub actor: Option<String>,
    /// Why it happened.
    pub cause: Option<String>,
}

impl Told {
    pub(crate) fn of(event: &Event) -> Self {
        let held = |attempt: u32, holder: Option<&crate::Holder>| Self {
            attempt: Some(attempt),
            worker: holder.map(|holder| holder.worker().to_owned()),
            ..Self::default()
        };
        let by = |actor: &crate::Actor, reason: Option<&String>| Self {
            actor: Some(actor.0.clone()),
            cause: reason.cloned(),
            ..Self::default()
        };
        let cause = |told: Self, cause: String| Self {
            cause: Some(cause),
            ..told
        };
        let ordered = |actor, reason, bulk: Option<&crate::Bulk>| {
            let told = by(actor, reason);
            match bulk {
                Some(bulk) => Self {
                    cause: Some(match &bulk.reason {
                        Some(reason) => format!("{reason} (operation {})", bulk.operation),
                        None => format!("operation {}", bulk.operation),
                    }),
                    ..told
                },
                None => told,
            }
        };
        match event {
            Event::Submitted(body) => {
                let actor = body.actor.as_ref();
                actor.map(|actor| by(actor, None)).unwrap_or_default()
            }
            Event::Started(body) => held(body.attempt, Some(&body.holder)),
            Event::Progressed(body) => Self {
                attempt: Some(body.attempt),
                cause: body.message.clone(),
                ..Self::default()
            },
            Event::Completed(body) => held(body.attempt, Some(&body.holder)),
            Event::AttemptFailed(body) => {
                let why = format!("{}: {}", body.error.kind, body.error.message);
                cause(held(body.attempt, Some(&body.holder)), why)
            }
            Event::Requeued(_) => cause(Self::default(), "its time came".to_owned()),
            Event::LeaseExpired(body) => {
                let why = if body.started {
                    "its worker fell silent"
                } else {
                    "received by a worker that fell silent"
                };
                cause(held(body.attempt, body.holder.as_ref()), why.to_owned())
            }
            Event::Released(body) => {
                let why = match body.reason {
                    crate::ReleaseReason::Shutdown => "its worker stopped",
                    crate::ReleaseReason::UnknownType => "no worker of the queue knew its type",
                };
                let told = body
                    .attempt
                    .map(|attempt| held(attempt, body.holder.as_ref()));
                cause(told.unwrap_or_default(), why.to_owned())
            }
            Event::DeadLettered(body) => {
                let why = format!("{}: {}", body.error.kind, body.error.message);
                cause(held(body.attempt, body.holder.as_ref()), why)
            }
            Event::CancelRequested(body) => {
                ordered(&body.actor, body.reason.as_ref(), body.bulk.as_ref())
            }
            Event::Cancelled(body) => {
                ordered(&body.actor, body.reason.as_ref(), body.bulk.as_ref())
            }
            Event::Expired(_) => cause(Self::default(), "not started in time".to_owned()),
            Event::LateCompletionRefused(body) => cause(
                held(body.attempt, Some(&body.holder)),
                "another attempt had the task".to_owned(),
            ),
            Event::DlqRetried(body) => {
                ordered(&body.actor, body.reason.as_ref(), body.bulk.as_ref())
            }
            Event::DlqRemoved(body) => {
                ordered(&body.actor, body.reason.as_ref(), body.bulk.as_ref())
            }
            Event::QueuePaused(body) => by(&body.actor, body.reason.as_ref()),
            Event::QueueResumed(body) => by(&body.actor, body.reason.as_ref()),
        }
    }
}

impl Event {
    /// What it says of itself in the columns of a history.
    #[must_use]
    pub fn told(&self) -> Told {
        Told::of(self)
    }
}
