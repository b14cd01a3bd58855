//! The offset tracker: which messages of one partition are open, and where the watermark is.
//!
//! Owns one entry per message between the watermark and the newest message read, and nothing else.
//!
//! * O1: the watermark never passes a message with an open record, and never goes down within one life of the log.
//! * E1: messages of several lives of a log may be open at once. The watermark is an offset of one of them, named by
//!   [`OffsetTracker::life`]; it changes to the next life once everything of the one before is settled.
//! * Offsets may have gaps (compaction, transactions): messages are counted by sequence, offsets are only remembered.
//!
//! It does not store or commit anything. An entry costs 16 bytes for as long as an older message is open, which is why the
//! partition stops reading at a number of messages (`[memory] window_messages`).

use std::collections::VecDeque;

/// A message's place in its partition, counted from 0 when the partition was assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageSeq(pub u64);

/// Sequences of the partition itself; those of records released from the held topic lie below, by group.
const LIVE: u64 = 1 << 63;
/// Bits of a released message's place within its group.
const PLACE_BITS: u32 = 34;

impl MessageSeq {
    /// The sequence of a released message: its group, and its place within the group's own tracker.
    #[must_use]
    pub fn released(group: u32, place: Self) -> Self {
        Self(u64::from(group) << PLACE_BITS | place.0)
    }

    /// Group and place of a released message; `None` for one of the partition itself.
    #[must_use]
    pub fn as_released(self) -> Option<(u32, Self)> {
        let place = Self(self.0 & ((1 << PLACE_BITS) - 1));
        (self.0 & LIVE == 0).then_some(((self.0 >> PLACE_BITS) as u32, place))
    }

    /// Whether this message was sent after `newest` although it came before it. Released and live messages have no order among
    /// themselves here.
    #[must_use]
    pub fn overtaken_by(self, newest: Self) -> bool {
        self < newest && (self.0 ^ newest.0) & LIVE == 0
    }
}

/// A message with records that are not settled, or one behind such a message.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// Offset of the message.
    offset: i64,
    /// Records that are not settled.
    records: u32,
    /// Seconds since the epoch of the message's timestamp; 0 for none. It has room beside `records`.
    seconds: u32,
}

/// A value that the watermark takes once every message before it is settled.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Sequence of the next message behind the step.
    before: u64,
    offset: i64,
    /// Whether the step begins another life of the log; otherwise only control records lie before its offset.
    begins_life: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct OffsetTracker {
    /// Messages from the oldest open one to the newest read, in order.
    window: VecDeque<Open>,
    /// Newest offset of the life that is being read.
    newest: Option<i64>,
    /// Sequence of the window's front.
    base: u64,
    /// Every message below it is settled, in `life`; `None` before the first.
    watermark: Option<i64>,
    /// The life of the log that the watermark belongs to, counted from 0 when the partition was assigned.
    life: u32,
    /// Steps of the watermark that wait for open messages, in their order.
    steps: VecDeque<Step>,
}

impl OffsetTracker {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tracker of the partition itself.
    #[must_use]
    pub fn live() -> Self {
        Self {
            base: LIVE,
            ..Self::default()
        }
    }

    /// Notes a message that was read, with the number of its records; one with none is settled at once.
    ///
    /// # Panics
    /// When offsets do not ascend: the caller mixed up partitions, and no watermark can be right any more.
    pub fn read(&mut self, offset: i64, records: u32) -> MessageSeq {
        self.read_at(offset, records, None)
    }

    /// As [`read`](Self::read), of a message with a timestamp (milliseconds since the epoch), which is kept to the second.
    ///
    /// # Panics
    /// As [`read`](Self::read).
    pub fn read_at(&mut self, offset: i64, records: u32, timestamp_ms: Option<i64>) -> MessageSeq {
        assert!(
            self.newest.is_none_or(|newest| offset > newest),
            "offset {offset} after {:?}",
            self.newest
        );
        self.newest = Some(offset);
        let seq = MessageSeq(self.base + self.window.len() as u64);
        let seconds = timestamp_ms.and_then(|ms| u32::try_from(ms / 1_000).ok());
        self.window.push_back(Open {
            offset,
            records,
            seconds: seconds.unwrap_or(0),
        });
        if records == 0 {
            self.advance();
        }
        seq
    }

    /// Settles one record of a message.
    ///
    /// # Panics
    /// When the message has no open record: a record was settled twice, and O1 is lost.
    pub fn settle(&mut self, seq: MessageSeq) {
        self.settle_many(seq, 1);
    }

