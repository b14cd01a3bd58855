//! The message that a letter came from, read from its input topic while that still holds it.
//!
//! Owns a manually assigned consumer. Blocks the calling thread.
//!
//! * E1: a message at the right offset may belong to another life of its log. It is taken only with proof: the SHA-256 that a
//!   shortened letter has of the whole ([`part_of`]), or the time of the source.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::entry::Entry;
use super::place::LetterPlace;
use crate::access;
use crate::pipeline::fit::sha256;
use crate::pipeline::kafka;
use crate::poll;

/// How long a call to the broker, or the message, may take.
const CALL: Duration = Duration::from_secs(20);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(50);
/// Most places of a message at which the beginning of a shortened value is looked for.
const PLACES: usize = 5_000;

/// A message of an input topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    pub value: Vec<u8>,
    pub time_ms: Option<i64>,
}

impl Original {
    /// Whether it was written when the letter says; `None` if one of them does not say. Letters of `gate` and `upload` keep whole
    /// seconds.
    #[must_use]
    pub fn is_of_time(&self, source_ms: Option<i64>) -> Option<bool> {
        let (own, told) = (self.time_ms?, source_ms?);
        Some(own == told || own - own.rem_euclid(1_000) == told)
    }
}

/// Reads single messages.
pub struct Originals {
    /// The client, assigned to one message at a time. Dropped, it closes.
    reader: BaseConsumer,
}

impl Originals {
    /// # Errors
    /// Properties that the client refuses.
    pub fn open(kafka: &kafka::Config) -> anyhow::Result<Self> {
        let client = kafka.by_hand("letters")?;
        let reader =
            access::plain_consumer(&client).context("cannot open a reader of originals")?;
        Ok(Self { reader })
    }

    /// The message at a place of an existing partition; `None` if its log does not hold it any more.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn message(&self, place: &LetterPlace) -> anyhow::Result<Option<Original>> {
        let act = || format!("cannot read {place}");
        let (low, end) = self
            .reader
            .fetch_watermarks(&place.topic, place.partition, CALL)
            .with_context(act)?;
        if !(low..end).contains(&place.offset) {
            return Ok(None);
        }
        let mut wanted = TopicPartitionList::new();
        wanted
            .add_partition_offset(&place.topic, place.partition, Offset::Offset(place.offset))
            .with_context(act)?;
        self.reader.assign(&wanted).with_context(act)?;
        let deadline = Instant::now() + CALL;
        let found = loop {
            anyhow::ensure!(
                Instant::now() < deadline,
                "no message came within {} s at {place}; check the broker and try again",
                CALL.as_secs()
            );
            match poll::next(&self.reader, POLL) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(_))) => break None,
                Some(Err(error)) => tracing::debug!(%error, "reading one message"),
                // A message of an earlier assignment may still come.
                Some(Ok(message))
                    if message.topic() != place.topic || message.partition() != place.partition => {
                }
                Some(Ok(message)) => {
                    break (message.offset() == place.offset).then(|| Original {
                        value: message.payload().unwrap_or_default().to_vec(),
                        time_ms: message.timestamp().to_millis(),
                    });
                }
            }
        };
        self.reader
            .unassign()
            .context("cannot stop reading one message")?;
        Ok(found)
    }
}

/// The part of the original message that a shortened letter has only the beginning of, proven by its SHA-256.
#[must_use]
pub fn part_of<'p>(payload: &'p [u8], letter: &Entry) -> Option<&'p [u8]> {
    let full = letter.full.as_ref()?;
    let (length, sum) = (usize::try_from(full.length).ok()?, full.sha256.as_deref()?);
    let proven = |part: &&[u8]| sha256(part) == sum;
    if payload.len() == length {
        return Some(payload).filter(proven);
    }
    // A record of an array: it begins where the beginning does.
    let begins = &letter.value[..];
    if begins.is_empty() || payload.len() < length {
        return None;
    }
    payload
        .windows(begins.len())
        .enumerate()
        .filter(|(_, window)| *window == begins)
        .map(|(at, _)| at)
        .take(PLACES)
        .filter_map(|at| payload.get(at..at.checked_add(length)?))
        .find(proven)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letters::entry::{Kind, Raw};

    fn shortened(whole: &[u8], kept: usize) -> Entry {
        let raw = Raw {
            kind: Kind::DeadLetter,
            place: LetterPlace::new("dead", 0, 7),
            time_ms: None,
            key: None,
            value: &whole[..kept],
        };
        let (length, sum) = (whole.len().to_string(), sha256(whole));
        let headers = [
            ("full-length", length.as_bytes()),
            ("full-sha256", sum.as_bytes()),
        ];
        Entry::read(raw, headers.into_iter())
    }

    #[test]
    fn the_whole_value_is_found_and_proven() {
        let record = br#"{"Type":"VinRecord","Text":"aaaaaaaaaaaaaaaa"}"#;
        let letter = shortened(record, 9);
        assert_eq!(part_of(record, &letter), Some(&record[..]));
        let other = br#"{"Type":"VinRecord","Text":"aaaaaaaaaaaaaaab"}"#;
        let array = [&b"["[..], other, b",", record, b"]"].concat();
        assert_eq!(part_of(&array, &letter), Some(&record[..]));
        assert_eq!(part_of(other, &letter), None);
        assert_eq!(part_of(b"", &letter), None);
        assert_eq!(part_of(&array, &shortened(record, 0)), None);
    }

    #[test]
    fn the_time_of_the_source_proves_the_life_of_the_log() {
        let original = Original {
            value: Vec::new(),
            time_ms: Some(1_790_000_000_123),
        };
        for (told, expected) in [
            (Some(1_790_000_000_123), Some(true)),
            (Some(1_790_000_000_000), Some(true)),
            (Some(1_790_000_000_122), Some(false)),
            (None, None),
        ] {
            assert_eq!(original.is_of_time(told), expected);
        }
    }
}
