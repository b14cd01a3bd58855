//! The board: where workers post how far they are, and the operations pages read it.
//!
//! Owns one slot per assigned partition, and the published waits. A worker posts into its own slot with plain atomic
//! stores, at any rate, without waiting for anybody; the consumer thread posts what it knows of the same partition through
//! a [`StatusWatch`]. A reader may see one post's numbers mixed with the next one's, which the judgement tolerates. A slot leaves
//! the board when its worker drops it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::enquiry::{Answer, HeldOf, Question};
use super::journey;
use super::status::{LogChange, Membership, Partition, Pause, Position, Snapshot, Totals, Waiting};
use super::waits::{Kind, Wait, Waits};
use crate::log_life::Change;
use crate::topic_partition::TopicPartition;

/// No watermark, no poll: a value that offsets and ages never take.
const UNSET: u64 = u64::MAX;
/// Changes of logs that `/status` shows.
const LOG_CHANGES: usize = 32;

/// The job's board.
#[derive(Debug)]
pub struct StatusRegistry {
    origin: Instant,
    streams: AtomicBool,
    inputs: AtomicBool,
    assigned: AtomicBool,
    /// When `assigned` last changed, in milliseconds since the origin.
    assigned_since: AtomicU64,
    logged_in: AtomicBool,
    registry_read: AtomicBool,
    polled: AtomicU64,
    memory_full: AtomicBool,
    // A lock: written with each of the client's statistics, seconds apart; held for an assignment.
    membership: Mutex<Option<Membership>>,
    slots: watch::Sender<Vec<Arc<Numbers>>>,
    log_changes: watch::Sender<Vec<LogChange>>,
    journey: OnceLock<journey::Shared>,
    waits: Waits,
    /// What a person asks about one device; the workers look at it.
    question: Question,
}

#[derive(Debug)]
struct Numbers {
    /// The partition of the input topic.
    input: TopicPartition,
    read: AtomicU64,
    accepted: AtomicU64,
    dead_lettered: AtomicU64,
    held: AtomicU64,
    discarded: AtomicU64,
    waiting_records: AtomicU64,
    waiting_bytes: AtomicU64,
    releasing: AtomicU64,
    watermark: AtomicI64,
    pause: AtomicU8,
    /// When the pause began, or the last one ended; like all that follow, in milliseconds since the board's origin.
    paused: AtomicU64,
    progress: AtomicU64,
    /// The next offset to read, the log's end, its last stable offset and the confirmed commit; `i64::MIN` while unknown.
    next: AtomicI64,
    end: AtomicI64,
    stable: AtomicI64,
    committed: AtomicI64,
    read_at: AtomicU64,
    confirmed: AtomicU64,
    released: AtomicU64,
    /// To the board's question.
    answer: Answer,
}

/// A partition worker's place on the board; the only writer of its numbers.
#[derive(Debug)]
pub struct PartitionStatus {
    board: Weak<StatusRegistry>,
    origin: Instant,
    numbers: Arc<Numbers>,
}

/// The consumer thread's place on the board, for one partition; the only writer of its position.
#[derive(Debug, Clone)]
pub struct StatusWatch {
    origin: Instant,
    numbers: Arc<Numbers>,
}

