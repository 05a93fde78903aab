//! Doors for fuzz targets: every reader of what Redis answers.

use redis::Value;

use crate::record::{Record, unpack_limits};
use crate::reply::Reader;
use crate::{
    Counter, Durability, Operation, Presence, QueueFlags, SeenWorker, Totals, base, log, ops,
    queues, views,
};
use taskweir_domain::{PartitionIndex, TaskId};

/// Reads what `REDIS_URL` may be.
pub fn address(text: &str) {
    crate::target::Target::read(text).ok();
}

/// Reads a reply as each kind of answer; none may panic.
pub fn reply(value: &Value) {
    let reader = Reader("fuzz");
    let of = || value.clone();
    reader.list(of()).ok();
    reader.tuple::<2>(of()).ok();
    reader.number(of()).ok();
    reader.small(of()).ok();
    reader.position(of()).ok();
    reader.id(of()).ok();
    reader
        .words(of(), 3, |word| (word == "done").then_some(()))
        .ok();
    queues::named(reader, of()).ok();
    queues::held(reader, of()).ok();
    ops::read_started(reader, of()).ok();
    ops::read_outcomes(of()).ok();
    ops::read_claimed(of(), &[4, 2]).ok();
    ops::read_waiting(of(), &["a".to_owned(), "b".to_owned()]).ok();
    if let Ok(presence) = Presence::read(of()) {
        for signal in &presence.signals {
            let _ = Presence::read_signal(signal);
        }
    }
    log::read_entries(of())
        .map(|read| {
            for entry in read.entries {
                entry.event_type().ok();
                entry.decode().ok();
            }
        })
        .ok();
    for entry in reader.entries(of()).unwrap_or_default() {
        ops::read_work(&entry.id, &entry.fields);
    }
    if let Ok(pairs) = reader.pairs(of()) {
        let _ = QueueFlags::read(&pairs);
        for (field, text) in &pairs {
            let _ = Counter::read(field);
            let _ = views::read_row(text);
            base::read_detail(text).ok();
            unpack_limits(text).ok();
            serde_json::from_str::<Totals>(text).ok();
            let _ = SeenWorker::read(field.clone(), text);
        }
        Operation::read(TaskId::new(1, PartitionIndex(0), 1), pairs.clone()).ok();
        Record::read(pairs).ok();
    }
    for durability in ["replicas:1", "fsync", "fsync+replicas:2"] {
        let durability: Durability = durability.parse().expect("known");
        let _ = durability.is_met(value);
    }
}
