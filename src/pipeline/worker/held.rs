//! A worker's held side: rebuilding the held index, reading records to be released, and writing marks.
//!
//! Owns the rebuilding after a start, the reading while records are released, the marks in flight, and the registry snapshot
//! that is in force for the partition; that snapshot changes only together with a review (G1).
//!
//! * No live record is taken before the held index is rebuilt (S1).
//! * O3: no mark is written once the partition is revoked; marks in flight may still arrive.
//!
//! [`low`] deletes marks and records that are released for good.
//!
//! Dropping it ends the reading; after a mark that was not written the next owner releases those records again.

mod begin;
mod low;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::log_life::TopicId;
use crate::ops::enquiry::HeldOf;
use crate::ops::metrics::held as metrics;
use crate::ops::status::Waiting;
use crate::ops::status_registry::StatusRegistry;
use crate::ops::waits::{Kind, Wait};
use crate::pipeline::dispatch;
use crate::pipeline::guard::dead_messages;
use crate::pipeline::hold::Mark;
use crate::pipeline::partition::{FAILING, RELEASING};
use crate::pipeline::permits::{PartitionPermits, Permit};
use crate::pipeline::producer::WriteError;
use crate::pipeline::release::{self, Batch, HeldPartition, Reading, Rebuilt, mark_name};
use crate::pipeline::settings::{MESSAGE_OVERHEAD, Topics};
use crate::record::Stage;
use crate::record::decode::Decoder;
use crate::registry::{RegistryWatch, Snapshot};
use crate::topic_partition::TopicPartition;
use begin::Beginning;
pub(super) use low::LowWatermarks;
use low::Trim;

/// Pause between two reviews: bulk changes of the registry must not keep the worker busy.
const REVIEW: Duration = Duration::from_millis(100);
/// Pause before a batch that was refused a memory permit is tried again.
const AGAIN: Duration = Duration::from_millis(20);
/// How often the low mark, and the age of held records, are looked at.
const LOW: Duration = Duration::from_secs(5);

/// An event of the held side.
pub(super) enum HeldEvent {
    Rebuilt(Box<Found>),
    /// The task that rebuilds the index panicked.
    Broken(JoinError),
    Batch(Batch),
    Written(Written, anyhow::Result<()>),
    Review,
    Low,
    Again,
}

/// What was written to the state topic, deleted from the held topic, or created.
pub(super) enum Written {
    Mark(Mark),
    Low(i64),
    Erased,
    Trimmed(Trim),
    /// The held topic.
    Topic,
}

/// Facts that the rebuilding found before the partition begins.
pub(super) struct Found {
    /// Held index and marks, as the held topic and the state topic have them.
    rebuilt: Rebuilt,
    /// Committed offset of the source partition; -1 if there is none in this life of its log.
    committed: i64,
    /// End offset of the source partition; `None` if it was not asked for.
    source_end: Option<i64>,
    /// Whether the held topic has this partition.
    topic_there: bool,
}

impl Found {
    fn nothing() -> Self {
        Self {
            rebuilt: Rebuilt {
                epoch: -1,
                ..Rebuilt::default()
            },
            committed: -1,
            source_end: None,
            topic_there: false,
        }
    }
}

/// Pause after a write to the state topic that was refused.
const REFUSED: Duration = Duration::from_secs(1);

/// Gives the refusal of a write after a pause, because the caller writes again at once.
async fn refused(error: WriteError) -> anyhow::Result<()> {
    tokio::time::sleep(REFUSED).await;
    Err(error.into())
}

type Writing = Pin<Box<dyn Future<Output = (Written, anyhow::Result<()>)> + Send>>;

