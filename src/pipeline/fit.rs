//! Fitting a letter to its topic's size limit: whole, or shortened with the place of the original.
//!
//! Owns the forms of a letter and their size on the wire. Pure. It does not know the limits of topics ([`super::limits`]).
//!
//! * D1: a letter that does not fit keeps as many leading bytes of its value as there is room for, and has the full length and
//!   the SHA-256 of the whole value in headers. The headers of every form name the place of the original.
//! * Headers that name the reason and the place of the original are never left out.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::letter::{self, Letter, header};

/// Bytes of a batch that holds one record, besides its key, value and headers; rounded up.
const BATCH_OVERHEAD: usize = 128;
/// Bytes of a header besides its name and value; rounded up.
const HEADER_OVERHEAD: usize = 10;
/// Longest text of a header of a shortened letter, and its longest key.
const SHORT_TEXT: usize = 512;
const SHORT_KEY: usize = 255;
/// Headers that every form has.
const KEPT: [&str; 8] = [
    header::REASON,
    header::SOURCE_TOPIC,
    header::SOURCE_PARTITION,
    header::SOURCE_OFFSET,
    header::REPLAYS,
    header::FULL_LENGTH,
    header::FULL_SHA256,
    header::FULL_KEY_LENGTH,
];

/// A letter as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form<'l> {
    pub key: Option<Cow<'l, [u8]>>,
    pub value: &'l [u8],
    pub headers: Vec<(&'static str, String)>,
    /// Whether nothing was left out.
    pub whole: bool,
}

impl Form<'_> {
    fn size(&self) -> usize {
        size(
            self.key.as_deref(),
            self.value,
            self.headers.iter().map(|(name, value)| (*name, &**value)),
        )
    }
}

/// Most bytes of a batch that holds this record alone.
pub fn size<'h>(
    key: Option<&[u8]>,
    value: &[u8],
    headers: impl Iterator<Item = (&'h str, &'h str)>,
) -> usize {
    let headers: usize = headers
        .map(|(name, value)| name.len() + value.len() + HEADER_OVERHEAD)
        .sum();
    BATCH_OVERHEAD + key.map_or(0, <[u8]>::len) + value.len() + headers
}

/// The whole letter. `keyed`: the topic requires a key, so a record without one gets its source as the key.
#[must_use]
pub fn whole(letter: &Letter, keyed: bool) -> Form<'_> {
    let own = letter.key.as_deref().map(Cow::Borrowed);
    let source = &letter.source;
    let named = || {
        let name = format!("{}/{}/{}", source.topic, source.partition, source.offset);
        Cow::Owned(name.into_bytes())
    };
    Form {
        key: if keyed {
            own.or_else(|| Some(named()))
        } else {
            own
        },
        value: &letter.value,
        headers: letter::headers(&letter.reason, source),
        whole: true,
    }
}

/// The fullest form of a letter that takes at most `limit` bytes; `None` when even the smallest form does not fit.
#[must_use]
pub fn fit(letter: &Letter, keyed: bool, limit: usize) -> Option<Form<'_>> {
    let mut form = whole(letter, keyed);
    if form.size() <= limit {
        return Some(form);
    }
    form.whole = false;
    form.headers
        .push((header::FULL_LENGTH, letter.value.len().to_string()));
    form.headers
        .push((header::FULL_SHA256, sha256(&letter.value)));
    if let Some(key) = &mut form.key
        && key.len() > SHORT_KEY
    {
        let full = key.len().to_string();
        key.to_mut().truncate(SHORT_KEY);
        form.headers.push((header::FULL_KEY_LENGTH, full));
    }
    for (_, text) in &mut form.headers {
        text.truncate(text.floor_char_boundary(SHORT_TEXT));
    }
    form.value = &[];
    if form.size() > limit {
        form.headers.retain(|(name, _)| KEPT.contains(name));
    }
    if form.size() > limit && !keyed {
        form.key = None;
    }
    let room = limit.checked_sub(form.size())?;
    form.value = cut(&letter.value, room);
    Some(form)
}

