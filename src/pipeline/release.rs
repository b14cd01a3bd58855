//! Reading a held topic: what is still held after a start ([`rebuild`]), and the records to be released ([`Reading`]).
//!
//! Owns the names of marks in the state topic.
//!
//! * [`rebuild`] leaves out what the marks say is released; nothing else is ever left out.
//! * O3: it writes nothing; marks are the worker's.
//!
//! It keeps no queue; stopped, it leaves nothing behind.

mod reading;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

pub use reading::{BATCH_BYTES, BATCH_MESSAGES, BATCHES, Batch, Reading};

use super::hold::Hold;
use super::partition::HeldMessage;
use super::{fit, kafka, letter, skip, state, unreadable};

/// How long a call to the broker may take.
const CALL: Duration = Duration::from_secs(10);
/// Bytes of an unreadable mark that are shown.
const SHOWN: usize = 60;
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(20);
/// Longest reason of a held record that is remembered and shown; anybody may have written it.
const LONGEST_REASON: usize = 64;

/// Where one partition's held records and marks are.
#[derive(Debug, Clone)]
pub struct Place {
    pub kafka: kafka::Config,
    pub held_topic: String,
    pub state_topic: String,
    pub partition: i32,
}

/// A mark of the state topic that is no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the mark {key:?} in {topic} is no number: {value:?}")]
pub struct UnreadableMark {
    pub topic: String,
    pub key: String,
    /// Its beginning.
    pub value: String,
}

impl UnreadableMark {
    /// What a person can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        let Self { topic, key, .. } = self;
        format!(
            "delete the mark: produce a message with the key {key} and without a value (a tombstone) to {topic}; what was \
             released of that name is then sent again, and nothing is lost"
        )
    }
}

/// What the reading of held records came to, as it happens.
#[derive(Debug)]
pub enum Progress {
    /// A message was read.
    Read,
    /// The client gave an error in place of a message; it goes on by itself.
    Failed(KafkaError),
}

/// What the state topic says of one partition's held records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Everything below is released.
    pub low: i64,
    /// Released through this offset, by name.
    pub through: HashMap<Vec<u8>, i64>,
}

/// Held records that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{topic}, partition {partition}, offset {offset}: {error}")]
pub struct UnreadableBatch {
    topic: String,
    partition: i32,
    offset: i64,
    error: String,
}

impl UnreadableBatch {
    /// What a person can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        unreadable::remedy(&self.topic, self.partition, self.offset)
    }
}

/// The longest name that is part of a mark's name as it is.
const LONGEST_NAME: usize = 512;

/// What stands for a held record's name in a mark: a checksum if it is long, so that every mark can be written.
#[must_use]
pub fn mark_name(name: &[u8]) -> Cow<'_, [u8]> {
    if name.len() <= LONGEST_NAME {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("\0sha256/{}", fit::sha256(name)).into_bytes())
}

impl Marks {
    /// Up to where the records of this name are released.
    fn through(&self, name: &[u8]) -> Option<i64> {
        // Version 0.1.0 wrote every name as it is.
        let known = self.through.get(&*mark_name(name));
        known.or_else(|| self.through.get(name)).copied()
    }
}

impl Place {
    /// The name of a mark in the state topic.
    #[must_use]
    pub fn mark(&self, name: &[u8]) -> Vec<u8> {
        let mut key = self.prefix("released-through").into_bytes();
        key.extend_from_slice(&mark_name(name));
        key
    }

    /// The name of the partition's low mark in the state topic.
    #[must_use]
    pub fn low_mark(&self) -> String {
        self.prefix("held-low")
    }

    fn prefix(&self, what: &str) -> String {
        format!("{what}/{}/{}/", self.held_topic, self.partition)
    }