/// See the module's documentation.
pub(super) struct Side {
    /// Client settings, topic names and partition number of the held records; the rebuilding and every reading have clones.
    place: HeldPartition,
    /// Whether a gate holds records of devices that are not active; otherwise only records that the gateway fails on are held.
    gated: bool,
    /// Newest snapshot of the device registry; the registry's follower task has the sender, every worker a receiver.
    registry: RegistryWatch,
    /// Whether the sender of the registry was dropped: no other snapshot comes.
    registry_ended: bool,
    /// The snapshot in force until the next review (G1); an `Arc` shared with the registry's channel and the other workers.
    pub devices: Arc<Snapshot>,
    /// Decodes held messages, which are in the gateway's shape.
    pub decoder: Decoder,
    /// The partition's share of the memory permits, the same as the worker's; a batch is taken in only with a permit.
    permits: Arc<PartitionPermits>,
    /// The task that reads held topic and marks after the start; `None` once it has ended. Dropped, the task goes on until it
    /// sees `stop`.
    rebuilding: Option<JoinHandle<Option<Found>>>,
    /// Whether the held index is rebuilt; no chunk is taken and no mark written before (S1).
    pub ready: bool,
    /// Whether the held topic is known to have this partition; no device is quarantined before.
    pub topic_there: bool,
    /// The thread that reads records to be released, and the offset it is to give next; `None` while nothing is released.
    /// Dropped, the thread ends.
    reading: Option<(Reading, i64)>,
    /// A batch that was read and waits for memory, for room for letters or for room in the queues; the reading is not polled
    /// meanwhile.
    pending: Option<Batch>,
    /// Writes of marks, deletions of records and the creation of the held topic, each until the broker answers. Dropped, what
    /// was not written is released or deleted again by the next owner.
    writing: FuturesUnordered<Writing>,
    /// Released-through marks by name, as far as they are in the state topic and not below the low mark.
    through: HashMap<Vec<u8>, i64>,
    /// How far the log is released, marked and deleted.
    low: LowWatermarks,
    /// Identity of the held topic that the index was rebuilt from; `None` where the broker gives no ids.
    topic_id: Option<TopicId>,
    /// Newest leader epoch seen in the held topic's log, written into every mark; -1 for none.
    epoch: i32,
    /// Whether the registry changed since the last review, or there was none yet.
    stale: bool,
    /// When the last review was; the next one comes at least `REVIEW` later.
    reviewed: Instant,
    /// When low mark, probes and ages were last looked at.
    looked: Instant,
    /// The input topic under whose name trouble of the reading is published, and the board; `None` before `begin`.
    watched: Option<(TopicPartition, Arc<StatusRegistry>)>,
    /// The wait published while marks cannot be written. Dropped, it ends on the board.
    unmarked: Option<Wait>,
    /// Cancelled when this is dropped; the rebuilding has a clone and ends.
    stop: CancellationToken,
}

impl Side {
    pub fn new(
        place: HeldPartition,
        registry: RegistryWatch,
        decoder: Decoder,
        permits: Arc<PartitionPermits>,
        gated: bool,
        lows: LowWatermarks,
    ) -> Self {
        let now = Instant::now();
        Self {
            place,
            devices: Arc::default(),
            registry,
            registry_ended: false,
            decoder,
            permits,
            gated,
            ready: false,
            topic_there: false,
            rebuilding: None,
            reading: None,
            pending: None,
            writing: FuturesUnordered::new(),
            through: HashMap::new(),
            low: lows,
            topic_id: None,
            epoch: -1,
            stale: true,
            reviewed: now.checked_sub(REVIEW).unwrap_or(now),
            looked: now,
            watched: None,
            unmarked: None,
            stop: CancellationToken::new(),
        }
    }

    /// Begins to rebuild the held index, on a blocking thread.
    pub fn begin(&mut self, input: &TopicPartition, topics: Topics, board: Arc<StatusRegistry>) {
        self.watched = Some((input.clone(), Arc::clone(&board)));
        let beginning = Beginning {
            place: self.place.clone(),
            gated: self.gated,
            input: input.clone(),
            topics,
            board,
            stop: self.stop.clone(),
        };
        self.rebuilding = Some(tokio::spawn(async move {
            let turn = beginning.turn().await?;
            match tokio::task::spawn_blocking(move || beginning.run(turn)).await {
                Ok(found) => found,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime is shutting down.
                Err(_) => None,
            }
        }));
    }

