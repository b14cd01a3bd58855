//! What the consumer thread publishes when a broker refuses it for want of a right (H1).
//!
//! Owns at most one wait about the group, and one per partition about its topic. The first ends with the next assignment or
//! confirmed commit, the second with the next message.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{Assigned, Reader};
use crate::ops::waits::Kind;
use crate::pipeline::consumer::Events;
use crate::pipeline::feed::Messages;
use crate::rights::{self, Operation, Resource};
use crate::topic_partition::TopicPartition;

impl Reader {
    /// Publishes that the user may not be a member of the group, if that is what the error says.
    pub(super) fn note_rights(&self, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        if code != Some(RDKafkaErrorCode::GroupAuthorizationFailed) {
            return;
        }
        let group = &self.shared.kafka.group;
        let mut published = self.no_rights.borrow_mut();
        if published.is_none() {
            let remedy = format!(
                "{}; the group is joined again by itself",
                rights::grant(Operation::Read, Resource::Groups(group))
            );
            let cause = format!("the consumer group {group} refuses this user: {error}");
            let board = &self.shared.board;
            *published = Some(board.wait(Kind::Group, format!("group {group}"), cause, remedy));
        }
    }

    /// Publishes that the user may not read the partition's topic, if that is what stands in a message's place; a message ends the wait.
    pub(super) fn follow_rights(
        &self,
        key: &TopicPartition,
        partition: &mut Assigned,
        messages: &Messages<Events>,
    ) {
        // The client gives nothing behind such an error.
        match messages.iter().next_back() {
            Some(Ok(_)) => partition.forbidden = None,
            Some(Err(RDKafkaErrorCode::TopicAuthorizationFailed))
                if partition.forbidden.is_none() =>
            {
                let topic = &key.topic;
                let remedy = format!(
                    "{}; it is read on by itself",
                    rights::grant(Operation::Read, Resource::Topic(topic))
                );
                let cause = format!("the broker does not let this user read topic {topic}");
                let board = &self.shared.board;
                let wait = board.wait(Kind::InputTopic, topic.as_str(), cause, remedy);
                partition.forbidden = Some(wait);
            }
            Some(Err(_)) | None => {}
        }
    }
}
