//! Skipping an unreadable batch at a person's request: finding which offsets cannot be read, and writing the request.
//!
//! Owns a manually assigned consumer while one command runs. It commits nothing and seeks nothing of the job: the instance that
//! owns the partition acts on the request when it stands at one of the request's offsets, at once or after its start
//! ([`super::unreadable`]).
//!
//! * Only offsets that were tried and cannot be read are skipped, unless a person names the end outright.
//! * A letter about the batch is in the dead-letter topic before the request is written.
//!
//! Blocks the calling thread while it probes. A command that ends early leaves at most a letter behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

use super::feed::PartitionQueue;
use super::letter::{Destination, Letter, Reason, Source};
use super::offsets::MessageSeq;
use super::producer::Producer;
use super::settings::Topics;
use super::unreadable::{Skip, Unreadable, key, prefix};
use super::{fit, kafka, state};
use crate::access;
use crate::topic_partition::TopicPartition;

/// Reason code of a letter about offsets that could not be read.
pub const REASON: &str = "message.unreadable";
/// How long one offset may take to give a message or an error.
const PROBE: Duration = Duration::from_secs(20);
/// How long a call to the broker may take.
const CALL: Duration = Duration::from_secs(10);
/// Pause between two looks into the client's queue.
const LOOK: Duration = Duration::from_millis(20);

/// Writes the client's log lines to ours.
struct Quiet;

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = false;
}

impl ConsumerContext for Quiet {}

/// The result of reading at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A message, of this offset or a later one.
    Message(i64),
    Unreadable(Unreadable),
    /// The log ends there.
    End,
}

/// A partition that is read by a manually assigned consumer.
pub struct Probe {
    /// The client, assigned to this partition alone; it commits nothing.
    consumer: Arc<BaseConsumer<Quiet>>,
    /// The partition's queue.
    feed: PartitionQueue<Quiet>,
    /// The partition.
    key: TopicPartition,
    /// First offset of the log.
    pub first: i64,
    /// End offset of the log.
    pub end: i64,
}

impl Probe {
    /// # Errors
    /// The broker does not answer, or there is no such partition.
    pub fn open(kafka: &kafka::Config, key: &TopicPartition) -> anyhow::Result<Self> {
        let TopicPartition { topic, partition } = key;
        let consumer =
            access::consumer(&kafka.by_hand("skip")?, Quiet).context("cannot open a reader")?;
        let (first, end) = consumer
            .fetch_watermarks(topic, *partition, CALL)
            .with_context(|| {
                format!("cannot ask for the end of partition {partition} of {topic}")
            })?;
        let consumer = Arc::new(consumer);
        let feed = PartitionQueue::open(&consumer, key)
            .with_context(|| format!("{topic} is no name of a topic"))?;
        Ok(Self {
            consumer,
            feed,
            key: key.clone(),
            first,
            end,
        })
    }

    /// Reads the partition from `offset` on; gives the first message or error.
    ///
    /// # Errors
    /// Nothing came within the bound.
    pub fn at(&self, offset: i64) -> anyhow::Result<Found> {
        if offset >= self.end {
            return Ok(Found::End);
        }
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&self.key.topic, self.key.partition, Offset::Offset(offset))
            .context("an offset that no broker gives")?;
        self.consumer
            .assign(&from)
            .with_context(|| format!("cannot read {}", self.key.topic))?;
        let until = Instant::now() + PROBE;
        while Instant::now() < until {
            // Serves the client's own events; messages come by the feed.
            if let Some(Err(error)) = self.consumer.poll(LOOK) {
                tracing::debug!(%error, "reading by hand");
            }
            let mut messages = self.feed.buffer();
            if self.feed.read(100, &mut messages) == 0 {
                continue;
            }
            let unreadable = messages.take_unreadable();
            if let Some(message) = messages.iter().flatten().next() {
                return Ok(Found::Message(message.offset()));
            }
            if let Some(unreadable) = unreadable {
                return Ok(Found::Unreadable(unreadable));
            }
        }
        bail!(
            "partition {} of {} gave neither a message nor an error at offset {offset} within {} s; check the broker's log, or name the \
             next offset to be read with --to",
            self.key.partition,
            self.key.topic,
            PROBE.as_secs()
        )
    }

    /// The first offset behind the batch that cannot be read at `offset`.
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn behind(&self, offset: i64, unreadable: &Unreadable) -> anyhow::Result<i64> {
        behind(offset, self.end, |offset| {
            Ok(match self.at(offset)? {
                Found::Unreadable(other) => other.offset == unreadable.offset,
                Found::Message(_) | Found::End => false,
            })
        })
    }
}

/// Searches the first offset, up to `end`, behind the batch that holds `offset`, with few reads.
fn behind(
    offset: i64,
    end: i64,
    mut inside: impl FnMut(i64) -> anyhow::Result<bool>,
) -> anyhow::Result<i64> {
    let (mut last, mut step) = (offset, 1);
    let mut next = loop {
        let next = last.saturating_add(step).min(end);
        if next >= end || !inside(next)? {
            break next;
        }
        last = next;
        step *= 2;
    };
    while next - last > 1 {
        let middle = last + (next - last) / 2;
        match inside(middle)? {
            true => last = middle,
            false => next = middle,
        }
    }
    Ok(next)
}