    /// The text of a mark at this offset of the held log.
    fn text(&self, offset: i64) -> String {
        release::Mark::text(offset, self.topic_id.as_ref(), self.epoch)
    }

    pub fn held_topic(&self) -> &str {
        &self.place.held.topic
    }

    /// Whether no write, deletion or creation is in flight.
    pub fn idle(&self) -> bool {
        self.writing.is_empty()
    }

    /// The registry snapshot to decide by: with a gate, that of the last review.
    pub fn in_force(&self, holds: bool) -> Arc<Snapshot> {
        if holds {
            Arc::clone(&self.devices)
        } else {
            Arc::clone(&self.registry.borrow())
        }
    }

    /// Counts the body of a request that came back as memory in use.
    pub fn owe(&self, bytes: u64) -> Permit {
        self.permits.owe(bytes)
    }

    /// Has the held topic created by this future; the result comes as an event.
    pub fn make_topic(&mut self, made: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.writing
            .push(Box::pin(async move { (Written::Topic, made.await) }));
    }

    /// The next event of the held side. `runs`: the partition is assigned and not being drained; `waits`: a review could begin
    /// a release. Cancelling loses nothing.
    pub async fn next(&mut self, runs: bool, waits: bool) -> HeldEvent {
        let reviews = runs && self.ready;
        let review_at = self.reviewed + REVIEW;
        loop {
            let due = reviews && (self.stale || waits);
            tokio::select! {
                found = async { self.rebuilding.as_mut().expect("guarded").await }, if self.rebuilding.is_some() => {
                    self.rebuilding = None;
                    match found {
                        Ok(Some(found)) => return HeldEvent::Rebuilt(Box::new(found)),
                        // Only `stop` ends the rebuilding without a result, and then the worker ends as well.
                        Ok(None) => {}
                        Err(error) => return HeldEvent::Broken(error),
                    }
                }
                Some((written, result)) = self.writing.next(), if !self.writing.is_empty() => {
                    return HeldEvent::Written(written, result);
                }
                batch = async { self.reading.as_mut().expect("guarded").0.next().await },
                    if runs && self.pending.is_none() && self.reading.is_some() => return HeldEvent::Batch(batch),
                changed = self.registry.changed(), if reviews && !self.stale && !self.registry_ended => {
                    // The follower ends only with the job; what it said last stays in force meanwhile.
                    self.registry_ended = changed.is_err();
                    self.stale = changed.is_ok();
                }
                () = tokio::time::sleep_until(review_at.into()), if due => return HeldEvent::Review,
                () = tokio::time::sleep(AGAIN), if runs && self.pending.is_some() => return HeldEvent::Again,
                () = tokio::time::sleep_until((self.looked + LOW).into()), if reviews => return HeldEvent::Low,
                // Revoked before the held index was rebuilt: no further event comes.
                else => return std::future::pending().await,
            }
        }
    }