impl StatusRegistry {
    /// An empty board; `now` is the moment its times are counted from.
    pub fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            origin: now,
            streams: AtomicBool::new(true),
            inputs: AtomicBool::new(true),
            assigned: AtomicBool::new(false),
            logged_in: AtomicBool::new(false),
            registry_read: AtomicBool::new(false),
            polled: AtomicU64::new(UNSET),
            assigned_since: AtomicU64::new(0),
            memory_full: AtomicBool::new(false),
            membership: Mutex::default(),
            slots: watch::Sender::new(Vec::new()),
            log_changes: watch::Sender::new(Vec::new()),
            journey: OnceLock::new(),
            waits: Waits::default(),
            question: Question::default(),
        })
    }

    /// Publishes that something waits, from now until the returned value is dropped (H1). To be called before the waiting begins:
    /// `subject` is what waits (a partition as [`TopicPartition`] displays it), `cause` why, `remedy` what a person can do.
    pub fn wait(
        &self,
        kind: Kind,
        subject: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Wait {
        self.waits.begin(
            kind,
            subject.into(),
            cause.into(),
            remedy.into(),
            (Instant::now(), false),
        )
    }

    /// As [`Self::wait`], for what every start waits for: the log has its beginning as information, not as a warning.
    pub fn usual_wait(
        &self,
        kind: Kind,
        subject: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Wait {
        let now = Instant::now();
        let (cause, remedy) = (cause.into(), remedy.into());
        self.waits
            .begin(kind, subject.into(), cause, remedy, (now, true))
    }

    /// Whether this process carries records at all; without a word it does.
    pub fn set_streams(&self, streams: bool) {
        self.streams.store(streams, Relaxed);
    }

    /// The place of the order journey, if this process does it; there is one.
    pub fn open_journey(&self, now: Instant) -> journey::JourneyStatus {
        let slot = journey::JourneyStatus::new(now);
        journey::JourneyStatus(Arc::clone(self.journey.get_or_init(|| slot.0)))
    }

    /// Whether there is at least one topic to be read; without a word there is.
    pub fn set_inputs(&self, inputs: bool) {
        self.inputs.store(inputs, Relaxed);
    }

    /// The newest word of [`Self::set_inputs`].
    pub fn has_inputs(&self) -> bool {
        self.inputs.load(Relaxed)
    }

    /// Whether the group has told this instance its partitions.
    pub fn set_assigned(&self, assigned: bool) {
        if self.assigned.swap(assigned, Relaxed) != assigned {
            let now = millis(self.origin, Instant::now());
            self.assigned_since.store(now, Relaxed);
        }
    }

    /// What the Kafka client says about its membership in the group.
    pub fn set_membership(&self, steady: bool, states: String, now: Instant) {
        let mut known = self
            .membership
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let since = match known.as_ref() {
            Some(before) if before.steady == steady => before.since,
            _ => now,
        };
        *known = Some(Membership {
            steady,
            states,
            since,
        });
    }

    /// The newest state of the membership; `None` before the client's first statistics.
    pub fn membership(&self) -> Option<Membership> {
        self.membership
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether nearly all memory permits are lent out.
    pub fn set_memory_full(&self, full: bool) {
        self.memory_full.store(full, Relaxed);
    }

    /// A login at the gateway succeeded.
    pub fn set_logged_in(&self, logged_in: bool) {
        self.logged_in.store(logged_in, Relaxed);
    }

    /// The device registry was read to its end, or is not used.
    pub fn set_registry_read(&self, read: bool) {
        self.registry_read.store(read, Relaxed);
    }

    /// The consumer thread polls at `now`.
    pub fn set_polled(&self, now: Instant) {
        self.polled.store(millis(self.origin, now), Relaxed);
    }

    /// A log was found to be in another life than what was remembered of it, and is read again from `from`.
    pub fn log_changed(&self, of: &TopicPartition, change: Change, from: i64) {
        let change = LogChange {
            topic: of.topic.clone(),
            partition: of.partition,
            change: change.name(),
            meaning: change.meaning(),
            from,
            at: jiff::Timestamp::now().to_string(),
        };
        self.log_changes.send_modify(|changes| {
            changes.insert(0, change);
            changes.truncate(LOG_CHANGES);
        });
    }

    /// Opens a slot for a partition that was assigned.
    pub fn open(self: &Arc<Self>, input: &TopicPartition, now: Instant) -> PartitionStatus {
        let numbers = Arc::new(Numbers {
            input: input.clone(),
            read: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            held: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            waiting_records: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            releasing: AtomicU64::new(0),
            watermark: AtomicI64::new(i64::MIN),
            pause: AtomicU8::new(Pause::None as u8),
            paused: AtomicU64::new(millis(self.origin, now)),
            progress: AtomicU64::new(millis(self.origin, now)),
            next: AtomicI64::new(i64::MIN),
            end: AtomicI64::new(i64::MIN),
            stable: AtomicI64::new(i64::MIN),
            committed: AtomicI64::new(i64::MIN),
            read_at: AtomicU64::new(millis(self.origin, now)),
            confirmed: AtomicU64::new(millis(self.origin, now)),
            released: AtomicU64::new(millis(self.origin, now)),
            answer: Answer::default(),
        });
        self.slots
            .send_modify(|slots| slots.push(Arc::clone(&numbers)));
        PartitionStatus {
            board: Arc::downgrade(self),
            origin: self.origin,
            numbers,
        }
    }

    /// Asks all workers what they hold under these names; the number of the question, for [`Self::held_of`].
    pub fn ask_held(&self, names: Vec<Box<str>>) -> u64 {
        self.question.ask(names)
    }

    /// What partitions answered to a question: what is held in each; `None` in place of all that while one of them has
    /// not answered yet.
    pub fn held_of(&self, question: u64) -> Option<Vec<(TopicPartition, HeldOf)>> {
        let mut held = Vec::new();
        for numbers in self.slots.borrow().iter() {
            if let Some(of) = numbers.answer.to(question)? {
                held.push((numbers.input.clone(), of));
            }
        }
        Some(held)
    }

    /// Everything as it stands, partitions by topic and number.
    pub fn snapshot(&self) -> Snapshot {
        let at = |millis: u64| self.origin + Duration::from_millis(millis);
        let mut partitions: Vec<_> = self
            .slots
            .borrow()
            .iter()
            .map(|numbers| Partition {
                topic: numbers.input.topic.clone(),
                partition: numbers.input.partition,
                totals: numbers.totals(),
                waiting: numbers.waiting(),
                watermark: known(&numbers.watermark),
                position: Position {
                    next: known(&numbers.next),
                    end: known(&numbers.end),
                    stable: known(&numbers.stable),
                    committed: known(&numbers.committed),
                },
                pause: Pause::of_number(numbers.pause.load(Relaxed)),
                paused: at(numbers.paused.load(Relaxed)),
                progress: at(numbers.progress.load(Relaxed)),
                read: at(numbers.read_at.load(Relaxed)),
                confirmed: at(numbers.confirmed.load(Relaxed)),
                released: at(numbers.released.load(Relaxed)),
            })
            .collect();
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Snapshot {
            started: self.origin,
            streams: self.streams.load(Relaxed),
            journey: self.journey.get().map(journey::read),
            inputs: self.has_inputs(),
            assigned: self.assigned.load(Relaxed),
            assigned_since: at(self.assigned_since.load(Relaxed)),
            membership: self.membership(),
            logged_in: self.logged_in.load(Relaxed),
            registry_read: self.registry_read.load(Relaxed),
            polled: Some(self.polled.load(Relaxed))
                .filter(|polled| *polled != UNSET)
                .map(at),
            memory_full: self.memory_full.load(Relaxed),
            partitions,
            waits: self.waits.all(),
            log_changes: self.log_changes.borrow().clone(),
        }
    }
}

/// An offset, once it is known.
fn known(offset: &AtomicI64) -> Option<i64> {
    Some(offset.load(Relaxed)).filter(|offset| *offset != i64::MIN)
}

impl StatusWatch {
    /// Posts how far the partition is read and committed, and where its log ends. Reading is progress, and so is the first
    /// message that comes after everything was read; the same holds for commits and the watermark.
    pub fn post(&self, position: Position, now: Instant) {
        let now = millis(self.origin, now);
        let numbers = &self.numbers;
        let (next, end) = (known(&numbers.next), known(&numbers.end));
        let all_read = next >= end;
        if next != position.next || all_read {
            numbers.read_at.store(now, Relaxed);
        }
        let committed = known(&numbers.committed);
        let all_committed = committed >= known(&numbers.watermark);
        if committed != position.committed || all_committed {
            numbers.confirmed.store(now, Relaxed);
        }
        let unset = |offset: Option<i64>| offset.unwrap_or(i64::MIN);
        numbers.next.store(unset(position.next), Relaxed);
        numbers.end.store(unset(position.end), Relaxed);
        numbers.stable.store(unset(position.stable), Relaxed);
        numbers.committed.store(unset(position.committed), Relaxed);
    }
}

impl Numbers {
    fn totals(&self) -> Totals {
        Totals {
            read: self.read.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            dead_lettered: self.dead_lettered.load(Relaxed),
            held: self.held.load(Relaxed),
            discarded: self.discarded.load(Relaxed),
        }
    }

    fn waiting(&self) -> Waiting {
        Waiting {
            records: self.waiting_records.load(Relaxed),
            bytes: self.waiting_bytes.load(Relaxed),
            releasing: self.releasing.load(Relaxed),
        }
    }
}

impl PartitionStatus {
    /// Posts the running totals and the watermark. Settling a record is progress, and so is the first record that
    /// comes to an idle partition (L4).
    pub fn post(&self, totals: Totals, watermark: Option<i64>, now: Instant) {
        let before = self.numbers.totals();
        self.numbers.read.store(totals.read, Relaxed);
        self.numbers.accepted.store(totals.accepted, Relaxed);
        self.numbers
            .dead_lettered
            .store(totals.dead_lettered, Relaxed);
        self.numbers.held.store(totals.held, Relaxed);
        self.numbers.discarded.store(totals.discarded, Relaxed);
        self.numbers
            .watermark
            .store(watermark.unwrap_or(i64::MIN), Relaxed);
        if before.settled() != totals.settled() || before.in_hand() == 0 {
            self.progressed(now);
        }
    }

    /// Posts what waits in the held topic. The beginning of a release counts as its progress.
    pub fn hold(&self, waiting: Waiting, now: Instant) {
        if self.numbers.releasing.load(Relaxed) == 0 {
            self.released(now);
        }
        self.numbers.waiting_records.store(waiting.records, Relaxed);
        self.numbers.waiting_bytes.store(waiting.bytes, Relaxed);
        self.numbers.releasing.store(waiting.releasing, Relaxed);
    }

    /// Answers the question that stands, if it was not answered yet; `held` tells what is held under a name.
    pub fn answer(&self, held: impl Fn(&str) -> Option<HeldOf>) {
        let Some(board) = self.board.upgrade() else {
            return;
        };
        if let Some((number, names)) = board.question.beyond(self.numbers.answer.number()) {
            let found = names.iter().find_map(|name| held(name));
            self.numbers.answer.give(number, found);
        }
    }

    /// The consumer thread's place for the same partition.
    pub fn feed(&self) -> StatusWatch {
        StatusWatch {
            origin: self.origin,
            numbers: Arc::clone(&self.numbers),
        }
    }

    /// Declares why nothing is settled, or with [`Pause::None`] that it goes on; the end of a pause counts as
    /// progress, so that a partition is not called stalled for the time it was paused.
    pub fn pause(&self, pause: Pause, now: Instant) {
        let before = self.numbers.pause.swap(pause as u8, Relaxed);
        if before != pause as u8 {
            let now = millis(self.origin, now);
            self.numbers.paused.store(now, Relaxed);
        }
        if before != Pause::None as u8 && pause == Pause::None {
            self.progressed(now);
        }
    }

    /// Something of a release has moved.
    pub fn released(&self, now: Instant) {
        let now = millis(self.origin, now);
        self.numbers.released.store(now, Relaxed);
    }

    fn progressed(&self, now: Instant) {
        self.numbers
            .progress
            .store(millis(self.origin, now), Relaxed);
    }
}

impl Drop for PartitionStatus {
    fn drop(&mut self) {
        if let Some(board) = self.board.upgrade() {
            board
                .slots
                .send_modify(|slots| slots.retain(|numbers| !Arc::ptr_eq(numbers, &self.numbers)));
        }
    }
}

fn millis(origin: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(origin).as_millis()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
#[path = "status_registry_tests.rs"]
mod tests;
