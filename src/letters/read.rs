//! Reading topics with letters, from their first offsets to their ends at the beginning.
//!
//! Owns a manually assigned consumer for the time of one reading. It commits nothing and creates no topic. Blocks the calling thread.
//!
//! * Bounded: one letter at a time is handed over; the client prefetches what `by_hand` allows per partition.
//! * A letter that cannot be read ends the reading with its place: nothing is left out silently.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::entry::{Entry, Kind, Raw};
use super::marks::{self, Marks};
use super::place::LetterPlace;
use crate::access;
use crate::headers;
use crate::log_life::broker::{Asker, Topic};
use crate::pipeline::settings::{Input, Topics};
use crate::pipeline::{kafka, state};
use crate::poll;
use crate::topic_partition::TopicPartition;

/// How long one call to the broker may take.
const CALL: Duration = Duration::from_secs(20);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(200);
/// How long the next letter may take that the broker says it has.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before the broker is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// Topics with letters that exist, by name.
pub type Found = BTreeMap<String, Kind>;
/// First and next offset by topic and partition.
pub type Bounds = BTreeMap<TopicPartition, (i64, i64)>;

/// How far a reading is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub read: u64,
    /// Offsets to be read; no less than the letters.
    pub total: u64,
}

/// Reads letters; see the module's documentation.
pub struct Letters {
    /// The client, assigned to what is being read. Dropped, it closes.
    reader: BaseConsumer,
    /// The topics with letters that existed when it was opened.
    topics: Found,
    /// Partitions of every topic there was.
    partitions: HashMap<String, i32>,
}

impl Letters {
    /// Opens the reader, and finds the topics of these kinds.
    ///
    /// # Errors
    /// Settings that the client refuses; the broker does not answer.
    pub fn open(
        kafka: &kafka::Config,
        topics: &Topics,
        input: &Input,
        kinds: &[Kind],
    ) -> anyhow::Result<Self> {
        let client = kafka.by_hand("letters")?;
        let reader = access::plain_consumer(&client).context("cannot open a reader of letters")?;
        // All topics: asking for a name might create it.
        let metadata = patiently(&reader, || reader.fetch_metadata(None, CALL))
            .context("cannot ask for the topics; check kafka.brokers and the network")?;
        let is_input = input.matcher()?;
        let kind_of = |name: &str| match name {
            _ if name == topics.dead_letter => Some(Kind::DeadLetter),
            _ if name == topics.invalid => Some(Kind::Invalid),
            _ if topics.input_of(name).is_some_and(&is_input) => Some(Kind::Held),
            _ => None,
        };
        let (mut found, mut partitions) = (Found::new(), HashMap::new());
        for topic in metadata.topics() {
            let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
            partitions.insert(topic.name().to_owned(), count);
            if let Some(kind) = kind_of(topic.name()).filter(|kind| kinds.contains(kind)) {
                found.insert(topic.name().to_owned(), kind);
            }
        }
        drop(metadata);
        Ok(Self {
            reader,
            topics: found,
            partitions,
        })
    }

    /// The topics with letters that existed when the reader was opened.
    #[must_use]
    pub fn topics(&self) -> &Found {
        &self.topics
    }

