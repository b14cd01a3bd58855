//! The judgement's result: counts, and the first examples of each finding.

use std::collections::BTreeMap;

use serde::Serialize;

/// How many examples of each finding are kept.
pub const EXAMPLES: usize = 5;

/// The first of each finding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Examples {
    pub lost: Vec<Example>,
    pub unseen: Vec<Example>,
    pub duplicated: Vec<Example>,
    pub reordered: Vec<Example>,
    pub phantom: Vec<Example>,
}

/// One record that something is to be said about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Example {
    pub serial: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub date_time: String,
    /// Its place among the serial's records of its manifest, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<u32>,
    /// The ledger line it is about, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    pub why: String,
}

/// The judgement. `lost`, `unseen`, `duplicated`, `reordered` and `phantom` count records or lines as their docs say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Confirmed by the broker, to be accepted, and not in the ledger. When letters are judged: confirmed, and neither in the
    /// ledger nor in a letter.
    pub lost: u64,
    /// As `lost`, but not confirmed by the broker: allowed.
    pub unseen: u64,
    /// Ledger lines beyond the first of a record.
    pub duplicated: u64,
    /// Records whose first line is behind that of a later record of their serial.
    pub reordered: u64,
    /// Ledger lines of records in no manifest, or that must not be accepted.
    pub phantom: u64,
    /// Confirmed by the broker and to be accepted.
    pub expected: u64,
    /// Distinct records of the manifests in the ledger.
    pub accepted: u64,
    /// Of those, not confirmed by the broker.
    pub accepted_unconfirmed: u64,
    /// Records of the manifests that validation must reject.
    pub expected_rejected: u64,
    /// Records of the manifests that the gateway must refuse.
    pub expected_refused: u64,
    /// Lines of the ledger.
    pub ledger: u64,
    /// What the letters say, when they are judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub letters: Option<Letters>,
    pub examples: Examples,
}

/// What was found on the dead-letter and held topics. Records of the manifests, unless it says letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Letters {
    /// Letters, repeated ones included.
    pub read: u64,
    /// Letters of records that had one already.
    pub repeated: u64,
    /// Letters of records in no manifest.
    pub strange: u64,
    /// Dead-lettered and not accepted.
    pub dead_lettered: u64,
    /// Held, and neither accepted nor dead-lettered.
    pub held: u64,
    /// Dead-lettered, although the gateway should have got them.
    pub dead_lettered_sound: u64,
    /// Dead-lettered and accepted.
    pub dead_lettered_accepted: u64,
    /// Whose letter was replayed.
    pub replayed: u64,
    /// Of those, accepted behind later records of their serial, as is the nature of a replay.
    pub replayed_late: u64,
    /// Ledger lines of records that had to be rejected and were replayed.
    pub repaired: u64,
    /// Dead letters by reason code, repeated ones left out.
    pub reasons: BTreeMap<String, u64>,
}

/// What became of one serial's records. Letters that name no record are not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CameTo {
    pub records: u64,
    pub accepted: u64,
    /// With a dead letter.
    pub dead_lettered: u64,
    /// Ever held.
    pub held: u64,
    /// Held, and accepted since.
    pub released: u64,
    /// Held, and nothing else yet.
    pub waiting: u64,
}

impl Verdict {
    /// Nothing lost, reordered or made up.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.lost == 0 && self.reordered == 0 && self.phantom == 0
    }
}

pub(super) fn note(
    count: &mut u64,
    examples: &mut Vec<Example>,
    example: impl FnOnce() -> Example,
) {
    *count += 1;
    if examples.len() < EXAMPLES {
        examples.push(example());
    }
}

pub(super) fn time_text(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us)
        .map_or_else(|_| format!("{us} us"), |time| format!("{time:.6}"))
}
