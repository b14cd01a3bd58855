//! The consumer thread's view of each partition's log (E1): which topic it is, which life of it is read, and whether
//! remembered offsets still belong to it.
//!
//! Owns the questions to [`crate::pipeline::log_watch`] and the reaction to the answers: reading on, seeking, another life, a
//! new worker.
//!
//! * Nothing is read before the first answer. After the client delivered an offset or a leader epoch older than one already
//!   read, nothing is read until the log was shown to be the same or another one.
//! * Topic ids are asked for every [`LOOK`]. The fingerprints of what was read are looked up in the log again whenever the
//!   client reset its position or lost its brokers, because a broker that comes back may hold an older copy.
//! * Records that are read again because the log changed may repeat; none is dropped for its offset.
//!
//! A question without an answer is asked again; the partition waits, and the wait is on the board.

mod acts;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Assigned;
use crate::log_life::broker::{Committed, Stored};
use crate::log_life::{Epochs, Points, TopicId};
use crate::ops::waits::Wait;
use crate::pipeline::consumer::Events;
use crate::pipeline::feed::Messages;
use crate::pipeline::log_watch::Question;
use crate::topic_partition::TopicPartition;

/// How often topic ids are asked for.
const LOOK: Duration = Duration::from_secs(5);
/// Pause before a question is asked again, or a move tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the client may take to move to an offset.
const SEEK: Duration = Duration::from_millis(500);
/// How long the first message of a new life may take before the client is taken to be unable to read that life.
const SILENT: Duration = Duration::from_secs(20);
/// Answers after which a log that ends before what was read of it is taken to be truncated: a broker that came back a moment
/// ago may not know its end offset yet.
const DOUBTS: u32 = 3;

/// Whether a partition may be read, and otherwise what is to happen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// The log was checked: the partition may be read.
    Checked,
    /// The partition was just assigned: the life of its committed offset is to be checked.
    Start,
    /// What was read may not be in the log any more (the client delivered an older offset or leader epoch, or the topic has
    /// another id): the log is to be checked.
    Back,
    /// The client is to seek to this offset.
    Moving(i64),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Log {
    /// Identity of the topic that is read; `None` before the first answer, and where the broker gives no ids.
    topic_id: Option<TopicId>,
    /// Number of the life that is read, counted from 0 when the worker was started, and the offset at which it begins.
    life: (u32, i64),
    /// The life in the chunk last sent to the worker for this purpose; `None` before the first.
    told: Option<u32>,
    /// End offset of the log when it was last checked.
    end: Option<i64>,
    /// Number of the question in flight; changed by everything that makes its answer worthless, and an answer with another
    /// number is dropped.
    token: u64,
    /// Whether the partition may be read, and if not, why.
    stand: Stand,
    /// Whether what was read is to be looked for in the log again; it may be read meanwhile.
    doubted: bool,
    /// Whether a question to the log-watch thread is in flight.
    asked: bool,
    /// No question is asked, and no move is tried, before this instant.
    ask_at: Instant,
    /// Questions in a row that the broker did not answer.
    failed: u32,
    /// Answers by which the log ended before what was read of it, since it was last doubted.
    short: u32,
    /// The wait published while the partition may not be read. Dropped, it ends on the board.
    wait: Option<Wait>,
    /// Fingerprints of what was read, sent along with a question.
    points: Points,
    /// Leader epochs of what was read, committed beside the offset.
    epochs: Epochs,
    /// Offset of a message that came past the feed before the partition was checked; it is read again from there.
    missed: Option<i64>,
    /// Whether a lower offset has to be committed by name.
    lower: Lower,
    /// Set while nothing was read of a life that has messages, or may get some.
    silent: Option<Silent>,
}

/// A life of which no message was read yet.
#[derive(Debug, Clone, Copy)]
struct Silent {
    /// Where reading begins.
    from: i64,
    /// Since when messages were there to be read; without any, the broker is asked again and again.
    since: Option<Instant>,
}

/// Whether the committed offset has to be lowered: not at all, with the next store, or by the commit of this offset, which is
/// not confirmed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lower {
    No,
    Due,
    Asked(i64),
}

