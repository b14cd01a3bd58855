//! A partition of a Kafka topic: the topic's name and the partition's number.
//!
//! Pure, and imports nothing of this crate: every part that speaks of partitions may use it.

use std::fmt;

/// A partition of a topic. Displayed as `topic/partition`; ordered by the name, then by the number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

impl TopicPartition {
    #[must_use]
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_ordered_by_number_and_shown_as_in_the_log() {
        let mut all =
            [("b", 1), ("a", 10), ("a", 2)].map(|(topic, n)| TopicPartition::new(topic, n));
        all.sort();
        assert_eq!(
            all.each_ref().map(ToString::to_string),
            ["a/2", "a/10", "b/1"]
        );
    }
}
