//! Doors for fuzz targets: what reads outside bytes and is otherwise private.

use crate::{api, position};

/// The body of a batch.
pub fn batch(text: &str) {
    api::submit::batch_items(text).ok();
}

/// The cursor of a list.
pub fn cursor(text: &str) {
    api::tasks::page(None, Some(text)).ok();
}

/// The filters of a list: each parameter is the text.
pub fn filter(text: &str) {
    use poem_openapi::types::ParseFromParameter;
    let some = || Some(text.to_owned());
    let params = api::tasks::FilterParams {
        status: crate::view::ListedStatus::parse_from_parameter(text).ok(),
        priority: crate::view::PriorityWord::parse_from_parameter(text).ok(),
        queue: some(),
        kind: some(),
        label: some(),
        error: some(),
        worker: some(),
        created_after: some(),
        created_before: some(),
        failed_after: some(),
        failed_before: some(),
        q: some(),
    };
    params.read().ok();
}

/// The body of a bulk operation.
pub fn bulk(text: &str) {
    use taskweir_store::OperationKind::{DlqDelete, DlqRetry, TasksCancel};
    for kind in [DlqRetry, DlqDelete, TasksCancel] {
        api::operations::read(kind, text).ok();
    }
}

/// The `Last-Event-ID` of a listener.
pub fn last_event_id(text: &str) {
    for partitions in [1, 4, 256] {
        if let Some(positions) = position::read_all(text, partitions) {
            let shown = position::show_all(&positions);
            assert_eq!(position::read_all(&shown, partitions), Some(positions));
        }
    }
}

/// A position with or without a partition.
pub fn position(text: &str) {
    for partitions in [1, 4, 256] {
        if let Some((partition, at)) = position::read(text, partitions) {
            assert!(partition < partitions);
            let index =
                taskweir_domain::PartitionIndex(u8::try_from(partition).expect("fewer than 256"));
            let shown = position::show(index, at, partitions);
            assert_eq!(position::read(&shown, partitions), Some((partition, at)));
        }
    }
}
