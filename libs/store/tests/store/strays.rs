use taskweir_domain::Priority;
use taskweir_store::Place;

use crate::bench::Bench;

#[tokio::test]
async fn each_task_stands_where_its_record_says() {
    let bench = Bench::new().await;
    let dead = bench.dead().await;
    let pending = bench.submit().await;
    let later = bench.submit_with(|spec| spec.delay_ms = Some(60_000)).await;
    let (dead_task, pending_task, later_task) = (
        bench.task(dead).await,
        bench.task(pending).await,
        bench.task(later).await,
    );
    let asked = [
        (dead, &dead_task),
        (pending, &pending_task),
        (later, &later_task),
    ];
    let standings = bench.partition.standings(&asked).await.unwrap();
    let places: Vec<[bool; 4]> = standings
        .iter()
        .map(|at| [at.due, at.ready, at.parked, at.dead])
        .collect();
    let (due, ready) = ([true, false, false, false], [false, true, false, false]);
    assert_eq!(places, [[false, false, false, true], ready, due]);
}

#[tokio::test]
async fn entries_of_tasks_that_stand_elsewhere_are_strays() {
    let bench = Bench::new().await;
    let dead = bench.dead().await;
    let pending = bench.submit().await;
    let queue = bench.task(pending).await.queue;
    let places = [
        Place::Due,
        Place::Expiry,
        Place::Ready(queue.clone(), Priority::Normal),
        Place::Dead(queue.clone()),
    ];
    for place in &places {
        assert_eq!(
            bench.partition.strays(place).await.unwrap(),
            [] as [&str; 0],
            "{place}"
        );
    }
    // A task that waits for a worker stands among the dead letters, and a dead letter is due.
    let (keys, pending, dead) = (
        bench.partition.keys(),
        pending.to_string(),
        dead.to_string(),
    );
    let _ = bench
        .redis
        .cli(&["XADD", &keys.dlq(&queue), "*", "i", &pending]);
    assert_eq!(bench.redis.cli(&["ZADD", &keys.due(), "1", &dead]), "1");
    let strays = bench.partition.strays(&places[3]).await.unwrap();
    assert_eq!(strays, [pending]);
    assert_eq!(bench.partition.strays(&Place::Due).await.unwrap(), [dead]);
}
