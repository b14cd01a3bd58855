//! A batch of a log that cannot be read: its checksum is wrong, it cannot be decompressed, or its format is unknown.
//!
//! Owns the table of the client's error codes that mean so ([`is_of_data`]), tested row by row, and a person's request to skip
//! such a batch ([`Skip`]), a value of the state topic. Pure.
//!
//! * Nothing is skipped without a request: the client passes over some of these batches by itself, so a reader takes nothing
//!   that comes behind the error.

use crate::topic_partition::TopicPartition;
use rdkafka::error::RDKafkaErrorCode as Code;
use serde::{Deserialize, Serialize};

/// A batch that the client could not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The first offset of the batch, as the client reports it.
    pub offset: i64,
    pub code: Code,
    /// In the client's words.
    pub text: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

/// Whether an error in a message's place is about the data itself. All other errors are about reaching the data, and are
/// transient.
#[must_use]
pub const fn is_of_data(code: Code) -> bool {
    matches!(
        code,
        Code::BadMessage
            | Code::BadCompression
            | Code::NotImplemented
            | Code::CriticalSystemResource
            | Code::Underflow
            | Code::Partial
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::MessageSizeTooLarge
            | Code::InvalidRecord
            | Code::UnsupportedCompressionType
            | Code::Unknown
    )
}

/// A person's request to skip offsets that cannot be read; the value of [`key`] in the state topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The first offset to skip.
    pub from: i64,
    /// The next offset to read.
    pub to: i64,
    /// Who asked for it.
    pub by: String,
    /// When, as RFC 3339 text.
    pub at: String,
}

impl Skip {
    /// Whether the request covers the batch at `offset`, which a partition cannot read.
    #[must_use]
    pub fn covers(&self, offset: i64) -> bool {
        (self.from..self.to).contains(&offset)
    }
}

/// What a person can do about a batch that cannot be read.
#[must_use]
pub fn remedy(at: &TopicPartition, offset: i64) -> String {
    let TopicPartition { topic, partition } = at;
    format!(
        "restore the log from a replica or a backup, or: dig-ingest skip --topic {topic} --partition {partition} --offset {offset} --by NAME"
    )
}

/// Prefix of the keys of all requests for a partition in the state topic.
#[must_use]
pub fn prefix(of: &TopicPartition) -> String {
    format!("skip/{of}/")
}

/// Key in the state topic of a request that begins at `from`.
#[must_use]
pub fn key(of: &TopicPartition, from: i64) -> String {
    format!("{}{from}", prefix(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        for code in [
            Code::BadMessage,
            Code::BadCompression,
            Code::NotImplemented,
            Code::CriticalSystemResource,
            Code::Underflow,
            Code::Partial,
            Code::InvalidMessage,
            Code::InvalidMessageSize,
            Code::MessageSizeTooLarge,
            Code::InvalidRecord,
            Code::UnsupportedCompressionType,
            Code::Unknown,
        ] {
            assert!(is_of_data(code), "{code:?}");
        }
        for code in [
            Code::PartitionEOF,
            Code::TopicAuthorizationFailed,
            Code::OffsetOutOfRange,
            Code::AutoOffsetReset,
            Code::LogTruncation,
            Code::BrokerTransportFailure,
            Code::AllBrokersDown,
            Code::UnknownTopicOrPartition,
            Code::UnknownPartition,
            Code::LeaderNotAvailable,
            Code::KafkaStorageError,
            Code::PollExceeded,
            Code::Fatal,
        ] {
            assert!(!is_of_data(code), "{code:?}");
        }
    }

    #[test]
    fn a_request_counts_for_its_offsets_alone() {
        let skip = Skip {
            from: 10,
            to: 13,
            by: "ann".to_owned(),
            at: "2026-11-30T10:00:00Z".to_owned(),
        };
        assert_eq!(
            [9, 10, 12, 13].map(|offset| skip.covers(offset)),
            [false, true, true, false]
        );
        assert_eq!(
            key(&TopicPartition::new("telemetry", 3), 10),
            "skip/telemetry/3/10"
        );
        let text = serde_json::to_string(&skip).expect("plain");
        assert_eq!(
            text,
            r#"{"from":10,"to":13,"by":"ann","at":"2026-11-30T10:00:00Z"}"#
        );
    }
}
