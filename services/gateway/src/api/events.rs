//! The log as it grows.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use poem::Request;
use poem::web::Data;
use poem::web::sse::Event;
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::{EventStream, Json};
use poem_openapi::{Object, OpenApi};
use serde::Serialize;
use taskweir_domain::{Position, Redaction, TaskId, compact, format_ms};
use taskweir_runtime::access::Caller;
use taskweir_runtime::listen::Seat;

use super::Tag;
use crate::feed::{Heard, Listener};
use crate::position;
use crate::problem::ApiError;
use crate::render::RawJson;
use crate::state::State;

pub(crate) struct Events;

/// A comment is sent so often, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A listener to whom nothing was sent for so long is told how far the log has been heard.
const PLACE_EVERY: Duration = Duration::from_secs(10);

/// An event of the log.
#[derive(Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct LogEvent {
    /// Place in the log.
    position: String,
    /// What happened.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    kind: String,
    /// When.
    time: String,
    /// The task; absent for events of a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    /// Number within the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// The queue, where it is still known.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// The type of the task, where it is still known.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<String>,
    /// The whole body of the event.
    detail: RawJson,
    /// Position of every partition, for `Last-Event-ID`.
    #[oai(skip)]
    #[serde(skip)]
    id: String,
    /// It tells where the log is, and of no event.
    #[oai(skip)]
    #[serde(skip)]
    is_place: bool,
}

impl LogEvent {
    /// What tells a listener how far it has heard where nothing it wants comes: without it, it would come back to
    /// where it was long ago, or to no place at all.
    fn place(at: &[Position]) -> Self {
        Self {
            position: String::new(),
            kind: String::new(),
            time: String::new(),
            task: None,
            version: None,
            queue: None,
            task_type: None,
            detail: RawJson::of("null"),
            id: position::show_all(at),
            is_place: true,
        }
    }

    fn into_sent(self) -> Event {
        if self.is_place {
            return Event::message("{}").event_type("position").id(self.id);
        }
        // One line: white space of a payload would end the field of the event.
        let text = compact(&serde_json::to_string(&self).unwrap_or_default());
        Event::message(text).id(self.id)
    }
}

/// What a listener wants to hear.
struct Wanted {
    queue: Option<String>,
    task: Option<String>,
    kind: Option<String>,
}

impl Wanted {
    fn takes(&self, heard: &Heard) -> bool {
        let fits = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        fits(&self.queue, heard.queue.as_deref())
            && fits(&self.task, Some(&heard.entry.i))
            && fits(&self.kind, heard.task_type.as_deref())
    }
}

fn show(heard: &Heard, at: &[Position], redaction: &Redaction) -> LogEvent {
    let entry = &heard.entry;
    let index = u8::try_from(heard.partition).unwrap_or(0);
    let partition = taskweir_domain::PartitionIndex(index);
    let is_task = !entry.is_of_queue();
    LogEvent {
        position: position::show(partition, entry.position, at.len()),
        kind: entry.t.split('.').next().unwrap_or_default().to_owned(),
        time: format_ms(entry.position.ms),
        task: is_task.then(|| entry.i.clone()),
        version: entry.n.parse().ok().filter(|_| is_task),
        queue: heard.queue.clone(),
        task_type: heard.task_type.clone(),
        detail: RawJson::of(redaction.of_body(&entry.d)),
        id: position::show_all(at),
        is_place: false,
    }
}

/// What a listener is sent.
struct Sending {
    listener: Listener,
    wanted: Wanted,
    redaction: Redaction,
    /// When it is told where the log is, unless it hears an event before.
    place_at: tokio::time::Instant,
    _seat: Seat,
}

impl Sending {
    /// The next event that is wanted, or a place; `None` where the listener is too far behind: it comes back with its
    /// `Last-Event-ID`.
    async fn next(&mut self) -> Option<LogEvent> {
        loop {
            let heard = tokio::time::timeout_at(self.place_at, self.listener.next()).await;
            let event = match heard {
                Ok(heard) => {
                    let heard = heard?;
                    let wanted = self.wanted.takes(&heard);
                    wanted.then(|| show(&heard, &self.listener.at, &self.redaction))
                }
                Err(_) => None,
            };
            if event.is_some() || tokio::time::Instant::now() >= self.place_at {
                self.place_at = tokio::time::Instant::now() + PLACE_EVERY;
                return Some(event.unwrap_or_else(|| LogEvent::place(&self.listener.at)));
            }
        }
    }
}

