//! Ticks: pages hear that something has happened, and ask for themselves again. One look at Redis per second
//! and dashboard, however many pages are open; none while no page is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use poem::http::StatusCode;
use poem::web::Data;
use poem::web::sse::{Event, SSE};
use poem::{IntoResponse, Request, Response, handler};
use taskweir_domain::Position;
use taskweir_store::{Store, StoreError};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::app::State;

/// Shortest time between two ticks.
const EVERY: Duration = Duration::from_secs(1);
/// Ages and rates change also where nothing happens: a tick comes so often at least.
const QUIET: u32 = 10;
/// Whoever is on the way takes the connection for alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The ticks of a dashboard.
#[derive(Clone)]
pub(crate) struct Ticks {
    count: Arc<watch::Sender<u64>>,
    _watching: TaskTracker,
}

async fn ends(store: &Store) -> Result<Vec<Position>, StoreError> {
    let mut ends = Vec::new();
    for partition in store.partitions() {
        // The views are what pages show.
        ends.push(partition.checkpoint().await?);
    }
    Ok(ends)
}

impl Ticks {
    pub(crate) fn new(store: &Store) -> Self {
        let count = Arc::new(watch::Sender::new(0));
        let watching = TaskTracker::new();
        // It ends with the runtime.
        watching.spawn(watch(store.clone(), Arc::clone(&count)));
        Self {
            count,
            _watching: watching,
        }
    }
}

async fn watch(store: Store, count: Arc<watch::Sender<u64>>) {
    let (mut last, mut quiet) = (Vec::new(), 0);
    loop {
        tokio::time::sleep(EVERY).await;
        if count.receiver_count() == 0 {
            continue;
        }
        quiet += 1;
        // Redis away is news too, and the pages say so.
        let now = ends(&store).await.unwrap_or_default();
        if now != last || quiet >= QUIET {
            (last, quiet) = (now, 0);
            count.send_modify(|count| *count += 1);
        }
    }
}

#[handler]
pub(crate) fn ticks(request: &Request, Data(state): Data<&State>) -> Response {
    let Some(seat) = state.seats.take(state.gate.client(request)) else {
        // The page asks again by itself.
        return StatusCode::TOO_MANY_REQUESTS
            .with_header("retry-after", "10")
            .into_response();
    };
    let count = state.ticks.count.subscribe();
    let ticks = stream::unfold((count, seat), async |(mut count, seat)| {
        count.changed().await.ok()?;
        let number = *count.borrow_and_update();
        Some((Event::message(number.to_string()), (count, seat)))
    });
    SSE::new(ticks).keep_alive(KEEP_ALIVE).into_response()
}
