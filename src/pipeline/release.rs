//! Reading a held topic: rebuilding the held index after a start ([`rebuild`]), and reading the records to be released
//! ([`Reading`]).
//!
//! Owns no state of its own. Module `marks` has the keys and the text of marks.
//!
//! * [`rebuild`] leaves out the records that marks of this life of the held log call released (E1), and no others.
//! * O3: it writes nothing; the worker writes the marks.
//!
//! It has no queue; stopped, it leaves nothing behind.

mod marks;
mod reading;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

pub use reading::{BATCH_BYTES, BATCH_MESSAGES, BATCHES, Batch, Reading};

use super::hold::Hold;
use super::partition::HeldMessage;
use super::{kafka, letter, skip, unreadable};
use crate::access;
use crate::headers;
use crate::log_life::broker::{Asker, epoch_of};
use crate::log_life::{Change, TopicId, Verdict, judge_commit};
use crate::ops::metrics::log_life as metrics;
use crate::poll;
use crate::topic_partition::TopicPartition;

pub use marks::{HeldAt, Mark, Marks, UnreadableMark, mark_name};

/// How long a call to the broker may take.
const CALL: Duration = Duration::from_secs(10);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(20);
/// Most bytes of a held record's reason that are kept and shown; the header may have been written by any program.
const LONGEST_REASON: usize = 64;

/// Where the held records and marks of one partition are.
#[derive(Debug, Clone)]
pub struct HeldPartition {
    /// Settings of the clients that read.
    pub kafka: kafka::Config,
    /// The partition of the held topic; its number is the same as in the input topic.
    pub held: TopicPartition,
    /// Name of the topic with the marks.
    pub state_topic: String,
    /// Answers of the broker, shared by the workers of the job.
    pub asked: Arc<Asked>,
}

/// Partitions of a job that rebuild their held index at the same time. Each has two clients meanwhile, of 4 threads and some 5
/// MiB each.
const AT_ONCE: usize = 2;

/// A turn to rebuild; dropping it lets the next partition begin.
#[derive(Debug)]
pub struct Turn(
    #[expect(dead_code, reason = "held until it is dropped")] Option<OwnedSemaphorePermit>,
);

/// Answers of the broker about held topics. The partitions of a job begin together and each question takes a client, so one
/// answer serves all that wait for it.
#[derive(Debug)]
pub struct Asked {
    /// Bounds the partitions that rebuild their held index at the same time.
    turns: Arc<Semaphore>,
    /// Partitions of each held topic, and when they were asked for. Locked while the broker is asked, so that others wait for
    /// the one answer; only threads that may block come here.
    found: Mutex<HashMap<String, (Instant, Vec<i32>)>>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            found: Mutex::default(),
        }
    }
}

impl Asked {
    /// Waits for a turn to rebuild. The turn ends when it is dropped; a partition that cannot go on drops it, so that nobody waits for
    /// a partition that is stuck.
    pub async fn turn(&self) -> Turn {
        Turn(Arc::clone(&self.turns).acquire_owned().await.ok())
    }

    /// The partitions of a held topic, as of `since` or later; none if the topic does not exist or may not be described.
    fn partitions(
        &self,
        kafka: &kafka::Config,
        held_topic: &str,
        since: Instant,
    ) -> anyhow::Result<Vec<i32>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, partitions)) = found.get(held_topic)
            && *at >= since
        {
            return Ok(partitions.clone());
        }
        let at = Instant::now();
        let asker = access::plain_consumer(&kafka.by_hand("held")?)
            .context("cannot open a reader of held records")?;
        let topics = asker
            .fetch_metadata(Some(held_topic), CALL)
            .with_context(|| format!("cannot ask for topic {held_topic}"))?;
        let topic = topics
            .topics()
            .iter()
            .find(|topic| topic.name() == held_topic);
        let partitions = match topic.map(|topic| (topic, topic.error().map(RDKafkaErrorCode::from)))
        {
            Some((topic, None)) => topic.partitions().iter().map(|p| p.id()).collect(),
            None
            | Some((
                _,
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::TopicAuthorizationFailed,
                ),
            )) => Vec::new(),
            Some((_, Some(error))) => anyhow::bail!("cannot ask for topic {held_topic}: {error}"),
        };
        found.insert(held_topic.to_owned(), (at, partitions.clone()));
        Ok(partitions)
    }
}