    /// Reads the marks. Blocks the calling thread.
    ///
    /// # Errors
    /// As [`state::load`].
    pub fn marks(&self) -> anyhow::Result<Marks> {
        let (prefix, low) = (self.prefix("released-through"), self.low_mark());
        let number = |key: &[u8], value: &[u8]| -> Result<i64, UnreadableMark> {
            let text = std::str::from_utf8(value).ok();
            let number = text.and_then(|text| text.parse().ok());
            number.ok_or_else(|| UnreadableMark {
                topic: self.state_topic.clone(),
                key: key.escape_ascii().to_string(),
                value: value.escape_ascii().take(SHOWN).map(char::from).collect(),
            })
        };
        let mut marks = Marks::default();
        let wanted = |key: &[u8]| key.starts_with(prefix.as_bytes()) || key == low.as_bytes();
        for (key, value) in state::load_all(&self.kafka, &self.state_topic, wanted)? {
            match key.strip_prefix(prefix.as_bytes()) {
                Some(name) => {
                    marks.through.insert(name.to_vec(), number(&key, &value)?);
                }
                None => marks.low = number(&key, &value)?,
            }
        }
        Ok(marks)
    }

    /// Up to where the source partition `topic` is committed, -1 if nothing is. Blocks the calling thread.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn committed(&self, topic: &str) -> anyhow::Result<i64> {
        // As a stranger to the group, who only asks for its commits.
        let asker: BaseConsumer = self
            .kafka
            .by_hand("held")?
            .set("group.id", &self.kafka.group)
            .create()
            .context("cannot open an asker for commits")?;
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(topic, self.partition);
        let found = asker
            .committed_offsets(wanted, CALL)
            .with_context(|| format!("cannot ask how far {topic} is committed"))?;
        let found = found.find_partition(topic, self.partition);
        let found = found.context("the broker left out the partition it was asked for")?;
        found
            .error()
            .with_context(|| format!("cannot ask how far {topic} is committed"))?;
        Ok(match found.offset() {
            Offset::Offset(offset) => offset,
            _ => -1,
        })
    }

    /// Where the source partition `topic` ends. Blocks the calling thread.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn end(&self, topic: &str) -> anyhow::Result<i64> {
        let asker: BaseConsumer = self
            .kafka
            .by_hand("held")?
            .create()
            .context("cannot open an asker for the end of the source")?;
        let (_, end) = asker
            .fetch_watermarks(topic, self.partition, CALL)
            .with_context(|| format!("cannot ask for the end of {topic}"))?;
        Ok(end)
    }

    /// Where to read on behind held records that cannot be read. Blocks the calling thread.
    ///
    /// # Errors
    /// No person asked to skip them.
    fn behind(&self, offset: i64, error: &KafkaError) -> anyhow::Result<i64> {
        let (topic, partition) = (&self.held_topic, self.partition);
        match skip::requested(&self.kafka, &self.state_topic, (topic, partition, offset))? {
            Some(skip) => {
                tracing::warn!(
                    topic,
                    partition,
                    from = skip.from,
                    to = skip.to,
                    by = skip.by,
                    "held records that cannot be read are skipped at a person's request"
                );
                Ok(skip.to)
            }
            None => Err(UnreadableBatch {
                topic: topic.clone(),
                partition,
                offset,
                error: error.to_string(),
            }
            .into()),
        }
    }

    fn open(&self, from: i64) -> anyhow::Result<BaseConsumer> {
        let consumer: BaseConsumer = self
            .kafka
            .by_hand("held")?
            .create()
            .context("cannot open a reader of held records")?;
        let mut wanted = TopicPartitionList::new();
        wanted
            .add_partition_offset(&self.held_topic, self.partition, Offset::Offset(from))
            .context("an offset that no broker gives")?;
        consumer
            .assign(&wanted)
            .with_context(|| format!("cannot read {}", self.held_topic))?;
        Ok(consumer)
    }
}

