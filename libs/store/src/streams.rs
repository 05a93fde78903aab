//! The ready streams a script call touches, each named once.

use std::collections::HashMap;

use taskweir_domain::{Priority, QueueName};

use crate::Keys;

/// A ready stream: a queue and a priority class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadyStream {
    /// The queue.
    pub queue: QueueName,
    /// The class.
    pub priority: Priority,
}

/// An ordered set of ready streams with their keys; tasks of a batch name theirs by index.
#[derive(Debug, Clone, Default)]
pub struct StreamSet {
    streams: Vec<ReadyStream>,
    places: HashMap<ReadyStream, usize>,
    keys: Vec<String>,
    dead_letters: Vec<String>,
}

impl StreamSet {
    /// The streams of all classes of these queues: first queue high, normal, low, then the next.
    #[must_use]
    pub fn of_queues(keys: &Keys, queues: &[QueueName]) -> Self {
        let mut set = Self::default();
        for queue in queues {
            for priority in Priority::ALL {
                set.index_of(keys, queue, priority);
            }
        }
        set
    }

    /// The index of a stream, added if it is new.
    pub fn index_of(&mut self, keys: &Keys, queue: &QueueName, priority: Priority) -> usize {
        let stream = ReadyStream {
            queue: queue.clone(),
            priority,
        };
        if let Some(index) = self.places.get(&stream) {
            return *index;
        }
        self.places.insert(stream.clone(), self.streams.len());
        self.keys.push(keys.ready(queue, priority));
        self.dead_letters.push(keys.dlq(queue));
        self.streams.push(stream);
        self.streams.len() - 1
    }

    /// The streams in order.
    #[must_use]
    pub fn streams(&self) -> &[ReadyStream] {
        &self.streams
    }

    /// The stream at an index.
    ///
    /// # Panics
    /// The index is not of this set.
    #[must_use]
    pub fn get(&self, index: usize) -> &ReadyStream {
        &self.streams[index]
    }

    /// Number of streams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The dead-letter stream of each stream's queue, index by index.
    pub(crate) fn dead_letters(&self) -> &[String] {
        &self.dead_letters
    }
}