    /// Settles several records of one message at once.
    ///
    /// # Panics
    /// As [`settle`](Self::settle).
    pub fn settle_many(&mut self, seq: MessageSeq, records: u32) {
        let index = seq
            .0
            .checked_sub(self.base)
            .expect("a record of a message behind the watermark was settled again");
        let open = usize::try_from(index)
            .ok()
            .and_then(|index| self.window.get_mut(index))
            .expect("a record of a message that was never read was settled");
        open.records = open
            .records
            .checked_sub(records)
            .expect("more records settled than the message has");
        if index == 0 && open.records == 0 {
            self.advance();
        }
    }

    fn advance(&mut self) {
        loop {
            while let Some(step) = self.steps.front().filter(|step| step.before <= self.base) {
                if step.begins_life {
                    self.life += 1;
                    self.watermark = Some(step.offset);
                } else {
                    self.watermark = self.watermark.max(Some(step.offset));
                }
                self.steps.pop_front();
            }
            match self.window.front() {
                Some(front) if front.records == 0 => {
                    self.watermark = Some(front.offset + 1);
                    self.base += 1;
                    self.window.pop_front();
                }
                _ => return,
            }
        }
    }

    /// Begins another life of the log at this offset, for the messages read from now on. Open messages of the life before stay
    /// open, and the watermark stays in that life until they are settled.
    pub fn begin_life(&mut self, from: i64) {
        self.newest = None;
        self.step(from, true);
    }

    /// Notes that reading goes on at this offset, behind the newest message: only control records of transactions lie between.
    pub fn passes(&mut self, offset: i64) {
        if self.newest.is_none_or(|newest| offset > newest) {
            self.step(offset, false);
        }
    }

    fn step(&mut self, offset: i64, begins_life: bool) {
        let before = self.base + self.window.len() as u64;
        let replaces = |last: &Step| last.before == before && !last.begins_life && !begins_life;
        if self.steps.back().is_some_and(replaces) {
            self.steps.pop_back();
        }
        self.steps.push_back(Step {
            before,
            offset,
            begins_life,
        });
        self.advance();
    }

    /// The offset to store: every message below it is settled, in the life that [`life`](Self::life) names. `None` until the
    /// first message is settled.
    #[must_use]
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// Offset behind the newest message of the life that is being read; 0 before the first.
    #[must_use]
    pub fn read_to(&self) -> i64 {
        self.newest.map_or(0, |newest| newest + 1)
    }

    /// The life of the log that the watermark belongs to, counted from 0 when the partition was assigned.
    #[must_use]
    pub fn life(&self) -> u32 {
        self.life
    }

    /// The offset of a message that is still in the window.
    #[must_use]
    pub fn offset(&self, seq: MessageSeq) -> Option<i64> {
        self.open(seq).map(|open| open.offset)
    }

    /// Timestamp of a message that is still in the window: milliseconds since the epoch, in whole seconds.
    #[must_use]
    pub fn timestamp_ms(&self, seq: MessageSeq) -> Option<i64> {
        let seconds = self.open(seq)?.seconds;
        (seconds > 0).then_some(i64::from(seconds) * 1_000)
    }

    fn open(&self, seq: MessageSeq) -> Option<&Open> {
        let index = usize::try_from(seq.0.checked_sub(self.base)?).ok()?;
        self.window.get(index)
    }