/// Finds out what cannot be read at an offset, and the next offset that can. `to` names that next offset outright.
///
/// # Errors
/// The offset can be read or is not there, or the broker does not answer.
pub fn examine(
    kafka: &kafka::Config,
    key: &TopicPartition,
    offset: i64,
    to: Option<i64>,
) -> anyhow::Result<(Unreadable, i64)> {
    let TopicPartition { topic, partition } = key;
    let probe = Probe::open(kafka, key)?;
    ensure!(
        (probe.first..probe.end).contains(&offset),
        "--offset {offset}: partition {partition} of {topic} has the offsets {} to {}; nothing is skipped",
        probe.first,
        probe.end - 1
    );
    if let Some(to) = to {
        ensure!(
            (offset + 1..=probe.end).contains(&to),
            "--to {to}: use {} to {}; nothing is skipped",
            offset + 1,
            probe.end
        );
    }
    let unreadable = match (probe.at(offset), to) {
        (Ok(Found::Unreadable(unreadable)), _) => unreadable,
        (Ok(Found::Message(_) | Found::End), _) => bail!(
            "--offset {offset}: partition {partition} of {topic} can be read there; nothing is skipped"
        ),
        (Err(error), None) => return Err(error),
        (Err(error), Some(_)) => Unreadable {
            offset,
            code: rdkafka::error::RDKafkaErrorCode::OperationTimedOut,
            text: format!("{error:#}"),
        },
    };
    let to = match to {
        Some(to) => to,
        None => probe.behind(offset, &unreadable)?,
    };
    Ok((unreadable, to))
}

/// Writes the letter, then the request.
///
/// # Errors
/// The broker's refusal; without a letter nothing is skipped.
pub async fn request(
    kafka: &kafka::Config,
    topics: &Topics,
    of: &TopicPartition,
    skip: &Skip,
    unreadable: &Unreadable,
) -> anyhow::Result<()> {
    let producer = Producer::new(kafka)?;
    producer.learn(&[&topics.dead_letter, &topics.state]).await;
    let letter = letter(of, skip, unreadable);
    let room = producer.limits().of(&topics.dead_letter);
    let form = fit::fit(&letter, true, room).with_context(|| {
        format!(
            "{} takes no letter of any size; raise its max.message.bytes",
            topics.dead_letter
        )
    })?;
    let Ok(handed) = producer.enqueue(&topics.dead_letter, None, &form) else {
        bail!(
            "the letter was not written to {}; nothing is skipped",
            topics.dead_letter
        );
    };
    let bound = tokio::time::timeout(CALL * 3, handed.delivery).await;
    match bound.context("the broker did not confirm the letter; nothing is skipped")? {
        Ok(Ok(_)) => {}
        Ok(Err((error, _))) => {
            return Err(anyhow::Error::from(error).context(format!(
                "the letter was not written to {}; nothing is skipped",
                topics.dead_letter
            )));
        }
        Err(_) => bail!("the producer was closed; nothing is skipped"),
    }
    let value = serde_json::to_vec(skip).context("a request is plain JSON")?;
    let name = key(of, skip.from);
    let store = state::store(&producer, &topics.state, &name, &value);
    tokio::time::timeout(CALL * 3, store).await.context(
        "the broker did not confirm the request; nothing is skipped yet: give the command again",
    )?
}

fn letter(of: &TopicPartition, skip: &Skip, unreadable: &Unreadable) -> Letter {
    Letter {
        destination: Destination::DeadLetter,
        key: None,
        value: Vec::new(),
        reason: Reason {
            code: REASON.to_owned(),
            detail: format!(
                "offsets {} to {} cannot be read and are skipped at the request of {}: {unreadable}",
                skip.from,
                skip.to - 1,
                skip.by
            ),
            stage: "consume".to_owned(),
            http_status: None,
            server_text: None,
            serial: None,
            attempts: 0,
        },
        source: Source {
            topic: of.topic.clone(),
            partition: of.partition,
            offset: skip.from,
            timestamp_ms: None,
            replays: 0,
            record: None,
        },
        seq: MessageSeq(0),
        records: 1,
    }
}

/// The request that covers what cannot be read at `offset`, if there is one. Blocks the calling thread.
///
/// # Errors
/// The state topic cannot be read.
pub fn requested(
    kafka: &kafka::Config,
    state_topic: &str,
    of: &TopicPartition,
    offset: i64,
) -> anyhow::Result<Option<Skip>> {
    let prefix = prefix(of);
    let all = state::load_all(kafka, state_topic, |key| key.starts_with(prefix.as_bytes()))?;
    // A value that is not a valid request counts as none.
    let mut requests = all
        .values()
        .filter_map(|kept| serde_json::from_slice::<Skip>(&kept.value).ok());
    Ok(requests.find(|request| request.covers(offset)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_end_of_a_batch_is_found_by_few_questions(first in 0i64..1_000, length in 1i64..100_000, more in 0i64..100_000, at in 0i64..100_000) {
            let (end, offset) = (first + length + more, first + at % length);
            let mut questions = 0;
            let found = behind(offset, end, |asked| {
                questions += 1;
                assert!((first..end).contains(&asked));
                Ok((first..first + length).contains(&asked))
            });
            prop_assert_eq!(found.expect("an offset"), first + length);
            prop_assert!(questions <= 2 * 18);
        }
    }
}
