//! Marks of one partition's held records in the state topic, and the life of the held log to which each belongs (E1).
//!
//! Owns the keys and the text of marks. A mark is `<offset> <topic id> <leader epoch>`; a mark written by an older version of
//! this program, or with a broker without topic ids, is the offset alone.
//!
//! * A mark counts only in the held topic it was written about, and only up to that log's end.
//! * A record at or below a mark is released only if it can have been there when the mark was written: its leader epoch is not newer
//!   than the mark's; where the mark names no topic, its timestamp is not newer than the mark's own. Clocks that differ can only
//!   make a record be released twice.

use std::borrow::Cow;
use std::collections::HashMap;

use super::HeldPartition;
use crate::log_life::{Facts, TopicId};
use crate::pipeline::{fit, state};

/// A mark, and the data that bind it to the life of the held log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub offset: i64,
    pub topic_id: Option<TopicId>,
    /// The newest leader epoch that was known in the held log when the mark was written; -1 for none.
    pub epoch: i32,
    /// Milliseconds since the epoch when it was written, by its own timestamp.
    pub written_ms: Option<i64>,
}

/// Longest name that is used in a mark's key as it is.
const LONGEST_NAME: usize = 512;
/// Bytes of an unreadable mark that are shown.
const SHOWN: usize = 60;

/// A mark of the state topic that is no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the mark {key:?} in {topic} is no number: {value:?}")]
pub struct UnreadableMark {
    pub topic: String,
    pub key: String,
    /// Its beginning.
    pub value: String,
}

impl UnreadableMark {
    fn of(topic: &str, key: &[u8], value: &[u8]) -> Self {
        Self {
            topic: topic.to_owned(),
            key: key.escape_ascii().to_string(),
            value: value.escape_ascii().take(SHOWN).map(char::from).collect(),
        }
    }

    /// What a person can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        let Self { topic, key, .. } = self;
        format!(
            "delete the mark: produce a message with the key {key} and without a value (a tombstone) to {topic}; what was \
             released of that name is then sent again, and nothing is lost"
        )
    }
}

/// The data of a held record that marks are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldAt {
    pub offset: i64,
    pub epoch: i32,
    pub timestamp_ms: Option<i64>,
}

/// All marks of one partition that are valid in the held log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Everything below this offset is released.
    pub low: i64,
    /// Released through this offset, by name.
    pub through: HashMap<Vec<u8>, Mark>,
    /// Marks of another life of the held log, which are ignored.
    pub void: usize,
}

/// The name that a mark's key has for a held record's name: a checksum if the name is long, so that every mark can be written.
#[must_use]
pub fn mark_name(name: &[u8]) -> Cow<'_, [u8]> {
    if name.len() <= LONGEST_NAME {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("\0sha256/{}", fit::sha256(name)).into_bytes())
}

impl Marks {
    /// Whether a mark says that this record of this name is released.
    #[must_use]
    pub fn released(&self, name: &[u8], record: HeldAt) -> bool {
        // Version 0.1.0 wrote every name as it is.
        let known = [self.through.get(&*mark_name(name)), self.through.get(name)];
        known
            .into_iter()
            .flatten()
            .any(|mark| mark.releases(record))
    }
}

impl Mark {
    /// The text of a mark in the state topic.
    #[must_use]
    pub fn text(offset: i64, topic_id: Option<&TopicId>, epoch: i32) -> String {
        match topic_id {
            Some(id) => format!("{offset} {id} {epoch}"),
            None => offset.to_string(),
        }
    }

    /// Reads a mark; `None` for what is none.
    #[must_use]
    pub fn parse(value: &[u8], written_ms: Option<i64>) -> Option<Self> {
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        let offset = words.next().unwrap_or_default().parse().ok()?;
        let topic_id = words.next().and_then(TopicId::new);
        let epoch = words.next().and_then(|word| word.parse().ok());
        Some(Self {
            offset,
            topic_id,
            epoch: epoch.unwrap_or(-1),
            written_ms,
        })
    }

    /// Whether the mark is valid for the present log; `end` is the first offset that it does not cover.
    #[must_use]
    pub fn counts(&self, end: i64, facts: &Facts) -> bool {
        let ids = self.topic_id.as_ref().zip(facts.topic_id.as_ref());
        ids.is_none_or(|(then, now)| then == now) && end <= facts.end
    }

    /// Whether a record can have been in the log when the mark was written.
    #[must_use]
    pub fn knew(&self, record: HeldAt) -> bool {
        if self.epoch >= 0 && record.epoch > self.epoch {
            return false;
        }
        let later = self.written_ms.zip(record.timestamp_ms);
        self.topic_id.is_some() || later.is_none_or(|(written, record)| record <= written)
    }

    /// Whether the mark calls a record released.
    #[must_use]
    pub fn releases(&self, record: HeldAt) -> bool {
        record.offset <= self.offset && self.knew(record)
    }
}

impl HeldPartition {
    /// The key of a mark in the state topic.
    #[must_use]
    pub fn mark(&self, name: &[u8]) -> Vec<u8> {
        let mut key = self.prefix("released-through").into_bytes();
        key.extend_from_slice(&mark_name(name));
        key
    }

    /// The key of the partition's low mark in the state topic.
    #[must_use]
    pub fn low_mark(&self) -> String {
        self.prefix("held-low")
    }