    /// Messages between the watermark and the newest one read.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_without_records_is_settled_at_once() {
        let mut tracker = OffsetTracker::new();
        tracker.read(7, 0);
        assert_eq!(tracker.watermark(), Some(8));
        assert_eq!(tracker.window(), 0);
    }

    #[test]
    fn the_watermark_waits_for_the_oldest() {
        let mut tracker = OffsetTracker::new();
        let a = tracker.read(10, 2);
        let b = tracker.read(12, 1);
        tracker.settle(b);
        tracker.settle(a);
        assert_eq!(tracker.watermark(), None);
        tracker.settle(a);
        assert_eq!(tracker.watermark(), Some(13));
    }

    #[test]
    fn a_timestamp_is_kept_to_the_second_while_its_message_is_open() {
        let mut tracker = OffsetTracker::live();
        let (none, some) = (
            tracker.read(10, 1),
            tracker.read_at(11, 1, Some(1_790_000_000_999)),
        );
        assert_eq!(tracker.timestamp_ms(none), None);
        assert_eq!(tracker.timestamp_ms(some), Some(1_790_000_000_000));
        tracker.settle(none);
        tracker.settle(some);
        assert_eq!(tracker.timestamp_ms(some), None);
    }

    #[test]
    fn the_end_of_a_partition_is_reached_once_everything_before_is_settled() {
        let mut tracker = OffsetTracker::live();
        tracker.passes(3);
        assert_eq!(tracker.watermark(), Some(3), "nothing is in hand");
        let a = tracker.read(5, 1);
        tracker.passes(7);
        tracker.passes(9);
        assert_eq!(tracker.watermark(), Some(3));
        tracker.settle(a);
        assert_eq!(tracker.watermark(), Some(9));
        let b = tracker.read(9, 1);
        tracker.passes(11);
        let c = tracker.read(14, 1);
        tracker.settle(b);
        assert_eq!(tracker.watermark(), Some(11));
        tracker.settle(c);
        assert_eq!((tracker.watermark(), tracker.life()), (Some(15), 0));
    }

    #[test]
    fn the_watermark_goes_down_only_with_another_life_of_the_log() {
        let mut tracker = OffsetTracker::live();
        let old = [tracker.read(1_000, 1), tracker.read(1_001, 1)];
        tracker.settle(old[0]);
        tracker.begin_life(0);
        let new = [tracker.read(0, 1), tracker.read(1, 1)];
        tracker.settle(new[0]);
        assert_eq!((tracker.watermark(), tracker.life()), (Some(1_001), 0));
        tracker.settle(old[1]);
        assert_eq!((tracker.watermark(), tracker.life()), (Some(1), 1));
        tracker.settle(new[1]);
        // An empty log, and one more behind it.
        tracker.begin_life(7);
        assert_eq!((tracker.watermark(), tracker.life()), (Some(7), 2));
        tracker.begin_life(0);
        assert_eq!((tracker.watermark(), tracker.life()), (Some(0), 3));
    }

    #[test]
    #[should_panic(expected = "more records settled")]
    fn settling_twice_is_a_broken_invariant() {
        let mut tracker = OffsetTracker::new();
        let _ = tracker.read(1, 1);
        let b = tracker.read(2, 1);
        tracker.settle(b);
        tracker.settle(b);
    }

    proptest! {
        /// O1 against a model that knows every message: the watermark is the first open offset, or one past the last settled.
        #[test]
        fn o1_watermark_is_the_lowest_open_offset(
            messages in prop::collection::vec((1i64..4, 0u32..4), 1..60),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..240),
        ) {
            let mut tracker = OffsetTracker::new();
            let mut open: Vec<(i64, MessageSeq, u32)> = Vec::new();
            let mut offset = 0;
            for (gap, records) in messages {
                offset += gap;
                let seq = tracker.read(offset, records);
                open.push((offset, seq, records));
            }
            let mut before = tracker.watermark();
            for pick in order {
                let candidates: Vec<usize> = (0..open.len()).filter(|&i| open[i].2 > 0).collect();
                if candidates.is_empty() { break; }
                let i = candidates[pick.index(candidates.len())];
                open[i].2 -= 1;
                tracker.settle(open[i].1);
                let first_open = open.iter().find(|m| m.2 > 0).map(|m| m.0);
                let last_settled = open.iter().take_while(|m| m.2 == 0).last().map(|m| m.0 + 1);
                prop_assert_eq!(tracker.watermark(), last_settled);
                if let (Some(w), Some(first)) = (tracker.watermark(), first_open) {
                    prop_assert!(w <= first);
                }
                prop_assert!(tracker.watermark() >= before);
                before = tracker.watermark();
            }
        }

        /// E1: with lives that begin at any moment, the watermark is always that of the life of the oldest open message.
        #[test]
        fn e1_the_watermark_belongs_to_the_life_of_the_oldest_open_message(
            acts in prop::collection::vec((0u8..4, 0i64..5, any::<prop::sample::Index>()), 1..120),
        ) {
            let mut tracker = OffsetTracker::live();
            // Every message: its life, offset, sequence, and whether it is open. And what each life began at.
            let mut all: Vec<(u32, i64, MessageSeq, bool)> = Vec::new();
            let (mut life, mut next, mut begun) = (0u32, 0i64, vec![None]);
            for (act, number, pick) in acts {
                match act {
                    0 => {
                        life += 1;
                        next = number;
                        begun.push(Some(number));
                        tracker.begin_life(number);
                    }
                    1 | 2 => {
                        next += number;
                        all.push((life, next, tracker.read(next, 1), true));
                        next += 1;
                    }
                    _ => {
                        let open: Vec<usize> = (0..all.len()).filter(|&at| all[at].3).collect();
                        if !open.is_empty() {
                            let at = open[pick.index(open.len())];
                            all[at].3 = false;
                            tracker.settle(all[at].2);
                        }
                    }
                }
                let oldest = all.iter().find(|message| message.3).map_or(life, |message| message.0);
                prop_assert_eq!(tracker.life(), oldest);
                let settled = all.iter().take_while(|message| !message.3).filter(|message| message.0 == oldest).last();
                let expected = settled.map(|message| message.1 + 1).or(begun[oldest as usize]);
                prop_assert_eq!(tracker.watermark(), expected);
            }
        }
    }
}