    /// Partitions of a topic; `None` for one that does not exist.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        self.partitions.get(topic).copied()
    }

    /// First and next offset of every partition with letters.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn bounds(&self) -> anyhow::Result<Bounds> {
        let mut bounds = Bounds::new();
        for topic in self.topics.keys() {
            for partition in 0..self.partitions(topic).unwrap_or_default() {
                let key = TopicPartition::new(topic, partition);
                let marks = patiently(&self.reader, || {
                    self.reader.fetch_watermarks(topic, partition, CALL)
                })
                .with_context(|| format!("cannot ask for the end of {key}"))?;
                bounds.insert(key, marks);
            }
        }
        Ok(bounds)
    }

    /// Hands over every letter within `bounds`, topic by topic, in the order of each partition, until `each` breaks.
    ///
    /// # Errors
    /// What `each` gives; the broker does not give what it says it has; a batch that cannot be read.
    pub fn read(
        &self,
        bounds: &Bounds,
        each: &mut dyn FnMut(Entry, Progress) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let total = bounds.values().map(|(low, end)| (end - low) as u64).sum();
        let mut progress = Progress { read: 0, total };
        for (topic, kind) in &self.topics {
            let open = bounds
                .iter()
                .filter(|(key, (low, end))| key.topic == *topic && low < end)
                .map(|(key, bounds)| (key.partition, *bounds))
                .collect();
            let flow = self
                .read_topic(topic, open, &mut |message| {
                    progress.read += 1;
                    each(entry(message, *kind), progress)
                })
                .with_context(|| format!("cannot read the letters of {topic}"))?;
            self.reader
                .unassign()
                .context("cannot stop reading letters")?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// One topic at a time: the event of a partition's end does not name the topic.
    fn read_topic(
        &self,
        topic: &str,
        mut open: HashMap<i32, (i64, i64)>,
        each: &mut dyn FnMut(&BorrowedMessage<'_>) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let mut from = TopicPartitionList::new();
        for (partition, (low, _)) in &open {
            from.add_partition_offset(topic, *partition, Offset::Offset(*low))?;
        }
        if open.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        self.reader.assign(&from)?;
        let mut newest = Instant::now();
        while !open.is_empty() {
            anyhow::ensure!(
                newest.elapsed() < PATIENCE,
                "nothing came for {} s, and the end is not reached; check the broker and try again",
                PATIENCE.as_secs()
            );
            let message = match poll::next(&self.reader, POLL) {
                None => {
                    // Held records that are released meanwhile may be deleted, and letters by retention.
                    open.retain(|partition, (_, end)| {
                        let now = self.reader.fetch_watermarks(topic, *partition, CALL);
                        now.is_ok_and(|(low, _)| low < *end)
                    });
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    // The last offsets may hold no letter: ends of transactions, and what compaction removed.
                    open.remove(&partition);
                    continue;
                }
                Some(message) => message?,
            };
            newest = Instant::now();
            let partition = message.partition();
            let Some((_, end)) = open.get(&partition).copied() else {
                continue;
            };
            if message.offset() + 1 >= end {
                open.remove(&partition);
            }
            if message.offset() < end && each(&message)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The marks of letters in the state topic.
    ///
    /// # Errors
    /// The broker does not answer; a mark that this program did not write.
    pub fn marks(&self, kafka: &kafka::Config, state_topic: &str) -> anyhow::Result<Marks> {
        let names: Vec<&str> = self.topics.keys().map(String::as_str).collect();
        let asker = Asker::open(&kafka.by_hand("letters")?)?;
        let ids = asker
            .topics(&names)?
            .into_iter()
            .filter_map(|(name, topic)| match topic {
                Topic::There(Some(id)) => Some((name, marks::id_text(id.as_str()))),
                Topic::There(None) | Topic::Missing => None,
            })
            .collect();
        if !self.partitions.contains_key(state_topic) {
            return Marks::read(ids, std::iter::empty());
        }
        let kept = state::load_all(kafka, state_topic, |key| {
            key.starts_with(marks::PREFIX.as_bytes())
        })?;
        let kept = kept.iter().map(|(key, kept)| (&key[..], &kept.value[..]));
        Marks::read(ids, kept)
    }
}

fn entry(message: &BorrowedMessage<'_>, kind: Kind) -> Entry {
    let raw = Raw {
        kind,
        place: LetterPlace::new(message.topic(), message.partition(), message.offset()),
        time_ms: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload().unwrap_or_default(),
    };
    Entry::read(raw, headers::of(message))
}

/// Asks again for a while: a topic that was created a moment ago has no leader yet. Nothing is assigned to the reader
/// meanwhile, so serving it only passes the time with the client's own events.
fn patiently<T>(reader: &BaseConsumer, mut ask: impl FnMut() -> KafkaResult<T>) -> KafkaResult<T> {
    let deadline = Instant::now() + CALL;
    loop {
        match ask() {
            Err(_) if Instant::now() < deadline => drop(poll::next(reader, AGAIN)),
            answer => return answer,
        }
    }
}
