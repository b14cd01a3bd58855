//! Settling released records: their account, and the marks that say how far a group is released.
//!
//! * O1: a mark never passes a record that is not settled.
//! * One mark of a group is in flight at a time; the next is due when the broker has confirmed it.
//!
//! Pure; the worker writes the marks.

use std::collections::BTreeMap;

use super::{Group, Hold, Phase};
use crate::pipeline::offsets::MessageSeq;

/// Settled records after which a mark is due although the group goes on: a crash releases at most about that many again.
const MARK_EVERY: u32 = 256;
/// A released-through mark to be written, then given to [`Hold::marked`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Names to which the mark applies.
    pub names: Vec<Box<[u8]>>,
    /// Every record of these names at and below this offset is settled.
    pub through: i64,
    /// Number of the group.
    group: u32,
    /// Whether the group ends with this mark.
    last: bool,
}

/// The account of released records: taken up = accepted + dead-lettered + discarded + held again + put back + in hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Released {
    /// Records of messages that a group took up.
    pub taken_up: u64,
    /// Records that the gateway accepted.
    pub accepted: u64,
    /// Records whose dead letter the broker has confirmed.
    pub dead_lettered: u64,
    /// Records discarded by the gate's policy.
    pub discarded: u64,
    /// Records that the broker has confirmed in the held topic once more.
    pub held_again: u64,
    /// Records withdrawn before they were sent; they stay held.
    pub put_back: u64,
}

impl Released {
    #[must_use]
    pub fn in_hand(&self) -> u64 {
        self.taken_up
            - self.accepted
            - self.dead_lettered
            - self.discarded
            - self.held_again
            - self.put_back
    }
}

impl Hold {
    /// Settles one record of a released message.
    ///
    /// # Panics
    /// When it was never fed.
    pub fn settled(&mut self, id: u32, place: MessageSeq) {
        let group = self
            .groups
            .get_mut(&id)
            .expect("a group lives until its records are settled");
        group.tracker.settle(place);
        group.open -= 1;
        group.unmarked += 1;
        if (group.open == 0 && group.phase != Phase::Feeding) || group.unmarked >= MARK_EVERY {
            self.due.push(id);
        }
    }

    /// Returns one record that was fed and withdrawn before it was sent; it stays held. Its group is closed.
    pub fn put_back(&mut self, id: u32, bytes: u64) {
        self.close(id);
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.open -= 1;
        self.released.put_back += 1;
        if let Some(held) = group
            .names
            .first()
            .and_then(|name| self.names.get_mut(name))
        {
            held.records += 1;
            held.bytes += bytes;
        }
        if group.open == 0 {
            self.due.push(id);
        }
    }

    /// Offset in the held topic of a released message that is not settled.
    #[must_use]
    pub fn offset(&self, id: u32, place: MessageSeq) -> Option<i64> {
        self.groups.get(&id)?.tracker.offset(place)
    }

    /// Timestamp of a released message that is not settled: milliseconds since the epoch, in whole seconds.
    #[must_use]
    pub fn timestamp_ms(&self, id: u32, place: MessageSeq) -> Option<i64> {
        self.groups.get(&id)?.tracker.timestamp_ms(place)
    }

    /// The marks that are due now; the worker writes each and returns it by [`marked`](Self::marked) or
    /// [`unmarked`](Self::unmarked).
    pub fn marks(&mut self) -> Vec<Mark> {
        let mut marks = Vec::new();
        for id in std::mem::take(&mut self.due) {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            if group.marking {
                continue;
            }
            let last = group.open == 0 && group.phase != Phase::Feeding;
            let settled = group.tracker.watermark().map(|watermark| watermark - 1);
            let through = if last {
                settled.max(group.cut)
            } else {
                settled
            };
            match through.filter(|_| through > group.marked) {
                Some(through) => {
                    group.marking = true;
                    group.unmarked = 0;
                    marks.push(Mark {
                        names: group.names.clone(),
                        through,
                        group: id,
                        last,
                    });
                }
                None if last => self.finish(id, through.max(group_marked(&self.groups, id))),
                None => {}
            }
        }
        marks
    }

    /// The broker has confirmed a mark.
    pub fn marked(&mut self, mark: &Mark) {
        let Some(group) = self.groups.get_mut(&mark.group) else {
            return;
        };
        group.marking = false;
        group.marked = Some(mark.through);
        if mark.last {
            self.finish(mark.group, Some(mark.through));
            return;
        }
        for name in &mark.names {
            if let Some(held) = self.names.get_mut(name) {
                held.first = held.first.map(|first| first.max(mark.through + 1));
            }
        }
        // Another mark may have come due meanwhile.
        self.due.push(mark.group);
    }

    /// A mark could not be written; the group is due again.
    pub fn unmarked(&mut self, mark: &Mark) {
        if let Some(group) = self.groups.get_mut(&mark.group) {
            group.marking = false;
            self.due.push(mark.group);
        }
    }

    fn finish(&mut self, id: u32, through: Option<i64>) {
        let Some(group) = self.groups.remove(&id) else {
            return;
        };
        for name in &group.names {
            let Some(held) = self.names.get_mut(name) else {
                continue;
            };
            held.group = None;
            let released = held.last.is_none_or(|last| Some(last) <= through);
            if released && held.coming == 0 {
                self.names.remove(name);
                continue;
            }
            held.through = held.through.max(through);
            if released {
                (held.first, held.last) = (None, None);
            } else if let Some(through) = through {
                held.first = held.first.map(|first| first.max(through + 1));
            }
        }
        self.waiting = true;
    }
}

fn group_marked(groups: &BTreeMap<u32, Group>, id: u32) -> Option<i64> {
    groups.get(&id).and_then(|group| group.marked)
}
