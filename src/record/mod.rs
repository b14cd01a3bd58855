//! Records: what one is, how bytes become one, and which rules it must meet.
//!
//! The types mark progress: raw bytes -> [`ValidRecord`] | [`Reject`] | [`Unknown`]. A `ValidRecord` is built only by
//! validation, so what was not validated cannot be uploaded. Pure: no I/O, no clock; the time is an argument.

pub mod datetime;
pub mod decode;
pub mod diagnostics;
pub mod draft;
mod flat;
mod judge;
pub mod mapping;
pub mod members;
pub mod origin;
mod refuse;
mod render;
mod repair;
pub mod rules;
pub mod serial;
mod steps;
pub mod tally;
mod text;
mod twins;
pub mod validate;
mod view;
mod work;

use std::fmt;

use tally::{Excess, Tally};

/// The twelve record types of the gateway (OpenAPI v3.4.2, `components/schemas`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RecordType {
    Acceleration,
    Binary,
    Bluetooth,
    DriverChange,
    GenericFault,
    GenericStatus,
    Gps,
    J1708Fault,
    J1939Fault,
    ObdiiFault,
    Status,
    Vin,
}

impl RecordType {
    pub const ALL: [Self; 12] = [
        Self::Acceleration,
        Self::Binary,
        Self::Bluetooth,
        Self::DriverChange,
        Self::GenericFault,
        Self::GenericStatus,
        Self::Gps,
        Self::J1708Fault,
        Self::J1939Fault,
        Self::ObdiiFault,
        Self::Status,
        Self::Vin,
    ];

    /// The `Type` member's value, exact case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acceleration => "AccelerationRecord",
            Self::Binary => "BinaryRecord",
            Self::Bluetooth => "BluetoothRecord",
            Self::DriverChange => "DriverChangeRecord",
            Self::GenericFault => "GenericFaultRecord",
            Self::GenericStatus => "GenericStatusRecord",
            Self::Gps => "GpsRecord",
            Self::J1708Fault => "J1708FaultRecord",
            Self::J1939Fault => "J1939FaultRecord",
            Self::ObdiiFault => "ObdiiFaultRecord",
            Self::Status => "StatusRecord",
            Self::Vin => "VinRecord",
        }
    }
}

/// Where a valid record's bytes lie in [`Decoded::bytes`], and whose it is.
///
/// Only `validate` builds one outside tests of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidRecord {
    pub(in crate::record) start: u32,
    pub(in crate::record) len: u32,
    /// Offset of the serial's text from `start`.
    pub(in crate::record) serial_at: u32,
    pub(in crate::record) serial_len: u8,
    pub(in crate::record) kind: RecordType,
    /// [`serial_hash`] of the serial's text.
    pub(in crate::record) hash: u64,
    /// `DateTime` in microseconds since the epoch.
    pub(in crate::record) micros: i64,
}

/// One number for a record's identity: serial ([`serial_hash`]), type and time. The gateway has no better key (dig/API.md 7.4).
#[must_use]
pub fn identity(serial_hash: u64, kind: RecordType, micros: i64) -> u64 {
    let mixed = (micros as u64 ^ ((kind as u64) << 56)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    serial_hash ^ mixed.rotate_left(29)
}

impl ValidRecord {
    /// The record as the gateway gets it: one JSON object, `SerialNo` included.
    #[must_use]
    pub fn bytes<'a>(&self, decoded: &'a [u8]) -> &'a [u8] {
        &decoded[self.start as usize..(self.start + self.len) as usize]
    }

    /// The normalised Geotab serial.
    #[must_use]
    pub fn serial<'a>(&self, decoded: &'a [u8]) -> &'a [u8] {
        let at = (self.start + self.serial_at) as usize;
        &decoded[at..at + self.serial_len as usize]
    }

    #[must_use]
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }

    #[must_use]
    pub fn serial_range(&self) -> std::ops::Range<usize> {
        let at = (self.start + self.serial_at) as usize;
        at..at + self.serial_len as usize
    }

    #[must_use]
    pub fn kind(&self) -> RecordType {
        self.kind
    }

    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// `DateTime` in microseconds since the epoch.
    #[must_use]
    pub fn micros(&self) -> i64 {
        self.micros
    }

    /// See [`identity`].
    #[must_use]
    pub fn identity(&self) -> u64 {
        identity(self.hash, self.kind, self.micros)
    }
}

/// A well-formed record whose `DeviceId` the device registry does not know (or knows without a serial).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    pub device_id: String,
    /// The record's own bytes within the message's payload (the whole message for a vendor shape).
    pub original: std::ops::Range<usize>,
    /// Of a vendor message: the record it makes, in the gateway's shape with `DeviceId` in place of `SerialNo`.
    pub record: Option<Box<[u8]>>,
}

impl Unknown {
    /// The record in the gateway's shape, whatever it came from.
    #[must_use]
    pub fn native<'a>(&'a self, payload: &'a [u8]) -> &'a [u8] {
        match &self.record {
            Some(record) => record,
            None => payload.get(self.original.clone()).unwrap_or(payload),
        }
    }
}

