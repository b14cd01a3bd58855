//! The place of a message: topic, partition and offset, written `topic/partition/offset`. Pure.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterPlace {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl LetterPlace {
    #[must_use]
    pub fn new(topic: &str, partition: i32, offset: i64) -> Self {
        Self {
            topic: topic.to_owned(),
            partition,
            offset,
        }
    }
}

impl fmt::Display for LetterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl Serialize for LetterPlace {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for LetterPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no place of a message: use TOPIC/PARTITION/OFFSET, as the list shows it"
            )
        };
        let mut parts = text.rsplitn(3, '/');
        let (offset, partition, topic) = (parts.next(), parts.next(), parts.next());
        let number = |part: Option<&str>| part.and_then(|part| part.parse::<i64>().ok());
        let offset = number(offset).filter(|offset| *offset >= 0);
        let partition = number(partition).and_then(|partition| i32::try_from(partition).ok());
        match (topic, partition.filter(|partition| *partition >= 0), offset) {
            (Some(topic), Some(partition), Some(offset)) if !topic.is_empty() => {
                Ok(Self::new(topic, partition, offset))
            }
            _ => Err(wrong()),
        }
    }
}

/// A part of a topic: all of it, one partition, one offset or a range of offsets (`topic/3/100..200`, the end excluded).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    topic: String,
    partition: Option<i32>,
    offsets: Option<(i64, i64)>,
}

impl Part {
    #[must_use]
    pub fn has(&self, place: &LetterPlace) -> bool {
        self.topic == place.topic
            && self.partition.is_none_or(|own| own == place.partition)
            && self
                .offsets
                .is_none_or(|(from, to)| (from..to).contains(&place.offset))
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?}: use TOPIC, TOPIC/PARTITION, TOPIC/PARTITION/OFFSET or TOPIC/PARTITION/FROM..TO (TO excluded)"
            )
        };
        let mut parts = text.split('/');
        let topic = parts
            .next()
            .filter(|topic| !topic.is_empty())
            .ok_or_else(wrong)?;
        let partition = match parts.next() {
            None => None,
            Some(part) => Some(
                part.parse::<i32>()
                    .ok()
                    .filter(|n| *n >= 0)
                    .ok_or_else(wrong)?,
            ),
        };
        let offsets = match parts.next() {
            None => None,
            Some(range) => {
                let number = |part: &str| part.parse::<i64>().ok().filter(|n| *n >= 0);
                let (from, to) = match range.split_once("..") {
                    Some((from, to)) => (number(from), number(to)),
                    None => (
                        number(range),
                        number(range).and_then(|at| at.checked_add(1)),
                    ),
                };
                match (from, to) {
                    (Some(from), Some(to)) if from < to => Some((from, to)),
                    _ => return Err(wrong()),
                }
            }
        };
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self {
            topic: topic.to_owned(),
            partition,
            offsets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let place = LetterPlace::new("dig.dead-letter", 3, 41);
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in [
            "",
            "a",
            "a/1",
            "a/1/-1",
            "a/-1/1",
            "/1/1",
            "a/x/1",
            "a/1/x",
            "a/1/99999999999999999999",
        ] {
            assert!(wrong.parse::<LetterPlace>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_of_a_topic_has_its_places() {
        let has = |part: &str, offset| {
            let part: Part = part.parse().expect("a part");
            part.has(&LetterPlace::new("t", 3, offset))
        };
        assert!(has("t", 7) && has("t/3", 7) && has("t/3/7", 7) && has("t/3/7..9", 8));
        assert!(!has("t/3/7..9", 9) && !has("t/4", 7) && !has("u", 7) && !has("t/3/6", 7));
        for wrong in [
            "",
            "/3",
            "t/x",
            "t/3/9..7",
            "t/3/7/1",
            "t/3/..",
            "t/3/9223372036854775807",
        ] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
