//! The topics that the job writes: creating missing ones, and asking for the largest record that each takes.
//!
//! Owns how a created topic is configured. Existing topics are left as they are. It writes no record.
//!
//! * D1: a created topic takes records as large as its inputs do, and [`HEADER_ROOM`] more, so that a record with headers fits
//!   wherever its message fitted.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::kafka;
use super::settings::Topics;
use crate::access;

/// Bytes of headers and key that a created topic takes beyond what its inputs take.
pub const HEADER_ROOM: usize = 64 * 1024;
/// How long creating may take.
const CREATE: Duration = Duration::from_secs(20);
/// The topic setting that bounds a batch; a topic without it has the broker's.
const LARGEST: &str = "max.message.bytes";

/// How long a created topic keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// By the broker's default.
    Usual,
    /// Compacted: the newest message of each key.
    Newest,
    /// Until they are deleted: the job decides when held records expire.
    Everything,
}

/// A topic to be created if it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    /// -1 for the broker's default.
    pub partitions: i32,
    pub keep: Keep,
    /// The largest record of its inputs, where that is known.
    pub inputs_take: Option<usize>,
}

impl Wanted {
    #[must_use]
    pub fn new(name: &str, partitions: i32, keep: Keep) -> Self {
        Self {
            name: name.to_owned(),
            partitions,
            keep,
            inputs_take: None,
        }
    }

    /// Sizes the topic for the records of its inputs, which take so many bytes.
    #[must_use]
    pub fn behind(self, inputs_take: Option<usize>) -> Self {
        Self {
            inputs_take,
            ..self
        }
    }

    /// The settings of the new topic.
    fn settings(&self, sized: bool) -> Vec<(&'static str, String)> {
        let mut settings: Vec<(&'static str, String)> = match self.keep {
            Keep::Usual => Vec::new(),
            Keep::Newest => vec![("cleanup.policy", "compact".to_owned())],
            Keep::Everything => vec![
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", "-1".to_owned()),
                ("retention.bytes", "-1".to_owned()),
            ],
        };
        if let Some(bytes) = self.inputs_take.filter(|_| sized) {
            // The broker keeps it as a signed number of 32 bits.
            let bytes = bytes.saturating_add(HEADER_ROOM).min(i32::MAX as usize);
            settings.push((LARGEST, bytes.to_string()));
        }
        settings
    }
}

/// Creates the missing topics of `wanted`; existing ones are left as they are.
///
/// # Errors
/// The broker refused, or cannot be reached within the bound.
pub async fn create_topics(
    kafka: &kafka::Config,
    topics: &Topics,
    wanted: &[Wanted],
) -> anyhow::Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let admin = access::admin(&kafka.plain()?).context("cannot open the admin client")?;
    // If the broker's policy forbids the size, the topic is created without it: larger records are shortened.
    let unsized_ones = create(&admin, topics, wanted, true).await?;
    let again: Vec<Wanted> = wanted
        .iter()
        .filter(|topic| unsized_ones.contains(&topic.name))
        .cloned()
        .collect();
    if !again.is_empty() {
        create(&admin, topics, &again, false).await?;
    }
    Ok(())
}

/// As [`create_topics`] for a job that starts: while the brokers do not answer, or have no controller, it waits and asks again.
///
/// # Errors
/// The broker refused; settings that the client refuses.
pub async fn create_once_answered(
    kafka: &kafka::Config,
    topics: &Topics,
    wanted: &[Wanted],
) -> anyhow::Result<()> {
    loop {
        match create_topics(kafka, topics, wanted).await {
            Err(error) if is_passing(&error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    remedy = "check kafka.brokers and the brokers; the topics are asked for again by themselves",
                    "topic creation failed; retrying"
                );
                tokio::time::sleep(super::ASK_AGAIN).await;
                super::until_answered(kafka).await?;
            }
            result => return result,
        }
    }
}

/// Whether the brokers may answer otherwise once they are back.
fn is_passing(error: &anyhow::Error) -> bool {
    let code = match error.downcast_ref::<KafkaError>() {
        // The binding gives no code of these.
        Some(KafkaError::AdminOp(code)) => Some(*code),
        Some(other) => other.rdkafka_error_code(),
        None => None,
    };
    matches!(
        code,
        Some(
            RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerNotAvailable
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::NotController
                | RDKafkaErrorCode::NetworkException
        )
    )
}

