//! The held index of one partition: which records its held topic has, and the groups in which a device's records are released.
//!
//! Owns one entry per name (the key of held records: a device id or a serial) and one group per device that is being released.
//! A group has an offset tracker of its own, over the held topic's offsets.
//!
//! * S1: while records of a name are held, or its group is still fed, no live record of it passes. Live records pass once every
//!   record of the group was fed, including those that were in flight to the topic (their delivery reports give the offset).
//! * A mark says "released through this offset"; it never passes a record that is not settled (O1).
//! * One reading serves all groups: a device joins it unless some of its records lie behind the reading's position; then it
//!   waits for the next reading.
//!
//! Phases of a group: feeding, then passing (live records pass; its last records settle), or closing (it was stopped: records
//! in flight settle, the rest stays held). Pure: it reads no topic and no clock. Dropping it loses only what can be rebuilt.

mod marks;

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::gate::Decision;
use super::offsets::{MessageSeq, OffsetTracker};
use super::partition::HeldMessage;

pub use marks::{Mark, Released};

/// Distance to the end offset of the held topic within which no more records are written behind the last ones of a group.
const NEAR: i64 = 2_000;

/// The records held under one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// No unreleased record lies below this offset of the held topic; `None` while all are in flight.
    pub first: Option<i64>,
    /// Newest known offset; `None` while all are in flight.
    pub last: Option<i64>,
    /// Records held: those in flight are counted, those fed are not.
    pub records: u64,
    /// Bytes of these records, keys included.
    pub bytes: u64,
    /// Timestamp of the oldest, in milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// Reason code of the newest.
    pub reason: Box<str>,
    /// The source's offset that has to be committed before the oldest may expire.
    uncommitted: Option<i64>,
    /// Letters to the held topic that are not confirmed yet.
    coming: u32,
    /// Everything up to this offset is released, also what is not confirmed yet.
    through: Option<i64>,
    /// The group that releases them, if there is one.
    group: Option<u32>,
}

/// How far a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Feeding,
    Passing,
    Closing,
}

/// What becomes of a group's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Its records are sent, dead-lettered or discarded, as the gate decides.
    Release(Decision),
    /// As [`Purpose::Release`] with records that may be sent, at most so many messages: a probe of a device in quarantine.
    Part(u32),
    /// Those held too long become dead letters.
    Expire,
}

/// Why a record does not expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// Its timestamp, in milliseconds since the epoch, is young enough.
    Until(i64),
    /// Its source offset is not covered by a known commit: a crash would re-deliver it.
    Uncommitted(i64),
}

/// The records of one device while they are released or expire.
#[derive(Debug)]
struct Group {
    /// Names of the device that are released together; each has this group's number in its `Held` entry.
    names: Vec<Box<[u8]>>,
    /// The device id they belong to; `None` for a name that belongs to no known device. A change of it stops the group.
    owner: Option<Box<[u8]>>,
    /// What becomes of the records.
    purpose: Purpose,
    /// Feeding, passing or closing.
    phase: Phase,
    /// Open messages of the group over the held topic's offsets; the tracker of the partition itself is another. Dropped with
    /// the group once nothing is open.
    tracker: OffsetTracker,
    /// Places of open messages whose headers name their source, in their order: the offset there, and the record's place in it.
    sources: VecDeque<(MessageSeq, (i64, Option<u32>))>,
    /// Records fed and not settled.
    open: u64,
    /// Every record of its names up to this offset was fed; set when live records may pass.
    cut: Option<i64>,
    /// Offset of the newest mark that the broker has confirmed.
    marked: Option<i64>,
    /// Records settled since the last mark.
    unmarked: u32,
    /// Whether a mark is in flight; the worker has it and returns it by `marked` or `unmarked`.
    marking: bool,
}

/// The gate's decision on a name, and the device to which the name belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub decision: Decision,
    /// For records that may be sent: at most so many messages.
    pub part: Option<u32>,
    pub owner: Option<Box<[u8]>>,
}

/// Key of a group: an owner's names form one group, a name without an owner forms its own.
type Together = (Option<Box<[u8]>>, Box<[u8]>);
type Ready = BTreeMap<Together, (Purpose, Vec<Box<[u8]>>)>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Hold {
    /// What is held, by name.
    names: HashMap<Box<[u8]>, Held>,
    /// Groups being released, by number.
    groups: BTreeMap<u32, Group>,
    /// Number of the next group; it is part of the sequence of every released message.
    next_group: u32,
    /// Next offset that the reading of the held topic is to give.
    position: i64,
    /// One past the newest known offset of the held topic.
    end: i64,
    /// One past the newest offset that was found or confirmed: records in flight will lie behind.
    confirmed: i64,
    /// Whether the reading from `position` on has given anything.
    reading: bool,
    /// Groups that may owe a mark.
    due: Vec<u32>,
    /// Whether a review could begin something.
    waiting: bool,
    /// Account of released records, also of groups that have ended.
    pub(super) released: Released,
}

