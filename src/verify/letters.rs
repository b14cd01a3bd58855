//! Reads letters from the dead-letter topic and from held topics, and hands them to the judge.
//!
//! Only what src/pipeline/README.md (Output) says about them is relied on: the original bytes as value, the serial or device id
//! as key, the headers `reason`, `source-topic`, `source-partition` and `source-offset`. Reads by hand and commits nothing.
//! Blocks the calling thread; the judge keeps what it was told, so reading may go on later.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Not as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use serde::Deserialize;

use super::dead_letter_match::DeadLetter;
use super::judge::Judge;
use crate::access;
use crate::headers;
use crate::record::RecordType;
use crate::topic_partition::TopicPartition;

/// How long one question to the broker may take.
const ASK: Duration = Duration::from_secs(20);
/// Pause between two questions.
const AGAIN: Duration = Duration::from_millis(200);
/// How long the next message may take that the broker says it has.
const PATIENCE: Duration = Duration::from_secs(60);

/// A reader of letters.
pub struct Letters {
    reader: BaseConsumer,
    dead: String,
    is_held: Box<dyn Fn(&str) -> bool + Send>,
    /// The next offset to read.
    next: HashMap<TopicPartition, i64>,
}

impl Letters {
    /// `client` says how to connect, `dead` which topic has dead letters, `is_held` which have held records.
    ///
    /// # Errors
    /// Settings that the client library refuses.
    pub fn open(
        client: &ClientConfig,
        dead: &str,
        is_held: impl Fn(&str) -> bool + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut client = client.clone();
        // The client wants a group even to read by hand.
        client
            .set("group.id", "dig-ingest-verify")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest");
        Ok(Self {
            reader: access::plain_consumer(&client).context("cannot open a reader of letters")?,
            dead: dead.to_owned(),
            is_held: Box::new(is_held),
            next: HashMap::new(),
        })
    }

    /// Hands over every letter that is there now and was not there before.
    ///
    /// # Errors
    /// The broker does not answer, or does not give what it says it has.
    pub fn follow(&mut self, judge: &mut Judge) -> anyhow::Result<()> {
        judge.expect_letters();
        let mut ends = self.ends()?;
        let mut from = TopicPartitionList::new();
        for (key, (low, _)) in &ends {
            let at = self.next.entry(key.clone()).or_default();
            *at = (*at).max(*low);
            from.add_partition_offset(&key.topic, key.partition, Offset::Offset(*at))
                .context("an offset that no broker gives")?;
        }
        ends.retain(|at, (_, high)| self.next[at] < *high);
        if ends.is_empty() {
            return Ok(());
        }
        self.reader.assign(&from).context("cannot read letters")?;
        let mut newest = Instant::now();
        while !ends.is_empty() {
            ensure!(
                newest.elapsed() < PATIENCE,
                "letters were not read to their end within {} s",
                PATIENCE.as_secs()
            );
            let message = match self.reader.poll(Duration::from_millis(200)) {
                None => {
                    // Held records that were released may be deleted meanwhile.
                    ends.retain(|key, (_, high)| {
                        let now = self.reader.fetch_watermarks(&key.topic, key.partition, ASK);
                        now.is_ok_and(|(low, _)| low >= *high).not()
                    });
                    continue;
                }
                Some(message) => message.context("cannot read letters")?,
            };
            newest = Instant::now();
            let at = TopicPartition::new(message.topic(), message.partition());
            let next = message.offset() + 1;
            take(&message, message.topic() != self.dead, judge);
            if ends.get(&at).is_some_and(|(_, high)| next >= *high) {
                ends.remove(&at);
            }
            self.next.insert(at, next);
        }
        self.reader
            .unassign()
            .context("cannot stop reading letters")
    }

    /// First and next offset of every partition there is.
    fn ends(&self) -> anyhow::Result<HashMap<TopicPartition, (i64, i64)>> {
        // All topics: asking for a name might create it.
        let metadata = patiently(&self.reader, || self.reader.fetch_metadata(None, ASK))
            .context("cannot ask for the topics of letters")?;
        let mut ends = HashMap::new();
        for topic in metadata.topics() {
            let name = topic.name();
            if name != self.dead && !(self.is_held)(name) {
                continue;
            }
            for partition in topic.partitions() {
                let marks = patiently(&self.reader, || {
                    self.reader.fetch_watermarks(name, partition.id(), ASK)
                })
                .with_context(|| format!("cannot ask for the end of {name}"))?;
                ends.insert(TopicPartition::new(name, partition.id()), marks);
            }
        }
        Ok(ends)
    }
}

/// Asks again for a while: a topic that was created a moment ago has no leader yet. Nothing is assigned to the reader
/// meanwhile, so a poll of it only passes the time with the client's own events.
fn patiently<T>(reader: &BaseConsumer, mut ask: impl FnMut() -> KafkaResult<T>) -> KafkaResult<T> {
    let deadline = Instant::now() + ASK;
    loop {
        match ask() {
            Err(_) if Instant::now() < deadline => drop(reader.poll(AGAIN)),
            answer => return answer,
        }
    }
}

/// What a record says about itself, if it can be read at all.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Identity {
    serial_no: Option<String>,
    device_id: Option<String>,
    #[serde(rename = "Type")]
    kind: Option<String>,
    date_time: Option<String>,
}

fn take(message: &BorrowedMessage<'_>, held: bool, judge: &mut Judge) {
    let payload = message.payload().unwrap_or_default();
    let identity: Identity = serde_json::from_slice(payload).unwrap_or_default();
    let header = |name: &str| {
        let (_, value) = headers::of(message).find(|(known, _)| *known == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let key = String::from_utf8_lossy(message.key().unwrap_or_default());
    let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let subject = named(&identity.serial_no)
        .or_else(|| named(&identity.device_id))
        .unwrap_or_else(|| key.into_owned());
    let kind = RecordType::ALL
        .into_iter()
        .find(|kind| identity.kind.as_deref() == Some(kind.name()));
    let time = identity
        .date_time
        .and_then(|time| time.parse::<jiff::Timestamp>().ok())
        .map(jiff::Timestamp::as_microsecond);
    let mut source = DefaultHasher::new();
    ["source-topic", "source-partition", "source-offset"]
        .map(header)
        .hash(&mut source);
    payload.hash(&mut source);
    judge.letter(&DeadLetter {
        subject: &subject,
        identity: kind.zip(time),
        source: source.finish(),
        reason: header("reason").as_deref().unwrap_or("none given"),
        held,
    });
}
