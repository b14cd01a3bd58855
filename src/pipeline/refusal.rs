//! The meaning of a refused write: whether the same bytes can ever be written, and who has to act.
//!
//! Owns the table of the client's error codes ([`of`]), tested row by row. Pure. It does not write and does not wait.
//!
//! * D1: a record that no broker will ever take is distinguished from a topic that cannot be written at the moment. The first
//!   is written in another form; the second is retried with an alarm, because a person may create the topic or grant the
//!   rights.
//! * A code that is not in the table is transient: the same bytes are written again, which never loses anything.

use rdkafka::error::RDKafkaErrorCode as Code;

/// The meaning of a refused write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Permanent for these bytes: too large for the topic or for the client.
    TooLarge,
    /// Permanent for this form of the record: the topic wants a key, or a schema.
    Unfit,
    /// Permanent for the name of the topic: no broker will ever have a topic of that name.
    NoSuchName,
    /// The topic cannot be written until a person acts: it does not exist, has too few partitions, or the user has no right to
    /// it.
    Topic,
    /// The client cannot write anything any more: it is replaced, and the same bytes are written again.
    Client,
    /// Passes by itself: the same bytes again.
    Passing,
}

impl Refusal {
    /// Whether the same bytes may be accepted later.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(self, Self::Topic | Self::Client | Self::Passing)
    }

    /// What a person can do, for the log; `None` when nothing has to be done.
    #[must_use]
    pub const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::TooLarge => {
                Some("raise max.message.bytes of the topic; until then the record is shortened")
            }
            Self::Unfit => Some(
                "the topic must take records without a key and without a schema: set cleanup.policy = delete, switch schema validation off",
            ),
            Self::NoSuchName => Some("choose another name in [topics]"),
            Self::Topic => Some(
                "create the topic, give it as many partitions as its input, or grant the user Write on it",
            ),
            Self::Client | Self::Passing => None,
        }
    }
}

/// The meaning of an error code for the record that was to be written.
#[must_use]
pub const fn of(code: Code) -> Refusal {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            Refusal::TooLarge
        }
        Code::InvalidRecord | Code::UnsupportedForMessageFormat => Refusal::Unfit,
        Code::InvalidTopic => Refusal::NoSuchName,
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::PolicyViolation
        | Code::InvalidTimestamp
        | Code::UnsupportedCompressionType => Refusal::Topic,
        Code::Fatal
        | Code::Fenced
        | Code::State
        | Code::BrokerDestroy
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::ProducerFenced
        | Code::UnknownProducerId
        | Code::InvalidProducerIdMapping => Refusal::Client,
        _ => Refusal::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        let rows = [
            (
                Refusal::TooLarge,
                &[
                    Code::MessageSizeTooLarge,
                    Code::InvalidMessageSize,
                    Code::MessageBatchTooLarge,
                ][..],
            ),
            (
                Refusal::Unfit,
                &[Code::InvalidRecord, Code::UnsupportedForMessageFormat],
            ),
            (Refusal::NoSuchName, &[Code::InvalidTopic]),
            (
                Refusal::Topic,
                &[
                    Code::UnknownTopic,
                    Code::UnknownPartition,
                    Code::UnknownTopicOrPartition,
                    Code::TopicAuthorizationFailed,
                    Code::ClusterAuthorizationFailed,
                    Code::PolicyViolation,
                    Code::InvalidTimestamp,
                    Code::UnsupportedCompressionType,
                ],
            ),
            (
                Refusal::Client,
                &[
                    Code::Fatal,
                    Code::Fenced,
                    Code::State,
                    Code::BrokerDestroy,
                    Code::OutOfOrderSequenceNumber,
                    Code::DuplicateSequenceNumber,
                    Code::InvalidProducerEpoch,
                    Code::ProducerFenced,
                    Code::UnknownProducerId,
                    Code::InvalidProducerIdMapping,
                ],
            ),
            (
                Refusal::Passing,
                &[
                    Code::NotEnoughReplicas,
                    Code::NotEnoughReplicasAfterAppend,
                    Code::NotLeaderForPartition,
                    Code::LeaderNotAvailable,
                    Code::BrokerNotAvailable,
                    Code::BrokerTransportFailure,
                    Code::AllBrokersDown,
                    Code::RequestTimedOut,
                    Code::MessageTimedOut,
                    Code::KafkaStorageError,
                    Code::Authentication,
                    Code::SaslAuthenticationFailed,
                    Code::ThrottlingQuotaExceeded,
                    Code::InvalidMessage,
                    Code::PurgeQueue,
                    Code::PurgeInflight,
                    Code::QueueFull,
                    Code::Unknown,
                ],
            ),
        ];
        for (meaning, codes) in rows {
            for &code in codes {
                assert_eq!(of(code), meaning, "{code:?}");
            }
        }
    }

    #[test]
    fn only_what_somebody_can_mend_has_a_remedy() {
        for (refusal, retryable, remedy) in [
            (Refusal::TooLarge, false, true),
            (Refusal::Unfit, false, true),
            (Refusal::NoSuchName, false, true),
            (Refusal::Topic, true, true),
            (Refusal::Client, true, false),
            (Refusal::Passing, true, false),
        ] {
            assert_eq!(
                (refusal.retryable(), refusal.remedy().is_some()),
                (retryable, remedy)
            );
        }
    }
}
