//! Poison: records that make the gateway refuse their whole request, for no reason it would tell.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::cursor::TextRange;
use super::scan::{self, Scanned};

/// A record is poison when every member named here has this value: a text's contents, or a number or flag as written.
///
/// `{"SerialNo":"CX0000000001","DateTime":"2026-01-01T00:00:00.000000Z"}` names one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Poison(pub std::collections::BTreeMap<String, String>);

impl Poison {
    /// The record of this serial and instant (as written).
    #[must_use]
    pub fn record(serial: &str, date_time: &str) -> Self {
        let pairs = [("SerialNo", serial), ("DateTime", date_time)];
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// Every record whose member has this value.
    #[must_use]
    pub fn member(name: &str, value: &str) -> Self {
        Self([(name.to_owned(), value.to_owned())].into())
    }

    fn matches(&self, record: &[u8]) -> bool {
        let mut left = self.0.len();
        scan::members(record, |name, value| {
            let value = value
                .strip_prefix(b"\"")
                .and_then(|text| text.strip_suffix(b"\""))
                .unwrap_or(value);
            let wanted = self
                .0
                .iter()
                .find(|(wanted, _)| wanted.as_bytes().eq_ignore_ascii_case(name));
            if wanted.is_some_and(|(_, wanted)| wanted.as_bytes() == value) {
                left -= 1;
            }
        });
        left == 0
    }
}

/// All poison. What names an instant is found by it, so that many cost no more than one.
#[derive(Debug, Clone, Default)]
pub struct Poisons {
    by_instant: HashMap<Vec<u8>, Vec<Poison>>,
    others: Vec<Poison>,
}

impl Poisons {
    pub fn add(&mut self, poison: Poison) {
        match poison.0.get("DateTime") {
            Some(instant) => self
                .by_instant
                .entry(instant.clone().into_bytes())
                .or_default()
                .push(poison),
            None => self.others.push(poison),
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_instant.is_empty() && self.others.is_empty()
    }

    #[must_use]
    pub fn all(&self) -> Vec<Poison> {
        self.by_instant
            .values()
            .flatten()
            .chain(&self.others)
            .cloned()
            .collect()
    }

    /// The place of the first poisonous record.
    #[must_use]
    pub fn find(&self, body: &[u8], records: &[Scanned]) -> Option<TextRange> {
        let poisonous = |record: &&Scanned| {
            let named = self
                .by_instant
                .get(record.date_time.of(body))
                .into_iter()
                .flatten();
            named
                .chain(&self.others)
                .any(|poison| poison.matches(record.whole.of(body)))
        };
        if self.is_empty() {
            None
        } else {
            records.iter().find(poisonous).map(|record| record.whole)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_named_members_must_match() {
        let record =
            br#"{"Type":"StatusRecord","DateTime":"T1","serialno":"A","Code":12,"Value":5}"#;
        assert!(Poison::record("A", "T1").matches(record));
        assert!(!Poison::record("A", "T2").matches(record));
        assert!(Poison::member("Code", "12").matches(record));
        assert!(!Poison::member("Code", "1").matches(record));
        assert!(!Poison::member("Speed", "1").matches(record));
    }
}
