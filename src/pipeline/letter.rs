//! Letters: records that leave the path sideways, into the dead-letter topic or the held topic.
//!
//! Owns the typed form of a letter and its headers, both ways. A record with a letter is settled only when the broker has
//! confirmed the letter.
//!
//! * Headers that are read back may have been written by any program. [`parse`] bounds each of them; code that uses one for
//!   more than showing it compares it with known facts ([`Source::is_of`]).
//!
//! It writes nothing ([`super::producer`]), and does not decide which records become letters.

use super::offsets::MessageSeq;
use crate::config::printable;
use crate::record::Stage;

/// Where a letter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    DeadLetter,
    /// The held topic of the source topic, same partition number as the source (S1).
    Held,
}

/// Why a record left the path; becomes the letter's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Stable code: a rule id, `device.unknown`, `gateway.refused`, ...
    pub code: String,
    pub detail: String,
    /// `decode`, `map`, `validate`, `gate` or `upload`.
    pub stage: String,
    pub http_status: Option<u16>,
    pub server_text: Option<String>,
    pub serial: Option<String>,
    /// POSTs that carried the record; 0 when it was never sent.
    pub attempts: u32,
}

/// Where the record came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch, when the broker gave one.
    pub timestamp_ms: Option<i64>,
    /// How often the message was replayed from a letter before it came to this one ([`super::replay`]).
    pub replays: u32,
    /// Place of the record among those of the message, from 0; `None` where the letter stands for several. Behind more rejects than
    /// get letters of their own it is counted without the others.
    pub record: Option<u32>,
}

impl Source {
    /// Whether this can be a message of that partition, whose next message will be written at `end`.
    #[must_use]
    pub fn is_of(&self, topic: &str, partition: i32, end: i64) -> bool {
        self.topic == topic && self.partition == partition && (0..end).contains(&self.offset)
    }
}

/// One letter: the record's bytes and the reason.
#[derive(Debug, Clone)]
pub struct Letter {
    pub destination: Destination,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub reason: Reason,
    pub source: Source,
    /// The message to settle records of once the letter is confirmed.
    pub seq: MessageSeq,
    /// How many records of that message the letter stands for; more than one only for rejects beyond a bound.
    pub records: u32,
}

impl Letter {
    /// Bytes of memory that the letter takes in flight: the record, and a kilobyte for its headers and places in queues.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.value.len() as u64 + 1024
    }
}

const VERSION: &str = concat!("dig-ingest/", env!("CARGO_PKG_VERSION"));

/// Header names, stable.
pub mod header {
    pub const REASON: &str = "reason";
    pub const DETAIL: &str = "detail";
    pub const STAGE: &str = "stage";
    pub const HTTP_STATUS: &str = "http-status";
    pub const SERVER_TEXT: &str = "server-text";
    pub const SERIAL: &str = "serial";
    pub const ATTEMPTS: &str = "attempts";
    pub const SOURCE_TOPIC: &str = "source-topic";
    pub const SOURCE_PARTITION: &str = "source-partition";
    pub const SOURCE_OFFSET: &str = "source-offset";
    pub const SOURCE_RECORD: &str = "source-record";
    pub const SOURCE_TIMESTAMP: &str = "source-timestamp-ms";
    pub const VERSION: &str = "version";
    pub const VALUE_FORM: &str = "value-form";
    /// Of a letter of a replayed message: how often it was replayed.
    pub const REPLAYS: &str = crate::pipeline::replay::header::REPLAYS;

    /// All header names.
    pub const ALL: [&str; 18] = [
        REASON,
        DETAIL,
        STAGE,
        HTTP_STATUS,
        SERVER_TEXT,
        SERIAL,
        ATTEMPTS,
        SOURCE_TOPIC,
        SOURCE_PARTITION,
        SOURCE_OFFSET,
        SOURCE_RECORD,
        SOURCE_TIMESTAMP,
        VERSION,
        VALUE_FORM,
        REPLAYS,
        FULL_LENGTH,
        FULL_SHA256,
        FULL_KEY_LENGTH,
    ];
    /// Of a shortened letter: bytes of the whole value.
    pub const FULL_LENGTH: &str = "full-length";
    /// Of a shortened letter: SHA-256 of the whole value, hexadecimal.
    pub const FULL_SHA256: &str = "full-sha256";
    /// Of a letter whose key was shortened: bytes of the whole key.
    pub const FULL_KEY_LENGTH: &str = "full-key-length";
}

/// What the value of a letter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueForm {
    /// The bytes of the source, or the record's part of them.
    Original,
    /// The record as it was sent or was to be sent, mapped and normalised; the original lies at the source.
    AsSent,
}

