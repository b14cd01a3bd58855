//! One letter as it was read: of the dead-letter topic, of a held topic, or of the topic of invalid records.
//!
//! Owns the lenient reading of such messages. Where [`crate::pipeline::letter::parse`] names the first header that is missing, this
//! takes what there is, so that a letter of any program can be listed and shown.
//!
//! * L4: every text is bounded; nothing is believed of a header but that it says so.
//!
//! Pure.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::place::LetterPlace;
use crate::pipeline::letter::header;

/// Longest text of a header that is kept, in bytes.
const LONGEST_TEXT: usize = 1_024;
/// Reason of a message without one.
pub const NO_REASON: &str = "letter.no-reason";
/// Reason of what the gateway rejected after it had accepted it.
pub const INVALID: &str = "gateway.invalid";

/// Which topic a letter is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The dead-letter topic.
    DeadLetter,
    /// The held topic of an input topic.
    Held,
    /// The topic of invalid records.
    Invalid,
}

impl Kind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeadLetter => "dead-letter",
            Self::Held => "held",
            Self::Invalid => "invalid",
        }
    }
}

/// What a shortened letter says of the whole value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Full {
    pub length: u64,
    /// Hexadecimal SHA-256, if the letter has one.
    pub sha256: Option<String>,
}

/// See the module's documentation. Serialised without key and value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub kind: Kind,
    pub place: LetterPlace,
    /// When the letter was written, in milliseconds since the epoch.
    pub time_ms: Option<i64>,
    pub reason: String,
    pub detail: String,
    pub stage: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_text: Option<String>,
    /// A serial, or the name that the record gave in its place.
    pub serial: Option<String>,
    /// The message's key as text: mostly the device id or the serial.
    pub name: Option<String>,
    pub attempts: u32,
    /// The message that the record came from.
    pub source: Option<LetterPlace>,
    pub source_time_ms: Option<i64>,
    /// Place of the record among those of that message, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_record: Option<u32>,
    /// How often the record was replayed before it came to this letter.
    pub replays: u32,
    /// Of a shortened letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<Full>,
    #[serde(skip)]
    pub key: Option<Vec<u8>>,
    #[serde(skip)]
    pub value: Vec<u8>,
}

/// A message of the topic of invalid records, as far as it is needed.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Rejected<'a> {
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    record_begins: Option<String>,
    record_bytes: Option<u64>,
    record_sha256: Option<String>,
    cause: Option<String>,
    source: Option<Origin>,
}

#[derive(Deserialize)]
struct Origin {
    topic: String,
    partition: i32,
    offset: i64,
}

/// A message with its time, as the client gave it.
pub struct Raw<'a> {
    pub kind: Kind,
    pub place: LetterPlace,
    pub time_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
}

fn bounded(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_TEXT)]);
    text.into_owned()
}

fn short(text: String) -> String {
    match text.len() <= LONGEST_TEXT {
        true => text,
        false => text[..text.floor_char_boundary(LONGEST_TEXT)].to_owned(),
    }
}

impl Entry {
    /// Reads a message with its headers.
    #[must_use]
    pub fn read<'h>(raw: Raw<'_>, headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Self {
        let mut entry = Self {
            kind: raw.kind,
            place: raw.place,
            time_ms: raw.time_ms,
            reason: NO_REASON.to_owned(),
            detail: String::new(),
            stage: String::new(),
            http_status: None,
            server_text: None,
            serial: None,
            name: raw.key.map(bounded).filter(|name| !name.is_empty()),
            attempts: 0,
            source: None,
            source_time_ms: None,
            source_record: None,
            replays: 0,
            full: None,
            key: raw.key.map(<[u8]>::to_vec),
            value: Vec::new(),
        };
        if raw.kind == Kind::Invalid {
            entry.take_rejected(raw.value);
        } else {
            entry.value = raw.value.to_vec();
            entry.take_headers(headers);
        }
        entry
    }

