//! The consumer thread's view of each partition's log (E1): which topic it is, which life of it is read, and whether what is remembered
//! of it still holds.
//!
//! Owns the questions on their way to [`crate::pipeline::log_watch`] and what follows from the answers: reading on, reading from
//! elsewhere, another life, a new worker.
//!
//! * Nothing is read before the first answer, nor after the client went back, until the log was shown to be the same or another one.
//! * Topic ids are asked for every [`LOOK`]; what was read is looked for in the log again whenever the client moved by its reset rule or
//!   lost its brokers, as a broker that comes back may hold an older copy.
//! * What is read again because the log changed may repeat records; none is dropped for its number.
//!
//! An answer that does not come is asked for again; the partition waits and says so on the board.

mod acts;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{Assigned, Key};
use crate::log_life::broker::{Committed, Stored};
use crate::log_life::{Epochs, Points, TopicId};
use crate::ops::waits::Wait;
use crate::pipeline::consumer::Events;
use crate::pipeline::feed::Messages;
use crate::pipeline::log_watch::Question;

/// How often topic ids are asked for.
const LOOK: Duration = Duration::from_secs(5);
/// Pause before a question is asked again, or a move tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the client may take to move to an offset.
const SEEK: Duration = Duration::from_millis(500);
/// How long the first messages of a new life may take before the client is believed to be unable to read it.
const SILENT: Duration = Duration::from_secs(20);
/// Questions after which a log that ends before what was read of it is believed to have lost its tail: a broker that came back a
/// moment ago may not have found out yet how far its log goes.
const DOUBTS: u32 = 3;

/// Where a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// It may be read.
    Checked,
    /// It was assigned; what is committed has to be checked.
    Start,
    /// The client gave what was read before.
    Back,
    /// It is to be read from this offset on.
    Moving(i64),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Log {
    /// Identity of the topic that is read; `None` before the first answer, and where the broker gives no ids.
    topic_id: Option<TopicId>,
    /// Number of the life that is read, counted from 0 when the worker was started, and the offset at which it begins.
    life: (u32, i64),
    /// The life that the worker was last told of.
    told: Option<u32>,
    /// End offset of the log when it was last checked.
    end: Option<i64>,
    /// Number of the question on its way; changed by everything that makes its answer worthless, and an answer with another
    /// number is dropped.
    token: u64,
    /// Whether the partition may be read, and if not, why.
    stand: Stand,
    /// Whether what was read is to be looked for in the log again; it may be read meanwhile.
    doubted: bool,
    /// Whether a question is on its way to the log-watch thread.
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

/// Nothing was read yet of a life.
#[derive(Debug, Clone, Copy)]
struct Silent {
    /// Where reading begins.
    from: i64,
    /// Since when messages were there to be read; without any, the broker is asked again and again.
    since: Option<Instant>,
}

/// Whether the committed offset has to go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lower {
    No,
    Due,
    Asked(i64),
}

/// An offset to be stored.
#[derive(Debug)]
pub(super) struct Position {
    /// Topic and partition.
    key: Key,
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

/// When topics are asked for.
pub(super) struct Topics {
    /// The ids of topics are not asked for before this instant.
    ask_at: Instant,
    /// Whether that question is on its way.
    asked: bool,
    /// Identities of the topics that were read, by partition, over all assignments: one that was away may come back as another.
    seen: HashMap<Key, TopicId>,
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
    /// A partition that was assigned a moment ago.
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

    /// The life that is read now.
    pub fn life(&self) -> u32 {
        self.life.0
    }

    /// That life, and where it begins.
    pub fn begun(&self) -> (u32, i64) {
        self.life
    }

    /// Where the log ended when it was last checked.
    pub fn end(&self) -> Option<i64> {
        self.end
    }

    /// The newest leader epoch that was read.
    pub fn epoch(&self) -> i32 {
        self.epochs.newest()
    }

    /// Nothing came; whether the client will never read this life.
    pub fn nothing_came(&self) -> bool {
        let since = self.silent.and_then(|silent| silent.since);
        since.is_some_and(|since| since.elapsed() >= SILENT)
    }

    /// The client came up to here in the log, whether or not anything of it is for applications.
    pub fn fetched(&mut self, offset: i64) {
        // What the client said a moment ago may be of the life before.
        let since = self.silent.and_then(|silent| silent.since);
        let lately = since.is_none_or(|since| since.elapsed() < SILENT / 2);
        if !lately && self.end.is_some_and(|end| offset >= end) {
            self.came();
        }
    }

    /// Reading begins at `from`, and the log ends at `end` now.
    fn waits_for_first(&mut self, from: i64, end: i64) {
        self.silent = Some(Silent {
            from,
            since: (end > from).then(Instant::now),
        });
    }

    /// The log ends here now: a client that reads nothing of it, though there is something, is found out.
    fn ends_now(&mut self, end: i64, now: Instant) {
        self.end = Some(end);
        if let Some(silent) = &mut self.silent
            && silent.since.is_none()
        {
            silent.since = (end > silent.from).then_some(now);
            self.ask_at = now + LOOK;
        }
    }

    /// The client got something of the log: it can read it.
    pub fn came(&mut self) {
        self.silent = None;
    }

    /// Notes what was read: once for each chunk, not for each message.
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

    /// The client gave what was read before.
    pub fn went_back(&mut self, now: Instant) {
        self.stop(Stand::Back);
        self.ask_at = now;
        self.short = 0;
    }

    /// The client's position is wrong: it is to be read from `to` on.
    pub fn move_to(&mut self, to: i64, now: Instant) {
        self.stop(Stand::Moving(to));
        self.ask_at = now;
    }

    fn stop(&mut self, stand: Stand) {
        self.stand = stand;
        self.token = fresh();
        self.asked = false;
    }

    /// What was read is to be looked for in the log again.
    pub fn doubt(&mut self, at: Instant) {
        if self.may_read() && !self.doubted && self.points.newest().is_some() {
            self.doubted = true;
            self.short = 0;
            self.ask_at = at;
        }
    }

    /// Whether a commit that the broker confirmed is one of this life.
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

    /// A commit was refused: one that was to go down is due again.
    pub fn commit_failed(&mut self) {
        if let Lower::Asked(_) = self.lower {
            self.lower = Lower::Due;
        }
    }

    /// Whether the next watermark has to be committed by name.
    pub fn lowers(&self) -> bool {
        self.lower == Lower::Due
    }

    /// What is to be stored for a watermark.
    pub fn position(&mut self, key: &Key, watermark: i64) -> Position {
        // While one is on its way no other is sent: it is known by its offset.
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

    fn question(&mut self, key: &Key, now: Instant) -> Option<Question> {
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

/// A number that no other question has.
fn fresh() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Doubts every log once the client has lost its brokers: one that comes back may hold an older copy.
pub(super) fn doubt_if_lost(error: &KafkaError, assigned: &mut HashMap<Key, Assigned>) {
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
