//! Messages of the topic of invalid records: records that the gateway rejected after it accepted them.
//!
//! Owns the form of such a message. Pure. It does no I/O.
//!
//! * D1: an item that is larger than its topic takes is written with the beginning of its record as text, the full length and the
//!   SHA-256 of the record's JSON text, and its source.

use serde_json::{Value, json};

use super::sources::Origin;
use super::{feedback, fit};
use crate::dig::page::Invalid;

/// Longest key, cause and instant of a shortened item, in bytes.
const SHORT: usize = 255;

/// Key and value of a message that takes at most `room` bytes, with the record's source if that is remembered.
#[must_use]
pub fn message(item: &Invalid, source: Option<&Origin>, room: usize) -> (Vec<u8>, Vec<u8>) {
    let serial = item.serial().unwrap_or_default();
    let key = serial.as_str();
    let value = feedback::message(item, source).into_bytes();
    if fit::size(Some(key.as_bytes()), &value, std::iter::empty()) <= room {
        return (key.as_bytes().to_vec(), value);
    }
    let record = &item.record;
    let short = |text: &Option<String>| text.as_deref().map(|text| head(text, SHORT).to_owned());
    let key = head(key, SHORT).as_bytes().to_vec();
    let mut shortened = json!({
        "record": Value::Null,
        "record_begins": "",
        "record_bytes": record.len(),
        "record_sha256": fit::sha256(record.as_bytes()),
        "cause": short(&item.cause),
        "marked": short(&item.marked),
        "source": source,
    });
    let least = fit::size(
        Some(&key),
        shortened.to_string().as_bytes(),
        std::iter::empty(),
    );
    // A text in JSON is at most six times as long as it is.
    let begins = head(record, room.saturating_sub(least) / 6);
    shortened["record_begins"] = begins.into();
    (key, shortened.to_string().into_bytes())
}

fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: usize) -> Invalid {
        Invalid {
            record: json!({"SerialNo": "CX0000000001", "Text": "\u{1}".repeat(bytes)})
                .to_string()
                .into(),
            cause: Some("no".repeat(bytes)),
            marked: None,
        }
    }

    #[test]
    fn an_item_that_fits_is_whole() {
        let (key, value) = message(&item(3), None, 10_000);
        let value: Value = serde_json::from_slice(&value).expect("JSON");
        assert_eq!(
            (key.as_slice(), &value["record"]["SerialNo"]),
            (&b"CX0000000001"[..], &json!("CX0000000001"))
        );
        assert_eq!(value["record_bytes"], Value::Null);
    }

    #[test]
    fn an_item_that_does_not_fit_says_what_was_left_out() {
        let origin = Origin {
            topic: "telemetry".to_owned(),
            partition: 1,
            offset: 7,
        };
        let item = item(100_000);
        for room in [1_500, 20_000] {
            let (key, value) = message(&item, Some(&origin), room);
            assert!(fit::size(Some(&key), &value, std::iter::empty()) <= room);
            let value: Value = serde_json::from_slice(&value).expect("JSON");
            let record = &item.record;
            assert_eq!(value["record_bytes"], record.len());
            assert_eq!(value["record_sha256"], fit::sha256(record.as_bytes()));
            assert_eq!(value["source"]["offset"], 7);
            let begins = value["record_begins"].as_str().expect("a text");
            assert!(!begins.is_empty() && record.starts_with(begins));
        }
    }
}
