use taskweir_domain::{Json, Priority, Status};
use taskweir_store::{Submission, SubmitOutcome};

use crate::bench::{Bench, started};

#[tokio::test]
async fn a_batch_is_accepted_and_a_repeat_answers_where_each_began() {
    let bench = Bench::new().await;
    let batch: Vec<Submission> = (0..100)
        .map(|_| Submission {
            id: bench.mint(),
            spec: bench.spec(),
            idempotency: None,
        })
        .collect();
    let first = bench.partition.submit(&batch).await.unwrap();
    assert!(
        first
            .iter()
            .all(|outcome| matches!(outcome, SubmitOutcome::Accepted(_)))
    );
    let again = bench.partition.submit(&batch).await.unwrap();
    for (first, again) in first.iter().zip(&again) {
        let SubmitOutcome::Accepted(position) = first else {
            panic!()
        };
        assert_eq!(*again, SubmitOutcome::Repeated(*position));
    }
    assert_eq!(
        bench.partition.log_end().await.unwrap().1,
        100,
        "one event each"
    );
    for submission in &batch[..3] {
        bench.check(submission.id).await;
    }
}

#[tokio::test]
async fn a_delayed_task_waits_in_due_and_wakes_the_scheduler() {
    let bench = Bench::new().await;
    let id = bench.submit_with(|spec| spec.delay_ms = Some(60_000)).await;
    assert_eq!(bench.status(id).await, Status::Scheduled);
    bench.check(id).await;
    let tick = bench.partition.keys().tick();
    assert_eq!(bench.redis.cli(&["LLEN", &tick]), "1");
    // A later one is not the next: no second token.
    bench
        .submit_with(|spec| spec.delay_ms = Some(120_000))
        .await;
    assert_eq!(bench.redis.cli(&["LLEN", &tick]), "1");
}

#[tokio::test]
async fn a_run_at_in_the_past_is_due_at_once() {
    let bench = Bench::new().await;
    let id = bench.submit_with(|spec| spec.run_at_ms = Some(1)).await;
    bench.check(id).await;
    assert_eq!(bench.partition.due(10).await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn payloads_large_and_small_reach_the_worker() {
    let bench = Bench::new().await;
    for length in [0, 10, 1_022, 1_023, 5_000, 200_000] {
        let text = format!("\"{}\"", "x".repeat(length));
        let id = bench
            .submit_with(|spec| spec.data = Json::parse(text.clone()).unwrap())
            .await;
        let claimed = bench.claim_one("w").await;
        let holder = taskweir_domain::Holder::new("w", "1");
        let begun = started(bench.start_as(&claimed, &holder).await);
        let taskweir_store::Payload::Json(json) = begun.payload else {
            panic!("{length}")
        };
        assert_eq!(json.as_str(), text);
        let inline = claimed.work.unwrap().data;
        assert_eq!(
            inline.is_some(),
            text.len() <= 1_024,
            "the entry carries small ones"
        );
        let detail = bench.check(id).await;
        assert_eq!(detail.data_stored.is_some(), text.len() > 1_024);
        if let Some(stored) = detail.data_stored {
            assert_eq!(stored.bytes as usize, text.len());
            assert_eq!(
                bench.partition.stored_data(id).await.unwrap().unwrap(),
                text
            );
        }
    }
}

#[tokio::test]
async fn each_class_has_its_stream() {
    let bench = Bench::new().await;
    for priority in Priority::ALL {
        bench.submit_with(|spec| spec.priority = priority).await;
    }
    let queues = ["default", "never-seen"].map(|name| name.parse().unwrap());
    let depths = bench.partition.depths(&queues).await.unwrap();
    assert_eq!(depths.len(), 6);
    for (queue, _, depth) in depths {
        let there = u64::from(**queue == *"default");
        assert_eq!((depth.ready, depth.held), (there, 0));
        assert_eq!(depth.oldest_ms.is_some(), there == 1);
    }
}

#[tokio::test]
async fn peer_07_an_id_that_exists_keeps_its_task_whatever_is_sent_again() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let mut spec = bench.spec();
    spec.data = taskweir_domain::Json::parse("7".to_owned()).unwrap();
    spec.priority = taskweir_domain::Priority::High;
    let again = Submission {
        id,
        spec,
        idempotency: None,
    };
    let outcome = bench.partition.submit(&[again]).await.unwrap().remove(0);
    assert!(matches!(outcome, SubmitOutcome::Repeated(_)));
    let task = bench.check(id).await.task;
    assert_eq!(task.priority, taskweir_domain::Priority::Normal);
    assert_eq!(bench.events(id).await.len(), 1);
}