    fn prefix(&self, what: &str) -> String {
        format!("{what}/{}/", self.held)
    }

    /// Reads the marks that are valid for the present held log. `newest_below` gives the newest record below an offset, if
    /// there is one. Blocks the calling thread.
    ///
    /// # Errors
    /// As [`state::load_all`].
    pub fn marks(
        &self,
        facts: &Facts,
        newest_below: impl FnOnce(i64) -> anyhow::Result<Option<HeldAt>>,
    ) -> anyhow::Result<Marks> {
        let (prefix, low) = (self.prefix("released-through"), self.low_mark());
        let wanted = |key: &[u8]| key.starts_with(prefix.as_bytes()) || key == low.as_bytes();
        let mut marks = Marks::default();
        let mut lowest = None;
        for (key, kept) in state::load_all(&self.kafka, &self.state_topic, wanted)? {
            let mark = Mark::parse(&kept.value, kept.written_ms);
            let mark =
                mark.ok_or_else(|| UnreadableMark::of(&self.state_topic, &key, &kept.value))?;
            match key.strip_prefix(prefix.as_bytes()) {
                Some(name) if mark.counts(mark.offset + 1, facts) => {
                    marks.through.insert(name.to_vec(), mark);
                }
                None if mark.counts(mark.offset, facts) => lowest = Some(mark),
                _ => marks.void += 1,
            }
        }
        if let Some(low) = lowest {
            // Records below are not read one by one: the newest of them stands for all.
            let newest = match low.offset > facts.low {
                true => newest_below(low.offset)?,
                false => None,
            };
            match newest.is_none_or(|record| low.knew(record)) {
                true => marks.low = low.offset,
                false => marks.void += 1,
            }
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(id: Option<&str>, end: i64) -> Facts {
        Facts {
            topic_id: id.and_then(TopicId::new),
            low: 0,
            end,
        }
    }

    fn record(offset: i64, epoch: i32, at: i64) -> HeldAt {
        HeldAt {
            offset,
            epoch,
            timestamp_ms: Some(at),
        }
    }

    #[test]
    fn a_mark_of_todays_version_is_read_and_one_of_the_version_before_too() {
        let id = TopicId::new("AbC-_1").expect("an id");
        let new = Mark::parse(Mark::text(41, Some(&id), 3).as_bytes(), Some(7)).expect("a mark");
        assert_eq!((new.offset, new.epoch), (41, 3));
        assert_eq!((new.topic_id, new.written_ms), (Some(id), Some(7)));
        let old = Mark::parse(b"41", None).expect("a mark");
        assert_eq!((old.offset, old.topic_id, old.epoch), (41, None, -1));
        assert_eq!(Mark::text(41, None, 3), "41");
        for none in [&b""[..], b"x", b"\xff", b" 41"] {
            assert_eq!(Mark::parse(none, None), None);
        }
    }

    #[test]
    fn a_mark_counts_only_in_its_own_log() {
        let mark = |text: &str| Mark::parse(text.as_bytes(), Some(1_000)).expect("a mark");
        for (text, now, counts) in [
            ("9", facts(Some("a"), 10), true),
            ("9", facts(None, 10), true),
            ("10", facts(Some("a"), 10), false),
            ("9 a 1", facts(Some("a"), 10), true),
            ("9 a 1", facts(None, 10), true),
            ("9 a 1", facts(Some("b"), 10), false),
            ("3 a 1", facts(Some("b"), 10_000), false),
            ("10 a 1", facts(Some("a"), 10), false),
        ] {
            let mark = mark(text);
            assert_eq!(mark.counts(mark.offset + 1, &now), counts, "{text} {now:?}");
        }
    }

    #[test]
    fn every_mark_can_be_written_and_those_of_version_0_1_0_count() {
        let (short, long) = (b"imei-1".as_slice(), vec![b'x'; 900_000]);
        assert_eq!(mark_name(short), short);
        let name = mark_name(&long);
        assert!(name.len() < 100 && *mark_name(&name) == *name);
        assert_ne!(mark_name(&long[1..]), name);
        let released = |key: &[u8], name: &[u8]| {
            let mark = Mark::parse(b"7", Some(1_000)).expect("a mark");
            let marks = Marks {
                through: HashMap::from([(key.to_vec(), mark)]),
                ..Marks::default()
            };
            assert!(!marks.released(name, record(8, -1, 1_000)));
            marks.released(name, record(7, -1, 1_000))
        };
        assert!(released(&name, &long));
        assert!(released(&long, &long), "as version 0.1.0 wrote it");
        assert!(released(short, short));
        assert!(!released(short, &long));
    }

    #[test]
    fn what_was_written_after_a_mark_is_not_released_by_it() {
        let old = Mark::parse(b"9", Some(1_000)).expect("a mark");
        assert!(old.releases(record(9, 5, 1_000)));
        assert!(
            !old.releases(record(9, 5, 1_001)),
            "the mark was there first"
        );
        assert!(!old.releases(record(10, 5, 0)));
        let new = Mark::parse(b"9 a 4", Some(1_000)).expect("a mark");
        assert!(
            new.releases(record(9, 4, 9_999)),
            "clocks differ; the topic is the same"
        );
        assert!(
            !new.releases(record(9, 5, 0)),
            "another leader wrote it later"
        );
        assert!(new.releases(record(9, -1, 0)));
    }
}
