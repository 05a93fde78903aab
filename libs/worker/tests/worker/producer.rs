use taskweir_domain::DraftLimits;
use taskweir_store::Limits;
use taskweir_worker::{Producer, Refusal, SubmitError, TaskSpec};

use crate::bench::{Bench, settings};

fn about(key: &str) -> TaskSpec {
    TaskSpec {
        unique_key: Some(key.to_owned()),
        ..TaskSpec::new("default".parse().unwrap(), "work".parse().unwrap())
    }
}

#[tokio::test]
async fn a_unique_key_is_held_by_one_task_in_whichever_partition_it_would_be() {
    let bench = Bench::new().await;
    let producer = Producer::connect(&settings(&bench.redis)).await.unwrap();
    let first = producer.submit(about("a")).await.unwrap();
    for _ in 0..8 {
        let second = producer.submit(about("a")).await.unwrap_err();
        let SubmitError::Refused(refusal) = second else {
            panic!("{second}")
        };
        assert_eq!(refusal, Refusal::Duplicate(first));
    }
    let many = producer.submit_all(vec![about("b"), about("a"), about("b")]);
    let many = many.await.unwrap();
    let held = many[0].clone().unwrap();
    assert_eq!(many[1], Err(Refusal::Duplicate(first)));
    assert_eq!(many[2], Err(Refusal::Duplicate(held)));
    assert_eq!(bench.events_in_all().await, 2);
}

#[tokio::test]
async fn limits_and_defaults_are_those_it_was_given() {
    let bench = Bench::new().await;
    let limits = Limits {
        max_queue_length: 1,
        ..Limits::default()
    };
    let mut defaults = DraftLimits::default();
    defaults.retry.max_retries = 9;
    defaults.max_deliveries = 2;
    let redis = settings(&bench.redis);
    let producer = Producer::connect_with(&redis, limits, defaults);
    let producer = producer.await.unwrap();
    let task = producer.task("default".parse().unwrap(), "work".parse().unwrap());
    assert_eq!((task.retry.max_retries, task.max_deliveries), (9, 2));
    // A queue may be as long in each partition.
    let outcomes = producer.submit_all(vec![task; 100]).await.unwrap();
    let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(taken <= taskweir_testkit::partitions(), "{taken}");
    let refused = outcomes.iter().filter_map(|outcome| outcome.clone().err());
    assert_eq!(
        refused.filter(|why| *why == Refusal::QueueFull).count(),
        100 - taken
    );
}

#[tokio::test]
async fn what_no_reader_of_the_log_takes_is_refused_and_the_rest_is_taken() {
    let bench = Bench::new().await;
    let producer = Producer::connect(&settings(&bench.redis)).await.unwrap();
    let sound = TaskSpec::new("default".parse().unwrap(), "work".parse().unwrap());
    let mut odd = sound.clone();
    odd.retry.jitter = f64::NAN;
    let refused = producer.submit(odd.clone()).await.unwrap_err();
    assert_eq!(refused.to_string(), "retry.jitter must be from 0 to 1");
    let outcomes = producer.submit_all(vec![sound.clone(), odd, sound]).await;
    let taken: Vec<bool> = outcomes.unwrap().iter().map(Result::is_ok).collect();
    assert_eq!(taken, [true, false, true]);
    assert_eq!(bench.events_in_all().await, 2);
}