/// An offset to be stored, with the data that bind it to the life of its log.
#[derive(Debug)]
pub(super) struct Position {
    /// Topic and partition.
    key: TopicPartition,
    /// The watermark.
    offset: i64,
    /// Leader epoch of the message before the offset; -1 for none.
    epoch: i32,
    /// The topic in whose life the offset is, written as metadata of the commit.
    topic_id: Option<TopicId>,
    /// Whether it has to be committed although a higher offset was.
    pub lowers: bool,
}

impl Position {
    pub fn stored(&self) -> Stored<'_> {
        Stored {
            key: &self.key,
            offset: self.offset,
            epoch: self.epoch,
            topic_id: self.topic_id.as_ref(),
        }
    }
}

/// When the ids of topics are asked for, and those that were read.
pub(super) struct Topics {
    /// The ids of topics are not asked for before this instant.
    ask_at: Instant,
    /// Whether that question is in flight.
    asked: bool,
    /// Identities of the topics that were read, by partition, over all assignments: one that was away may come back as another.
    seen: HashMap<TopicPartition, TopicId>,
}

impl Topics {
    pub fn new(now: Instant) -> Self {
        Self {
            ask_at: now + LOOK,
            asked: false,
            seen: HashMap::new(),
        }
    }
}

impl Log {
    /// The state of a partition that was assigned at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            topic_id: None,
            life: (0, 0),
            told: None,
            end: None,
            token: fresh(),
            stand: Stand::Start,
            doubted: false,
            asked: false,
            ask_at: now,
            failed: 0,
            short: 0,
            wait: None,
            points: Points::default(),
            epochs: Epochs::default(),
            missed: None,
            lower: Lower::No,
            silent: None,
        }
    }

    /// The same log for another worker, which is to read from `from` on.
    fn for_another_worker(self, from: Option<i64>, now: Instant) -> Self {
        Self {
            life: (0, 0),
            told: None,
            token: fresh(),
            stand: from.map_or(self.stand, Stand::Moving),
            asked: false,
            ask_at: now,
            wait: None,
            ..self
        }
    }

    pub fn may_read(&self) -> bool {
        self.stand == Stand::Checked
    }

    /// Number of the life that is read now.
    pub fn life(&self) -> u32 {
        self.life.0
    }

    /// Number of the life that is read now, and the offset at which it begins.
    pub fn begun(&self) -> (u32, i64) {
        self.life
    }

    /// End offset of the log when it was last checked.
    pub fn end(&self) -> Option<i64> {
        self.end
    }

    /// Newest leader epoch that was read.
    pub fn epoch(&self) -> i32 {
        self.epochs.newest()
    }

    /// Whether no message of this life came for so long that the client is taken to be unable to read it.
    pub fn nothing_came(&self) -> bool {
        let since = self.silent.and_then(|silent| silent.since);
        since.is_some_and(|since| since.elapsed() >= SILENT)
    }

    /// The client's statistics report this fetch position, whether or not messages for applications lie before it.
    pub fn fetched(&mut self, offset: i64) {
        // Statistics that are only a moment old may belong to the life before.
        let since = self.silent.and_then(|silent| silent.since);
        let lately = since.is_none_or(|since| since.elapsed() < SILENT / 2);
        if !lately && self.end.is_some_and(|end| offset >= end) {
            self.came();
        }
    }

    /// Begins to wait for the first message: reading begins at `from`, and the end offset is `end`.
    fn waits_for_first(&mut self, from: i64, end: i64) {
        self.silent = Some(Silent {
            from,
            since: (end > from).then(Instant::now),
        });
    }

    /// Notes the end offset. If messages appeared in a life of which nothing was read, the time for their arrival begins now.
    fn ends_now(&mut self, end: i64, now: Instant) {
        self.end = Some(end);
        if let Some(silent) = &mut self.silent
            && silent.since.is_none()
        {
            silent.since = (end > silent.from).then_some(now);
            self.ask_at = now + LOOK;
        }
    }

    /// The client delivered something of this life, so it can read it.
    pub fn came(&mut self) {
        self.silent = None;
    }

    /// Notes fingerprint and leader epochs of a chunk that was read; once per chunk, not per message.
    pub fn read(&mut self, messages: &Messages<Events>) {
        self.silent = None;
        let newest = self.epochs.newest();
        if let Some(first) = messages.iter().flatten().next() {
            self.epochs.note(first.offset(), first.epoch());
        }
        if let Some(last) = messages.iter().flatten().next_back() {
            if last.epoch() != self.epochs.newest() || newest != self.epochs.newest() {
                for message in messages.iter().flatten() {
                    self.epochs.note(message.offset(), message.epoch());
                }
            }
            self.points.note(last.point());
        }
    }

    /// Stops the reading until the log was checked: the client delivered an older offset or leader epoch, or the topic has
    /// another id.
    pub fn went_back(&mut self, now: Instant) {
        self.stop(Stand::Back);
        self.ask_at = now;
        self.short = 0;
    }

    /// Stops the reading until the client has sought to `to`, because its own position is wrong.
    pub fn move_to(&mut self, to: i64, now: Instant) {
        self.stop(Stand::Moving(to));
        self.ask_at = now;
    }

    fn stop(&mut self, stand: Stand) {
        self.stand = stand;
        self.token = fresh();
        self.asked = false;
    }

    /// Has the fingerprints of what was read looked up in the log again, from `at` on.
    pub fn doubt(&mut self, at: Instant) {
        if self.may_read() && !self.doubted && self.points.newest().is_some() {
            self.doubted = true;
            self.short = 0;
            self.ask_at = at;
        }
    }

    /// Whether a confirmed commit belongs to this life.
    pub fn confirms(&mut self, committed: &Committed) -> bool {
        let other = |a: &TopicId| self.topic_id.as_ref().is_some_and(|b| a != b);
        if committed.topic_id.as_ref().is_some_and(other) {
            return false;
        }
        match self.lower {
            Lower::No => true,
            Lower::Asked(offset) if offset == committed.offset => {
                self.lower = Lower::No;
                true
            }
            Lower::Due | Lower::Asked(_) => false,
        }
    }

    /// A commit was refused: a lower offset that was part of it is committed again.
    pub fn commit_failed(&mut self) {
        if let Lower::Asked(_) = self.lower {
            self.lower = Lower::Due;
        }
    }

    /// Whether the next watermark has to be committed explicitly.
    pub fn lowers(&self) -> bool {
        self.lower == Lower::Due
    }

    /// The position to be stored for a watermark.
    pub fn position(&mut self, key: &TopicPartition, watermark: i64) -> Position {
        // One lowering commit at a time: its confirmation is recognised by its offset.
        let lowers = self.lower == Lower::Due;
        if lowers {
            self.lower = Lower::Asked(watermark);
        }
        Position {
            key: key.clone(),
            offset: watermark,
            epoch: self.epochs.commit_at(watermark),
            topic_id: self.topic_id.clone(),
            lowers,
        }
    }

    fn question(&mut self, key: &TopicPartition, now: Instant) -> Option<Question> {
        if self.asked || now < self.ask_at {
            return None;
        }
        let (key, token) = (key.clone(), self.token);
        let question = match self.stand {
            Stand::Start => Question::Start { key, token },
            Stand::Back => Question::Proof {
                key,
                token,
                points: self.points.clone(),
            },
            Stand::Checked if self.doubted => Question::Proof {
                key,
                token,
                points: self.points.clone(),
            },
            Stand::Checked if self.silent.is_some_and(|silent| silent.since.is_none()) => {
                Question::Proof {
                    key,
                    token,
                    points: self.points.clone(),
                }
            }
            Stand::Checked | Stand::Moving(_) => return None,
        };
        self.asked = true;
        Some(question)
    }
}

/// A number that identifies one question.
fn fresh() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Has every log checked again after the client lost its brokers: a broker that comes back may hold an older copy.
pub(super) fn doubt_if_lost(error: &KafkaError, assigned: &mut HashMap<TopicPartition, Assigned>) {
    let lost = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    );
    if lost {
        let at = Instant::now() + AGAIN;
        assigned
            .values_mut()
            .for_each(|partition| partition.log.doubt(at));
    }
}
