//! The rules of a task's life, each as given / when / then.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod history;

use history::{History, complete, fail, fence, start, submit};
use taskweir_domain::{
    Actor, Command, DeadLetterReason, ErrorKind, Event, LossSeen, Outcome, Phase, Rejection, Status,
};

#[track_caller]
fn given(commands: &[Command]) -> History {
    let mut history = History::new();
    for command in commands {
        history.when(command).expect("a legal past");
    }
    history
}

#[track_caller]
fn then(history: &History, status: Status) {
    assert_eq!(history.task.as_ref().unwrap().status(), status);
}

fn promote_later(history: &mut History) {
    history.now_ms += 10_000_000;
    history.when(&Command::Promote).unwrap();
}

#[test]
fn a_task_is_submitted_started_and_completed() {
    let mut history = given(&[submit(|_| {}), start(1)]);
    then(&history, Status::Processing);
    history.when(&complete(1)).unwrap();
    then(&history, Status::Completed);
    let names: Vec<_> = history
        .events
        .iter()
        .map(|e| e.event.event_type().as_str())
        .collect();
    assert_eq!(names, ["Submitted", "Started", "Completed"]);
}

#[test]
fn a_delay_makes_it_scheduled_until_promoted() {
    let mut history = given(&[submit(|spec| spec.delay_ms = Some(500))]);
    let Phase::Scheduled { due_ms } = history.task.as_ref().unwrap().phase else {
        panic!("scheduled")
    };
    assert_eq!(due_ms, history.now_ms + 500);
    assert_eq!(
        history.when(&Command::Promote),
        Err(Rejection::TooEarly { due_ms })
    );
    promote_later(&mut history);
    then(&history, Status::Pending);
}

#[test]
fn failures_are_retried_until_the_budget_is_spent() {
    let mut history = given(&[submit(|spec| spec.retry.max_retries = 2)]);
    for attempt in 1..=2 {
        history.when(&start(attempt)).unwrap();
        let events = history.when(&fail(attempt, ErrorKind::Error)).unwrap();
        let Event::AttemptFailed(body) = &events[0] else {
            panic!("{events:?}")
        };
        assert_eq!(body.delay_ms, Some(5_000 << (attempt - 1)));
        then(&history, Status::Retrying);
        promote_later(&mut history);
    }
    history.when(&start(3)).unwrap();
    let events = history.when(&fail(3, ErrorKind::Error)).unwrap();
    let Event::DeadLettered(body) = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(body.reason, DeadLetterReason::Failed);
    then(&history, Status::Failed);
}

#[test]
fn a_fatal_failure_is_not_retried() {
    let mut history = given(&[submit(|_| {}), start(1)]);
    history.when(&fail(1, ErrorKind::Fatal)).unwrap();
    then(&history, Status::Failed);
}

#[test]
fn a_handler_may_name_the_delay() {
    let mut history = given(&[submit(|_| {}), start(1)]);
    let Command::Fail { fence, mut failure } = fail(1, ErrorKind::Error) else {
        unreachable!()
    };
    failure.retry_in_ms = Some(77);
    let events = history.when(&Command::Fail { fence, failure }).unwrap();
    assert!(matches!(&events[0], Event::AttemptFailed(body) if body.delay_ms == Some(77)));
}

#[test]
fn the_dlq_gives_a_fresh_budget_and_attempts_go_on_counting() {
    let mut history = given(&[
        submit(|spec| spec.retry.max_retries = 1),
        start(1),
        fail(1, ErrorKind::Error),
    ]);
    promote_later(&mut history);
    history.when(&start(2)).unwrap();
    history.when(&fail(2, ErrorKind::Error)).unwrap();
    history
        .when(&Command::DlqRetry(Actor::anonymous().into()))
        .unwrap();
    then(&history, Status::Pending);
    history.when(&start(3)).unwrap();
    history.when(&fail(3, ErrorKind::Error)).unwrap();
    then(&history, Status::Retrying);
    assert_eq!(history.task.as_ref().unwrap().attempt, 3);
}

#[test]
fn removed_from_the_dlq_it_stays_removed() {
    let mut history = given(&[submit(|_| {}), start(1), fail(1, ErrorKind::Fatal)]);
    history
        .when(&Command::DlqRemove(Actor::anonymous().into()))
        .unwrap();
    then(&history, Status::Removed);
    assert_eq!(
        history.when(&Command::DlqRetry(Actor::anonymous().into())),
        Err(Rejection::Status(Status::Removed))
    );
}

