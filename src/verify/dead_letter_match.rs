//! What left the path sideways: letters, counted and matched to the records they are about.
//!
//! A letter that was written twice has the same source. One whose record cannot be told counts for its serial, and stands
//! for one of the serial's records that must be rejected.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::verdict::Letters;
use crate::record::RecordType;

/// Marks of a record.
pub(super) const DEAD: u8 = 1;
pub(super) const HELD: u8 = 2;

/// One letter.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// The serial or the device id.
    pub subject: &'a str,
    /// Type and time (microseconds since the epoch), if the record says them.
    pub identity: Option<(RecordType, i64)>,
    /// A hash of where the record came from, equal for letters of the same record.
    pub source: u64,
    pub reason: &'a str,
    /// On a held topic; else on the dead-letter topic.
    pub held: bool,
}

/// Letters of a serial that name no record.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Nameless {
    dead: u64,
    held: u64,
}

/// All letters so far.
#[derive(Debug, Default)]
pub(super) struct Aside {
    seen: HashSet<(bool, u64), foldhash::fast::FixedState>,
    read: u64,
    repeated: u64,
    strange: u64,
    reasons: BTreeMap<String, u64>,
    nameless: HashMap<Box<str>, Nameless>,
}

impl Aside {
    /// Counts a letter; false if its record had one already.
    pub fn is_new(&mut self, letter: &DeadLetter<'_>) -> bool {
        self.read += 1;
        if !self.seen.insert((letter.held, letter.source)) {
            self.repeated += 1;
            return false;
        }
        if !letter.held {
            *self.reasons.entry(letter.reason.to_owned()).or_default() += 1;
        }
        true
    }

    fn take_back(&mut self, letter: &DeadLetter<'_>) {
        if !letter.held
            && let Some(count) = self.reasons.get_mut(letter.reason)
        {
            *count -= 1;
            if *count == 0 {
                self.reasons.remove(letter.reason);
            }
        }
    }

    /// The letter is about no record of any manifest.
    pub fn strange(&mut self, letter: &DeadLetter<'_>) {
        self.take_back(letter);
        self.strange += 1;
    }

    /// The letter's record had one from another source.
    pub fn again(&mut self, letter: &DeadLetter<'_>) {
        self.take_back(letter);
        self.repeated += 1;
    }

    /// The letter is about one of a serial's records, but does not say which.
    pub fn nameless(&mut self, letter: &DeadLetter<'_>, serial: &str) {
        let of_serial = self.nameless.entry(serial.into()).or_default();
        *(if letter.held {
            &mut of_serial.held
        } else {
            &mut of_serial.dead
        }) += 1;
    }

    pub fn nameless_of(&self, serial: &str) -> Nameless {
        self.nameless.get(serial).copied().unwrap_or_default()
    }

    /// What can be said before any record is looked at.
    pub fn counts(&self) -> Letters {
        Letters {
            read: self.read,
            repeated: self.repeated,
            strange: self.strange,
            reasons: self.reasons.clone(),
            ..Letters::default()
        }
    }
}

impl Letters {
    /// Counts one record by its marks; whether a letter accounts for it.
    pub(super) fn settles(
        &mut self,
        marks: u8,
        bad: bool,
        arrived: bool,
        nameless: &mut Nameless,
    ) -> bool {
        let dead = marks & DEAD != 0 || bad && marks == 0 && take(&mut nameless.dead);
        if arrived {
            self.dead_lettered_accepted += u64::from(dead);
            return false;
        }
        if dead {
            self.dead_lettered += 1;
            self.dead_lettered_sound += u64::from(!bad);
            return true;
        }
        let held = marks & HELD != 0 || take(&mut nameless.held);
        self.held += u64::from(held);
        held
    }
}

fn take(count: &mut u64) -> bool {
    let any = *count > 0;
    *count -= u64::from(any);
    any
}
