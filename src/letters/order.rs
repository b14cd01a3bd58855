//! The order in which letters are replayed, and which have to wait (L2).
//!
//! Owns the rule: letters of one subject and one source partition are in the order of their sources, and a letter that is not
//! replayed keeps the younger ones of its subject back. Pure.
//!
//! * Bounded: a letter takes the bytes of an [`Item`] while the order is made, and of a [`Step`] afterwards.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _};

use super::place::LetterPlace;

/// Most letters of which an order is made.
pub const MOST: usize = 4_000_000;

/// A place, with the topic as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    topic: u32,
    partition: i32,
    offset: i64,
}

/// Numbers of topics; letters of any program name any topic, so the number of topics is bounded by that of letters.
#[derive(Debug, Default)]
pub struct Topics {
    numbers: HashMap<String, u32>,
    /// By number.
    names: Vec<String>,
}

impl Topics {
    pub fn at(&mut self, place: &LetterPlace) -> At {
        let topic = match self.numbers.get(&place.topic) {
            Some(topic) => *topic,
            None => {
                let next = self.names.len() as u32;
                self.names.push(place.topic.clone());
                self.numbers.insert(place.topic.clone(), next);
                next
            }
        };
        At {
            topic,
            partition: place.partition,
            offset: place.offset,
        }
    }

    /// As [`at`](Self::at), for a topic that is known.
    #[must_use]
    pub fn known(&self, place: &LetterPlace) -> Option<At> {
        Some(At {
            topic: *self.numbers.get(&place.topic)?,
            partition: place.partition,
            offset: place.offset,
        })
    }

    /// The place, if its topic is known.
    #[must_use]
    pub fn place(&self, at: At) -> Option<LetterPlace> {
        let topic = self.names.get(at.topic as usize)?;
        Some(LetterPlace::new(topic, at.partition, at.offset))
    }
}

/// One number for a text or for bytes.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = foldhash::fast::FixedState::with_seed(0x1e77_e125).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// A letter that is not marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    pub letter: At,
    /// `None`: no place can be told, so nothing is older or younger.
    pub source: Option<At>,
    /// [`hash`] of the subject, if there is one.
    pub subject: Option<u64>,
    /// [`hash`] of the value: two letters with the same source and value are about the same bytes.
    pub value: u64,
    /// Whether it is to be replayed; else it waits.
    pub goes: bool,
}

/// A letter's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Number of the group: a subject in a source partition.
    pub group: u32,
    /// Its place among those of the group that are replayed.
    pub nth: u32,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Plan {
    /// The letters to be replayed.
    pub steps: HashMap<At, Step, foldhash::fast::FixedState>,
    /// Letters about the same bytes as one that is replayed: they are marked with it.
    pub twins: HashMap<At, Vec<At>, foldhash::fast::FixedState>,
    /// Letters that are kept back by an older one of their subject.
    pub behind: Vec<At>,
    pub groups: u32,
}