/// An event of the reading of held records.
#[derive(Debug)]
pub enum Progress {
    /// A message was read.
    Read,
    /// The client returned an error in place of a message; it goes on by itself.
    Failed(KafkaError),
    /// Another producer's open transaction hides what lies from this offset on; it is read once the transaction has ended.
    Hidden(i64),
}

/// The held index and marks of a partition, as an owner rebuilds them before it begins.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// Held index.
    pub hold: Hold,
    /// Marks that are valid in the present log.
    pub marks: Marks,
    /// The held topic, where the broker gives ids.
    pub topic_id: Option<TopicId>,
    /// The newest leader epoch in its log; -1 for none.
    pub epoch: i32,
}

/// A batch of held records that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}, partition {}, offset {offset}: {error}", held.topic, held.partition)]
pub struct UnreadableBatch {
    held: TopicPartition,
    offset: i64,
    error: String,
}

impl UnreadableBatch {
    /// What a person can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        unreadable::remedy(&self.held, self.offset)
    }
}

impl HeldPartition {
    /// A client that asks for this partition's logs and commits.
    ///
    /// # Errors
    /// Properties that the client refuses.
    pub fn asker(&self) -> anyhow::Result<Asker> {
        let mut client = self.kafka.by_hand("held")?;
        // The client does not join the group; the name is needed to ask for its committed offsets.
        client.set("group.id", &self.kafka.group);
        Asker::open(&client)
    }

    /// Whether the held topic has this partition, and may be described. Blocks the calling thread.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn is_there(&self) -> anyhow::Result<bool> {
        let since = Instant::now();
        let partitions = self
            .asked
            .partitions(&self.kafka, &self.held.topic, since)?;
        Ok(partitions.contains(&self.held.partition))
    }

    /// Committed offset of the source partition in the present life of its log (-1 if there is none), and its end offset.
    /// Blocks the calling thread.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn source(&self, asker: &Asker, input: &TopicPartition) -> anyhow::Result<(i64, i64)> {
        let mut all = asker.committed(std::iter::once(input))?;
        let facts = asker.facts(input, asker.topic_id(&input.topic)?)?;
        let Some(committed) = all.remove(input) else {
            return Ok((-1, facts.end));
        };
        let differs = asker.differs_from(input, &committed, &facts)?;
        let topic_id = committed.topic_id.as_ref();
        let offset = match judge_commit(committed.offset, topic_id, &facts, differs) {
            Verdict::Same => committed.offset,
            Verdict::New { .. } => -1,
        };
        Ok((offset, facts.end))
    }

    /// The offset behind held records that cannot be read, by a person's request to skip them. Blocks the calling thread.
    ///
    /// # Errors
    /// No person asked to skip them.
    fn behind(&self, offset: i64, error: &KafkaError) -> anyhow::Result<i64> {
        let TopicPartition { topic, partition } = &self.held;
        match skip::requested(&self.kafka, &self.state_topic, &self.held, offset)? {
            Some(skip) => {
                tracing::warn!(
                    topic,
                    partition,
                    from = skip.from,
                    to = skip.to,
                    by = skip.by,
                    "unreadable held records are skipped at an operator's request"
                );
                Ok(skip.to)
            }
            None => Err(UnreadableBatch {
                held: self.held.clone(),
                offset,
                error: error.to_string(),
            }
            .into()),
        }
    }

    fn open(&self, from: i64) -> anyhow::Result<BaseConsumer> {
        let consumer = access::plain_consumer(&self.kafka.by_hand("held")?)
            .context("cannot open a reader of held records")?;
        let mut wanted = TopicPartitionList::new();
        wanted
            .add_partition_offset(&self.held.topic, self.held.partition, Offset::Offset(from))
            .context("an offset that no broker gives")?;
        consumer
            .assign(&wanted)
            .with_context(|| format!("cannot read {}", self.held.topic))?;
        Ok(consumer)
    }
}

