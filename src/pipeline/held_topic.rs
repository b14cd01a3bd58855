//! The held topic of an input topic: created when a partition is assigned, also for topics and partitions newer than the job.
//!
//! Owns nothing. It creates a topic, or adds partitions, only if `topics.create` permits it; otherwise its error names what is
//! missing. It is idempotent: several instances may do it at once.
//!
//! * A held topic has at least as many partitions as its input topic, because records keep their partition number.

use std::time::Duration;

use anyhow::Context as _;
use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::kafka;
use super::settings::Topics;
use super::topics::{self as written, Keep, Wanted};
use crate::access;
use crate::rights::{self, Operation, Resource};
use crate::topic_partition::TopicPartition;

/// How long a call to the broker may take.
const CALL: Duration = Duration::from_secs(10);

/// A held topic is missing or has too few partitions, and the job may not create it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{topic} has {found} partitions and needs {wanted}, as its input topic has, and topics.create is false"
)]
pub struct NotAllowed {
    pub topic: String,
    pub found: i32,
    pub wanted: i32,
}

impl NotAllowed {
    /// What a person can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        let Self { topic, wanted, .. } = self;
        format!(
            "create {topic} with {wanted} partitions and retention.ms=-1 (or add partitions to it), or set topics.create = true; if it \
             is there, {}; the partition goes on by itself",
            rights::grant(Operation::Read, Resource::Topic(topic))
        )
    }
}

/// Ensures that the held topic of an input topic has the same partition. Blocks the calling thread, which must be a blocking thread of the
/// runtime.
///
/// # Errors
/// [`NotAllowed`], or the broker's refusal.
pub fn ensure(
    kafka: &kafka::Config,
    topics: &Topics,
    input: &TopicPartition,
) -> anyhow::Result<()> {
    let TopicPartition { topic, partition } = input;
    let held = topics.held(topic);
    let client = access::plain_consumer(&kafka.plain()?)
        .context("cannot open a client that asks for topics")?;
    let found = partitions(&client, &held)?;
    if found > *partition {
        return Ok(());
    }
    // The partition was assigned to this instance, whatever the metadata of the input topic says.
    let wanted = partitions(&client, topic)?.max(partition + 1);
    if !topics.create {
        let topic = held;
        return Err(NotAllowed {
            topic,
            found,
            wanted,
        }
        .into());
    }
    let runtime = tokio::runtime::Handle::current();
    if found == 0 {
        tracing::info!(topic = held, partitions = wanted, "creating a held topic");
        let sizes = runtime.block_on(written::sizes(kafka, &[topic], CALL));
        let takes = sizes.get(topic).copied();
        let new = [Wanted::new(&held, wanted, Keep::Everything).behind(takes)];
        return runtime.block_on(written::create_topics(kafka, topics, &new));
    }
    tracing::info!(
        topic = held,
        partitions = wanted,
        "adding partitions to a held topic"
    );
    runtime.block_on(grow(kafka, &held, wanted))
}

/// Number of partitions of a topic; 0 if it does not exist. The client forbids the broker to create it.
fn partitions(client: &BaseConsumer, topic: &str) -> anyhow::Result<i32> {
    let metadata = client
        .fetch_metadata(Some(topic), CALL)
        .with_context(|| format!("cannot ask for topic {topic}"))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found
        .and_then(|found| found.error())
        .map(RDKafkaErrorCode::from)
    {
        None | Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
        Some(error) => {
            let error = KafkaError::MetadataFetch(error);
            let error = rights::named(error, topic, "");
            return Err(error.context(format!("cannot ask for topic {topic}")));
        }
    }
    Ok(found.map_or(0, |found| {
        i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)
    }))
}

async fn grow(kafka: &kafka::Config, topic: &str, wanted: i32) -> anyhow::Result<()> {
    let admin = access::admin(&kafka.plain()?).context("cannot open the admin client")?;
    let count = usize::try_from(wanted).unwrap_or_default();
    let options = AdminOptions::new().operation_timeout(Some(CALL));
    let done = admin
        .create_partitions([&NewPartitions::new(topic, count)], &options)
        .await
        .with_context(|| format!("cannot add partitions to {topic}"))?;
    for result in done {
        match result {
            // Another instance was first.
            Ok(_) | Err((_, RDKafkaErrorCode::InvalidPartitions)) => {}
            Err((name, code)) => anyhow::bail!(
                "cannot add partitions to {name}: {code}; add them by hand, {wanted} in all, or grant the user Alter on the topic"
            ),
        }
    }
    Ok(())
}
