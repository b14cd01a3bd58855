//! Geotab serial numbers in one spelling: one type, parser and normal form for records, the device registry and orders.
//!
//! The box prints `CX00-0000-0001`, people copy invisible characters out of MyGeotab, and Geotab compares without regard to case
//! (dig/API.md sections 8 and 12): the normal form has no hyphens, white space, U+200B or U+FEFF, and is in upper case. A record's serial
//! of another alphabet is still sent with a warning, as nobody promises the shape; a [`Serial`] is letters and digits only.
//!
//! Pure. A text that is in normal form already costs no allocation ([`Serial::normal`]).

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a serial needs no normalisation and has the usual shape, `^[A-Z0-9]{12}$`.
#[inline]
#[must_use]
pub fn is_usual(serial: &[u8]) -> bool {
    serial.len() == 12
        && serial
            .iter()
            .fold(true, |ok, &byte| ok & is_upper_or_digit(byte))
}

#[inline]
pub(super) fn is_upper_or_digit(byte: u8) -> bool {
    byte.wrapping_sub(b'A') < 26 || byte.wrapping_sub(b'0') < 10
}

/// Writes the normal form of a text into `out`, whatever letters are in it. Control characters stay, except for white space at the
/// ends: inside a serial a tab or a line's end is no spelling but damage.
pub(super) fn normalise(serial: &str, out: &mut String) {
    out.clear();
    let space = |c: char| c.is_whitespace() && !c.is_control();
    let kept = |c: &char| !space(*c) && !matches!(c, '-' | '\u{200b}' | '\u{feff}');
    let kept = serial.chars().filter(kept);
    out.extend(
        kept.skip_while(|c| c.is_whitespace())
            .map(|c| c.to_ascii_uppercase()),
    );
    out.truncate(out.trim_end().len());
}

/// A Geotab serial number in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serial(Box<str>);

/// A text that cannot be a serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a serial number: {why}")]
pub struct NotASerial {
    /// The text, shortened.
    pub text: String,
    /// What a serial number is, without the text.
    pub why: &'static str,
}

impl Serial {
    /// Characters at most; twelve are usual (dig/API.md section 12).
    pub const LONGEST: usize = 50;

    /// Reads a serial as people, boxes and sheets write it (`C1-800-000-0001`).
    ///
    /// # Errors
    /// Nothing left, other characters than letters and digits, or too many.
    pub fn parse(text: &str) -> Result<Self, NotASerial> {
        Self::normal(text).map(|normal| Self(normal.into()))
    }

    /// The normal form of a serial, borrowed when it has it already.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn normal(text: &str) -> Result<Cow<'_, str>, NotASerial> {
        let within = 1..=Self::LONGEST;
        if within.contains(&text.len()) && text.bytes().all(is_upper_or_digit) {
            return Ok(Cow::Borrowed(text));
        }
        let mut normal = String::new();
        normalise(text, &mut normal);
        if within.contains(&normal.len()) && normal.bytes().all(is_upper_or_digit) {
            return Ok(Cow::Owned(normal));
        }
        Err(NotASerial {
            text: text.chars().take(64).collect(),
            why: "it has 1 to 50 letters and digits; hyphens, spaces and case do not matter",
        })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_serial_as_printed_on_the_box_is_the_one_that_records_have() {
        for (given, normal) in [
            ("CX0B21338D8D", "CX0B21338D8D"),
            (" c1-800-000-0001 ", "C18000000001"),
            ("cx00-0000-0001", "CX0000000001"),
            ("CX00 0000 0001", "CX0000000001"),
            ("\u{200B}cx0b\u{200B}21338d8d", "CX0B21338D8D"),
            ("\u{feff}G9\u{a0}", "G9"),
            ("\u{feff}\tG9\t-\r\n", "G9"),
        ] {
            assert_eq!(Serial::parse(given).unwrap().as_str(), normal, "{given:?}");
            let mut out = String::new();
            normalise(given, &mut out);
            assert_eq!(out, normal, "{given:?}");
        }
        assert!(is_usual(b"CX0B21338D8D"));
        assert!(!is_usual(b"cX0B21338D8D"));
        assert!(!is_usual(b"CX0B21338D8DA"));
    }

    #[test]
    fn what_can_be_no_serial_is_refused_and_shown_escaped() {
        let long = "A".repeat(51);
        for given in [
            "",
            " - ",
            "CX00000000\u{0}1",
            "CX00000000\u{202e}1",
            "CX00000000\t1",
            "CX00000000\u{ff11}1",
            "1.2E+05",
            "CX_1",
            "CX\"1",
            &long,
        ] {
            let error = Serial::parse(given).unwrap_err().to_string();
            assert!(!error.contains(['\u{0}', '\u{202e}']), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_its_own_and_is_borrowed(text in "\\PC{0,20}|[a-zA-Z0-9 -]{0,60}") {
            if let Ok(normal) = Serial::normal(&text) {
                prop_assert!(matches!(Serial::normal(&normal), Ok(Cow::Borrowed(again)) if again == normal));
            }
        }
    }
}