fn stream(sending: Sending) -> BoxStream<'static, LogEvent> {
    stream::unfold(sending, async |mut sending| {
        let event = sending.next().await?;
        Some((event, sending))
    })
    .boxed()
}

/// A ticket for the feed.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct ListenTicket {
    /// Give it as `token` to `GET /events`; absent where there are no keys and none is needed.
    token: Option<String>,
    /// Until when a connection can be opened with it.
    expires_at: Option<String>,
}

#[OpenApi(tag = "Tag::Events")]
impl Events {
    /// Get a ticket for the feed
    ///
    /// A browser cannot send a key with an `EventSource`: with a ticket in its address it needs none. It is good for a
    /// minute, to open a connection to `GET /events`, and for nothing else.
    #[oai(
        path = "/events/ticket",
        method = "post",
        operation_id = "get_listen_ticket"
    )]
    async fn ticket(
        &self,
        Data(state): Data<&State>,
        Data(caller): Data<&Caller>,
    ) -> Result<Json<ListenTicket>, ApiError> {
        let ticket = state.gate.ticket(caller);
        Ok(Json(ListenTicket {
            expires_at: ticket
                .as_ref()
                .map(|ticket| format_ms(ticket.until_s * 1_000)),
            token: ticket.map(|ticket| ticket.token),
        }))
    }

    /// Listen to the log
    ///
    /// Server-sent events from now on, or from `Last-Event-ID` on without a gap. Each `id` is the position
    /// of every partition. A listener that is too slow is let go, and resumes where it was. Where nothing comes that
    /// it wants, events of the kind `position` tell how far it has heard, by their `id` alone.
    #[oai(path = "/events", method = "get", operation_id = "listen")]
    #[expect(clippy::too_many_arguments, reason = "one per parameter")]
    async fn listen(
        &self,
        request: &Request,
        Data(state): Data<&State>,
        /// Only of this queue.
        Query(queue): Query<Option<String>>,
        /// Only of this task.
        Query(task): Query<Option<String>>,
        /// Only of tasks of this type.
        #[oai(name = "type")]
        Query(kind): Query<Option<String>>,
        /// The same as `Last-Event-ID`, for who cannot set a header; the header wins.
        Query(last_event_id): Query<Option<String>>,
        /// A ticket of `POST /events/ticket`, for a browser that cannot send its key.
        #[oai(name = "token")]
        Query(_token): Query<Option<String>>,
        /// The `id` of the last event that was heard.
        #[oai(name = "Last-Event-ID")]
        Header(last): Header<Option<String>>,
    ) -> Result<EventStream<BoxStream<'static, LogEvent>>, ApiError> {
        let store = &state.store;
        if task
            .as_deref()
            .is_some_and(|task| task.parse::<TaskId>().is_err())
        {
            return Err(ApiError::field("task", "must be a task id"));
        }
        let given = |last: &String| !last.is_empty();
        let last = last.filter(given).or_else(|| last_event_id.filter(given));
        let from = last.map(|last| {
            position::read_all(&last, store.partition_count()).ok_or_else(|| {
                ApiError::field("Last-Event-ID", "must be the id of an event of this feed")
            })
        });
        let from = from.transpose()?;
        if let Some(from) = &from {
            for (at, partition) in from.iter().zip(store.partitions()) {
                let base = partition.base_position().await?;
                // Nothing to be missed where nothing was cut since.
                if *at < base {
                    return Err(ApiError::trimmed(base));
                }
            }
        }
        let seat = state.seats.take(state.gate.client(request));
        let seat = seat.ok_or_else(ApiError::too_many_listeners)?;
        // Who says where it was knows a place already.
        let place_in = if from.is_some() {
            PLACE_EVERY
        } else {
            Duration::ZERO
        };
        let sending = Sending {
            listener: state.feed.listen(from).await?,
            wanted: Wanted { queue, task, kind },
            redaction: state.redaction.clone(),
            place_at: tokio::time::Instant::now() + place_in,
            _seat: seat,
        };
        Ok(EventStream::new(stream(sending))
            .keep_alive(KEEP_ALIVE)
            .to_event(LogEvent::into_sent))
    }
}