    /// Reads the held topic on from `wanted`, or stops reading.
    fn follow(&mut self, wanted: Option<i64>) {
        match wanted {
            None => (self.reading, self.pending) = (None, None),
            Some(from) if self.reading.as_ref().is_none_or(|(_, next)| *next != from) => {
                self.pending = None;
                let watched = self.watched.clone();
                self.reading = Some((Reading::begin(self.place.clone(), from, watched), from));
            }
            Some(_) => {}
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Worker {
    /// Handles an event of the held side.
    pub(super) fn held(&mut self, act: HeldEvent) -> anyhow::Result<()> {
        match act {
            HeldEvent::Rebuilt(found) => {
                let Found {
                    rebuilt,
                    committed,
                    source_end,
                    topic_there,
                } = *found;
                let Rebuilt {
                    mut hold,
                    marks,
                    topic_id,
                    epoch,
                } = rebuilt;
                if !self.side.gated && hold.keep_only(&[FAILING, RELEASING]) {
                    // Records that a gate held are not released without a gate, and must not be deleted either.
                    self.side.low.rest();
                }
                let (records, bytes, _) = hold.figures();
                if records > 0 {
                    tracing::info!(
                        topic = %self.progress.input.topic, partition = self.progress.input.partition, records, bytes,
                        "records are held"
                    );
                }
                self.side.low.begin(marks.low);
                let through = marks.through.into_iter();
                self.side.through = through.map(|(name, mark)| (name, mark.offset)).collect();
                if let Some(id) = &topic_id {
                    self.progress.set_held_topic(id.clone());
                }
                (self.side.topic_id, self.side.epoch) = (topic_id, epoch);
                self.partition.set_hold(hold, &self.side.place.held.topic);
                self.partition.set_committed(committed);
                if let Some(end) = source_end {
                    self.partition.set_source_end(end);
                }
                let devices = Arc::clone(&self.side.registry.borrow());
                self.partition.restore_quarantine(&devices, Instant::now());
                self.side.topic_there = topic_there;
                self.side.ready = true;
                self.review()
            }
            HeldEvent::Broken(error) => {
                Err(anyhow::Error::new(error).context("finding out what is held"))
            }
            HeldEvent::Batch(batch) => {
                self.side.epoch = self.side.epoch.max(batch.epoch);
                self.side.pending = Some(batch);
                Ok(())
            }
            HeldEvent::Written(Written::Topic, result) => self.held_topic_made(result),
            HeldEvent::Written(written, result) => {
                self.written_about(written, result);
                Ok(())
            }
            HeldEvent::Review => self.review(),
            HeldEvent::Low => {
                self.side.looked = Instant::now();
                self.partition.begin_probes(self.side.looked);
                self.quarantine()?;
                self.look_low();
                // Time alone can make held records too old.
                if self.partition.hold().is_empty() {
                    self.show_held();
                    return Ok(());
                }
                self.review()
            }
            HeldEvent::Again => Ok(()),
        }
    }

    fn review(&mut self) -> anyhow::Result<()> {
        self.side.devices = Arc::clone(&self.side.registry.borrow_and_update());
        self.side.stale = false;
        self.side.reviewed = Instant::now();
        self.partition.set_committed(self.progress.committed());
        let now_ms = jiff::Timestamp::now().as_millisecond();
        self.partition.set_letter_room(self.letter_room());
        let letters = self
            .partition
            .review(&Arc::clone(&self.side.devices), now_ms);
        self.show_held();
        self.post(letters)
    }

    /// Withdraws queued records that may not be sent any more, as far as there is room for their letters.
    pub(super) fn withdraw(&mut self) -> anyhow::Result<()> {
        self.partition.set_letter_room(self.letter_room());
        let devices = self.side.in_force(self.partition.gated());
        let letters = self.partition.withdraw(&devices);
        self.post(letters)
    }

    fn show_held(&self) {
        let (records, bytes, releasing) = self.partition.hold().figures();
        let waiting = Waiting {
            records,
            bytes,
            releasing,
        };
        metrics::waiting(&self.progress.input, &waiting);
        self.slot.hold(waiting, Instant::now());
    }

    /// What is held under a name, for a person who asks.
    pub(super) fn held_of(&self, name: &str) -> Option<HeldOf> {
        let held = self.partition.hold().of(name.as_bytes())?;
        Some(HeldOf {
            records: held.records,
            bytes: held.bytes,
            since_ms: held.since_ms,
            reason: held.reason.clone(),
        })
    }

    /// Feeds the batch that waits, starts or stops the reading, and writes the marks that are due.
    pub(super) fn follow_held(&mut self, runs: bool, revoked: bool) -> anyhow::Result<()> {
        if !self.side.ready {
            return Ok(());
        }
        if runs {
            self.feed()?;
            self.side.follow(self.partition.hold().wanted());
        }
        if !revoked {
            for mark in self.partition.hold_mut().marks() {
                let (producer, topic) = (
                    self.shared.producer.clone(),
                    self.side.place.state_topic.clone(),
                );
                let keys: Vec<Vec<u8>> = mark
                    .names
                    .iter()
                    .map(|name| self.side.place.mark(name))
                    .collect();
                let value = self.side.text(mark.through);
                self.side.writing.push(Box::pin(async move {
                    for key in keys {
                        if let Err(error) = producer.write(&topic, &key, value.as_bytes()).await {
                            return (Written::Mark(mark), refused(error).await);
                        }
                    }
                    (Written::Mark(mark), Ok(()))
                }));
            }
        }
        Ok(())
    }

    /// Takes in the batch that waits, if there is room for its records and letters.
    fn feed(&mut self) -> anyhow::Result<()> {
        if dispatch::sated(self.partition.queues(), self.limits()) || !self.letters_fit() {
            return Ok(());
        }
        let Some(batch) = self.side.pending.take() else {
            return Ok(());
        };
        let hold = self.partition.hold();
        let concerned = |message: &&crate::pipeline::partition::HeldMessage| {
            hold.takes(&message.name, message.offset).is_some()
        };
        let reserve: u64 = batch
            .messages
            .iter()
            .filter(concerned)
            .map(|message| message.bytes() + MESSAGE_OVERHEAD)
            .sum();
        let permit = match reserve {
            0 => None,
            _ => match self.side.permits.reserve(reserve) {
                Some(permit) => Some(permit),
                None => {
                    // M1: a refused reserve makes the worker flush.
                    self.flush = true;
                    self.side.pending = Some(batch);
                    return self.press();
                }
            },
        };
        let now = (Instant::now(), jiff::Timestamp::now().as_microsecond());
        let devices = Arc::clone(&self.side.devices);
        let before = self.partition.hold().released().taken_up;
        let letters = self.partition.feed(
            &batch.messages,
            batch.next,
            (&mut self.side.decoder, &mut self.decoded),
            permit,
            &devices,
            now,
        );
        if let Some((_, next)) = &mut self.side.reading {
            *next = batch.next;
        }
        let taken_up = self.partition.hold().released().taken_up - before;
        // Letters by the gate's policies do not count for the guard: they are no sign of a bad deployment.
        let refused = letters
            .iter()
            .filter(|letter| letter.reason.stage != Stage::Gate.name());
        let dead = dead_messages(refused, |_| None, &mut None);
        self.shared.guard.note(taken_up, &dead, Instant::now())?;
        self.queue(letters);
        Ok(())
    }

    fn written_about(&mut self, written: Written, result: anyhow::Result<()>) {
        match &result {
            Ok(()) => self.side.unmarked = None,
            Err(error) => {
                metrics::mark_refused(&self.progress.input.topic);
                self.show_unmarked(error);
            }
        }
        match (written, result) {
            // No broker will ever take this mark: after a restart its records are released again, which repeats them.
            (Written::Mark(mark), Err(error)) if !WriteError::refusal(&error).retryable() => {
                self.side.unmarked = None;
                self.partition.hold_mut().marked(&mark);
            }
            (Written::Mark(mark), Ok(())) => {
                metrics::marked(&self.progress.input.topic);
                for name in &mark.names {
                    let name = mark_name(name).into_owned();
                    self.side.through.insert(name, mark.through);
                }
                self.partition.hold_mut().marked(&mark);
            }
            (Written::Mark(mark), Err(_)) => self.partition.hold_mut().unmarked(&mark),
            (Written::Low(low), Ok(())) => self.erase_below(low),
            (Written::Low(_), Err(_)) => self.side.low.unwritten(),
            (Written::Erased | Written::Topic, _) => {}
            (Written::Trimmed(trim), _) => self.trimmed(trim),
        }
    }

    /// Publishes that a mark cannot be written; the write is repeated.
    fn show_unmarked(&mut self, error: &anyhow::Error) {
        let cause = format!("a mark of what is released cannot be written: {error:#}");
        if let Some(wait) = &self.side.unmarked {
            return wait.update(cause);
        }
        let remedy = WriteError::refusal(error).remedy().map_or_else(
            || {
                format!(
                    "check that {} exists and may be written by this user; it is tried again by itself",
                    self.side.place.state_topic
                )
            },
            str::to_owned,
        );
        let subject = self.progress.input.to_string();
        let wait = self.shared.board.wait(Kind::State, subject, cause, remedy);
        self.side.unmarked = Some(wait);
    }
}
