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
