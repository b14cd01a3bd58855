//! Letters counted by what they have in common. Pure.
//!
//! * Bounded: beyond [`MOST`] groups further letters are counted together, so that serials of a forged million do not fill the memory.

use std::collections::BTreeMap;

use serde::Serialize;

use super::entry::Entry;
use super::place::LetterPlace;

/// Most groups that are told apart.
pub const MOST: usize = 100_000;
/// Name of the group of all letters beyond [`MOST`] groups.
pub const OTHERS: &str = "(others)";
/// Name of the group of letters that do not say.
pub const NONE: &str = "(none)";

/// What letters of a group have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    #[default]
    Reason,
    Stage,
    /// The serial, or the device id of a record without one.
    Serial,
    /// The partition of the source.
    Source,
    /// The day (UTC) on which the letter was written.
    Day,
    /// Which topic has the letter.
    Kind,
}

impl By {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reason => "reason",
            Self::Stage => "stage",
            Self::Serial => "serial",
            Self::Source => "source",
            Self::Day => "day",
            Self::Kind => "kind",
        }
    }

    fn of(self, entry: &Entry) -> String {
        let some = |text: Option<String>| {
            text.filter(|text| !text.is_empty())
                .unwrap_or_else(|| NONE.to_owned())
        };
        match self {
            Self::Reason => entry.reason.clone(),
            Self::Stage => some(Some(entry.stage.clone())),
            Self::Serial => some(entry.subject().map(str::to_owned)),
            Self::Source => some(
                entry
                    .source
                    .as_ref()
                    .map(|source| format!("{}/{}", source.topic, source.partition)),
            ),
            Self::Day => some(entry.time_ms.and_then(day)),
            Self::Kind => entry.kind.name().to_owned(),
        }
    }
}

fn day(ms: i64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(at.strftime("%Y-%m-%d").to_string())
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    pub group: String,
    pub letters: u64,
    pub bytes: u64,
    /// When the oldest and the newest were written, in milliseconds since the epoch.
    pub first_ms: Option<i64>,
    pub last_ms: Option<i64>,
    /// The first that was read.
    pub example: LetterPlace,
    /// What that one says.
    pub detail: String,
}

/// Groups of letters.
#[derive(Debug, Default)]
pub struct Groups {
    by: By,
    /// By name.
    groups: BTreeMap<String, Group>,
}

impl Groups {
    #[must_use]
    pub fn new(by: By) -> Self {
        Self {
            by,
            groups: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, entry: &Entry) {
        let mut name = self.by.of(entry);
        if self.groups.len() >= MOST && !self.groups.contains_key(&name) {
            name = OTHERS.to_owned();
        }
        let group = self.groups.entry(name).or_insert_with_key(|name| Group {
            group: name.clone(),
            letters: 0,
            bytes: 0,
            first_ms: entry.time_ms,
            last_ms: entry.time_ms,
            example: entry.place.clone(),
            detail: entry.detail.clone(),
        });
        group.letters += 1;
        group.bytes += entry.value.len() as u64;
        group.first_ms = [group.first_ms, entry.time_ms].into_iter().flatten().min();
        group.last_ms = [group.last_ms, entry.time_ms].into_iter().flatten().max();
    }

    /// The groups, the largest first.
    #[must_use]
    pub fn finish(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.groups.into_values().collect();
        groups.sort_by(|a, b| (b.letters, &a.group).cmp(&(a.letters, &b.group)));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letters::entry::{Kind, Raw};

    fn entry(offset: i64, reason: &str) -> Entry {
        let raw = Raw {
            kind: Kind::DeadLetter,
            place: LetterPlace::new("dead", 0, offset),
            time_ms: Some(1_790_000_000_000 + offset),
            key: None,
            value: b"12345",
        };
        Entry::read(raw, [("reason", reason.as_bytes())].into_iter())
    }

    #[test]
    fn groups_have_counts_times_and_an_example() {
        let mut groups = Groups::new(By::Reason);
        for (offset, reason) in [(3, "b"), (1, "a"), (2, "b")] {
            groups.add(&entry(offset, reason));
        }
        let groups = groups.finish();
        let names: Vec<_> = groups
            .iter()
            .map(|g| (&*g.group, g.letters, g.bytes))
            .collect();
        assert_eq!(names, [("b", 2, 10), ("a", 1, 5)]);
        assert_eq!(groups[0].first_ms, Some(1_790_000_000_002));
        assert_eq!(groups[0].example.offset, 3);
        let mut by_day = Groups::new(By::Day);
        by_day.add(&entry(0, "a"));
        assert_eq!(by_day.finish()[0].group, "2026-09-21");
    }

    #[test]
    fn groups_are_bounded() {
        let mut groups = Groups::new(By::Reason);
        for offset in 0..MOST as i64 + 10 {
            groups.add(&entry(offset, &format!("reason.{offset}")));
        }
        let groups = groups.finish();
        assert_eq!((&*groups[0].group, groups[0].letters), (OTHERS, 10));
        assert_eq!(groups.len(), MOST + 1);
    }
}
