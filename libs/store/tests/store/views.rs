use std::time::Duration;

use taskweir_domain::{Position, Status};
use taskweir_store::{Applied, Counter, Delta, Filter, Most, Swapped};
use taskweir_testkit::eventually;

use crate::bench::Bench;

fn group(status: Status) -> Counter {
    Counter {
        status,
        queue: "default".to_owned(),
        task_type: "work".to_owned(),
    }
}

fn keys(bench: &Bench) -> std::sync::Arc<taskweir_store::Keys> {
    std::sync::Arc::new(bench.partition.keys().clone())
}

#[tokio::test]
async fn a_step_is_taken_once_and_only_from_where_it_was_expected() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let end = bench.partition.log_end().await.unwrap().0;
    let mut delta = Delta::new(keys(&bench));
    delta.place(id, &group(Status::Pending), true);
    let apply = async |from| bench.partition.apply(from, end, &delta).await.unwrap();
    assert_eq!(
        apply(Position { ms: 1, seq: 1 }).await,
        Applied::Moved(Position::ZERO)
    );
    assert_eq!(apply(Position::ZERO).await, Applied::Done);
    assert_eq!(
        apply(Position::ZERO).await,
        Applied::Moved(end),
        "the repeat changes nothing"
    );
    let totals = bench.partition.totals().await.unwrap();
    assert_eq!(totals.of_status(Status::Pending), 1);
    assert_eq!(bench.partition.checkpoint().await.unwrap(), end);
}

#[tokio::test]
async fn lists_page_without_gap_or_repeat() {
    let bench = Bench::new().await;
    let mut ids = Vec::new();
    let mut delta = Delta::new(keys(&bench));
    for _ in 0..25 {
        let id = bench.submit().await;
        delta.place(id, &group(Status::Pending), true);
        ids.push(id);
    }
    let end = bench.partition.log_end().await.unwrap().0;
    bench
        .partition
        .apply(Position::ZERO, end, &delta)
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let page = bench
            .store
            .list(&Filter::default(), cursor.as_deref(), 10)
            .await
            .unwrap();
        seen.extend(page.items.iter().map(|item| item.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    ids.sort();
    ids.reverse();
    assert_eq!(seen, ids);
    // Who has no time at all gets on page by page, and misses none.
    let (mut hasty, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let most = Most::within(10, Duration::ZERO);
        let every = Filter::default();
        let page = bench.store.list(&every, cursor.as_deref(), most).await;
        let page = page.unwrap();
        hasty.extend(page.items.iter().map(|item| item.id));
        assert!(page.next.is_none() || page.next != cursor, "it gets on");
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(hasty, ids);
    let none = Filter {
        statuses: vec![Status::Completed],
        ..Filter::default()
    };
    assert!(
        bench
            .store
            .list(&none, None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn views_are_swapped_once_and_only_from_where_both_were_expected() {
    let bench = Bench::new().await;
    let live = &bench.partition;
    let fresh = live.beside();
    let (stray, id) = (bench.submit().await, bench.submit().await);
    let end = live.log_end().await.unwrap().0;
    let mut delta = Delta::new(keys(&bench));
    delta.place(stray, &group(Status::Failed), true);
    let early = Position {
        ms: end.ms - 1,
        seq: 0,
    };
    live.apply(Position::ZERO, early, &delta).await.unwrap();
    let mut delta = Delta::new(std::sync::Arc::new(fresh.keys().clone()));
    delta.place(id, &group(Status::Pending), true);
    fresh.apply(Position::ZERO, end, &delta).await.unwrap();

    let (live_keys, fresh_keys) = (
        live.view_keys().await.unwrap(),
        fresh.view_keys().await.unwrap(),
    );
    let swap = async |from, to| {
        live.swap_views(&live_keys, from, &fresh, &fresh_keys, to, Position::ZERO)
            .await
            .unwrap()
    };
    assert_eq!(swap(Position::ZERO, end).await, Swapped::Moved);
    assert_eq!(swap(early, early).await, Swapped::Gone);
    let totals = live.totals().await.unwrap();
    assert_eq!(totals.of_status(Status::Failed), 1, "nothing changed yet");
    assert_eq!(swap(early, end).await, Swapped::Done);
    assert_eq!(live.checkpoint().await.unwrap(), end);
    let totals = live.totals().await.unwrap();
    assert_eq!(
        (
            totals.of_status(Status::Failed),
            totals.of_status(Status::Pending)
        ),
        (0, 1)
    );
    assert!(fresh.view_keys().await.unwrap().is_empty());
    assert_eq!(swap(end, end).await, Swapped::Gone, "the repeat");
    assert_eq!(live.totals().await.unwrap(), totals);
}

#[tokio::test]
async fn views_are_as_far_behind_as_the_oldest_event_that_they_have_not_seen() {
    let bench = Bench::new().await;
    let lag = async || {
        let mut lags = bench.store.lags().await.unwrap();
        lags.retain(|lag| lag.partition == bench.partition.keys().partition());
        lags[0]
    };
    assert_eq!((lag().await.events, lag().await.ms), (0, 0));
    bench.submit().await;
    // Nothing else happens, and it grows.
    let first = lag().await;
    assert_eq!(first.events, 1);
    assert!(first.ms < 60_000, "{first:?}");
    eventually("it waits", async || {
        (lag().await.ms >= first.ms + 20).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pages_over_many_indexes_are_whole_however_uneven_those_are() {
    let bench = Bench::new().await;
    let mut delta = Delta::new(keys(&bench));
    let mut ids = Vec::new();
    for number in 0..300 {
        let id = bench.submit().await;
        // One index has most of them, and those in a row; the others have a few each.
        let index = if (100..280).contains(&number) {
            0
        } else {
            number % 40
        };
        let counter = Counter {
            task_type: format!("t{index}"),
            ..group(Status::Pending)
        };
        delta.place(id, &counter, true);
        ids.push(id);
    }
    let end = bench.partition.log_end().await.unwrap().0;
    let applied = bench.partition.apply(Position::ZERO, end, &delta).await;
    assert_eq!(applied.unwrap(), Applied::Done);
    ids.sort();
    ids.reverse();
    for (limit, text) in [
        (1, None),
        (7, None),
        (100, None),
        (500, None),
        (60, Some("work")),
    ] {
        let filter = Filter {
            text: text.map(ToOwned::to_owned),
            ..Filter::default()
        };
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = bench.store.list(&filter, cursor.as_deref(), limit).await;
            let page = page.unwrap();
            assert!(page.items.len() <= limit);
            seen.extend(page.items.iter().map(|item| item.id));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, ids, "pages of {limit}, {text:?}");
    }
}
