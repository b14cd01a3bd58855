//! A reading of the registry topic from its first offset: the client, its position in each partition, and whether the log is
//! still the one with which it began (E1).
//!
//! Owns the consumer. After the topic was recreated or truncated, a snapshot would keep devices that the topic does not hold
//! any more, and the client's position would lie behind the new log's end: so another reading begins, and replaces this one
//! when it has reached the end.
//!
//! Every call but [`Reading::next`] may block, for [`CALL`] at the longest.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::access;
use crate::log_life::broker::{CALL, Topic, epoch_of, topics};
use crate::log_life::{Change, TopicId};
use crate::poll;
use crate::rights;

/// How long a topic that does not exist is waited for.
const BORN: Duration = Duration::from_secs(5);
/// How long the broker may take to answer about topic id and end offsets.
const ASK: Duration = Duration::from_secs(2);
/// Pause between two questions for a topic that does not exist.
const PAUSE: Duration = Duration::from_millis(100);

/// There is no such topic.
#[derive(Debug, thiserror::Error)]
#[error("topic {0} does not exist; create it, compacted, or set topics.create = true")]
pub struct Missing(String);

/// See the module's documentation.
pub struct Reading {
    /// The client, assigned to every partition by hand; it commits nothing. Dropped, it closes.
    consumer: BaseConsumer,
    /// Name of the topic.
    topic: String,
    /// Beginning of the names of the groups on which a right is needed.
    group: String,
    /// Identity of the topic when the reading began; `None` where the broker gives no ids.
    topic_id: Option<TopicId>,
    /// All partitions of the topic.
    partitions: HashSet<i32>,
    /// Partitions whose end was not reached yet.
    unread: HashSet<i32>,
    /// Offset behind the newest message of each partition, and its leader epoch.
    positions: HashMap<i32, (i64, i32)>,
}

/// The next event of a reading.
pub enum Next<'r> {
    Message(BorrowedMessage<'r>),
    /// No message for now.
    Idle,
    /// A message with an older offset or leader epoch than one already read: the log is another one.
    Back,
    /// The present end of a partition.
    End(i32),
    /// An error of the client. `lost`: it lost its brokers, and a broker that comes back may hold an older copy; `forbidden`: the
    /// user lacks a right, which the error names.
    Failed {
        error: String,
        lost: bool,
        forbidden: bool,
    },
}

/// Answers of the broker about the log.
#[derive(Debug)]
pub struct Look {
    /// Why the log is another one than the one that is read.
    pub change: Option<Change>,
    /// End offset of each partition.
    pub ends: Vec<(i32, i64)>,
}

impl Reading {
    /// Opens a reading with these connection properties. A group name is needed even for manual assignment; nothing is committed to
    /// it. Without one in the properties it is made from the topic's name.
    ///
    /// # Errors
    /// The topic does not exist, or the broker does not answer.
    pub fn open(client: &ClientConfig, topic: &str) -> anyhow::Result<Self> {
        let mut client = client.clone();
        let group = client.get("group.id").map(str::to_owned);
        let group = group.unwrap_or_else(|| format!("{topic}-reader"));
        client
            .set("group.id", &group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("queued.max.messages.kbytes", "4096");
        let consumer = access::plain_consumer(&client)
            .context("cannot open the reader of the device registry")?;
        let born = Instant::now() + BORN;
        let partitions = loop {
            let partitions = partitions(&consumer, topic, rights_group(&group))?;
            // A topic just created is not known to every broker yet.
            if !partitions.is_empty() || Instant::now() >= born {
                break partitions;
            }
            let _ = poll::next(&consumer, PAUSE);
        };
        if partitions.is_empty() {
            return Err(Missing(topic.to_owned()).into());
        }
        // The id is asked for before anything is read: if the topic is recreated in between, the next look shows it.
        let topic_id = match topics(consumer.client(), &[topic], CALL)?.remove(topic) {
            Some(Topic::There(id)) => id,
            Some(Topic::Missing) | None => None,
        };
        let mut wanted = TopicPartitionList::new();
        for &partition in &partitions {
            // The first offset by its number: the client may remember the first offset of a deleted log.
            let (low, _) = consumer
                .fetch_watermarks(topic, partition, CALL)
                .with_context(|| format!("cannot ask where {topic} {partition} begins"))?;
            wanted
                .add_partition_offset(topic, partition, Offset::Offset(low))
                .context("an offset that no broker gives")?;
        }
        consumer
            .assign(&wanted)
            .with_context(|| format!("cannot read {topic}"))?;
        Ok(Self {
            consumer,
            topic: topic.to_owned(),
            group: rights_group(&group).to_owned(),
            topic_id,
            unread: partitions.clone(),
            partitions,
            positions: HashMap::new(),
        })
    }

    /// Whether the end of every partition was reached.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.unread.is_empty()
    }

