//! The checker can fail: a run in which every promise held, and what each rule finds once something in it is changed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::evidence::Partition;
use super::{Claim, Evidence, RawEvent, Submit, Window, check};

const LOG: &str = "tw:{p0-0}:log";
const QUEUE: &str = "q:default";

/// Completed in its second attempt, after the first one was lost, and came too late.
const LOST: &str = "lost";
/// Failed twice, and is a dead letter.
const DEAD: &str = "dead";
/// Waits.
const WAITS: &str = "waits";

/// Appends an event, behind the latest of its subject.
fn add(evidence: &mut Evidence, ms: u64, kind: &str, id: &str, body: Value) {
    let log = evidence.events.entry(LOG.to_owned()).or_default();
    let before = log.values().rev().find(|event| event.id == id);
    let (version, previous) = before.map_or((1, String::new()), |event| {
        (event.version + 1, event.position.to_string())
    });
    let position = format!("{ms}-0").parse().unwrap();
    let event = RawEvent {
        position,
        kind: kind.to_owned(),
        id: id.to_owned(),
        version,
        previous,
        body,
        seen: Instant::now(),
    };
    log.insert(position, event);
}

fn submitted(key: &str, more: &Value) -> Value {
    let mut body = json!({
        "queue": "default", "type": "echo", "priority": "normal", "labels": { "key": key },
        "data": { "n": 1 }, "retry": { "max_retries": 1 }, "max_deliveries": 1,
    });
    extend(&mut body, more);
    body
}

fn held(attempt: u64, more: &Value) -> Value {
    let mut body = json!({ "attempt": attempt, "holder": format!("w/{attempt}") });
    extend(&mut body, more);
    body
}

