//! Fatal errors of the job's Kafka clients, and the reaction to each.
//!
//! * A consumer that was fenced by another member with its `kafka.instance_id` is replaced, once nobody else holds the name
//!   ([`super::rejoin`]).
//! * A consumer that cannot read a log that took the place of another one, or that has lost its group for good
//!   ([`super::membership`]), is replaced at once.
//! * A producer of letters that is broken is replaced, unless the user's rights or the brokers' version are the cause.
//! * Every other fatal error ends the process; a supervisor starts it again, and records in hand are re-delivered.
//!
//! Whether another consumer may help is answered by [`Fatal::replaces_consumer`]. None of these errors has effects of its own: what was not confirmed
//! stays unsettled.

use crate::topic_partition::TopicPartition;
use rdkafka::error::RDKafkaErrorCode;

/// An error from which a client cannot recover.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    #[error(
        "the consumer was fenced by the group: another member has joined with the same kafka.instance_id ({reason})"
    )]
    Fenced { reason: String },
    #[error("the consumer cannot go on ({code:?}): {reason}; {}", remedy(*code))]
    Consumer {
        code: RDKafkaErrorCode,
        reason: String,
    },
    /// librdkafka keeps a partition's leader epoch while the partition is assigned, and takes the metadata of a new topic, whose
    /// epochs begin at 0 again, for outdated: it reads nothing of it, for ever.
    #[error(
        "the consumer reads nothing of {} {} although messages are there: it knows a leader epoch of the log that is gone",
        partition.topic, partition.partition
    )]
    Stale { partition: TopicPartition },
    /// See [`super::membership`].
    #[error(
        "the consumer is no member of group {group} any more ({states}), although the group is settled and its coordinator answers"
    )]
    OutOfGroup { group: String, states: String },
    #[error("the producer of letters cannot go on ({code:?}): {reason}; {}", remedy(*code))]
    Producer {
        code: RDKafkaErrorCode,
        reason: String,
    },
}

impl Fatal {
    /// The meaning of the consumer's fatal error.
    #[must_use]
    pub fn of_consumer((code, reason): (RDKafkaErrorCode, String)) -> Self {
        match code {
            RDKafkaErrorCode::FencedInstanceId => Self::Fenced { reason },
            code => Self::Consumer { code, reason },
        }
    }

    /// The meaning of the producer's fatal error, if another producer would meet it too: the user's rights or the brokers'
    /// version are the cause. After any other error the producer is replaced ([`super::producer`]).
    #[must_use]
    pub fn of_producer((code, reason): (RDKafkaErrorCode, String)) -> Option<Self> {
        let lasts = matches!(
            code,
            RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                | RDKafkaErrorCode::UnsupportedVersion
                | RDKafkaErrorCode::UnsupportedFeature
        );
        lasts.then_some(Self::Producer { code, reason })
    }

    /// Why the consumer is re-created after this error; `None`: the process ends.
    #[must_use]
    pub fn replaces_consumer(&self) -> Option<Replaced> {
        match self {
            Self::Fenced { .. } => Some(Replaced::Fenced),
            Self::Stale { .. } => Some(Replaced::Stale),
            Self::OutOfGroup { .. } => Some(Replaced::OutOfGroup),
            Self::Consumer { .. } | Self::Producer { .. } => None,
        }
    }
}

/// Why a consumer is re-created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// Another member has its name: it is re-created once no other member holds the name.
    Fenced,
    /// It cannot read a new log: it is re-created at once.
    Stale,
    /// Its group has settled without it: it is re-created at once.
    OutOfGroup,
}

impl Replaced {
    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Stale => "stale",
            Self::OutOfGroup => "out_of_group",
        }
    }
}

/// What a person can do besides starting the process again.
fn remedy(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "grant the user IdempotentWrite on the cluster (or Write on its topics, for brokers since 2.8), then start again"
        }
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed
        | RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::GroupAuthorizationFailed => {
            "grant the user the right that the broker names, then start again"
        }
        RDKafkaErrorCode::UnsupportedVersion | RDKafkaErrorCode::UnsupportedFeature => {
            "the brokers are too old for this client; they need Kafka 0.11 or newer"
        }
        _ => "start again; what was in hand is read again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fenced_consumer_is_replaced() {
        let reason = || "reason".to_owned();
        let fenced = Fatal::of_consumer((RDKafkaErrorCode::FencedInstanceId, reason()));
        assert_eq!(fenced.replaces_consumer(), Some(Replaced::Fenced));
        for code in [
            RDKafkaErrorCode::Fatal,
            RDKafkaErrorCode::UnsupportedVersion,
            RDKafkaErrorCode::GroupAuthorizationFailed,
        ] {
            let replaced = Fatal::of_consumer((code, reason())).replaces_consumer();
            assert_eq!(replaced, None, "{code:?}");
        }
        let producer = Fatal::of_producer((RDKafkaErrorCode::UnsupportedVersion, reason()));
        assert!(producer.is_some_and(|producer| producer.replaces_consumer().is_none()));
    }

    #[test]
    fn a_producer_that_another_one_can_replace_does_not_end_the_process() {
        for code in [
            RDKafkaErrorCode::Fenced,
            RDKafkaErrorCode::OutOfOrderSequenceNumber,
            RDKafkaErrorCode::UnknownProducerId,
        ] {
            assert_eq!(Fatal::of_producer((code, String::new())), None, "{code:?}");
        }
    }

    #[test]
    fn the_error_says_what_to_do() {
        let error = Fatal::of_producer((
            RDKafkaErrorCode::ClusterAuthorizationFailed,
            "Failed to acquire idempotence PID".to_owned(),
        ));
        let text = error.expect("rights are missing").to_string();
        assert!(text.contains("Failed to acquire idempotence PID"), "{text}");
        assert!(text.contains("IdempotentWrite"), "{text}");
    }
}
