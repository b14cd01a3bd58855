//! The state topic: compacted, small values by key, such as cursors and marks; the newest value of a key counts.
//!
//! Owns a consumer only for the time of one read: [`load`] reads the topic to its end, [`store`] writes through the producer of
//! letters and waits for the broker's confirmation. It keeps nothing in memory.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::kafka;
use super::producer::Producer;
use crate::access;
use crate::poll;
use crate::rights;

/// How long a call to the broker may take.
const CALL: Duration = Duration::from_secs(20);
/// Pause before an unknown topic is asked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// The newest value of the key `name`, read from the topic's first offset to its present end. Blocks the calling thread.
///
/// # Errors
/// The broker does not answer, or the topic's end is not reached within the bound.
pub fn load(kafka: &kafka::Config, topic: &str, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let mut all = load_all(kafka, topic, |key| key == name.as_bytes())?;
    Ok(all.remove(name.as_bytes()).map(|kept| kept.value))
}

/// The value of a key, and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub value: Vec<u8>,
    /// Milliseconds since the epoch, by the message's timestamp.
    pub written_ms: Option<i64>,
}

/// The newest value of every key that `wanted` selects, as [`load`].
///
/// # Errors
/// As [`load`].
pub fn load_all(
    kafka: &kafka::Config,
    topic: &str,
    wanted: impl Fn(&[u8]) -> bool,
) -> anyhow::Result<HashMap<Vec<u8>, Kept>> {
    let client = kafka.by_hand("state")?;
    let reader = access::plain_consumer(&client).context("cannot open a reader")?;
    let mut unread = partitions(&reader, topic, &kafka.group)?;
    let mut all = TopicPartitionList::new();
    for &partition in &unread {
        all.add_partition_offset(topic, partition, Offset::Beginning)
            .context("an offset that no broker gives")?;
    }
    reader
        .assign(&all)
        .with_context(|| format!("cannot read {topic}"))?;
    let mut newest = HashMap::new();
    let deadline = Instant::now() + CALL;
    while !unread.is_empty() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "{topic} was not read to its end in time"
        );
        match poll::next(&reader, Duration::from_millis(200)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            Some(message) => {
                let message = message
                    .map_err(|error| rights::named(error, topic, &kafka.group))
                    .with_context(|| format!("cannot read {topic}"))?;
                if let Some(key) = message.key().filter(|key| wanted(key)) {
                    match message.payload() {
                        Some(value) => {
                            let kept = Kept {
                                value: value.to_vec(),
                                written_ms: message.timestamp().to_millis(),
                            };
                            newest.insert(key.to_vec(), kept)
                        }
                        None => newest.remove(key),
                    };
                }
            }
        }
    }
    Ok(newest)
}

/// The partitions of the topic. An unknown topic is asked for again until [`CALL`] has passed: one that was just created is not
/// known to every broker yet, and taking one that is away for an empty one would lose cursors and marks.
fn partitions(reader: &BaseConsumer, topic: &str, group: &str) -> anyhow::Result<HashSet<i32>> {
    let deadline = Instant::now() + CALL;
    loop {
        let metadata = reader
            .fetch_metadata(Some(topic), CALL)
            .with_context(|| format!("cannot ask for topic {topic}"))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found
            .and_then(|found| found.error())
            .map(RDKafkaErrorCode::from)
        {
            None => {
                let ids = found.iter().flat_map(|found| found.partitions());
                let ids: HashSet<i32> = ids.map(|partition| partition.id()).collect();
                if !ids.is_empty() {
                    return Ok(ids);
                }
            }
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::LeaderNotAvailable,
            ) => {}
            Some(error) => {
                let error = KafkaError::MetadataFetch(error);
                let error = rights::named(error, topic, group);
                return Err(error.context(format!("cannot ask for topic {topic}")));
            }
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "topic {topic} does not exist, or this user may not describe it; create it (cleanup.policy = compact), or set topics.create = true"
        );
        // The client is polled while it waits, so that its events do not pile up.
        let _ = poll::next(reader, AGAIN);
    }
}

/// Writes a value and waits for the broker's confirmation.
///
/// # Errors
/// The broker's refusal.
pub async fn store(
    producer: &Producer,
    topic: &str,
    name: &str,
    value: &[u8],
) -> anyhow::Result<()> {
    Ok(producer.write(topic, name.as_bytes(), value).await?)
}
