//! Marks of letters that need no attention any more: replayed, or dismissed by a person.
//!
//! Owns their form in the state topic: one key for [`BLOCK`] offsets of a partition, `letters/TOPIC/TOPIC-ID/PARTITION/BLOCK`, with
//! ranges of offsets as JSON (`[from, to]`, `to` excluded).
//!
//! * E1: a mark counts only for the topic with the id under which it was written. A topic that was deleted and created again has other
//!   letters under the same offsets.
//!
//! Pure. It writes nothing: module `writer` does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::place::LetterPlace;
use crate::topic_partition::TopicPartition;

/// First part of every key.
pub const PREFIX: &str = "letters/";
/// Offsets of one key.
pub const BLOCK: i64 = 4_096;
/// In place of the id of a topic whose broker gives none.
const NO_ID: &str = "-";

/// Why a letter needs no attention any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    Replayed,
    /// Replayed without regard to older letters of its subject.
    OutOfOrder,
    /// A person decided that it is not to be sent.
    Dismissed,
}

impl Mark {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::OutOfOrder => "replayed out of order",
            Self::Dismissed => "dismissed",
        }
    }
}

/// Ranges of offsets: ascending, apart from each other, the end excluded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    fn has(&self, offset: i64) -> bool {
        let behind = self.0.partition_point(|(from, _)| *from <= offset);
        behind > 0 && offset < self.0[behind - 1].1
    }

    fn add(&mut self, offset: i64) {
        if self.has(offset) {
            return;
        }
        let at = self.0.partition_point(|(from, _)| *from <= offset);
        let joins_before = at > 0 && self.0[at - 1].1 == offset;
        let joins_behind = self.0.get(at).is_some_and(|(from, _)| *from == offset + 1);
        match (joins_before, joins_behind) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = offset + 1,
            (false, true) => self.0[at].0 = offset,
            (false, false) => self.0.insert(at, (offset, offset + 1)),
        }
    }

    /// Whether the ranges are as this program writes them, within a block.
    fn sound(&self, block: i64) -> bool {
        let within = |(from, to): &(i64, i64)| {
            from < to && *from >= block * BLOCK && *to <= (block + 1) * BLOCK
        };
        self.0.iter().all(within) && self.0.windows(2).all(|pair| pair[0].1 < pair[1].0)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The value of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Block {
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    replayed: Ranges,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    out_of_order: Ranges,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    dismissed: Ranges,
}

impl Block {
    fn of(&self, offset: i64) -> Option<Mark> {
        [
            (&self.replayed, Mark::Replayed),
            (&self.out_of_order, Mark::OutOfOrder),
            (&self.dismissed, Mark::Dismissed),
        ]
        .into_iter()
        .find(|(ranges, _)| ranges.has(offset))
        .map(|(_, mark)| mark)
    }

    fn add(&mut self, offset: i64, mark: Mark) {
        match mark {
            Mark::Replayed => self.replayed.add(offset),
            Mark::OutOfOrder => self.out_of_order.add(offset),
            Mark::Dismissed => self.dismissed.add(offset),
        }
    }
}

/// Partition, and number of the block.
type Key = (TopicPartition, i64);

fn key_of(place: &LetterPlace) -> Key {
    (
        TopicPartition::new(&place.topic, place.partition),
        place.offset.div_euclid(BLOCK),
    )
}

/// Blocks with further marks, not in force yet.
#[derive(Debug)]
pub struct Changed(BTreeMap<Key, Block>);

/// All marks of the topics with letters.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// Id by topic, where the broker gives one.
    ids: HashMap<String, String>,
    /// By topic, partition and number of the block.
    blocks: BTreeMap<Key, Block>,
    /// How many marks of another life of their topic were left out.
    pub void: u64,
}

