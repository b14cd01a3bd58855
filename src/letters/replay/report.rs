//! What a replay, or the dry run of one, came to. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::letters::place::LetterPlace;
use crate::letters::today::Verdict;

/// Why a letter stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stays {
    /// A rule, a reason code, or one of this module's own.
    pub code: String,
    pub why: String,
}

impl Stays {
    #[must_use]
    pub fn new(code: &str, why: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            why: why.into(),
        }
    }
}

/// Letters that stay for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    pub letters: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<LetterPlace>,
    /// Why that one stays.
    pub why: String,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub dry_run: bool,
    /// Letters that were chosen and are not marked.
    pub letters: u64,
    /// Letters that were chosen and are marked: replayed or dismissed before.
    pub marked: u64,
    /// Letters that pass today's mapping, rules and gate.
    pub pass: u64,
    /// Their records that would be sent, and those that would be held until their device is active.
    pub records_sent: u64,
    pub records_held: u64,
    /// Letters that stay, by rule or reason.
    pub stay: BTreeMap<String, Count>,
    /// Messages to be replayed: letters that pass and are not kept back.
    pub to_replay: u64,
    /// Letters about the same bytes as one of those; they are marked with it.
    pub twins: u64,
    /// Messages that were written to their input topics.
    pub replayed: u64,
    /// Messages that were to be replayed and were not.
    pub failed: u64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

impl Report {
    #[must_use]
    pub fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            ..Self::default()
        }
    }

    pub(super) fn passes(&mut self, verdict: &Verdict) {
        self.pass += 1;
        self.records_sent += verdict.sent;
        self.records_held += verdict.held;
    }

    pub(super) fn stays(&mut self, code: &str, example: Option<&LetterPlace>, why: &str) {
        let count = self.stay.entry(code.to_owned()).or_insert_with(|| Count {
            letters: 0,
            example: example.cloned(),
            why: why.to_owned(),
        });
        count.letters += 1;
    }

    /// Letters that were chosen and stay.
    #[must_use]
    pub fn staying(&self) -> u64 {
        self.stay.values().map(|count| count.letters).sum()
    }
}