impl ValueForm {
    /// Name in the header [`header::VALUE_FORM`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::AsSent => "as-sent",
        }
    }
}

impl Reason {
    /// What the value of a letter with this reason is. It follows from the stage, so that it is known of letters of version 0.1.0
    /// too: the gate judges records that are mapped, except those of which it knows no serial.
    #[must_use]
    pub fn value_form(&self) -> ValueForm {
        let stage = |stage: Stage| self.stage == stage.name();
        match stage(Stage::Upload) || (stage(Stage::Gate) && self.serial.is_some()) {
            true => ValueForm::AsSent,
            false => ValueForm::Original,
        }
    }
}

/// Longest text of a header that is read back, in bytes; the rest of it is left out.
const LONGEST_TEXT: usize = 1_024;

/// The headers of a letter, in a fixed order; absent parts are left out. Control characters in foreign texts are escaped.
#[must_use]
pub fn headers(reason: &Reason, source: &Source) -> Vec<(&'static str, String)> {
    let mut out = vec![
        (header::REASON, reason.code.clone()),
        (header::DETAIL, printable::text(&reason.detail).into_owned()),
        (header::STAGE, reason.stage.clone()),
        (header::ATTEMPTS, reason.attempts.to_string()),
        (header::SOURCE_TOPIC, source.topic.clone()),
        (header::SOURCE_PARTITION, source.partition.to_string()),
        (header::SOURCE_OFFSET, source.offset.to_string()),
        (header::VERSION, VERSION.to_owned()),
        (header::VALUE_FORM, reason.value_form().name().to_owned()),
    ];
    let optional = [
        (
            header::HTTP_STATUS,
            reason.http_status.map(|s| s.to_string()),
        ),
        (
            header::SERVER_TEXT,
            reason
                .server_text
                .as_deref()
                .map(|text| printable::text(text).into_owned()),
        ),
        (
            header::SERIAL,
            reason
                .serial
                .as_deref()
                .map(|text| printable::text(text).into_owned()),
        ),
        (
            header::SOURCE_TIMESTAMP,
            source.timestamp_ms.map(|t| t.to_string()),
        ),
        (
            header::SOURCE_RECORD,
            source.record.map(|place| place.to_string()),
        ),
        (
            header::REPLAYS,
            (source.replays > 0).then(|| source.replays.to_string()),
        ),
    ];
    out.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    out
}

