//! The life of a log (E1): an offset names a message only between the creation of a topic and the moment its log is deleted,
//! truncated or replaced by an older copy.
//!
//! Owns the identity of a topic ([`TopicId`]), the fingerprints by which a log is recognised ([`Points`]), the leader epochs of
//! the messages read ([`Epochs`]), and the decisions whether a remembered offset belongs to the present log. [`broker`] asks
//! the broker for the facts.
//!
//! * E1: a decision is "the same life" only where nothing contradicts it. Contradictions are: another topic id; an offset above
//!   the end offset; another message (leader epoch, timestamp, content) at an offset that was read before.
//! * Where a topic id is unknown (a broker before Kafka 2.8, an offset committed by an older version of this program) the other
//!   evidence decides alone.
//!
//! Pure: no I/O and no clock.

pub mod broker;

use std::collections::VecDeque;

/// Most fingerprints kept per partition.
const KEPT: usize = 32;
/// Bytes of a message's value that count towards its fingerprint.
const DIGESTED: usize = 4096;
/// Prefix of the metadata of a committed offset that names the topic.
const METADATA: &str = "topic-id:";

/// The identity that the broker gave a topic when it was created; a recreated topic gets another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(Box<str>);

impl TopicId {
    /// Checks a text; `None` if it cannot be a topic id.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '=');
        let well = !text.is_empty() && text.len() <= 32 && text.chars().all(fits);
        well.then(|| Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The metadata of an offset that is committed in this topic's life.
    #[must_use]
    pub fn metadata(&self) -> String {
        format!("{METADATA}{}", self.0)
    }

    /// The topic that the metadata of a committed offset names; `None` for foreign metadata, and for none.
    #[must_use]
    pub fn of_metadata(metadata: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(metadata).ok()?;
        Self::new(text.strip_prefix(METADATA)?)
    }
}

impl std::fmt::Display for TopicId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fingerprint of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    pub offset: i64,
    /// -1 where the broker gives none.
    pub epoch: i32,
    /// -1 where the message has none.
    pub timestamp_ms: i64,
    pub digest: u64,
}

impl Point {
    #[must_use]
    pub fn new(
        offset: i64,
        epoch: i32,
        timestamp_ms: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Self {
        Self {
            offset,
            epoch,
            timestamp_ms: timestamp_ms.unwrap_or(-1),
            digest: digest(key.unwrap_or_default(), value.unwrap_or_default()),
        }
    }

    /// Whether two reads gave the same message. Epochs are compared where both reads gave one.
    #[must_use]
    pub fn same_message(&self, other: &Self) -> bool {
        let epochs = self.epoch < 0 || other.epoch < 0 || self.epoch == other.epoch;
        let content = (self.timestamp_ms, self.digest) == (other.timestamp_ms, other.digest);
        self.offset == other.offset && content && epochs
    }
}

/// FNV-1a over the key, the length of the value, and the value's beginning.
fn digest(key: &[u8], value: &[u8]) -> u64 {
    let length = (value.len() as u64).to_le_bytes();
    let head = &value[..value.len().min(DIGESTED)];
    let bytes = key.iter().chain(&length).chain(head);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Fingerprints of messages read in one life, oldest first: dense at the newest offset, thinned out before it.
#[derive(Debug, Clone, Default)]
pub struct Points(VecDeque<Point>);

impl Points {
    /// Adds the fingerprint of a message that was read, unless it lies at or below the newest one.
    pub fn note(&mut self, point: Point) {
        if self
            .0
            .back()
            .is_some_and(|newest| newest.offset >= point.offset)
        {
            return;
        }
        self.0.push_back(point);
        if self.0.len() > KEPT {
            let mut at = 0;
            self.0.retain(|_| {
                at += 1;
                at > KEPT / 2 || at % 2 == 1
            });
        }
    }

    /// The fingerprints, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Point> {
        self.0.iter().rev()
    }

    #[must_use]
    pub fn newest(&self) -> Option<&Point> {
        self.0.back()
    }

    /// Removes fingerprints at or above an offset.
    pub fn forget_from(&mut self, offset: i64) {
        while self.0.back().is_some_and(|point| point.offset >= offset) {
            self.0.pop_back();
        }
    }
}

/// Leader epochs by the offset from which on they hold; a committed offset carries the epoch of the message before it.
#[derive(Debug, Clone, Default)]
pub struct Epochs(VecDeque<(i64, i32)>);

impl Epochs {
    /// Notes that the message at `offset` was written under this leader epoch.
    pub fn note(&mut self, offset: i64, epoch: i32) {
        if epoch >= 0 && self.0.back().is_none_or(|(_, newest)| *newest != epoch) {
            self.0.push_back((offset, epoch));
        }
    }

