//! The statuses each script accepts are those of the domain's table.

use taskweir_domain::{
    Actor, AttemptError, AttemptFailed, Cancelled, Completed, DeadLetterReason, DeadLettered,
    ErrorKind, Event, EventClass, EventType, Fence, Holder, LeaseExpired, Priority, ReleaseReason,
    Released, Status, TaskId, next_status,
};
use taskweir_store::accepts::{ACCEPTS, Accepts, ScriptName};
use taskweir_store::{
    Cancellation, DlqAction, Expiring, Finish, Loss, Parking, ProgressReport, Promotion, Releasing,
    Starting,
};

use crate::bench::Bench;

#[test]
fn scripts_accept_what_the_table_allows() {
    for row in ACCEPTS {
        // Two scripts may append the same event; together they are the table's rows.
        let same: Vec<_> = ACCEPTS
            .iter()
            .filter(|other| other.event == row.event)
            .collect();
        for status in Status::ALL {
            let legal = next_status(Some(status), false, row.event).is_ok();
            let accepted = same.iter().any(|row| row.from.contains(&status));
            assert_eq!(accepted, legal, "{row:?} from {status}");
        }
        let legal = next_status(Some(Status::Processing), true, row.event).is_ok();
        assert_eq!(
            same.iter().any(|row| row.cancelling),
            legal,
            "{row:?} while cancelling"
        );
    }
}

#[test]
fn every_event_of_a_task_has_its_script() {
    // Submitted makes the task, a refusal is always recorded.
    let other = [
        EventType::Submitted,
        EventType::LateCompletionRefused,
        EventType::QueuePaused,
        EventType::QueueResumed,
    ];
    for event in EventType::ALL {
        let named = ACCEPTS.iter().any(|row| match row.event {
            EventClass::Plain(plain) => plain == *event,
            EventClass::LeaseExpired { .. } => *event == EventType::LeaseExpired,
            EventClass::Released { .. } => *event == EventType::Released,
            EventClass::Submitted { .. } => *event == EventType::Submitted,
        });
        assert!(named || other.contains(event), "{event} has no row");
    }
}

/// Brings a new task to a status, with `due` and the ready entry as its work would have them.
async fn bring(bench: &Bench, status: Status, cancelling: bool) -> TaskId {
    let cancel = async |id| {
        let request = bench.cancellation(id, "before").await;
        bench.partition.cancel(&[request]).await.unwrap();
    };
    let id = match status {
        Status::Scheduled => bench.submit_with(|spec| spec.run_at_ms = Some(1)).await,
        Status::Failed | Status::Removed => bench.dead().await,
        _ => bench.submit().await,
    };
    match status {
        Status::Scheduled | Status::Failed => {}
        Status::Pending => drop(bench.claim_one("w").await),
        Status::Processing => {
            bench.run_with_lease("w", 0).await;
            if cancelling {
                cancel(id).await;
            }
        }
        Status::Retrying => {
            let running = bench.run("w").await;
            bench.fail(&running, ErrorKind::Error).await;
        }
        Status::Completed => {
            let running = bench.run("w").await;
            bench.complete(&running).await;
        }
        Status::Cancelled => cancel(id).await,
        // Nothing expires tasks yet: the record is written by hand.
        Status::Expired => {
            let _ = bench
                .redis
                .cli(&["HSET", &bench.partition.keys().task(id), "s", "expired"]);
        }
        Status::Removed => drop(bench.partition.dlq_remove(&[action(id)]).await.unwrap()),
    }
    assert_eq!(bench.status(id).await, status);
    id
}

fn action(id: TaskId) -> DlqAction {
    DlqAction {
        id,
        queue: "default".parse().unwrap(),
        priority: Priority::Normal,
        unique: None,
        nonce: taskweir_store::entropy::nonce(),
        ask: Actor::anonymous().into(),
        bulk: None,
    }
}