/// Parses a letter's headers, whichever program wrote them: unknown headers are skipped and long ones are cut.
///
/// # Errors
/// The name of the header that is missing or unreadable.
pub fn parse<'a>(
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<(Reason, Source), &'static str> {
    // A foreign message may have a hundred thousand headers: only known ones are kept.
    let given: std::collections::HashMap<&str, String> = headers
        .filter(|(name, _)| header::ALL.contains(name))
        .map(|(name, value)| {
            let value = &value[..value.len().min(LONGEST_TEXT)];
            (name, String::from_utf8_lossy(value).into_owned())
        })
        .collect();
    let text = |name: &'static str| given.get(name).cloned().ok_or(name);
    fn number<T: std::str::FromStr>(text: &str, name: &'static str) -> Result<T, &'static str> {
        text.parse().map_err(|_| name)
    }
    let optional = |name: &'static str| given.get(name).cloned();
    Ok((
        Reason {
            code: text(header::REASON)?,
            detail: text(header::DETAIL)?,
            stage: text(header::STAGE)?,
            http_status: optional(header::HTTP_STATUS)
                .map(|t| number(&t, header::HTTP_STATUS))
                .transpose()?,
            server_text: optional(header::SERVER_TEXT),
            serial: optional(header::SERIAL),
            attempts: number(&text(header::ATTEMPTS)?, header::ATTEMPTS)?,
        },
        Source {
            topic: text(header::SOURCE_TOPIC)?,
            partition: number(&text(header::SOURCE_PARTITION)?, header::SOURCE_PARTITION)?,
            offset: number(&text(header::SOURCE_OFFSET)?, header::SOURCE_OFFSET)?,
            timestamp_ms: optional(header::SOURCE_TIMESTAMP)
                .map(|t| number(&t, header::SOURCE_TIMESTAMP))
                .transpose()?,
            // A header of any program: what is no number counts as never replayed.
            replays: optional(header::REPLAYS)
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
            // Only shown: what is no number is no place.
            record: optional(header::SOURCE_RECORD).and_then(|text| text.parse().ok()),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_round_trip(
            texts in prop::array::uniform4("\\PC{0,40}"),
            status in prop::option::of(any::<u16>()),
            server in prop::option::of("\\PC{0,40}"),
            serial in prop::option::of("[A-Z0-9]{12}"),
            numbers in (any::<u32>(), any::<i32>(), any::<i64>(), prop::option::of(any::<i64>())), replays in 0u32..9, record in prop::option::of(any::<u32>()),
        ) {
            let [code, detail, stage, topic] = texts;
            let reason = Reason { code, detail, stage, http_status: status, server_text: server, serial, attempts: numbers.0 };
            let source = Source { topic, partition: numbers.1, offset: numbers.2, timestamp_ms: numbers.3, replays, record };
            let written = headers(&reason, &source);
            // Separators of lines and the like are escaped in texts of others.
            let shown = |text: &str| printable::text(text).into_owned();
            let reason = Reason {
                detail: shown(&reason.detail),
                server_text: reason.server_text.as_deref().map(shown),
                ..reason
            };
            let read = parse(written.iter().map(|(name, value)| (*name, value.as_bytes())));
            prop_assert_eq!(read, Ok((reason, source)));
        }
    }

    /// The headers that version 0.1.0 wrote, byte for byte.
    #[test]
    fn letters_of_version_0_1_0_are_read() {
        let written = [
            ("reason", "device.unknown"),
            ("detail", "device imei-1 has no serial in the registry"),
            ("stage", "gate"),
            ("attempts", "0"),
            ("source-topic", "telemetry"),
            ("source-partition", "3"),
            ("source-offset", "41"),
            ("version", "dig-ingest/0.1.0"),
            ("source-timestamp-ms", "1790000000123"),
        ];
        let (reason, source) = parse(
            written
                .iter()
                .map(|(name, value)| (*name, value.as_bytes())),
        )
        .expect("reads");
        assert_eq!((&*reason.code, reason.serial), ("device.unknown", None));
        assert!(source.is_of("telemetry", 3, 42));
        assert_eq!(
            (source.offset, source.timestamp_ms),
            (41, Some(1_790_000_000_123))
        );
    }

    #[test]
    fn headers_of_others_are_bounded_and_are_claims() {
        let huge = vec![0xFF; 3_000_000];
        let told = |partition: &'static str, offset: &'static str| {
            vec![
                ("reason", huge.clone()),
                ("detail", huge.clone()),
                ("stage", b"gate".to_vec()),
                ("attempts", b"1".to_vec()),
                ("source-topic", b"telemetry".to_vec()),
                ("source-partition", partition.as_bytes().to_vec()),
                ("source-offset", offset.as_bytes().to_vec()),
                ("strange", huge.clone()),
            ]
        };
        let read = |headers: Vec<(&'static str, Vec<u8>)>| {
            parse(headers.iter().map(|(name, value)| (*name, &**value)))
        };
        let (reason, source) = read(told("-1", "9223372036854775807")).expect("reads");
        assert!(reason.code.len() <= 3 * LONGEST_TEXT);
        assert!(!source.is_of("telemetry", 0, 100));
        assert!(
            !read(told("0", "-5"))
                .expect("reads")
                .1
                .is_of("telemetry", 0, 100)
        );
        assert!(
            !read(told("0", "100"))
                .expect("reads")
                .1
                .is_of("telemetry", 0, 100)
        );
        assert!(
            read(told("0", "99"))
                .expect("reads")
                .1
                .is_of("telemetry", 0, 100)
        );
        assert_eq!(read(told("many", "0")), Err(header::SOURCE_PARTITION));
    }

    #[test]
    fn a_letter_says_what_its_value_is() {
        for (stage, serial, form) in [
            (Stage::Decode, None, "original"),
            (Stage::Map, Some("CX0000000001"), "original"),
            (Stage::Validate, Some("CX0000000001"), "original"),
            (Stage::Gate, None, "original"),
            (Stage::Gate, Some("CX0000000001"), "as-sent"),
            (Stage::Upload, Some("CX0000000001"), "as-sent"),
            (Stage::Upload, None, "as-sent"),
        ] {
            let reason = Reason {
                code: "any".to_owned(),
                detail: String::new(),
                stage: stage.name().to_owned(),
                http_status: None,
                server_text: None,
                serial: serial.map(str::to_owned),
                attempts: 0,
            };
            let source = Source {
                topic: "telemetry".to_owned(),
                partition: 0,
                offset: 1,
                timestamp_ms: None,
                replays: 0,
                record: None,
            };
            let written = headers(&reason, &source);
            assert!(
                written.contains(&(header::VALUE_FORM, form.to_owned())),
                "{written:?}"
            );
        }
    }

    #[test]
    fn a_missing_header_is_named() {
        assert_eq!(
            parse([("reason", b"x".as_slice())].into_iter()),
            Err(header::DETAIL)
        );
    }
}