/// Rebuilds the held index, and reports its progress. Blocks the calling thread; ends early, with an error, at `stop`.
///
/// # Errors
/// The broker does not answer, or a mark cannot be read.
pub fn rebuild(
    place: &HeldPartition,
    asker: &Asker,
    progress: &mut dyn FnMut(Progress),
    stop: &CancellationToken,
) -> anyhow::Result<Rebuilt> {
    let key = &place.held;
    let facts = asker.facts(key, asker.topic_id(&key.topic)?)?;
    let mut rebuilt = Rebuilt {
        topic_id: facts.topic_id.clone(),
        epoch: -1,
        ..Rebuilt::default()
    };
    let hold = &mut rebuilt.hold;
    hold.ends_at(facts.end);
    let marks = place.marks(&facts, |below| {
        Ok(asker.newest_below(key, below)?.map(|point| HeldAt {
            offset: point.offset,
            epoch: point.epoch,
            timestamp_ms: (point.timestamp_ms >= 0).then_some(point.timestamp_ms),
        }))
    })?;
    if marks.void > 0 {
        metrics::changed(&place.held.topic, Change::Recreated);
        tracing::error!(
            topic = place.held.topic,
            partition = place.held.partition,
            marks = marks.void,
            end = facts.end,
            "marks of released records are from another life of the held log (it was deleted and created again, mirrored, or lost its tail): they are ignored, and what is held is released again"
        );
    }
    if facts.low >= facts.end || marks.low >= facts.end {
        rebuilt.marks = Marks {
            low: facts.end,
            ..marks
        };
        return Ok(rebuilt);
    }
    let end = facts.end;
    let mut next = marks.low.max(facts.low);
    let mut consumer = place.open(next)?;
    loop {
        anyhow::ensure!(!stop.is_cancelled(), "the partition was taken away");
        match poll::next(&consumer, POLL) {
            None => {}
            Some(Ok(message)) if message.offset() >= end => break,
            Some(Ok(message)) => {
                progress(Progress::Read);
                next = message.offset() + 1;
                let last = next >= end;
                let held = held_message(&message, place);
                let at = HeldAt {
                    offset: held.offset,
                    epoch: epoch_of(&message),
                    timestamp_ms: held.timestamp_ms,
                };
                rebuilt.epoch = rebuilt.epoch.max(at.epoch);
                if !marks.released(&held.name, at) {
                    let why = held.letter.as_ref().map(|(reason, _)| reason.code.as_str());
                    let why = why.unwrap_or("unreadable");
                    let why = &why[..why.floor_char_boundary(LONGEST_REASON)];
                    hold.found(&held.name, held.offset, held.bytes(), held.since_ms(), why);
                }
                if last {
                    break;
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                // This reader is told the last stable offset.
                let TopicPartition { topic, partition } = key;
                let (_, stable) = consumer
                    .fetch_watermarks(topic, *partition, CALL)
                    .with_context(|| format!("cannot ask for the end of {key}"))?;
                if stable >= end {
                    break;
                }
                progress(Progress::Hidden(stable));
            }
            Some(Err(error)) if is_of_data(&error) => {
                next = place.behind(next, &error)?;
                consumer = place.open(next)?;
            }
            Some(Err(error)) => progress(Progress::Failed(error)),
        }
    }
    rebuilt.marks = marks;
    Ok(rebuilt)
}

/// Waits on a blocking thread, until `stop` at the longest.
pub fn rest(pause: Duration, stop: &CancellationToken) {
    tokio::runtime::Handle::current().block_on(async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    });
}

fn held_message(message: &BorrowedMessage<'_>, place: &HeldPartition) -> HeldMessage {
    let mut letter = letter::parse(headers::of(message)).ok();
    if let Some((_, source)) = &mut letter
        && !(place.held.topic.starts_with(&source.topic)
            && source.partition == place.held.partition)
    {
        // The headers name another partition, so they are wrong or forged: the source's timestamp is not believed either.
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