impl Hold {
    /// Whether no record is held, and none is in flight to the held topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    #[must_use]
    pub fn released(&self) -> Released {
        self.released
    }

    /// Whether anything is held under a name.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        self.names.contains_key(name)
    }

    /// The records held under a name.
    #[must_use]
    pub fn of(&self, name: &[u8]) -> Option<&Held> {
        self.names.get(name)
    }

    /// The held records by name.
    pub fn held(&self) -> impl Iterator<Item = (&[u8], &Held)> {
        self.names.iter().map(|(name, held)| (&**name, held))
    }

    /// Notes a held record that was found in the topic after a start; `offset`s ascend.
    pub fn found(
        &mut self,
        name: &[u8],
        offset: i64,
        bytes: u64,
        since_ms: Option<i64>,
        why: &str,
    ) {
        self.end = self.end.max(offset + 1);
        let held = entry(&mut self.names, name);
        held.first.get_or_insert(offset);
        held.last = Some(offset);
        note(held, bytes, since_ms, why);
        self.waiting = true;
    }

    /// Forgets records held for other reasons than these; true if there were any.
    pub fn keep_only(&mut self, reasons: &[&str]) -> bool {
        let before = self.names.len();
        self.names
            .retain(|_, held| reasons.contains(&&*held.reason));
        self.names.len() < before
    }

    /// Notes the end offset up to which the topic was read.
    pub fn ends_at(&mut self, end: i64) {
        self.end = self.end.max(end);
        self.confirmed = self.confirmed.max(end);
    }

    /// Notes a record in flight to the held topic.
    pub fn coming(&mut self, name: &[u8], bytes: u64, since_ms: Option<i64>, why: &str) {
        let held = entry(&mut self.names, name);
        held.coming += 1;
        note(held, bytes, since_ms, why);
    }

    /// The broker has confirmed a record in flight, at this offset.
    ///
    /// # Panics
    /// When no record of the name was in flight.
    pub fn arrived(&mut self, name: &[u8], offset: i64) {
        self.end = self.end.max(offset + 1);
        self.confirmed = self.confirmed.max(offset + 1);
        let held = self
            .names
            .get_mut(name)
            .expect("a letter on its way keeps its name in the index");
        held.coming = held
            .coming
            .checked_sub(1)
            .expect("every letter arrives once");
        // The record may have been read, released and marked before its confirmation came.
        if Some(offset) > held.through {
            held.first.get_or_insert(offset);
            held.last = held.last.max(Some(offset));
        }
        match held.group {
            Some(group) => self.look(group),
            None if held.coming == 0 && held.first.is_none() => {
                self.names.remove(name);
            }
            None => self.waiting = true,
        }
    }

    /// A record in flight to the held topic will never be written there.
    ///
    /// # Panics
    /// When no record of the name was in flight.
    pub fn given_up(&mut self, name: &[u8], bytes: u64) {
        let held = self
            .names
            .get_mut(name)
            .expect("a letter on its way keeps its name in the index");
        held.coming = held
            .coming
            .checked_sub(1)
            .expect("every letter is given up once");
        held.records = held.records.saturating_sub(1);
        held.bytes = held.bytes.saturating_sub(bytes);
        match held.group {
            Some(group) => self.look(group),
            None if held.coming == 0 && held.first.is_none() => {
                self.names.remove(name);
            }
            None => self.waiting = true,
        }
    }

    /// Whether live records of this name have to go to the held topic, behind the older ones.
    #[must_use]
    pub fn blocks(&self, name: &[u8]) -> bool {
        self.names.get(name).is_some_and(|held| {
            let phase = held.group.and_then(|group| self.groups.get(&group));
            phase.is_none_or(|group| group.phase != Phase::Passing)
        })
    }

    /// Whether a review could begin a release.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.waiting
    }

    /// Stops groups that may not go on and begins those that may. `judge` gives the gate's decision on a name. Records older
    /// than `expired_ms` (milliseconds since the epoch) expire, unless a crash would re-deliver them (`comes_back`, by source
    /// offset).
    pub fn review(
        &mut self,
        judge: impl Fn(&[u8]) -> Standing,
        expired_ms: Option<i64>,
        comes_back: impl Fn(i64) -> bool,
    ) {
        self.waiting = false;
        let groups: Vec<u32> = self.groups.keys().copied().collect();
        for id in groups {
            let group = &self.groups[&id];
            let goes_on = match group.purpose {
                Purpose::Expire => true,
                Purpose::Part(_) => group.names.iter().all(|name| {
                    let now = judge(name);
                    now.part.is_some() && now.owner == group.owner
                }),
                Purpose::Release(decision) => group.names.iter().all(|name| {
                    let now = judge(name);
                    now.decision == decision && now.part.is_none() && now.owner == group.owner
                }),
            };
            if !goes_on {
                self.close(id);
            }
        }
        let mut ready = Ready::new();
        let mut blocked = Vec::new();
        for (name, held) in &self.names {
            let standing = judge(name);
            let too_long = held.since_ms.zip(expired_ms).is_some_and(|(s, e)| s < e)
                && !held.uncommitted.is_some_and(&comes_back);
            let purpose = match standing.decision {
                Decision::Hold(_) if too_long => Purpose::Expire,
                Decision::Hold(_) => continue,
                decision => match standing.part {
                    Some(most) => Purpose::Part(most),
                    None => Purpose::Release(decision),
                },
            };
            // Names of one device make one group; a name without a known device is a group of its own.
            let alone = standing.owner.is_none() || purpose == Purpose::Expire;
            let key = if alone { name.clone() } else { Box::default() };
            // While all records of a name are in flight, their offsets are unknown.
            if held.group.is_some() || held.first.is_none() {
                blocked.push((standing.owner, key));
                continue;
            }
            let names = ready
                .entry((standing.owner, key))
                .or_insert((purpose, Vec::new()));
            names.1.push(name.clone());
        }
        // A device whose other name is in an older group waits for that group.
        for key in blocked {
            self.waiting |= ready.remove(&key).is_some();
        }
        let reading = self.wanted().is_some();
        let first_of = |names: &[Box<[u8]>]| {
            let firsts = names.iter().filter_map(|name| self.names[name].first);
            firsts.min().unwrap_or(self.end)
        };
        let mut begin: Vec<_> = ready
            .into_iter()
            .map(|((owner, _), (purpose, names))| (first_of(&names), owner, purpose, names))
            .collect();
        if reading {
            let all = begin.len();
            begin.retain(|(first, ..)| *first >= self.position);
            self.waiting |= begin.len() < all;
        } else if let Some(first) = begin.iter().map(|(first, ..)| *first).min() {
            self.position = first;
            self.reading = false;
        }
        for (_, owner, purpose, names) in begin {
            self.begin(owner, purpose, names);
        }
    }

    fn begin(&mut self, owner: Option<Box<[u8]>>, purpose: Purpose, names: Vec<Box<[u8]>>) {
        let id = self.next_group;
        self.next_group += 1;
        for name in &names {
            if let Some(held) = self.names.get_mut(name) {
                held.group = Some(id);
            }
        }
        let group = Group {
            names,
            owner,
            purpose,
            phase: Phase::Feeding,
            tracker: OffsetTracker::new(),
            sources: VecDeque::new(),
            open: 0,
            cut: None,
            marked: None,
            unmarked: 0,
            marking: false,
        };
        self.groups.insert(id, group);
        self.look(id);
    }

    /// Stops a group: no more records are fed, and those that are not settled stay held.
    pub fn close(&mut self, group: u32) {
        if let Some(found) = self.groups.get_mut(&group)
            && found.phase != Phase::Closing
        {
            found.phase = Phase::Closing;
            found.cut = None;
            self.due.push(group);
        }
    }

    /// Stops an expiring group because its oldest held record may not expire: that record and later ones stay.
    pub fn keep(&mut self, group: u32, stay: Stay) {
        if let Some(found) = self.groups.get(&group) {
            for name in &found.names {
                if let Some(held) = self.names.get_mut(name) {
                    match stay {
                        Stay::Until(since_ms) => held.since_ms = Some(since_ms),
                        Stay::Uncommitted(offset) => held.uncommitted = Some(offset),
                    }
                }
            }
        }
        self.close(group);
    }

    /// The next offset to read from the held topic, while a group is being fed.
    #[must_use]
    pub fn wanted(&self) -> Option<i64> {
        let feeding = |group: &Group| group.phase == Phase::Feeding;
        self.groups.values().any(feeding).then_some(self.position)
    }

    /// The group that takes a record read at `offset`, and its purpose.
    #[must_use]
    pub fn takes(&self, name: &[u8], offset: i64) -> Option<(u32, Purpose)> {
        let held = self.names.get(name)?;
        let id = held.group?;
        let group = self.groups.get(&id)?;
        let takes = group.phase == Phase::Feeding
            && offset >= self.position
            && held.first.is_none_or(|first| offset >= first)
            && Some(offset) > held.through;
        takes.then_some((id, group.purpose))
    }

    /// Notes a message that a group took up, and offset and place of its source if they are known; the sequence identifies it until its
    /// records are settled.
    pub fn fed(
        &mut self,
        group: u32,
        message: &HeldMessage,
        source: Option<(i64, Option<u32>)>,
        records: u32,
    ) -> MessageSeq {
        let found = self
            .groups
            .get_mut(&group)
            .expect("only a group that takes records is fed");
        if let Some(held) = self.names.get_mut(&*message.name) {
            held.records = held.records.saturating_sub(1);
            held.bytes = held.bytes.saturating_sub(message.bytes());
        }
        let place = found
            .tracker
            .read_at(message.offset, records, message.since_ms());
        let Group {
            tracker, sources, ..
        } = found;
        while sources
            .front()
            .is_some_and(|(place, _)| tracker.offset(*place).is_none())
        {
            sources.pop_front();
        }
        sources.extend(source.map(|source| (place, source)));
        found.open += u64::from(records);
        self.released.taken_up += u64::from(records);
        MessageSeq::released(group, place)
    }

    /// Offset of the source of a message that is still open, and the record's place in it, by its headers.
    #[must_use]
    pub fn source_of(&self, group: u32, place: MessageSeq) -> Option<(i64, Option<u32>)> {
        let sources = &self.groups.get(&group)?.sources;
        let at = sources.binary_search_by_key(&place, |(place, _)| *place);
        Some(sources[at.ok()?].1)
    }

    /// Notes that everything below `next` was read.
    pub fn read_to(&mut self, next: i64) {
        self.position = self.position.max(next);
        self.reading = true;
        self.end = self.end.max(next);
        let feeding: Vec<u32> = self
            .groups
            .iter()
            .filter(|(_, group)| group.phase == Phase::Feeding)
            .map(|(id, _)| *id)
            .collect();
        for id in feeding {
            self.look(id);
        }
    }

    /// Lets live records pass if every record of a group was fed.
    fn look(&mut self, id: u32) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        if group.phase != Phase::Feeding {
            return;
        }
        let all = |held: &Held| held.last.is_none_or(|last| last < self.position);
        let mut names = group.names.iter().filter_map(|name| self.names.get(name));
        let done = match group.purpose {
            Purpose::Expire => names.all(all),
            Purpose::Release(_) | Purpose::Part(_) => {
                names.all(|held| held.coming == 0 && all(held))
            }
        };
        if done {
            group.phase = match group.purpose {
                Purpose::Expire => Phase::Closing,
                Purpose::Release(_) | Purpose::Part(_) => Phase::Passing,
            };
            group.cut = Some(self.position - 1);
            self.due.push(id);
            self.waiting = true;
        }
    }

    /// Whether the reading is near the end of the topic and only records in flight are missing: nothing more may be written
    /// behind them now.
    #[must_use]
    pub fn crowded(&self) -> bool {
        self.reading
            && self.position + NEAR >= self.end
            && self.groups.values().any(|group| {
                group.phase == Phase::Feeding
                    && matches!(group.purpose, Purpose::Release(_))
                    && group.names.iter().any(|name| {
                        self.names.get(name).is_some_and(|held| {
                            held.coming > 0 || held.last.is_some_and(|l| l >= self.position)
                        })
                    })
            })
    }

    /// Offset of the held topic below which everything is released.
    #[must_use]
    pub fn low(&self) -> i64 {
        let held = self.names.values();
        let lowest = held.map(|held| held.first.unwrap_or(self.confirmed)).min();
        lowest.unwrap_or(self.end)
    }

    /// Records held, their bytes, and groups being released.
    #[must_use]
    pub fn figures(&self) -> (u64, u64, u64) {
        let held = self.names.values();
        let (records, bytes) = held.fold((0, 0), |(records, bytes), held| {
            (records + held.records, bytes + held.bytes)
        });
        (records, bytes, self.groups.len() as u64)
    }
}

fn entry<'n>(names: &'n mut HashMap<Box<[u8]>, Held>, name: &[u8]) -> &'n mut Held {
    if !names.contains_key(name) {
        names.insert(name.into(), Held::default());
    }
    names
        .get_mut(name)
        .expect("it was just inserted if it was not there")
}

fn note(held: &mut Held, bytes: u64, since_ms: Option<i64>, why: &str) {
    held.records += 1;
    held.bytes += bytes;
    held.since_ms = match (held.since_ms, since_ms) {
        (Some(known), Some(new)) => Some(known.min(new)),
        (known, new) => known.or(new),
    };
    if *held.reason != *why {
        held.reason = why.into();
    }
}