#[test]
fn a_stale_attempt_is_refused_and_the_refusal_is_recorded() {
    let mut history = given(&[
        submit(|_| {}),
        start(1),
        Command::Lose(LossSeen::Started(fence(1))),
        start(2),
    ]);
    assert_eq!(
        history.when(&complete(1)),
        Err(Rejection::Fenced {
            status: Status::Processing
        })
    );
    let refuse = |attempt| Command::RefuseLate {
        fence: fence(attempt),
        outcome: Outcome::Completed,
    };
    history.when(&refuse(1)).unwrap();
    assert_eq!(history.when(&refuse(2)), Err(Rejection::StillHeld));
    then(&history, Status::Processing);
    history.when(&complete(2)).unwrap();
}

#[test]
fn losses_cost_no_failure_and_end_as_a_crash_loop() {
    let mut history = given(&[submit(|spec| spec.max_deliveries = 2)]);
    for attempt in 1..=2 {
        history.when(&start(attempt)).unwrap();
        history
            .when(&Command::Lose(LossSeen::Started(fence(attempt))))
            .unwrap();
        then(&history, Status::Pending);
    }
    let events = history.when(&Command::Lose(LossSeen::NotStarted)).unwrap();
    let Event::DeadLettered(body) = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(body.reason, DeadLetterReason::CrashLoop);
    assert_eq!(history.task.as_ref().unwrap().failures, 0);
}

#[test]
fn a_release_costs_nothing() {
    let mut history = given(&[submit(|_| {}), start(1), Command::Release(fence(1))]);
    let task = history.task.clone().unwrap();
    assert_eq!((task.failures, task.losses, task.attempt), (0, 0, 1));
    history.when(&start(2)).unwrap();
}

#[test]
fn an_unknown_type_is_released_once_in_a_life() {
    let mut history = given(&[submit(|_| {}), Command::Park]);
    then(&history, Status::Pending);
    assert_eq!(history.when(&Command::Park), Err(Rejection::AlreadyParked));
}

#[test]
fn cancelling_waiting_tasks_is_immediate() {
    let cancel = Command::Cancel(Actor::anonymous().into());
    let mut pending = given(&[submit(|_| {}), cancel.clone()]);
    then(&pending, Status::Cancelled);
    assert_eq!(
        pending.when(&cancel),
        Err(Rejection::Status(Status::Cancelled))
    );
    then(
        &given(&[submit(|s| s.delay_ms = Some(9)), cancel.clone()]),
        Status::Cancelled,
    );
    then(
        &given(&[submit(|_| {}), start(1), fail(1, ErrorKind::Error), cancel]),
        Status::Cancelled,
    );
}

#[test]
fn after_a_cancel_request_only_completion_still_counts() {
    let past = [
        submit(|_| {}),
        start(1),
        Command::Cancel(Actor::anonymous().into()),
    ];
    let after = |command: &Command| {
        let mut history = given(&past);
        then(&history, Status::Processing);
        history.when(command).unwrap();
        history.task.unwrap().status()
    };
    assert_eq!(after(&complete(1)), Status::Completed);
    assert_eq!(after(&fail(1, ErrorKind::Error)), Status::Cancelled);
    assert_eq!(after(&fail(1, ErrorKind::Fatal)), Status::Cancelled);
    assert_eq!(
        after(&Command::Lose(LossSeen::Started(fence(1)))),
        Status::Cancelled
    );
    assert_eq!(after(&Command::Release(fence(1))), Status::Cancelled);
    assert_eq!(
        given(&past).when(&Command::Cancel(Actor::anonymous().into())),
        Err(Rejection::AlreadyCancelling)
    );
}

#[test]
fn a_task_that_was_not_started_in_time_expires() {
    let mut history = given(&[submit(|_| {}), Command::Expire]);
    then(&history, Status::Expired);
    assert!(history.when(&start(1)).is_err());
    assert!(
        given(&[submit(|_| {}), start(1), Command::Release(fence(1))])
            .when(&Command::Expire)
            .is_err()
    );
}

#[test]
fn nothing_but_a_submit_makes_a_task() {
    assert_eq!(History::new().when(&start(1)), Err(Rejection::NotFound));
    assert_eq!(
        given(&[submit(|_| {})]).when(&submit(|_| {})),
        Err(Rejection::Exists)
    );
}
