//! Lists of partitions as the client takes them.

use rdkafka::{Offset, TopicPartitionList};

use crate::topic_partition::TopicPartition;

/// Partitions, each with an offset if one is given.
pub(super) fn list<'a>(
    partitions: impl Iterator<Item = (&'a TopicPartition, Option<i64>)>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (key, offset) in partitions {
        let mut element = list.add_partition(&key.topic, key.partition);
        if let Some(offset) = offset {
            // Fails only for offsets no broker gives.
            let _ = element.set_offset(Offset::Offset(offset));
        }
    }
    list
}
