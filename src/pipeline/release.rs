//! Reading a held topic: what is still held after a start, and the records to be released, in order.
//!
//! Owns, while something is released, one thread with a consumer of its own. Of marks see [`marks`].
//!
//! * [`rebuild`] leaves out what marks of this life of the held log say is released (E1); nothing else is ever left out.
//! * O3: it writes nothing; marks are the worker's.
//!
//! Queue to the worker: [`BATCHES`] of at most [`BATCH_MESSAGES`] messages; when it is full, nothing is read. Dropping a
//! [`Reading`] ends its thread.

mod marks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::hold::Hold;
use super::partition::HeldMessage;
use super::{kafka, letter};
use crate::log_life::broker::{Asker, epoch_of};
use crate::log_life::{Change, TopicId, Verdict, judge_commit};
use crate::ops::board::Board;
use crate::ops::metrics::log_life as metrics;
use crate::ops::waits::{self, Kind, Wait};
use crate::registry::poll;

pub use marks::{HeldAt, Mark, Marks, UnreadableMark};

/// Batches waiting for a worker.
pub const BATCHES: usize = 2;
/// Messages of one batch at most.
pub const BATCH_MESSAGES: usize = 500;
/// Bytes of one batch, about.
pub const BATCH_BYTES: u64 = 256 * 1024;
/// How long the brokers may take to say whether a topic is there.
const CALL: Duration = Duration::from_secs(10);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(20);
/// After so long without another one an error of the client has passed.
const PASSED: Duration = Duration::from_secs(10);
/// Pause before a broker that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Where one partition's held records and marks are.
#[derive(Debug, Clone)]
pub struct Place {
    pub kafka: kafka::Config,
    pub held_topic: String,
    pub state_topic: String,
    pub partition: i32,
}

/// What the reading of held records came to, as it happens.
#[derive(Debug)]
pub enum Progress {
    /// A message was read.
    Read,
    /// The client gave an error in place of a message; it goes on by itself.
    Failed(KafkaError),
}

/// What an owner finds out about the held records of a partition before it begins.
#[derive(Debug, Default)]
pub struct Rebuilt {
    pub hold: Hold,
    pub marks: Marks,
    /// The held topic, where the broker gives ids.
    pub topic_id: Option<TopicId>,
    /// The newest leader epoch in its log; -1 for none.
    pub epoch: i32,
}

impl Place {
    fn asker(&self) -> anyhow::Result<Asker> {
        let mut client = self.kafka.by_hand("held")?;
        // As a stranger to the group, who only asks for its commits.
        client.set("group.id", &self.kafka.group);
        Asker::open(&client)
    }