/// Makes the order. `out_of_order`: nothing is kept back.
#[must_use]
pub fn plan(mut items: Vec<Item>, out_of_order: bool) -> Plan {
    let key = |item: &Item| {
        let source = item.source;
        let partition = source.map(|at| (at.topic, at.partition));
        // Without a subject or a source a letter is a group of its own.
        let alone = (item.subject.is_none() || source.is_none()).then_some(item.letter);
        (item.subject, partition, alone)
    };
    items.sort_unstable_by_key(|item| {
        let offset = item.source.map(|at| at.offset);
        (key(item), offset, item.value, item.letter)
    });
    let mut plan = Plan::default();
    for group in items.chunk_by(|a, b| key(a) == key(b)) {
        let (mut nth, mut blocked) = (0, false);
        // Letters about the same bytes: what becomes of one becomes of all.
        let same =
            |a: &Item, b: &Item| a.source.is_some() && (a.source, a.value) == (b.source, b.value);
        for twins in group.chunk_by(same) {
            let Some(first) = twins.iter().find(|item| item.goes) else {
                blocked |= !out_of_order;
                continue;
            };
            let others = twins.iter().map(|item| item.letter);
            if blocked {
                plan.behind.extend(others);
                continue;
            }
            let step = Step {
                group: plan.groups,
                nth,
            };
            plan.steps.insert(first.letter, step);
            nth += 1;
            let others: Vec<At> = others.filter(|letter| *letter != first.letter).collect();
            if !others.is_empty() {
                plan.twins.insert(first.letter, others);
            }
        }
        plan.groups += u32::from(nth > 0);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(topic: u32, partition: i32, offset: i64) -> At {
        At {
            topic,
            partition,
            offset,
        }
    }

    fn item(letter: i64, source: i64, subject: &str, goes: bool) -> Item {
        Item {
            letter: at(0, 0, letter),
            source: Some(at(1, 0, source)),
            subject: Some(hash(subject.as_bytes())),
            value: letter as u64,
            goes,
        }
    }

    #[test]
    fn l2_a_letter_that_waits_keeps_younger_ones_of_its_subject_back() {
        // Letter 1 is older by its source than letter 0, which was written before it.
        let items = vec![
            item(0, 11, "a", true),
            item(1, 10, "a", true),
            item(2, 12, "a", false),
            item(3, 13, "a", true),
            item(4, 14, "b", true),
        ];
        let strict = plan(items.clone(), false);
        assert_eq!(strict.behind, [at(0, 0, 3)]);
        let nth = |plan: &Plan, letter| plan.steps.get(&at(0, 0, letter)).map(|step| step.nth);
        assert_eq!((nth(&strict, 1), nth(&strict, 0)), (Some(0), Some(1)));
        assert_eq!((nth(&strict, 4), nth(&strict, 2)), (Some(0), None));
        assert_eq!(strict.groups, 2);
        let loose = plan(items, true);
        assert_eq!((loose.behind.len(), nth(&loose, 3)), (0, Some(2)));
    }

    #[test]
    fn letters_about_the_same_bytes_are_replayed_once() {
        let mut twice = item(5, 10, "a", true);
        let first = item(4, 10, "a", true);
        twice.value = first.value;
        let other = item(6, 10, "a", true);
        let plan = plan(vec![twice, first, other], false);
        assert_eq!(plan.steps.len(), 2);
        assert_eq!(plan.twins.get(&first.letter), Some(&vec![twice.letter]));
    }

    #[test]
    fn a_letter_without_subject_or_source_keeps_nobody_back() {
        let mut nobody = item(0, 10, "a", false);
        nobody.subject = None;
        let mut nowhere = item(1, 11, "a", false);
        nowhere.source = None;
        let plan = plan(vec![nobody, nowhere, item(2, 12, "a", true)], false);
        assert!(plan.behind.is_empty() && plan.steps.len() == 1);
    }

    proptest! {
        /// Whatever the letters: what is replayed of a group has the order of its sources, and nothing older of it waits.
        #[test]
        fn l2_holds_for_any_letters(
            letters in prop::collection::vec((0i64..40, 0u8..3, any::<bool>()), 0..60),
        ) {
            let items: Vec<Item> = letters
                .iter()
                .enumerate()
                .map(|(n, (source, subject, goes))| item(n as i64, *source, &subject.to_string(), *goes))
                .collect();
            let plan = plan(items.clone(), false);
            for a in &items {
                for b in items.iter().filter(|b| b.subject == a.subject) {
                    let older = a.source < b.source;
                    let (step_a, step_b) = (plan.steps.get(&a.letter), plan.steps.get(&b.letter));
                    if let (true, Some(b)) = (older, step_b) {
                        prop_assert!(step_a.is_some_and(|a| a.nth < b.nth));
                    }
                }
            }
            let all = plan.steps.len() + plan.behind.len() + plan.twins.values().map(Vec::len).sum::<usize>();
            // Every item has a value of its own here, so that none is a twin.
            prop_assert_eq!(all, items.iter().filter(|item| item.goes).count());
        }
    }
}
