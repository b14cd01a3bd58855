//! Reading a held topic: what is still held after a start, and the records to be released, in order.
//!
//! Owns the names of marks in the state topic and, while something is released, one thread with a consumer of its own.
//!
//! * [`rebuild`] leaves out what the marks say is released; nothing else is ever left out.
//! * O3: it writes nothing; marks are the worker's.
//!
//! Queue to the worker: [`BATCHES`] of at most [`BATCH_MESSAGES`] messages; when it is full, nothing is read. Dropping a
//! [`Reading`] ends its thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::hold::Hold;
use super::partition::HeldMessage;
use super::{kafka, letter, state};
use crate::ops::board::Board;
use crate::ops::waits::{self, Kind, Wait};
use crate::registry::poll;

/// Batches waiting for a worker.
pub const BATCHES: usize = 2;
/// Messages of one batch at most.
pub const BATCH_MESSAGES: usize = 500;
/// Bytes of one batch, about.
pub const BATCH_BYTES: u64 = 256 * 1024;
/// How long a call to the broker may take.
const CALL: Duration = Duration::from_secs(10);
/// Bytes of an unreadable mark that are shown.
const SHOWN: usize = 60;
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

impl Place {
    /// The name of a mark in the state topic.
    #[must_use]
    pub fn mark(&self, name: &[u8]) -> Vec<u8> {
        let mut key = self.prefix("released-through").into_bytes();
        key.extend_from_slice(name);
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
    let consumer = place.open(marks.low.max(start))?;
    loop {
        anyhow::ensure!(!stop.is_cancelled(), "the partition was taken away");
        match poll::next(&consumer, POLL) {
            None => {}
            Some(Ok(message)) if message.offset() >= end => break,
            Some(Ok(message)) => {
                progress(Progress::Read);
                let last = message.offset() + 1 >= end;
                let held = held_message(&message);
                let released = marks.through.get(&held.name).copied();
                if released.is_none_or(|through| held.offset > through) {
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
    let mut bytes = 0;
    while !stop.is_cancelled() {
        let idle = match poll::next(consumer, POLL) {
            None => {
                trouble.idle();
                true
            }
            Some(Ok(message)) => {
                trouble.end();
                let held = held_message(&message);
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
            };
            bytes = 0;
            if to.blocking_send(batch).is_err() {
                stop.cancel();
            }
        }
    }
}