    fn take_headers<'h>(&mut self, headers: impl Iterator<Item = (&'h str, &'h [u8])>) {
        let (mut topic, mut partition, mut offset) = (None, None, None);
        let (mut length, mut sha256) = (None, None);
        for (name, value) in headers {
            // A message of any program may have many headers, and each may be long.
            if !header::ALL.contains(&name) {
                continue;
            }
            let text = bounded(value);
            match name {
                header::REASON if !text.is_empty() => self.reason = text,
                header::DETAIL => self.detail = text,
                header::STAGE => self.stage = text,
                header::HTTP_STATUS => self.http_status = text.parse().ok(),
                header::SERVER_TEXT => self.server_text = Some(text),
                header::SERIAL => self.serial = Some(text).filter(|text| !text.is_empty()),
                header::ATTEMPTS => self.attempts = text.parse().unwrap_or_default(),
                header::SOURCE_TOPIC => topic = Some(text).filter(|text| !text.is_empty()),
                header::SOURCE_PARTITION => partition = text.parse::<i32>().ok(),
                header::SOURCE_OFFSET => offset = text.parse::<i64>().ok(),
                header::SOURCE_TIMESTAMP => self.source_time_ms = text.parse().ok(),
                header::SOURCE_RECORD => self.source_record = text.parse().ok(),
                header::REPLAYS => self.replays = text.parse().unwrap_or_default(),
                header::FULL_LENGTH => length = text.parse().ok(),
                header::FULL_SHA256 => sha256 = Some(text),
                _ => {}
            }
        }
        self.source = place(topic, partition, offset);
        self.full = length.map(|length| Full { length, sha256 });
    }

    fn take_rejected(&mut self, value: &[u8]) {
        let read: Rejected<'_> = serde_json::from_slice(value).unwrap_or_default();
        self.reason = INVALID.to_owned();
        self.stage = "feedback".to_owned();
        self.detail = short(read.cause.unwrap_or_default());
        self.serial.clone_from(&self.name);
        self.source = read
            .source
            .and_then(|at| place(Some(short(at.topic)), Some(at.partition), Some(at.offset)));
        match (read.record.map(RawValue::get), read.record_begins) {
            (Some(record), _) if record != "null" => self.value = record.as_bytes().to_vec(),
            (_, Some(begins)) => {
                self.value = begins.into_bytes();
                self.full = read.record_bytes.map(|length| Full {
                    length,
                    sha256: read.record_sha256.map(short),
                });
            }
            // It is no message of ours: the whole of it is what there is.
            _ => self.value = value.to_vec(),
        }
    }

    /// Whose it is, as far as the letter says: the serial, else the key.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.serial.as_deref().or(self.name.as_deref())
    }

    /// Bytes of memory that the letter takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.value.len() + self.key.as_ref().map_or(0, Vec::len) + self.detail.len() + 512
    }
}

fn place(
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
) -> Option<LetterPlace> {
    let (partition, offset) = (partition?, offset?);
    (partition >= 0 && offset >= 0).then_some(LetterPlace {
        topic: topic.filter(|topic| !topic.is_empty())?,
        partition,
        offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(kind: Kind, value: &[u8]) -> Raw<'_> {
        Raw {
            kind,
            place: LetterPlace::new("dead", 0, 7),
            time_ms: Some(1),
            key: Some(b"CX1"),
            value,
        }
    }

    #[test]
    fn a_letter_without_headers_is_a_letter() {
        let entry = Entry::read(raw(Kind::DeadLetter, b"{}"), std::iter::empty());
        assert_eq!(entry.reason, NO_REASON);
        assert_eq!((entry.source.clone(), entry.subject()), (None, Some("CX1")));
        assert_eq!(entry.value, b"{}");
    }

    #[test]
    fn forged_places_and_huge_texts_are_bounded() {
        let huge = vec![b'x'; 3_000_000];
        let headers = [
            ("reason", &huge[..]),
            ("source-topic", b"telemetry"),
            ("source-partition", b"-1"),
            ("source-offset", b"9223372036854775807"),
            ("http-status", b"99999"),
            ("attempts", b"many"),
            ("strange", &huge),
        ];
        let entry = Entry::read(raw(Kind::DeadLetter, b""), headers.into_iter());
        assert_eq!(entry.reason.len(), LONGEST_TEXT);
        assert_eq!(
            (entry.source, entry.http_status, entry.attempts),
            (None, None, 0)
        );
    }

    #[test]
    fn an_invalid_item_gives_its_record_and_source() {
        let value = br#"{"record":{"SerialNo":"CX1"},"cause":"too old","marked":null,"source":{"topic":"t","partition":1,"offset":5}}"#;
        let entry = Entry::read(raw(Kind::Invalid, value), std::iter::empty());
        assert_eq!(entry.value, br#"{"SerialNo":"CX1"}"#);
        assert_eq!(entry.source, Some(LetterPlace::new("t", 1, 5)));
        assert_eq!((&*entry.reason, &*entry.detail), (INVALID, "too old"));
        let value = br#"{"record":null,"record_begins":"{\"Ser","record_bytes":90,"record_sha256":"ab","source":null}"#;
        let entry = Entry::read(raw(Kind::Invalid, value), std::iter::empty());
        assert_eq!(entry.value, br#"{"Ser"#);
        assert_eq!(entry.full.map(|full| full.length), Some(90));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reading(
            value in prop::collection::vec(any::<u8>(), 0..200),
            headers in prop::collection::vec((prop::sample::select(header::ALL.to_vec()), prop::collection::vec(any::<u8>(), 0..60)), 0..20),
            kind in prop::sample::select(vec![Kind::DeadLetter, Kind::Held, Kind::Invalid]),
        ) {
            let headers = headers.iter().map(|(name, value)| (*name, &**value));
            let entry = Entry::read(raw(kind, &value), headers);
            prop_assert!(entry.reason.len() <= 3 * LONGEST_TEXT);
            prop_assert!(entry.source.is_none_or(|place| place.offset >= 0));
        }
    }
}