/// A record (or a whole message) that may not be sent. Data, not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Stable rule id, e.g. `gps.latitude.range`; `dig-ingest explain RULE` knows it.
    pub rule: &'static str,
    /// Dotted path of the member, e.g. `Latitude` or `[3].Latitude`; empty when the message as a whole is meant.
    pub field: String,
    /// The offending value, shortened to 120 characters.
    pub value: String,
    /// What would have been right, e.g. `-90..90`.
    pub bound: String,
    pub stage: Stage,
    /// The serial or device id, when it could still be read.
    pub subject: Option<String>,
    /// The rejected bytes within the message's payload.
    pub original: std::ops::Range<usize>,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} = {} (expected {})",
            self.rule, self.field, self.value, self.bound
        )
    }
}

/// Where a record's way ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Decode,
    Map,
    Validate,
    Gate,
    Upload,
}

impl Stage {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Map => "map",
            Self::Validate => "validate",
            Self::Gate => "gate",
            Self::Upload => "upload",
        }
    }
}

/// What one record of a message came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Valid(ValidRecord),
    Unknown(Box<Unknown>),
    Reject(Box<Reject>),
    /// All rejects of a message beyond the first [`tally::EACH`].
    Excess(Box<Excess>),
}

impl Outcome {
    /// How many records it stands for.
    #[inline]
    #[must_use]
    pub fn records(&self) -> u32 {
        match self {
            Self::Valid(_) | Self::Unknown(_) | Self::Reject(_) => 1,
            Self::Excess(excess) => excess.records,
        }
    }
}

/// The decoded records of a run of messages: one byte buffer and one outcome per record, in order; but one outcome for all
/// rejects of a message beyond a bound.
///
/// Reused from chunk to chunk, so that steady state allocates nothing per record.
#[derive(Debug, Default)]
pub struct Decoded {
    pub bytes: Vec<u8>,
    pub outcomes: Vec<Outcome>,
    /// Warnings and normalisations since the last `clear`, by rule id: `(rule, count)`.
    pub notes: Vec<(&'static str, u64)>,
    tally: Tally,
}

impl Decoded {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.outcomes.clear();
        self.notes.clear();
        self.tally.clear();
    }

    /// Forgets what was decoded and keeps the bytes: they were handed on.
    pub fn clear_outcomes(&mut self) {
        self.outcomes.clear();
        self.notes.clear();
        self.tally.clear();
    }

    /// Records since the last `clear`, however many outcomes they have.
    #[inline]
    #[must_use]
    pub fn records(&self) -> u64 {
        self.outcomes.len() as u64 + self.tally.without_own
    }

    /// Takes back what the message in hand has made since there were so many bytes and outcomes.
    fn take_back(&mut self, (bytes, outcomes): (usize, usize)) {
        self.bytes.truncate(bytes);
        self.outcomes.truncate(outcomes);
        self.tally.begin_again();
    }

    /// Adds a reject of the message in hand; `make` is called only if it is kept.
    fn reject(&mut self, rule: &'static str, make: impl FnOnce() -> Reject) {
        self.tally.reject(&mut self.outcomes, rule, make);
    }

    /// Adds the reject of a message that could not be decoded.
    pub fn refuse(&mut self, reject: Reject) {
        self.tally.begin();
        self.reject(reject.rule, || reject);
    }

    /// Makes outcomes from `from` on, which were made from `json`, refer to the whole message of `bytes` bytes that `json` was
    /// decoded from.
    pub fn refer_to_whole(&mut self, from: usize, json: &[u8], bytes: usize) {
        for outcome in self.outcomes.iter_mut().skip(from) {
            match outcome {
                Outcome::Valid(_) => {}
                Outcome::Unknown(unknown) => {
                    if unknown.record.is_none() {
                        unknown.record = Some(unknown.native(json).into());
                    }
                    unknown.original = 0..bytes;
                }
                Outcome::Reject(reject) => reject.original = 0..bytes,
                Outcome::Excess(excess) => {
                    for reject in &mut excess.examples {
                        reject.original = 0..bytes;
                    }
                }
            }
        }
    }

    pub fn note(&mut self, rule: &'static str) {
        note(&mut self.notes, rule);
    }
}

fn note(notes: &mut Vec<(&'static str, u64)>, rule: &'static str) {
    match notes
        .iter_mut()
        .find(|(id, _)| std::ptr::eq(*id, rule) || *id == rule)
    {
        Some((_, count)) => *count += 1,
        None => notes.push((rule, 1)),
    }
}

/// Finds the serial of a device id. The device registry's snapshot implements it; so does `()`, which knows nobody.
///
/// A trait so that `record` stays below `registry` and a decoder can be benched and fuzzed without one.
pub trait SerialOf {
    fn serial_of(&self, device_id: &str) -> Option<&str>;
}

impl SerialOf for () {
    fn serial_of(&self, _device_id: &str) -> Option<&str> {
        None
    }
}

/// The hash every table of serials uses; stable within a process.
#[must_use]
pub fn serial_hash(serial: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = foldhash::fast::FixedState::with_seed(0x005e_71a1).build_hasher();
    hasher.write(serial);
    hasher.finish()
}

/// Microseconds since the epoch of an RFC 3339 text; `None` when it is none.
#[must_use]
pub fn micros(text: &str) -> Option<i64> {
    datetime::parse(text.as_bytes())
        .ok()
        .map(|instant| instant.micros)
}
