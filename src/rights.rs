//! Rights of the Kafka user: when a broker refuses for want of one, the words that name the right to grant.
//!
//! Owns the table of error codes that mean a missing right, tested row by row, and the form of the remedy. Pure. It asks no
//! broker for rights: only a refusal tells which one is missing. The rights that each part needs are in `ops/README.md`.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What a right is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    Topic(&'a str),
    /// All groups whose names begin so: the job names the groups of its readers after its own.
    Groups(&'a str),
    TransactionalId(&'a str),
}

/// Kafka's names of the operations that the job needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Describe,
    Read,
    Write,
    Delete,
}

impl Operation {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Describe => "Describe",
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Delete => "Delete",
        }
    }
}

/// The right to grant, in words and as the command of Kafka's tools.
#[must_use]
pub fn grant(operation: Operation, resource: Resource<'_>) -> String {
    let operation = operation.name();
    let (what, flag, name, pattern) = match resource {
        Resource::Topic(name) => ("topic", "--topic", name, ""),
        Resource::Groups(name) => {
            let pattern = " --resource-pattern-type prefixed";
            ("groups that begin with", "--group", name, pattern)
        }
        Resource::TransactionalId(name) => ("transactional id", "--transactional-id", name, ""),
    };
    format!(
        "grant the user {operation} on {what} {name} (kafka-acls --add --allow-principal User:NAME --operation {operation} {flag} \
         {name}{pattern})"
    )
}

/// Whether an error code means that the user lacks a right.
#[must_use]
pub const fn is_missing(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
}

/// A refusal for want of a right, with the right to grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}; {grant}")]
pub struct Missing {
    pub error: KafkaError,
    pub grant: String,
}

/// An error of a client that reads a topic by hand and names a group; a refusal for want of a right names the right to grant.
#[must_use]
pub fn named(error: KafkaError, topic: &str, group: &str) -> anyhow::Error {
    let resource = match error.rdkafka_error_code() {
        Some(Code::GroupAuthorizationFailed) => Resource::Groups(group),
        Some(code) if is_missing(code) => Resource::Topic(topic),
        _ => return error.into(),
    };
    let grant = grant(Operation::Read, resource);
    Missing { error, grant }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_right_is_named_as_one() {
        for code in [
            Code::TopicAuthorizationFailed,
            Code::GroupAuthorizationFailed,
            Code::TransactionalIdAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
        ] {
            assert!(is_missing(code), "{code:?}");
        }
        for code in [
            Code::UnknownTopicOrPartition,
            Code::Authentication,
            Code::SaslAuthenticationFailed,
            Code::BrokerTransportFailure,
        ] {
            assert!(!is_missing(code), "{code:?}");
        }
        let of = |code| {
            named(
                KafkaError::MessageConsumption(code),
                "dig.state",
                "dig-ingest",
            )
        };
        let missing = of(Code::TopicAuthorizationFailed).to_string();
        for part in [
            "grant the user Read on topic dig.state",
            "--operation Read --topic dig.state)",
        ] {
            assert!(missing.contains(part), "{missing}");
        }
        let missing = of(Code::GroupAuthorizationFailed).to_string();
        let group = "--operation Read --group dig-ingest --resource-pattern-type prefixed)";
        assert!(missing.contains(group), "{missing}");
        let other = of(Code::BrokerTransportFailure).to_string();
        assert!(!other.contains("grant"), "{other}");
    }

    #[test]
    fn each_kind_of_resource_has_its_flag() {
        for (resource, flag) in [
            (Resource::Topic("x"), "--topic x"),
            (Resource::Groups("x"), "--group x"),
            (Resource::TransactionalId("x"), "--transactional-id x"),
        ] {
            let said = grant(Operation::Write, resource);
            assert!(said.contains(flag), "{said}");
        }
    }
}