/// SHA-256 as hexadecimal digits, as `sha256sum` prints it.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The first bytes, at most `room`, without half a character of UTF-8 at the end.
#[must_use]
pub fn cut(bytes: &[u8], room: usize) -> &[u8] {
    if bytes.len() <= room {
        return bytes;
    }
    let continues = |at: usize| bytes[at] & 0xC0 == 0x80;
    let end = (room.saturating_sub(3)..=room)
        .rev()
        .find(|&at| !continues(at))
        .unwrap_or(room);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::letter::{Destination, Reason, Source};
    use crate::pipeline::offsets::MessageSeq;
    use proptest::prelude::*;

    fn letter(value: Vec<u8>, key: Option<Vec<u8>>, detail: String) -> Letter {
        Letter {
            destination: Destination::DeadLetter,
            key,
            value,
            reason: Reason {
                code: "decode.json".to_owned(),
                detail,
                stage: "decode".to_owned(),
                http_status: None,
                server_text: Some("é".repeat(400)),
                serial: None,
                attempts: 0,
            },
            source: Source {
                topic: "telemetry".to_owned(),
                partition: 3,
                offset: 41,
                timestamp_ms: Some(7),
                replays: 2,
                record: Some(3),
            },
            seq: MessageSeq(0),
            records: 1,
        }
    }

    fn text<'f>(form: &'f Form<'_>, name: &str) -> Option<&'f str> {
        let found = form.headers.iter().find(|(header, _)| *header == name);
        found.map(|(_, value)| &**value)
    }

    #[test]
    fn what_fits_is_whole() {
        let letter = letter(b"{}".to_vec(), None, String::new());
        let form = fit(&letter, false, 1_000_000).expect("fits");
        assert!(form.whole);
        assert_eq!(
            (form.value, text(&form, header::FULL_LENGTH)),
            (&b"{}"[..], None)
        );
    }

    #[test]
    fn what_does_not_fit_says_its_length_its_checksum_and_its_place() {
        let letter = letter(vec![b'a'; 3_000], None, "why".to_owned());
        let form = fit(&letter, false, 3_000).expect("fits");
        assert!(!form.whole && form.size() == 3_000);
        assert_eq!(text(&form, header::FULL_LENGTH), Some("3000"));
        assert_eq!(
            text(&form, header::FULL_SHA256),
            Some(&*sha256(&letter.value))
        );
        assert_eq!(text(&form, header::SOURCE_OFFSET), Some("41"));
        assert_eq!(text(&form, header::DETAIL), Some("why"));
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn the_least_form_keeps_reason_and_place() {
        let letter = letter(
            vec![b'a'; 3_000],
            Some(vec![b'k'; 9_000]),
            "é".repeat(5_000),
        );
        let form = fit(&letter, false, 600).expect("fits");
        assert_eq!((form.key.is_none(), form.value.is_empty()), (true, false));
        for name in KEPT {
            assert!(text(&form, name).is_some(), "{name}");
        }
        assert_eq!(text(&form, header::DETAIL), None);
        assert_eq!(fit(&letter, false, 100), None, "less than any letter takes");
    }

    #[test]
    fn a_topic_that_wants_keys_gets_one() {
        let letter = letter(vec![b'a'; 3_000], None, String::new());
        for limit in [1_000, 10_000] {
            let form = fit(&letter, true, limit).expect("fits");
            assert_eq!(form.key.as_deref(), Some(b"telemetry/3/41".as_slice()));
        }
    }

    proptest! {
        #[test]
        fn no_form_is_larger_than_the_limit(
            value in prop::collection::vec(any::<u8>(), 0..3_000), key in prop::option::of(prop::collection::vec(any::<u8>(), 0..2_000)),
            detail in ".{0,700}", limit in 0usize..6_000, keyed in any::<bool>(),
        ) {
            let letter = letter(value, key, detail);
            if let Some(form) = fit(&letter, keyed, limit) {
                prop_assert!(form.size() <= limit);
                prop_assert!(letter.value.starts_with(form.value));
                prop_assert_eq!(form.whole, text(&form, header::FULL_LENGTH).is_none());
            }
        }

        #[test]
        fn a_cut_text_stays_a_text(words in ".{0,50}", room in 0usize..60) {
            let part = cut(words.as_bytes(), room);
            prop_assert!(part.len() <= room && std::str::from_utf8(part).is_ok());
            prop_assert!(part.len() + 4 > room.min(words.len()));
        }
    }
}
