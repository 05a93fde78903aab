use taskweir_domain::{Command, EventType, Status};
use taskweir_store::{FinishOutcome, ReleaseOutcome, Releasing};

use crate::bench::{Bench, Running, complete};

async fn releasing(bench: &Bench, running: &Running) -> Releasing {
    Releasing {
        id: running.id,
        stream: running.stream,
        fence: running.fence.clone(),
        unique: running.unique.clone(),
        cancelling: bench.task(running.id).await.cancelling(),
        event: bench
            .decide(running.id, &Command::Release(running.fence.clone()))
            .await,
    }
}

async fn release(bench: &Bench, releasing: &Releasing) -> ReleaseOutcome {
    let batch = std::slice::from_ref(releasing);
    bench
        .partition
        .release(&bench.streams, batch)
        .await
        .unwrap()[0]
}

#[tokio::test]
async fn a_released_task_is_pending_at_no_cost_and_the_repeat_is_known() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let late = bench.finishing(&running, &complete(&running)).await;
    let give_back = releasing(&bench, &running).await;
    assert_eq!(release(&bench, &give_back).await, ReleaseOutcome::Done);
    assert_eq!(release(&bench, &give_back).await, ReleaseOutcome::Repeated);
    let detail = bench.check(id).await;
    assert_eq!((detail.task.failures, detail.task.losses), (0, 0));
    assert_eq!(
        bench.finish(&late).await,
        FinishOutcome::Repeated,
        "it has settled: by giving back"
    );
    let second = bench.run("w2").await;
    assert_eq!(release(&bench, &give_back).await, ReleaseOutcome::Repeated);
    assert_eq!(bench.complete(&second).await, FinishOutcome::Done);
    bench.check(id).await;
}

#[tokio::test]
async fn what_is_not_held_cannot_be_released() {
    let bench = Bench::new().await;
    bench.submit().await;
    let running = bench.run("w").await;
    let mut give_back = releasing(&bench, &running).await;
    give_back.fence.attempt = 9;
    assert_eq!(release(&bench, &give_back).await, ReleaseOutcome::Late);
}

#[tokio::test]
async fn a_cancel_request_makes_a_release_the_end() {
    let bench = Bench::new().await;
    let id = bench.submit().await;
    let running = bench.run("w").await;
    let before = releasing(&bench, &running).await;
    let cancellation = bench.cancellation(id, "n").await;
    bench.partition.cancel(&[cancellation]).await.unwrap();
    assert_eq!(release(&bench, &before).await, ReleaseOutcome::Changed);
    let after = releasing(&bench, &running).await;
    assert_eq!(release(&bench, &after).await, ReleaseOutcome::Done);
    assert_eq!(bench.status(id).await, Status::Cancelled);
    assert_eq!(bench.events(id).await.last(), Some(&EventType::Released));
    bench.check(id).await;
}