/// Calls a script for a task as somebody would who believes that the event is legal.
async fn call(bench: &Bench, row: &Accepts, id: TaskId) {
    let record = bench.record(id).await.unwrap();
    let (partition, streams) = (&bench.partition, &bench.streams);
    let holder = record
        .holder
        .clone()
        .unwrap_or_else(|| Holder::new("w", "none"));
    let fence = Fence {
        attempt: record.task.attempt,
        holder: holder.clone(),
    };
    let stream = 1;
    let entry = if record.work.contains('-') {
        record.work.clone()
    } else {
        "1-1".to_owned()
    };
    let cancelling = record.task.cancelling();
    let error = AttemptError::new(ErrorKind::Error, None, "no");
    let attempt = fence.attempt;
    let finish = async |event: Event| {
        let finish = Finish {
            id,
            stream,
            fence: fence.clone(),
            unique: None,
            event,
        };
        partition.finish(streams, &[finish]).await.unwrap();
    };
    let lost = async |event: Event| {
        let decided = Some((record.clone(), event));
        let loss = Loss {
            id,
            stream,
            entry: entry.clone(),
            decided,
        };
        partition
            .reclaim(streams, "janitor", 0, &[loss])
            .await
            .unwrap();
    };
    match (row.script, row.event) {
        (ScriptName::Start, _) => {
            let starting = Starting {
                id,
                stream,
                entry,
                needs_payload: false,
            };
            partition
                .start(streams, &Holder::new("w", "new"), 1, &[starting])
                .await
                .unwrap();
        }
        (ScriptName::Progress, _) => {
            let report = ProgressReport {
                id,
                fence,
                percent: 1.0,
                message: None,
            };
            partition.progress(&[report]).await.unwrap();
        }
        (ScriptName::Finish, EventClass::Plain(EventType::Completed)) => {
            finish(
                Completed {
                    attempt,
                    holder,
                    result: None,
                    result_stored: None,
                    duration_ms: 1,
                    trace: None,
                }
                .into(),
            )
            .await;
        }
        (ScriptName::Finish, EventClass::Plain(EventType::AttemptFailed)) => {
            let delay_ms = (!cancelling).then_some(1);
            finish(
                AttemptFailed {
                    attempt,
                    holder,
                    error,
                    delay_ms,
                    trace: None,
                }
                .into(),
            )
            .await;
        }
        (ScriptName::Finish, _) => {
            let reason = DeadLetterReason::Failed;
            finish(
                DeadLettered {
                    reason,
                    attempt,
                    holder: Some(holder),
                    error,
                    trace: None,
                }
                .into(),
            )
            .await;
        }
        (ScriptName::Promote, _) => {
            let _ = bench
                .redis
                .cli(&["ZADD", &partition.keys().due(), "1", &id.to_string()]);
            let place = Some((record.task.queue.clone(), record.task.priority));
            partition.promote(&[Promotion { id, place }]).await.unwrap();
        }
        (ScriptName::Reclaim, EventClass::LeaseExpired { started }) => {
            lost(
                LeaseExpired {
                    started,
                    attempt,
                    holder: started.then_some(holder),
                }
                .into(),
            )
            .await;
        }
        (ScriptName::Reclaim, _) => {
            let reason = DeadLetterReason::CrashLoop;
            lost(
                DeadLettered {
                    reason,
                    attempt,
                    holder: Some(holder),
                    error,
                    trace: None,
                }
                .into(),
            )
            .await;
        }
        (ScriptName::Release, _) => {
            let reason = ReleaseReason::Shutdown;
            let event = Released {
                reason,
                attempt: Some(attempt),
                holder: Some(holder),
            }
            .into();
            partition
                .release(
                    streams,
                    &[Releasing {
                        id,
                        stream,
                        fence,
                        unique: None,
                        cancelling,
                        event,
                    }],
                )
                .await
                .unwrap();
        }
        (ScriptName::Park, _) => {
            let task_type = record.task.task_type.clone();
            partition
                .park(
                    streams,
                    &[Parking {
                        id,
                        task_type,
                        stream,
                        entry,
                    }],
                )
                .await
                .unwrap();
        }
        (ScriptName::Cancel, _) => {
            let actor = Actor::anonymous();
            let event = Cancelled {
                actor,
                reason: None,
                bulk: None,
            }
            .into();
            let request = Cancellation {
                id,
                nonce: "now".to_owned(),
                record,
                event,
            };
            partition.cancel(&[request]).await.unwrap();
        }
        (ScriptName::Expire, _) => {
            let _ = bench
                .redis
                .cli(&["ZADD", &partition.keys().expiry(), "1", &id.to_string()]);
            partition
                .expire(&[Expiring {
                    id,
                    record: Some(record),
                }])
                .await
                .unwrap();
        }
        (ScriptName::DlqRetry, _) => drop(partition.dlq_retry(&[action(id)]).await.unwrap()),
        (ScriptName::DlqRemove, _) => drop(partition.dlq_remove(&[action(id)]).await.unwrap()),
        (script, event) => panic!("no call for {script:?} {event:?}"),
    }
}

const fn type_of(event: EventClass) -> EventType {
    match event {
        EventClass::Plain(plain) => plain,
        EventClass::LeaseExpired { .. } => EventType::LeaseExpired,
        EventClass::Released { .. } => EventType::Released,
        EventClass::Submitted { .. } => EventType::Submitted,
    }
}

/// Each script is called for a task in each status, and appends its event where its row says so and
/// nowhere else.
#[tokio::test]
async fn scripts_do_what_their_rows_say() {
    let bench = Bench::new().await;
    let places = Status::ALL.map(|status| (status, false));
    for row in ACCEPTS {
        // A script that tells two rows apart by what the caller saw is one script to Redis.
        let rows: Vec<_> = ACCEPTS
            .iter()
            .filter(|other| {
                other.script == row.script && type_of(other.event) == type_of(row.event)
            })
            .collect();
        for (status, cancelling) in places.into_iter().chain([(Status::Processing, true)]) {
            let accepted = rows.iter().any(|row| {
                if cancelling {
                    row.cancelling
                } else {
                    row.from.contains(&status)
                }
            });
            bench.partition.ensure_groups(&bench.streams).await.unwrap();
            let id = bring(&bench, status, cancelling).await;
            let count = async || {
                let events = bench.events(id).await;
                events
                    .iter()
                    .filter(|event| **event == type_of(row.event))
                    .count()
            };
            let before = count().await;
            call(&bench, row, id).await;
            let appended = count().await - before;
            assert_eq!(
                appended,
                usize::from(accepted),
                "{row:?} from {status}, cancelling: {cancelling}"
            );
            // Out of the way of the next one.
            let _ = bench.redis.cli(&["FLUSHALL"]);
            let settings = crate::bench::settings(&bench.redis);
            let options = taskweir_store::MigrateOptions { partitions: 1 };
            taskweir_store::migrate(&settings, options).await.unwrap();
        }
    }
}
