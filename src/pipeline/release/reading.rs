//! Reading the held records that are being released, in order.
//!
//! Owns one thread with a consumer of its own while records are released, and publishes why they cannot be read (H1).
//!
//! * Nothing behind an unreadable batch is taken, unless a person asked to skip that batch.
//!
//! Queue to the worker: [`BATCHES`] of at most [`BATCH_MESSAGES`] messages; when it is full, nothing is read. Dropping a
//! [`Reading`] ends its thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{HeldPartition, POLL, UnreadableBatch, held_message, is_of_data, rest};
use crate::log_life::broker::epoch_of;
use crate::ops::status_registry::StatusRegistry;
use crate::ops::waits::{Kind, Wait};
use crate::pipeline::partition::HeldMessage;
use crate::poll;
use crate::rights;
use crate::topic_partition::TopicPartition;

/// Capacity of the channel to a worker, in batches.
pub const BATCHES: usize = 2;
/// Messages of one batch at most.
pub const BATCH_MESSAGES: usize = 500;
/// Bytes of one batch, about.
pub const BATCH_BYTES: u64 = 256 * 1024;
/// Time without another error after which an error of the client counts as passed.
const PASSED: Duration = Duration::from_secs(10);
/// Pause before the reading is opened again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Messages read from a held partition.
#[derive(Debug)]
pub struct Batch {
    /// Messages in the order of the partition.
    pub messages: Vec<HeldMessage>,
    /// Everything below this offset was read.
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

/// A running reading of a held partition.
#[derive(Debug)]
pub struct Reading {
    /// Batches from the thread, which has the sender. Dropped, the thread ends with its next batch at the latest.
    batches: mpsc::Receiver<Batch>,
    /// Cancelled when this is dropped; the thread has a clone.
    stop: CancellationToken,
}

impl Reading {
    /// Begins at `from`, on a thread of its own. `watched`: the partition of the input topic under whose name errors are published, and the
    /// board.
    #[must_use]
    pub fn begin(
        place: HeldPartition,
        from: i64,
        watched: Option<(TopicPartition, Arc<StatusRegistry>)>,
    ) -> Self {
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
                lasts: false,
            };
            while !ended.is_cancelled() {
                let opened = place.open(next);
                let read = opened.and_then(|consumer| {
                    let Err(error) = read(&consumer, &mut next, &to, &mut trouble, &ended) else {
                        return Ok(());
                    };
                    next = place.behind(next, &error)?;
                    let batch = Batch {
                        messages: Vec::new(),
                        next,
                        epoch: -1,
                    };
                    // A worker that has ended cancels this thread anyway.
                    let _ = to.blocking_send(batch);
                    Ok(())
                });
                if let Err(error) = read {
                    let unreadable = error.downcast_ref::<UnreadableBatch>();
                    let remedy = unreadable.map(|batch| format!("; {}", batch.remedy()));
                    trouble.begin(&format!("{error:#}{}", remedy.unwrap_or_default()));
                }
                rest(ASK_AGAIN, &ended);
            }
        });
        Self { batches, stop }
    }

    /// The next batch; pending for ever once the thread has ended.
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

/// The published wait for held records that cannot be read (H1).
struct Trouble {
    /// What is read.
    place: HeldPartition,
    /// The partition of the input topic under whose name trouble is published, and the board; without them it is only logged.
    watched: Option<(TopicPartition, Arc<StatusRegistry>)>,
    /// The published wait. Dropped, it ends on the board.
    wait: Option<Wait>,
    /// When the newest error came.
    newest: Instant,
    /// Whether that error lasts until a message or the end of the partition comes.
    lasts: bool,
}

impl Trouble {
    fn begin(&mut self, error: &str) {
        self.newest = Instant::now();
        let held = &self.place.held.topic;
        let cause = format!("records to be released cannot be read from {held}: {error}");
        match (&self.wait, &self.watched) {
            (Some(wait), _) => wait.update(cause),
            (None, Some((input, board))) => {
                let subject = input.to_string();
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
        self.lasts = false;
    }

    /// No message came: an error that is not repeated has passed. The watcher publishes brokers that do not answer.
    fn idle(&mut self) {
        if self.wait.is_some() && !self.lasts && self.newest.elapsed() > PASSED {
            self.end();
        }
    }
}

/// Reads until `stop`, or until the worker has ended.
///
/// # Errors
/// What lies at `next` cannot be read.
fn read(
    consumer: &BaseConsumer,
    next: &mut i64,
    to: &mpsc::Sender<Batch>,
    trouble: &mut Trouble,
    stop: &CancellationToken,
) -> Result<(), KafkaError> {
    let mut messages: Vec<HeldMessage> = Vec::new();
    let (mut bytes, mut epoch) = (0, -1);
    while !stop.is_cancelled() {
        let mut broken = None;
        let idle = match poll::next(consumer, POLL) {
            None => {
                trouble.idle();
                true
            }
            Some(Ok(message)) => {
                trouble.end();
                let held = held_message(&message, &trouble.place);
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
            Some(Err(error)) if is_of_data(&error) => {
                broken = Some(error);
                true
            }
            Some(Err(error)) => {
                let code = error.rdkafka_error_code();
                // The client reports it once.
                trouble.lasts = code.is_some_and(rights::is_missing);
                let (topic, group) = (&trouble.place.held.topic, &trouble.place.kafka.group);
                let said = rights::named(error, topic, group).to_string();
                trouble.begin(&said);
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
        if let Some(error) = broken {
            return Err(error);
        }
    }
    Ok(())
}
