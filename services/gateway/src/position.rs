//! Positions as people write them: `ms-seq` with one partition, else `p@ms-seq`.

use taskweir_domain::{PartitionIndex, Position};

pub(crate) fn show(partition: PartitionIndex, position: Position, partitions: usize) -> String {
    if partitions == 1 {
        position.to_string()
    } else {
        format!("{}@{position}", partition.0)
    }
}

pub(crate) fn read(text: &str, partitions: usize) -> Option<(usize, Position)> {
    match text.split_once('@') {
        None if partitions == 1 => Some((0, text.parse().ok()?)),
        None => None,
        Some((partition, position)) => {
            let partition: usize = partition.parse().ok()?;
            (partition < partitions).then_some((partition, position.parse().ok()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use taskweir_domain::{PartitionIndex, Position};

    use super::{read, show};

    #[test]
    fn one_partition_needs_no_number() {
        let position = Position { ms: 7, seq: 2 };
        assert_eq!(show(PartitionIndex(0), position, 1), "7-2");
        assert_eq!(show(PartitionIndex(3), position, 4), "3@7-2");
        assert_eq!(read("7-2", 1), Some((0, position)));
        assert_eq!(read("3@7-2", 4), Some((3, position)));
        assert_eq!(read("7-2", 4), None);
        assert_eq!(read("4@7-2", 4), None);
        assert_eq!(read("x", 1), None);
    }
}
