use taskweir_domain::{Actor, Status, TaskId};
use taskweir_store::{DlqVerb, Filter, Operation, OperationKind, OperationState, Ran};
use taskweir_testkit::eventually;

use crate::bench::Bench;

async fn begin(bench: &Bench, kind: OperationKind) -> Operation {
    let actor = Actor("ann".to_owned());
    let begun = bench.store.operate(kind, Filter::default(), actor, None);
    begun.await.unwrap().unwrap()
}

/// Notes a page, as a runner that dies before it acts on it.
fn note(bench: &Bench, operation: TaskId, page: TaskId) {
    let partition = bench.partition.keys().partition().0;
    let key = bench.store.partitions()[0].keys().operation(operation);
    let (partition, page) = (partition.to_string(), format!("!{page}"));
    let noted = ["HSET", &key, "partition", &partition, "planned", &page];
    assert_eq!(bench.redis.cli(&noted), "0", "both fields are there");
}

async fn run(bench: &Bench, operation: TaskId) -> Operation {
    while bench.store.run_operation(operation, "b").await.unwrap() == Ran::More {}
    let ended = bench.store.operation(operation).await.unwrap().unwrap();
    assert_eq!(ended.state, OperationState::Completed);
    ended
}

#[tokio::test]
async fn a_page_that_is_repeated_leaves_alone_what_has_given_up_since() {
    let bench = Bench::new().await;
    for kind in [OperationKind::DlqDelete, OperationKind::DlqRetry] {
        let id = bench.dead().await;
        let operation = begin(&bench, kind).await;
        note(&bench, operation.id, id);
        let asked = operation.order.asked_ms;
        eventually("a later millisecond", async || {
            (bench.store.server_time_ms().await.unwrap() > asked).then_some(())
        })
        .await;
        // A person brings it back, and it gives up anew.
        let retried = bench
            .store
            .act_on_dead(id, DlqVerb::Retry, Actor::anonymous());
        retried.await.unwrap();
        let running = bench.run("w").await;
        bench
            .fail(&running, taskweir_domain::ErrorKind::Fatal)
            .await;
        let ended = run(&bench, operation.id).await;
        assert_eq!((ended.done, ended.skipped), (0, 1));
        assert_eq!(bench.status(id).await, Status::Failed);
    }
}