/// Finds out what is still held, and tells how it goes. Blocks the calling thread; ends early, with an error, at `stop`.
///
/// # Errors
/// The broker does not answer, or a mark cannot be read.
pub fn rebuild(
    place: &Place,
    progress: &mut dyn FnMut(Progress),
    stop: &CancellationToken,
) -> anyhow::Result<(Hold, Marks)> {
    let mut hold = Hold::default();
    let consumer: BaseConsumer = place
        .kafka
        .by_hand("held")?
        .create()
        .context("cannot open a reader of held records")?;
    let (start, end) = consumer
        .fetch_watermarks(&place.held_topic, place.partition, CALL)
        .with_context(|| format!("cannot ask for the end of {}", place.held_topic))?;
    hold.ends_at(end);
    if start >= end {
        let low = end;
        return Ok((
            hold,
            Marks {
                low,
                ..Marks::default()
            },
        ));
    }
    let marks = place.marks()?;
    if marks.low >= end {
        return Ok((hold, marks));
    }
    drop(consumer);
    let mut next = marks.low.max(start);
    let mut consumer = place.open(next)?;
    loop {
        anyhow::ensure!(!stop.is_cancelled(), "the partition was taken away");
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) if message.offset() >= end => break,
            Some(Ok(message)) => {
                progress(Progress::Read);
                next = message.offset() + 1;
                let last = next >= end;
                let held = held_message(&message, place);
                let released = marks.through(&held.name);
                if released.is_none_or(|through| held.offset > through) {
                    let why = held.letter.as_ref().map(|(reason, _)| reason.code.as_str());
                    let why = why.unwrap_or("unreadable");
                    let why = &why[..why.floor_char_boundary(LONGEST_REASON)];
                    hold.found(&held.name, held.offset, held.bytes(), held.since_ms(), why);
                }
                if last {
                    break;
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) if is_of_data(&error) => {
                next = place.behind(next, &error)?;
                consumer = place.open(next)?;
            }
            Some(Err(error)) => progress(Progress::Failed(error)),
        }
    }
    Ok((hold, marks))
}

/// Waits on a thread that may block, until `stop` at the longest.
pub fn rest(pause: Duration, stop: &CancellationToken) {
    tokio::runtime::Handle::current().block_on(async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    });
}

fn held_message(message: &BorrowedMessage<'_>, place: &Place) -> HeldMessage {
    let headers = message.headers();
    let headers = headers.iter().flat_map(|headers| headers.iter());
    let letter = letter::parse(headers.filter_map(|header| Some((header.key, header.value?))));
    let mut letter = letter.ok();
    if let Some((_, source)) = &mut letter
        && !(place.held_topic.starts_with(&source.topic) && source.partition == place.partition)
    {
        // Whoever wrote this did not hold a record of this partition: how old its source is, is not known either.
        source.timestamp_ms = None;
    }
    HeldMessage {
        offset: message.offset(),
        name: message.key().unwrap_or_default().to_vec(),
        value: message.payload().unwrap_or_default().to_vec(),
        letter,
        timestamp_ms: message.timestamp().to_millis(),
    }
}

/// Whether an error in a message's place is about the data itself: the client may go on behind it.
fn is_of_data(error: &KafkaError) -> bool {
    error
        .rdkafka_error_code()
        .is_some_and(unreadable::is_of_data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_can_be_written_and_those_of_version_0_1_0_count() {
        let (short, long) = (b"imei-1".as_slice(), vec![b'x'; 900_000]);
        assert_eq!(mark_name(short), short);
        let name = mark_name(&long);
        assert!(name.len() < 100 && *mark_name(&name) == *name);
        assert_ne!(mark_name(&long[1..]), name);
        let marks = |key: &[u8]| Marks {
            low: 0,
            through: HashMap::from([(key.to_vec(), 7)]),
        };
        assert_eq!(marks(&name).through(&long), Some(7));
        assert_eq!(
            marks(&long).through(&long),
            Some(7),
            "as version 0.1.0 wrote it"
        );
        assert_eq!(marks(short).through(short), Some(7));
        assert_eq!(marks(short).through(&long), None);
    }
}
