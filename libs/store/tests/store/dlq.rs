use taskweir_domain::{Actor, Priority, Status, TaskId};
use taskweir_store::{ActionOutcome, DlqAction, RetryOutcome};

use crate::bench::Bench;

fn action(id: TaskId, nonce: &str) -> [DlqAction; 1] {
    [DlqAction {
        id,
        queue: "default".parse().unwrap(),
        priority: Priority::Normal,
        unique: None,
        nonce: nonce.to_owned(),
        ask: Actor("ann".to_owned()).into(),
        bulk: None,
    }]
}

#[tokio::test]
async fn a_retry_gives_a_fresh_life_and_of_two_at_once_one_wins() {
    let bench = Bench::new().await;
    let id = bench.dead().await;
    let retry = async |nonce: &str| bench.partition.dlq_retry(&action(id, nonce)).await.unwrap()[0];
    assert_eq!(retry("a").await, RetryOutcome::Done);
    assert_eq!(
        retry("a").await,
        RetryOutcome::Done,
        "the same request again"
    );
    assert_eq!(retry("b").await, RetryOutcome::Changed, "another one");
    let detail = bench.check(id).await;
    assert_eq!(
        (
            detail.task.failures,
            detail.task.losses,
            detail.task.attempt
        ),
        (0, 0, 1)
    );
    let running = bench.run("w").await;
    assert_eq!(running.fence.attempt, 2);
    bench.complete(&running).await;
    bench.check(id).await;
    assert_eq!(retry("c").await, RetryOutcome::Changed);
}

#[tokio::test]
async fn removed_means_out_of_the_dlq_with_its_history_kept() {
    let bench = Bench::new().await;
    let id = bench.dead().await;
    let remove = async |nonce: &str| {
        bench
            .partition
            .dlq_remove(&action(id, nonce))
            .await
            .unwrap()[0]
    };
    assert_eq!(remove("a").await, ActionOutcome::Done);
    assert_eq!(remove("a").await, ActionOutcome::Done);
    assert_eq!(remove("b").await, ActionOutcome::Changed);
    assert_eq!(bench.status(id).await, Status::Removed);
    bench.check(id).await;
}