    /// Whether the held topic has this partition, and may be asked for. Blocks the calling thread.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn is_there(&self) -> anyhow::Result<bool> {
        let asker: BaseConsumer = self
            .kafka
            .by_hand("held")?
            .create()
            .context("cannot open a reader of held records")?;
        let found = asker
            .fetch_metadata(Some(&self.held_topic), CALL)
            .with_context(|| format!("cannot ask for topic {}", self.held_topic))?;
        let found = found
            .topics()
            .iter()
            .find(|topic| topic.name() == self.held_topic);
        let Some(found) = found else { return Ok(false) };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(found.partitions().iter().any(|p| p.id() == self.partition)),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed,
            ) => Ok(false),
            Some(error) => anyhow::bail!("cannot ask for topic {}: {error}", self.held_topic),
        }
    }

    /// Up to where the source partition `topic` is committed in the log that is there, -1 if nothing is. Blocks the calling thread.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn committed(&self, topic: &str) -> anyhow::Result<i64> {
        let key = (topic.to_owned(), self.partition);
        let asker = self.asker()?;
        let mut all = asker.committed(std::iter::once(&key))?;
        let Some(committed) = all.remove(&key) else {
            return Ok(-1);
        };
        let facts = asker.facts(&key, asker.topic_id(topic)?)?;
        let verdict = judge_commit(committed.offset, committed.topic_id.as_ref(), &facts);
        Ok(match verdict {
            Verdict::Same => committed.offset,
            Verdict::New { .. } => -1,
        })
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
) -> anyhow::Result<Rebuilt> {
    let asker = place.asker()?;
    let key = (place.held_topic.clone(), place.partition);
    let facts = asker.facts(&key, asker.topic_id(&place.held_topic)?)?;
    let mut rebuilt = Rebuilt {
        topic_id: facts.topic_id.clone(),
        epoch: -1,
        ..Rebuilt::default()
    };
    let hold = &mut rebuilt.hold;
    hold.ends_at(facts.end);
    let marks = place.marks(&facts, |below| {
        Ok(asker.newest_below(&key, below)?.map(|point| HeldAt {
            offset: point.offset,
            epoch: point.epoch,
            timestamp_ms: (point.timestamp_ms >= 0).then_some(point.timestamp_ms),
        }))
    })?;
    if marks.void > 0 {
        metrics::changed(&place.held_topic, Change::Recreated);
        tracing::error!(
            topic = place.held_topic,
            partition = place.partition,
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
    let consumer = place.open(marks.low.max(facts.low))?;
    loop {
        anyhow::ensure!(!stop.is_cancelled(), "the partition was taken away");
        match poll::next(&consumer, POLL) {
            None => {}
            Some(Ok(message)) if message.offset() >= end => break,
            Some(Ok(message)) => {
                progress(Progress::Read);
                let last = message.offset() + 1 >= end;
                let held = held_message(&message);
                let at = HeldAt {
                    offset: held.offset,
                    epoch: epoch_of(&message),
                    timestamp_ms: held.timestamp_ms,
                };
                rebuilt.epoch = rebuilt.epoch.max(at.epoch);
                let released = marks.through.get(&held.name);
                if !released.is_some_and(|mark| mark.releases(at)) {
                    let why = held.letter.as_ref().map(|(reason, _)| reason.code.as_str());
                    let why = why.unwrap_or("unreadable");
                    hold.found(&held.name, held.offset, held.bytes(), held.since_ms(), why);
                }
                if last {
                    break;
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => progress(Progress::Failed(error)),
        }
    }
    rebuilt.marks = marks;
    Ok(rebuilt)
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

fn held_message(message: &BorrowedMessage<'_>) -> HeldMessage {
    let headers = message.headers();
    let headers = headers.iter().flat_map(|headers| headers.iter());
    let letter = letter::parse(headers.filter_map(|header| Some((header.key, header.value?))));
    HeldMessage {
        offset: message.offset(),
        name: message.key().unwrap_or_default().to_vec(),
        value: message.payload().unwrap_or_default().to_vec(),
        letter: letter.ok(),
        timestamp_ms: message.timestamp().to_millis(),
    }
}

/// What was read of a held partition.
#[derive(Debug)]
pub struct Batch {
    pub messages: Vec<HeldMessage>,
    /// Everything below was read.
    pub next: i64,
    /// The newest leader epoch among them; -1 for none.
    pub epoch: i32,
}

impl Batch {
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.messages.iter().map(HeldMessage::bytes).sum()
    }
}

/// A held partition being read from some offset on.
#[derive(Debug)]
pub struct Reading {
    batches: mpsc::Receiver<Batch>,
    stop: CancellationToken,
}

impl Reading {
    /// Begins at `from`, on a thread of its own. `watched`: the input topic in whose name trouble is published, and where.
    #[must_use]
    pub fn begin(place: Place, from: i64, watched: Option<(String, Arc<Board>)>) -> Self {
        let (to, batches) = mpsc::channel(BATCHES);
        let stop = CancellationToken::new();
        let ended = stop.clone();
        tokio::task::spawn_blocking(move || {
            let mut next = from;
            let mut trouble = Trouble {
                place: place.clone(),
                watched,
                wait: None,
                newest: Instant::now(),
            };
            while !ended.is_cancelled() {
                match place.open(next) {
                    Ok(consumer) => read(&consumer, &mut next, &to, &mut trouble, &ended),
                    Err(error) => trouble.begin(&format!("{error:#}")),
                }
                rest(ASK_AGAIN, &ended);
            }
        });
        Self { batches, stop }
    }

    /// The next batch; never, once its thread has ended.
    pub async fn next(&mut self) -> Batch {
        match self.batches.recv().await {
            Some(batch) => batch,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What keeps held records from being read, as published (H1).
struct Trouble {
    place: Place,
    watched: Option<(String, Arc<Board>)>,
    wait: Option<Wait>,
    /// When the newest error came.
    newest: Instant,
}

impl Trouble {
    fn begin(&mut self, error: &str) {
        self.newest = Instant::now();
        let held = &self.place.held_topic;
        let cause = format!("records to be released cannot be read from {held}: {error}");
        match (&self.wait, &self.watched) {
            (Some(wait), _) => wait.update(cause),
            (None, Some((topic, board))) => {
                let subject = waits::partition(topic, self.place.partition);
                let remedy = format!(
                    "check the broker, the topic {held}, and that this user may read it; it is tried again by itself"
                );
                self.wait = Some(board.wait(Kind::HeldTopic, subject, cause, remedy));
            }
            (None, None) => tracing::warn!(cause, "reading held records"),
        }
    }

    fn end(&mut self) {
        self.wait = None;
    }

    /// Nothing came. An error that is not repeated has passed; that no broker answers is published by the watcher.
    fn idle(&mut self) {
        if self.wait.is_some() && self.newest.elapsed() > PASSED {
            self.end();
        }
    }
}

/// Reads until told to stop or until the worker is gone.
fn read(
    consumer: &BaseConsumer,
    next: &mut i64,
    to: &mpsc::Sender<Batch>,
    trouble: &mut Trouble,
    stop: &CancellationToken,
) {
    let mut messages: Vec<HeldMessage> = Vec::new();
    let (mut bytes, mut epoch) = (0, -1);
    while !stop.is_cancelled() {
        let idle = match poll::next(consumer, POLL) {
            None => {
                trouble.idle();
                true
            }
            Some(Ok(message)) => {
                trouble.end();
                let held = held_message(&message);
                epoch = epoch_of(&message).max(epoch);
                *next = held.offset + 1;
                bytes += held.bytes();
                messages.push(held);
                false
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                trouble.end();
                true
            }
            Some(Err(error)) => {
                trouble.begin(&error.to_string());
                false
            }
        };
        let full = messages.len() >= BATCH_MESSAGES || bytes >= BATCH_BYTES;
        if full || (idle && !messages.is_empty()) {
            let batch = Batch {
                messages: std::mem::take(&mut messages),
                next: *next,
                epoch,
            };
            bytes = 0;
            if to.blocking_send(batch).is_err() {
                stop.cancel();
            }
        }
    }
}