    /// The newest epoch; -1 for none.
    #[must_use]
    pub fn newest(&self) -> i32 {
        self.0.back().map_or(-1, |(_, epoch)| *epoch)
    }

    /// The leader epoch that a committed offset carries; -1 for none. Epochs that end before that offset are removed.
    pub fn commit_at(&mut self, offset: i64) -> i32 {
        while self.0.get(1).is_some_and(|(from, _)| *from < offset) {
            self.0.pop_front();
        }
        self.0.front().map_or(-1, |(_, epoch)| *epoch)
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The broker's facts about a partition's present log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `None` from a broker that gives none.
    pub topic_id: Option<TopicId>,
    /// First offset of the log.
    pub low: i64,
    /// End offset: the one after the last message.
    pub end: i64,
}

/// Why a log is in another life than the remembered offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// The topic was deleted and created again, or belongs to another cluster.
    Recreated,
    /// The log was truncated below messages that were read, or holds other messages in their place.
    TailLost,
    /// The committed offset lies above the log's end.
    CommitAboveEnd,
}

impl Change {
    pub const ALL: [Self; 3] = [Self::Recreated, Self::TailLost, Self::CommitAboveEnd];

    /// Name in metrics and in `/status`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recreated => "recreated",
            Self::TailLost => "tail_lost",
            Self::CommitAboveEnd => "commit_above_end",
        }
    }

    /// Explanation for operators.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Recreated => {
                "the topic was deleted and created again: its offsets name other messages now, and it is read from its beginning"
            }
            Self::TailLost => {
                "the log lost messages that were read before: what lies behind the last message that is still the same is read again"
            }
            Self::CommitAboveEnd => {
                "the committed offset lies above the end of the log: the log is read from its beginning"
            }
        }
    }
}

/// Whether a remembered offset belongs to the present log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing contradicts it.
    Same,
    /// It does not belong to it: reading begins anew at `from`.
    New { from: i64, change: Change },
}

/// What was read of a partition in this assignment.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    pub topic_id: Option<&'a TopicId>,
    /// Offset behind the newest message read; `None` before the first.
    pub read_to: Option<i64>,
    pub points: &'a Points,
}

fn recreated(known: Option<&TopicId>, facts: &Facts) -> Option<Verdict> {
    let differ = known
        .zip(facts.topic_id.as_ref())
        .is_some_and(|(a, b)| a != b);
    differ.then_some(Verdict::New {
        from: facts.low,
        change: Change::Recreated,
    })
}

/// Decides whether the log is still the one that was read. `found` is the newest of the reading's fingerprints at which the log
/// still holds the same message.
#[must_use]
pub fn judge_reading(reading: &Reading<'_>, facts: &Facts, found: Option<&Point>) -> Verdict {
    if let Some(verdict) = recreated(reading.topic_id, facts) {
        return verdict;
    }
    let Some(read_to) = reading.read_to else {
        return Verdict::Same;
    };
    let newest = reading.points.newest();
    let lost = |from: i64| Verdict::New {
        from: from.max(facts.low),
        change: Change::TailLost,
    };
    match (newest, found) {
        (Some(newest), Some(found)) if newest == found => Verdict::Same,
        // Retention has deleted every message whose fingerprint is known.
        (newest, None)
            if newest.is_none_or(|newest| newest.offset < facts.low) && read_to <= facts.end =>
        {
            Verdict::Same
        }
        (_, Some(found)) => lost(found.offset + 1),
        (_, None) => lost(facts.low),
    }
}

/// Decides whether a committed offset belongs to the present log. `differs`: the first offset below it at which another message than
/// before was found.
#[must_use]
pub fn judge_commit(
    offset: i64,
    topic_id: Option<&TopicId>,
    facts: &Facts,
    differs: Option<i64>,
) -> Verdict {
    if let Some(verdict) = recreated(topic_id, facts) {
        return verdict;
    }
    if offset > facts.end {
        return Verdict::New {
            from: facts.low,
            change: Change::CommitAboveEnd,
        };
    }
    if let Some(from) = differs {
        return Verdict::New {
            from: from.max(facts.low),
            change: Change::TailLost,
        };
    }
    Verdict::Same
}

#[cfg(test)]
mod tests;