/// Creates topics; those that were refused for their settings come back if they were `sized`.
async fn create(
    admin: &AdminClient<DefaultClientContext>,
    topics: &Topics,
    wanted: &[Wanted],
    sized: bool,
) -> anyhow::Result<Vec<String>> {
    let settings: Vec<_> = wanted.iter().map(|topic| topic.settings(sized)).collect();
    let new: Vec<NewTopic<'_>> = wanted
        .iter()
        .zip(&settings)
        .map(|(topic, settings)| {
            let new = NewTopic::new(
                &topic.name,
                topic.partitions,
                TopicReplication::Fixed(topics.replication),
            );
            settings
                .iter()
                .fold(new, |new, (name, value)| new.set(name, value))
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(CREATE));
    let mut again = Vec::new();
    for result in admin
        .create_topics(&new, &options)
        .await
        .context("cannot create topics")?
    {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, RDKafkaErrorCode::PolicyViolation | RDKafkaErrorCode::InvalidConfig))
                if sized =>
            {
                again.push(name);
            }
            Err((name, code)) => {
                let what = format!(
                    "cannot create topic {name}: {code}; create it by hand or set topics.create = false"
                );
                return Err(anyhow::Error::new(KafkaError::AdminOp(code)).context(what));
            }
        }
    }
    Ok(again)
}

/// The largest record each of these topics takes; those that do not exist or may not be described are left out.
///
/// # Errors
/// The broker does not answer within the bound.
pub async fn describe(
    admin: &AdminClient<DefaultClientContext>,
    topics: &[&str],
    bound: Duration,
) -> anyhow::Result<HashMap<String, usize>> {
    if topics.is_empty() {
        return Ok(HashMap::new());
    }
    let asked: Vec<_> = topics
        .iter()
        .map(|topic| ResourceSpecifier::Topic(topic))
        .collect();
    let options = AdminOptions::new().request_timeout(Some(bound));
    let answer = admin
        .describe_configs(&asked, &options)
        .await
        .context("cannot ask what topics take")?;
    let sizes = topics.iter().zip(answer).filter_map(|(topic, answer)| {
        let answer = answer.ok()?;
        let entry = answer.entries.iter().find(|entry| entry.name == LARGEST)?;
        Some(((*topic).to_owned(), entry.value.as_ref()?.parse().ok()?))
    });
    Ok(sizes.collect())
}

/// As [`describe`], with a client of its own; empty when no broker answers.
pub async fn sizes(
    kafka: &kafka::Config,
    topics: &[&str],
    bound: Duration,
) -> HashMap<String, usize> {
    let answer = async {
        let admin = access::admin(&kafka.plain()?).context("cannot open the admin client")?;
        describe(&admin, topics, bound).await
    };
    answer.await.unwrap_or_else(|error: anyhow::Error| {
        tracing::info!(
            error = format!("{error:#}"),
            "the largest record of topics is not known; the broker's default is assumed"
        );
        HashMap::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_a_refusal() {
        let error = |code| {
            let error = anyhow::Error::new(KafkaError::AdminOp(code));
            error.context("cannot create topics")
        };
        for code in [
            RDKafkaErrorCode::OperationTimedOut,
            RDKafkaErrorCode::BrokerTransportFailure,
            RDKafkaErrorCode::NotController,
        ] {
            assert!(is_passing(&error(code)), "{code}");
        }
        for code in [
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::InvalidReplicationFactor,
            RDKafkaErrorCode::PolicyViolation,
        ] {
            assert!(!is_passing(&error(code)), "{code}");
        }
        assert!(!is_passing(&anyhow::anyhow!("something else")));
    }

    #[test]
    fn a_created_topic_takes_what_its_inputs_take_and_headers() {
        let wanted = Wanted::new("dead", -1, Keep::Usual);
        assert_eq!(wanted.settings(true), []);
        let wanted = wanted.behind(Some(5_000_000));
        let size = (LARGEST, (5_000_000 + HEADER_ROOM).to_string());
        assert_eq!(wanted.settings(true), [size]);
        assert_eq!(wanted.settings(false), []);
        let most = wanted.behind(Some(usize::MAX)).settings(true);
        assert_eq!(most, [(LARGEST, i32::MAX.to_string())]);
    }
}