impl Marks {
    /// Reads the marks from keys and values of the state topic. `ids`: the present id of each topic with letters.
    ///
    /// # Errors
    /// A key or value that this program did not write; with the key and the remedy.
    pub fn read<'k>(
        ids: HashMap<String, String>,
        kept: impl Iterator<Item = (&'k [u8], &'k [u8])>,
    ) -> anyhow::Result<Self> {
        let mut marks = Self {
            ids,
            ..Self::default()
        };
        for (key, value) in kept {
            let key = String::from_utf8_lossy(key).into_owned();
            let wrong = || {
                format!(
                    "the state topic has {key:?}, which this program did not write: write a tombstone for that key; its letters are \
                     shown again then"
                )
            };
            let mut parts = key.strip_prefix(PREFIX).unwrap_or_default().split('/');
            let (topic, id) = (parts.next(), parts.next());
            let (partition, number) = (parts.next(), parts.next());
            let number = number.and_then(|part| part.parse::<i64>().ok());
            let partition = partition.and_then(|part| part.parse::<i32>().ok());
            let (Some(topic), Some(id), Some(partition), Some(number)) =
                (topic, id, partition, number)
            else {
                anyhow::bail!(wrong());
            };
            let block: Block = serde_json::from_slice(value).with_context(wrong)?;
            let ranges = [&block.replayed, &block.out_of_order, &block.dismissed];
            anyhow::ensure!(ranges.iter().all(|ranges| ranges.sound(number)), wrong());
            if marks.id(topic) == id {
                let key = (TopicPartition::new(topic, partition), number);
                marks.blocks.insert(key, block);
            } else {
                marks.void += 1;
            }
        }
        Ok(marks)
    }

    fn id(&self, topic: &str) -> &str {
        // A topic id may hold a slash.
        self.ids.get(topic).map_or(NO_ID, String::as_str)
    }

    /// The mark of a letter, if it has one.
    #[must_use]
    pub fn of(&self, letter: &LetterPlace) -> Option<Mark> {
        self.blocks.get(&key_of(letter))?.of(letter.offset)
    }

    /// The blocks as they are with these marks too; nothing is changed yet.
    #[must_use]
    pub fn with<'p>(&self, marks: impl Iterator<Item = (&'p LetterPlace, Mark)>) -> Changed {
        let mut changed = BTreeMap::new();
        for (place, mark) in marks {
            let key = key_of(place);
            changed
                .entry(key.clone())
                .or_insert_with(|| self.blocks.get(&key).cloned().unwrap_or_default())
                .add(place.offset, mark);
        }
        Changed(changed)
    }

    /// Key and value of each changed block, as they are written to the state topic.
    pub fn texts<'c>(
        &'c self,
        changed: &'c Changed,
    ) -> impl Iterator<Item = (String, Vec<u8>)> + 'c {
        changed.0.iter().map(|((key, number), block)| {
            let TopicPartition { topic, partition } = key;
            let key = format!("{PREFIX}{topic}/{}/{partition}/{number}", self.id(topic));
            let value = serde_json::to_vec(block).expect("lists of numbers serialise");
            (key, value)
        })
    }

    /// The changed blocks were written: they are in force.
    pub fn keep(&mut self, changed: Changed) {
        self.blocks.extend(changed.0);
    }

    /// The topics that have marks.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<&str> {
        self.blocks.keys().map(|(key, _)| &*key.topic).collect()
    }
}

/// An id as it stands in a key, which is divided by slashes.
#[must_use]
pub fn id_text(id: &str) -> String {
    id.replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(id: &str) -> HashMap<String, String> {
        HashMap::from([("dead".to_owned(), id.to_owned())])
    }

    fn place(offset: i64) -> LetterPlace {
        LetterPlace::new("dead", 2, offset)
    }

    #[test]
    fn e1_marks_of_another_life_of_the_topic_do_not_count() {
        let mut marks = Marks::read(ids("A"), std::iter::empty()).expect("empty");
        let letter = place(BLOCK);
        let changed = marks.with([(&letter, Mark::Replayed)].into_iter());
        let written: Vec<_> = marks.texts(&changed).collect();
        assert_eq!(written[0].0, "letters/dead/A/2/1");
        assert_eq!(marks.of(&letter), None, "not in force before it is written");
        marks.keep(changed);
        assert_eq!(marks.of(&letter), Some(Mark::Replayed));
        let again = |id: &str| {
            let kept = written
                .iter()
                .map(|(key, value)| (key.as_bytes(), &**value));
            Marks::read(ids(id), kept).expect("ours")
        };
        assert_eq!(again("A").of(&letter), Some(Mark::Replayed));
        assert_eq!((again("B").of(&letter), again("B").void), (None, 1));
    }

    #[test]
    fn what_another_program_wrote_is_refused_with_its_key() {
        for (key, value) in [
            ("letters/dead", "{}"),
            ("letters/dead/A/x/1", "{}"),
            ("letters/dead/A/2/1", "no"),
            ("letters/dead/A/2/1", r#"{"replayed":[[5000,4999]]}"#),
            (
                "letters/dead/A/2/1",
                r#"{"replayed":[[0,9223372036854775807]]}"#,
            ),
        ] {
            let kept = [(key.as_bytes(), value.as_bytes())].into_iter();
            let error = Marks::read(ids("A"), kept).expect_err("refused");
            assert!(format!("{error:#}").contains(key), "{error:#}");
        }
    }

    proptest! {
        #[test]
        fn ranges_hold_what_was_added(offsets in prop::collection::vec(0i64..200, 0..150)) {
            let mut ranges = Ranges::default();
            for offset in &offsets {
                ranges.add(*offset);
            }
            prop_assert!(ranges.sound(0));
            for offset in 0..200 {
                prop_assert_eq!(ranges.has(offset), offsets.contains(&offset));
            }
        }
    }
}