    /// Waits at most `wait` for the next event.
    pub fn next(&mut self, wait: Duration) -> Next<'_> {
        match poll::next(&self.consumer, wait) {
            None => Next::Idle,
            Some(Ok(message)) => {
                let (offset, epoch) = (message.offset(), epoch_of(&message));
                let position = self.positions.entry(message.partition()).or_insert((0, -1));
                if offset < position.0 || (epoch >= 0 && epoch < position.1) {
                    return Next::Back;
                }
                *position = (offset + 1, epoch);
                Next::Message(message)
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.unread.remove(&partition);
                Next::End(partition)
            }
            Some(Err(error)) => Next::Failed {
                lost: matches!(
                    error.rdkafka_error_code(),
                    Some(
                        RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure
                    )
                ),
                forbidden: error.rdkafka_error_code().is_some_and(rights::is_missing),
                error: rights::named(error, &self.topic, &self.group).to_string(),
            },
        }
    }

    /// Asks the broker for topic id and end offsets.
    ///
    /// # Errors
    /// The broker does not answer, or the topic does not exist: one that is away for now is no other one.
    pub fn look(&self) -> anyhow::Result<Look> {
        let topic = &self.topic;
        let mut change = None;
        match topics(self.consumer.client(), &[topic], ASK)?.remove(topic) {
            Some(Topic::Missing) | None => anyhow::bail!("topic {topic} does not exist"),
            Some(Topic::There(id)) => {
                let both = id.as_ref().zip(self.topic_id.as_ref());
                if both.is_some_and(|(now, then)| now != then) {
                    change = Some(Change::Recreated);
                }
            }
        }
        let mut ends = Vec::with_capacity(self.partitions.len());
        for &partition in &self.partitions {
            let (_, end) = self
                .consumer
                .fetch_watermarks(topic, partition, ASK)
                .with_context(|| format!("cannot ask where {topic} {partition} ends"))?;
            let next = self.positions.get(&partition).map(|position| position.0);
            if next.is_some_and(|next| end < next) {
                change = change.or(Some(Change::TailLost));
            }
            ends.push((partition, end));
        }
        Ok(Look { change, ends })
    }
}

/// The beginning that a job's groups share: its readers' groups are named after its own, with a hyphen and what they read.
fn rights_group(group: &str) -> &str {
    group.rsplit_once('-').map_or(group, |(job, _)| job)
}

fn partitions(consumer: &BaseConsumer, topic: &str, group: &str) -> anyhow::Result<HashSet<i32>> {
    let metadata = consumer
        .fetch_metadata(Some(topic), CALL)
        .with_context(|| format!("cannot ask for topic {topic}"))?;
    let errors = metadata.topics().iter().filter_map(|topic| topic.error());
    let refused = errors
        .map(RDKafkaErrorCode::from)
        .find(|code| rights::is_missing(*code));
    if let Some(code) = refused {
        let error = rights::named(KafkaError::MetadataFetch(code), topic, group);
        return Err(error.context(format!("cannot ask for topic {topic}")));
    }
    Ok(metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions().iter().map(|p| p.id()))
        .collect())
}
