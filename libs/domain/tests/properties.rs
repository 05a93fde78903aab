//! Whatever is asked in whatever order, a task's history stays lawful.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod history;

use history::{History, complete, fail, fence, start, submit};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use taskweir_domain::{
    Actor, Command, DeadLetterReason, ErrorKind, Event, LossSeen, Outcome, Recorded, TaskDetail,
    evolve,
};

fn command() -> impl Strategy<Value = Command> {
    let attempt = 1_u32..6;
    let cancel = || Command::Cancel(Actor::anonymous().into());
    prop_oneof![
        2 => (0_u32..3, 0_u32..3, any::<bool>()).prop_map(|(retries, deliveries, later)| submit(|spec| {
            spec.retry.max_retries = retries;
            spec.max_deliveries = deliveries;
            spec.delay_ms = later.then_some(5);
        })),
        8 => attempt.clone().prop_map(start),
        4 => attempt.clone().prop_map(complete),
        8 => (attempt.clone(), any::<bool>()).prop_map(|(attempt, fatal)| {
            fail(attempt, if fatal { ErrorKind::Fatal } else { ErrorKind::Error })
        }),
        2 => (attempt.clone(), any::<bool>()).prop_map(|(attempt, done)| Command::RefuseLate {
            fence: fence(attempt),
            outcome: if done { Outcome::Completed } else { Outcome::Failed },
        }),
        3 => attempt.clone().prop_map(|attempt| Command::Lose(LossSeen::Started(fence(attempt)))),
        1 => Just(Command::Lose(LossSeen::NotStarted)),
        2 => attempt.clone().prop_map(|attempt| Command::Release(fence(attempt))),
        2 => attempt.prop_map(|attempt| Command::Progress {
            fence: fence(attempt), percent: 50.0, message: None,
        }),
        4 => Just(Command::Promote),
        1 => Just(Command::Park),
        1 => Just(cancel()),
        1 => Just(Command::Expire),
        2 => Just(Command::DlqRetry(Actor::anonymous().into())),
        1 => Just(Command::DlqRemove(Actor::anonymous().into())),
    ]
}

fn replay(events: &[Recorded]) -> Option<taskweir_domain::Task> {
    events.iter().fold(None, |state, recorded| {
        Some(evolve(state, recorded).expect("a lawful log"))
    })
}

/// Failures of each life: a life ends where the task comes back from the dead letters.
fn failures_per_life(events: &[Recorded]) -> Vec<u32> {
    let mut lives = vec![0];
    for recorded in events {
        let last = lives.last_mut().expect("one life at least");
        match &recorded.event {
            Event::AttemptFailed(_) => *last += 1,
            Event::DeadLettered(body) if body.reason == DeadLetterReason::Failed => *last += 1,
            Event::DlqRetried(_) => lives.push(0),
            _ => {}
        }
    }
    lives
}

proptest! {
    #[test]
    fn any_sequence_of_commands_keeps_the_laws(commands in proptest::collection::vec(command(), 1..60)) {
        let mut history = History::new();
        for command in &commands {
            history.now_ms += 4_000_000;
            let before = history.task.clone();
            match history.when(command) {
                Err(_) => prop_assert_eq!(&before, &history.task, "a refusal changes nothing"),
                Ok(events) => {
                    prop_assert_eq!(events.len(), 1, "one change, one event");
                    if let Some(before) = before.filter(|task| task.status().is_final()) {
                        let after = history.task.as_ref().expect("a task stays");
                        prop_assert_eq!(before.status(), after.status(), "final statuses absorb");
                        prop_assert!(matches!(events[0], Event::LateCompletionRefused(_)));
                    }
                }
            }
        }
        prop_assert_eq!(&replay(&history.events), &history.task, "replay = live");

        let starts: Vec<u32> = history.events.iter().filter_map(|recorded| match &recorded.event {
            Event::Started(body) => Some(body.attempt),
            _ => None,
        }).collect();
        let expected: Vec<u32> = (1..=u32::try_from(starts.len()).expect("few")).collect();
        prop_assert_eq!(starts, expected, "attempts grow by one");

        if let Some(task) = &history.task {
            for failures in failures_per_life(&history.events) {
                prop_assert!(failures <= task.limits.retry.max_retries + 1);
            }
            let completed = history.events.iter().filter(|r| matches!(r.event, Event::Completed(_))).count();
            prop_assert!(completed <= 1);
            let detail = TaskDetail::fold(&history.events).expect("lawful").expect("a task");
            prop_assert_eq!(&detail.task, task);
            prop_assert_eq!(detail.ended_ms.is_some(), task.status().is_final() || task.status() == taskweir_domain::Status::Failed);
        }
    }

    #[test]
    fn events_survive_the_wire(commands in proptest::collection::vec(command(), 1..40)) {
        let mut history = History::new();
        for command in &commands {
            history.now_ms += 4_000_000;
            history.when(command).ok();
        }
        for recorded in &history.events {
            let read = Recorded::decode(
                recorded.position,
                &recorded.event.event_type().wire(),
                &recorded.id.to_string(),
                &recorded.version.to_string(),
                &recorded.previous.map(|p| p.to_string()).unwrap_or_default(),
                &recorded.event.body(),
            ).expect("our own event");
            prop_assert_eq!(&read, recorded);
        }
    }

    #[test]
    fn odd_entries_are_errors_and_never_panics(t in ".{0,20}", i in ".{0,30}", n in ".{0,8}", b in ".{0,20}", d in ".{0,60}") {
        let position = taskweir_domain::Position::ZERO;
        Recorded::decode(position, &t, &i, &n, &b, &d).ok();
        Recorded::decode(position, "Started.1", &i, &n, &b, &d).ok();
    }

    #[test]
    fn odd_requests_are_errors_and_never_panics(text in ".{0,200}", data in ".{0,40}") {
        let limits = taskweir_domain::DraftLimits::default();
        taskweir_domain::draft_from_json(&text, &limits).ok();
        taskweir_domain::draft_from_json(&format!(r#"{{"type":{data},"delay":{data},"retry":{data}}}"#), &limits).ok();
    }
}