/// Adds fields to a body.
fn extend(body: &mut Value, more: &Value) {
    let fields = body.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// A run in which every promise held.
fn sound() -> Evidence {
    let mut evidence = Evidence {
        events: BTreeMap::new(),
        journal: BTreeMap::new(),
        claims: vec![Claim {
            task: LOST.to_owned(),
            attempt: 2,
            worker: "w".to_owned(),
        }],
        settled: true,
        losses: Vec::new(),
        partitions: BTreeMap::new(),
    };
    let e = &mut evidence;
    let nothing = json!({});
    add(
        e,
        10,
        "Submitted",
        LOST,
        submitted("k-lost", &json!({ "unique_key": "u" })),
    );
    add(e, 11, "Started", LOST, held(1, &nothing));
    add(
        e,
        12,
        "LeaseExpired",
        LOST,
        held(1, &json!({ "started": true })),
    );
    add(e, 13, "Started", LOST, held(2, &nothing));
    add(e, 14, "LateCompletionRefused", LOST, held(1, &nothing));
    add(
        e,
        15,
        "Completed",
        LOST,
        held(2, &json!({ "result": { "n": 1 } })),
    );
    add(e, 16, "QueuePaused", QUEUE, nothing.clone());
    add(e, 17, "QueueResumed", QUEUE, nothing.clone());
    add(
        e,
        20,
        "Submitted",
        DEAD,
        submitted("k-dead", &json!({ "delay_ms": 10, "unique_key": "u" })),
    );
    add(e, 30, "Requeued", DEAD, nothing.clone());
    add(e, 31, "Started", DEAD, held(1, &nothing));
    add(
        e,
        32,
        "AttemptFailed",
        DEAD,
        held(1, &json!({ "delay_ms": 5, "error": { "kind": "error" } })),
    );
    add(e, 37, "Requeued", DEAD, nothing.clone());
    add(e, 38, "Started", DEAD, held(2, &nothing));
    add(
        e,
        39,
        "DeadLettered",
        DEAD,
        held(
            2,
            &json!({ "reason": "failed", "error": { "kind": "error" } }),
        ),
    );
    add(e, 40, "Submitted", WAITS, submitted("k-waits", &nothing));

    let stand = |entry: &str, id: &str| {
        let fields = vec![("i".to_owned(), id.to_owned())];
        vec![(entry.to_owned(), fields)]
    };
    let mut partition = Partition {
        prefix: "tw:{p0-0}:".to_owned(),
        log: e.events[LOG].keys().copied().collect(),
        checkpoint: "40-0".parse().ok(),
        ..Partition::default()
    };
    let dead = [
        ("s", "failed"),
        ("v", "7"),
        ("e", "39-0"),
        ("a", "2"),
        ("f", "1"),
        ("w", "39-0"),
    ];
    partition.records.insert(DEAD.to_owned(), map(&dead));
    let waits = [("s", "pending"), ("v", "1"), ("e", "40-0"), ("w", "40-0")];
    partition.records.insert(WAITS.to_owned(), map(&waits));
    partition
        .streams
        .insert("dlq:default".to_owned(), stand("39-0", DEAD));
    partition
        .streams
        .insert("ready:default:normal".to_owned(), stand("40-0", WAITS));
    for status in ["completed", "failed", "pending"] {
        partition.counts.insert(format!("{status}|default|echo"), 1);
    }
    e.partitions.insert(LOG.to_owned(), partition);
    for id in [LOST, DEAD, WAITS] {
        let submit = Submit {
            id: Some(id.to_owned()),
            ids: [id.to_owned()].into(),
            sent: Some(Instant::now()),
            at: Some(Instant::now()),
            ..Submit::default()
        };
        e.journal.insert(format!("k-{id}"), submit);
    }
    evidence
}

/// The event at a position.
fn at(evidence: &mut Evidence, ms: u64) -> &mut RawEvent {
    let position = format!("{ms}-0").parse().unwrap();
    let log = evidence.events.get_mut(LOG).unwrap();
    log.get_mut(&position).unwrap()
}

fn partition(evidence: &mut Evidence) -> &mut Partition {
    evidence.partitions.get_mut(LOG).unwrap()
}

fn forget(evidence: &mut Evidence, id: &str) {
    let log = evidence.events.get_mut(LOG).unwrap();
    log.retain(|_, event| event.id != id);
}

#[test]
fn a_run_in_which_every_promise_held_is_found_sound() {
    let findings = check(&sound());
    assert_eq!(findings.violations, []);
    let figures = findings.figures;
    assert_eq!(
        (figures.accepted, figures.completed, figures.failed),
        (3, 1, 1)
    );
    assert_eq!(
        (figures.redeliveries, figures.late_refused, figures.lost),
        (1, 1, 0)
    );
}

/// What is changed, the rule that finds it, and the change.
type Mutant = (&'static str, &'static str, fn(&mut Evidence));

const MUTANTS: &[Mutant] = &[
    (
        "it did not come to rest",
        "every task comes to its end",
        |e| e.settled = false,
    ),
    (
        "an acknowledged task is gone",
        "what is acknowledged is kept",
        |e| forget(e, WAITS),
    ),
    ("a key made two tasks", "a key is one task", |e| {
        add(
            e,
            50,
            "Submitted",
            "again",
            submitted("k-waits", &json!({})),
        );
    }),
    ("a key was told two ids", "a key is one task", |e| {
        let submit = e.journal.get_mut("k-waits").unwrap();
        submit.ids.insert("other".to_owned());
    }),
    (
        "a key was told the id of another",
        "a key is one task",
        |e| {
            e.journal.get_mut("k-waits").unwrap().id = Some(DEAD.to_owned());
        },
    ),
    (
        "a task that nobody sent",
        "nothing is made that nobody asked for",
        |e| {
            add(e, 50, "Submitted", "odd", submitted("k-odd", &json!({})));
        },
    ),
    (
        "a refused submit made a task",
        "a refusal makes nothing",
        |e| {
            let refused = Submit {
                refused: true,
                ..Submit::default()
            };
            e.journal.insert("k-waits".to_owned(), refused);
        },
    ),
    (
        "two workers completed a task",
        "a task is completed by one attempt",
        |e| {
            let again = Claim {
                attempt: 1,
                ..e.claims[0].clone()
            };
            e.claims.push(again);
        },
    ),
    (
        "a worker says what the log does not",
        "who is told of a completion made it",
        |e| {
            e.claims[0].task = DEAD.to_owned();
        },
    ),
    (
        "two live tasks hold a key",
        "one live task per unique key",
        |e| {
            add(
                e,
                41,
                "Submitted",
                "rival",
                submitted("k-rival", &json!({ "unique_key": "u" })),
            );
            add(
                e,
                42,
                "Submitted",
                "other",
                submitted("k-other", &json!({ "unique_key": "u" })),
            );
        },
    ),
    (
        "a start in a paused queue",
        "a paused queue starts nothing",
        |e| {
            at(e, 17).kind = "QueuePaused".to_owned();
        },
    ),
    (
        "a move that there is none of",
        "events form a lawful path",
        |e| {
            at(e, 30).kind = "Completed".to_owned();
        },
    ),
    (
        "an event is missing",
        "versions and links are gap-free",
        |e| {
            let log = e.events.get_mut(LOG).unwrap();
            log.retain(|position, _| position.ms != 32);
        },
    ),
    (
        "an attempt was counted twice",
        "attempts grow by one",
        |e| {
            at(e, 13).body["attempt"] = json!(1);
        },
    ),
    (
        "a holder that lost it completed it",
        "only the holder settles",
        |e| {
            at(e, 15).body["holder"] = json!("w/1");
        },
    ),
    (
        "its own holder was refused",
        "only the holder settles",
        |e| {
            at(e, 14).body = held(2, &json!({}));
        },
    ),
    ("a retry too many", "retries and losses are bounded", |e| {
        at(e, 20).body["retry"]["max_retries"] = json!(0);
    }),
    (
        "given up too early",
        "retries and losses are bounded",
        |e| {
            at(e, 20).body["retry"]["max_retries"] = json!(5);
        },
    ),
    ("a loss too many", "retries and losses are bounded", |e| {
        at(e, 10).body["max_deliveries"] = json!(0);
    }),
    (
        "it ran before its time",
        "nothing runs before its time",
        |e| {
            at(e, 20).body["delay_ms"] = json!(11);
        },
    ),
    (
        "it came back before its time",
        "nothing runs before its time",
        |e| {
            at(e, 32).body["delay_ms"] = json!(6);
        },
    ),
    ("it completed twice", "a task completes at most once", |e| {
        add(
            e,
            50,
            "Completed",
            LOST,
            held(2, &json!({ "result": { "n": 1 } })),
        );
    }),
    (
        "another result",
        "data reaches its handler, and results are its",
        |e| {
            at(e, 15).body["result"] = json!({ "n": 2 });
        },
    ),
    (
        "data that was lost",
        "data reaches its handler, and results are its",
        |e| {
            at(e, 39).body["error"]["kind"] = json!("invalid_payload");
        },
    ),
    (
        "two refusals of one completion",
        "a late completion is refused once",
        |e| {
            add(e, 50, "LateCompletionRefused", LOST, held(1, &json!({})));
            add(e, 51, "LateCompletionRefused", LOST, held(1, &json!({})));
        },
    ),
    (
        "a record that lags",
        "records equal the fold of the log",
        |e| {
            let record = partition(e).records.get_mut(DEAD).unwrap();
            record.insert("v".to_owned(), "6".to_owned());
        },
    ),
    (
        "a record is gone",
        "records equal the fold of the log",
        |e| {
            partition(e).records.remove(WAITS);
        },
    ),
    (
        "a record of nothing",
        "records equal the fold of the log",
        |e| {
            partition(e)
                .records
                .insert("odd".to_owned(), map(&[("s", "pending")]));
        },
    ),
    (
        "it stands nowhere",
        "tasks stand where their status says",
        |e| {
            partition(e).streams.remove("ready:default:normal");
        },
    ),
    (
        "it stands in two places",
        "tasks stand where their status says",
        |e| {
            partition(e).due.insert(WAITS.to_owned(), 1.0);
        },
    ),
    (
        "an entry of no task",
        "tasks stand where their status says",
        |e| {
            partition(e).parked.push("odd".to_owned());
        },
    ),
    (
        "a held entry that is gone",
        "tasks stand where their status says",
        |e| {
            let gone = vec!["1-1".to_owned()];
            partition(e)
                .held
                .insert("ready:default:normal".to_owned(), gone);
        },
    ),
    (
        "what has started waits to expire",
        "tasks stand where their status says",
        |e| {
            partition(e).expiry.insert(DEAD.to_owned(), 1.0);
        },
    ),
    (
        "an event left the log",
        "the log is whole from the base on",
        |e| {
            partition(e).log.pop();
        },
    ),
    (
        "an event that nobody saw",
        "the log is whole from the base on",
        |e| {
            partition(e).log.push("60-0".parse().unwrap());
        },
    ),
    (
        "the base lacks what lives on",
        "the base holds what lives on",
        |e| {
            partition(e)
                .base
                .insert("position".to_owned(), "40-0".to_owned());
            partition(e).log.clear();
        },
    ),
    (
        "views that count otherwise",
        "views equal the fold of the log",
        |e| {
            partition(e)
                .counts
                .insert("failed|default|echo".to_owned(), 2);
        },
    ),
    ("views that lag", "views equal the fold of the log", |e| {
        partition(e).checkpoint = "39-0".parse().ok();
    }),
];

#[test]
fn each_rule_finds_what_breaks_it() {
    for (what, rule, mutate) in MUTANTS {
        let mut evidence = sound();
        mutate(&mut evidence);
        let found = check(&evidence).violations;
        let named = found.iter().any(|violation| violation.rule == *rule);
        assert!(named, "{what}: {found:?}");
    }
    // No rule without a mutant.
    let sources = [
        include_str!("../checker.rs"),
        include_str!("task.rs"),
        include_str!("queues.rs"),
    ];
    let quoted = sources
        .iter()
        .flat_map(|text| text.split('"').skip(1).step_by(2));
    let known: Vec<&str> = MUTANTS.iter().map(|(_, rule, _)| *rule).collect();
    let rules: Vec<&str> = sources
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.strip_prefix("const ")?.split_once(": &str = \""))
        .map(|(_, rule)| rule.trim_end_matches("\";"))
        .collect();
    assert_eq!(rules.len(), 14, "{rules:?}");
    for rule in rules {
        assert!(known.contains(&rule), "{rule} was never seen to fail");
    }
    for rule in &known {
        assert!(
            quoted.clone().any(|text| text == *rule),
            "{rule} is no rule"
        );
    }
}

#[test]
fn a_loss_is_forgiven_only_in_its_window() {
    let lossy = |begin_ms: u64| {
        let mut evidence = sound();
        forget(&mut evidence, WAITS);
        let partition = partition(&mut evidence);
        partition.records.remove(WAITS);
        partition.streams.remove("ready:default:normal");
        partition.counts.remove("pending|default|echo");
        partition.checkpoint = "39-0".parse().ok();
        partition.log.pop();
        let at = evidence.journal["k-waits"].at.unwrap();
        let begin = at + Duration::from_millis(begin_ms);
        evidence.losses.push(Window {
            begin,
            end: begin + Duration::from_secs(1),
            submits: true,
        });
        check(&evidence)
    };
    let forgiven = lossy(0);
    assert_eq!(forgiven.violations, []);
    assert_eq!((forgiven.figures.lost, forgiven.figures.at_risk), (1, 1));
    let kept = lossy(60_000).violations;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].rule, "what is acknowledged is kept");
}
