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

/// The positions of all partitions: as one where there is one, else `p@ms-seq` of each, with commas.
pub(crate) fn show_all(positions: &[Position]) -> String {
    let shown = positions.iter().enumerate().map(|(index, position)| {
        let partition = PartitionIndex(u8::try_from(index).unwrap_or(u8::MAX));
        show(partition, *position, positions.len())
    });
    shown.collect::<Vec<_>>().join(",")
}

/// What [`show_all`] has written; every partition must be named once.
pub(crate) fn read_all(text: &str, partitions: usize) -> Option<Vec<Position>> {
    let mut positions = vec![None; partitions];
    for part in text.split(',') {
        let (partition, position) = read(part, partitions)?;
        if positions[partition].replace(position).is_some() {
            return None;
        }
    }
    positions.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use taskweir_domain::{PartitionIndex, Position};

    use super::{read, read_all, show, show_all};

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

    #[test]
    fn positions_of_all_partitions_go_there_and_back() {
        let at = |ms| Position { ms, seq: ms };
        for positions in [vec![at(1)], vec![at(3), at(1), at(2)]] {
            let text = show_all(&positions);
            assert_eq!(read_all(&text, positions.len()), Some(positions));
        }
        for text in [
            "",
            "0@1-1",
            "0@1-1,0@2-2",
            "0@1-1,2@2-2",
            "0@1-1,1@2-2,1@2-2",
            "1-1",
        ] {
            assert_eq!(read_all(text, 2), None, "{text}");
        }
    }
}
