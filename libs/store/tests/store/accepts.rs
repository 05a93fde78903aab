//! The statuses each script accepts are those of the domain's table.

use taskweir_domain::{EventClass, EventType, Status, next_status};
use taskweir_store::accepts::ACCEPTS;

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
    // Submitted makes the task, a refusal is always recorded, Expired comes with expires_in.
    let other = [
        EventType::Submitted,
        EventType::LateCompletionRefused,
        EventType::Expired,
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
