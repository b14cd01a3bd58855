//! JSON text, written value by value into a buffer of bounded size.
//!
//! M1: what a message stands for can be much larger than the message (an array of a million empty records is a few bytes of
//! Avro), so every value and every text is counted against [`Limits`] before it is written.
//!
//! A value that its form cannot show is written as it lies in the message (a date of the year 20000 as its number), so that
//! only a record that reads it is refused. NaN is `null`: it says that there is no value.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil;

use super::fault::{Checked, DEPTH, Fault, SIZE};
use crate::record::validate::Rules;

/// Bounds of one message.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the message, and of its JSON.
    pub bytes: usize,
    /// Objects and arrays in each other.
    pub depth: usize,
}

/// Levels that are decoded by recursion, whatever the settings say: the stack of a thread is bounded too.
const DEEPEST: usize = 256;

impl Limits {
    #[must_use]
    pub fn new(bytes: usize, depth: usize) -> Self {
        Self {
            bytes,
            depth: depth.min(DEEPEST),
        }
    }

    /// The bounds that the rules set.
    #[must_use]
    pub fn of(rules: &Rules) -> Self {
        Self::new(rules.max_message_bytes(), rules.max_depth())
    }
}

/// Unit of a number of time units since the epoch or midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    const fn per_second(self) -> i64 {
        match self {
            Self::Millis => 1_000,
            Self::Micros => 1_000_000,
            Self::Nanos => 1_000_000_000,
        }
    }

    const fn digits(self) -> usize {
        match self {
            Self::Millis => 3,
            Self::Micros => 6,
            Self::Nanos => 9,
        }
    }
}

/// The text of one message as far as it is written.
pub(super) struct Json<'a> {
    text: &'a mut Vec<u8>,
    limits: Limits,
    /// Values that may still come, written or skipped: a value without bytes costs time too.
    left: usize,
}

impl<'a> Json<'a> {
    /// Begins a message in `text`, which is emptied.
    pub fn new(text: &'a mut Vec<u8>, limits: Limits) -> Self {
        text.clear();
        Self {
            text,
            limits,
            left: limits.bytes,
        }
    }

    #[inline]
    fn room(&self, more: usize) -> Checked {
        if self.text.len() + more > self.limits.bytes {
            return Err(self.too_large());
        }
        Ok(())
    }

    #[cold]
    fn too_large(&self) -> Box<Fault> {
        let bytes = self.limits.bytes;
        Fault::new(
            SIZE,
            format!("more than {bytes} bytes as JSON"),
            format!("at most {bytes} bytes (validate.max_message_bytes)"),
        )
    }

    /// Counts one value, written or skipped.
    #[inline]
    pub fn step(&mut self) -> Checked {
        if self.left == 0 {
            return Err(self.too_large());
        }
        self.left -= 1;
        self.room(0)
    }

    /// Refuses what is nested too deeply.
    #[inline]
    pub fn enter(&self, depth: usize) -> Checked {
        if depth >= self.limits.depth {
            let most = self.limits.depth;
            return Err(Fault::new(
                DEPTH,
                format!("more than {most} levels"),
                format!("at most {most} levels (validate.max_depth)"),
            ));
        }
        Ok(())
    }

    /// A bracket, brace, comma or colon.
    #[inline]
    pub fn mark(&mut self, mark: u8) {
        self.text.push(mark);
    }

    /// Text that is JSON already.
    #[inline]
    pub fn raw(&mut self, json: &[u8]) -> Checked {
        self.room(json.len())?;
        self.text.extend_from_slice(json);
        Ok(())
    }

    pub fn null(&mut self) {
        self.text.extend_from_slice(b"null");
    }

    pub fn boolean(&mut self, value: bool) {
        self.text
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub fn int(&mut self, value: i64) {
        // Writing a number into a vector cannot fail.
        let _ = serde_json::to_writer(&mut *self.text, &value);
    }

    pub fn uint(&mut self, value: u64) {
        let _ = serde_json::to_writer(&mut *self.text, &value);
    }

    pub fn double(&mut self, value: f64) {
        if value.is_finite() {
            let _ = serde_json::to_writer(&mut *self.text, &value);
        } else {
            self.not_finite(value);
        }
    }

    /// With the fewest digits that tell it from other numbers of 32 bits.
    pub fn float(&mut self, value: f32) {
        if value.is_finite() {
            let _ = serde_json::to_writer(&mut *self.text, &value);
        } else {
            self.not_finite(f64::from(value));
        }
    }

    #[cold]
    fn not_finite(&mut self, value: f64) {
        let text: &[u8] = if value.is_nan() {
            b"null"
        } else if value > 0.0 {
            b"\"Infinity\""
        } else {
            b"\"-Infinity\""
        };
        self.text.extend_from_slice(text);
    }

    /// A text; bytes that are not UTF-8 are refused.
    #[inline]
    pub fn text(&mut self, bytes: &[u8]) -> Checked {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(Fault::payload(
                String::from_utf8_lossy(&bytes[..bytes.len().min(480)]),
                "a text in UTF-8",
            ));
        };
        self.string(text)
    }

    pub fn string(&mut self, text: &str) -> Checked {
        self.room(text.len() + 2)?;
        self.text.push(b'"');
        let bytes = text.as_bytes();
        let mut from = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.text.extend_from_slice(&bytes[from..at]);
            from = at + 1;
            match byte {
                b'"' | b'\\' => self.text.extend_from_slice(&[b'\\', byte]),
                b'\n' => self.text.extend_from_slice(b"\\n"),
                b'\r' => self.text.extend_from_slice(b"\\r"),
                b'\t' => self.text.extend_from_slice(b"\\t"),
                _ => {
                    let _ = write!(self.text, "\\u{byte:04x}");
                }
            }
            self.room(bytes.len() - at)?;
        }
        self.text.extend_from_slice(&bytes[from..]);
        self.text.push(b'"');
        Ok(())
    }

    /// Bytes as a text in Base64.
    pub fn bytes(&mut self, bytes: &[u8]) -> Checked {
        let length = bytes.len().div_ceil(3) * 4;
        self.room(length + 2)?;
        self.text.push(b'"');
        let start = self.text.len();
        self.text.resize(start + length, 0);
        // The room was measured.
        let written = STANDARD.encode_slice(bytes, &mut self.text[start..]);
        self.text.truncate(start + written.unwrap_or(0));
        self.text.push(b'"');
        Ok(())
    }

    /// An instant in UTC as RFC 3339.
    pub fn instant(&mut self, value: i64, unit: Unit) {
        let since = parts(value, unit);
        match jiff::Timestamp::new(since.0, since.1) {
            Ok(instant) if in_four_digits(since.0) => {
                let _ = write!(self.text, "\"{instant}\"");
            }
            _ => self.int(value),
        }
    }

    /// A date and time without a zone.
    pub fn local(&mut self, value: i64, unit: Unit) {
        let since = parts(value, unit);
        match jiff::Timestamp::new(since.0, since.1) {
            Ok(instant) if in_four_digits(since.0) => {
                let local = jiff::tz::Offset::UTC.to_datetime(instant);
                let _ = write!(self.text, "\"{local}\"");
            }
            _ => self.int(value),
        }
    }

    /// A date, given in days since the epoch.
    pub fn date(&mut self, days: i32) {
        let span = jiff::Span::new().try_days(i64::from(days));
        let date = span.and_then(|span| civil::date(1970, 1, 1).checked_add(span));
        match date {
            Ok(date) if (0..=9999).contains(&date.year()) => {
                let _ = write!(self.text, "\"{date}\"");
            }
            _ => self.int(i64::from(days)),
        }
    }

    /// A time of the day, given in units since midnight.
    pub fn time_of_day(&mut self, value: i64, unit: Unit) {
        let (seconds, digits) = (value.div_euclid(unit.per_second()), unit.digits());
        if !(0..86_400).contains(&seconds) {
            return self.int(value);
        }
        let fraction = value.rem_euclid(unit.per_second());
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let _ = write!(self.text, "\"{hour:02}:{minute:02}:{second:02}");
        if fraction > 0 {
            let _ = write!(self.text, ".{fraction:0digits$}");
        }
        self.text.push(b'"');
    }

    /// A span given in seconds and nanoseconds, as a number of seconds.
    pub fn seconds(&mut self, seconds: i64, nanos: i32) {
        if nanos == 0 {
            return self.int(seconds);
        }
        self.decimal(i128::from(seconds) * 1_000_000_000 + i128::from(nanos), 9);
    }

    /// `unscaled / 10^scale`: a number if its digits fit into 64 bits, otherwise a text.
    pub fn decimal(&mut self, unscaled: i128, scale: usize) {
        let quoted = i64::try_from(unscaled).is_err();
        if quoted {
            self.text.push(b'"');
        }
        if unscaled < 0 {
            self.text.push(b'-');
        }
        let digits = unscaled.unsigned_abs();
        if scale == 0 {
            let _ = write!(self.text, "{digits}");
        } else {
            let width = scale + 1;
            let start = self.text.len();
            let _ = write!(self.text, "{digits:0width$}");
            let point = self.text.len() - scale;
            debug_assert!(point > start, "there is a digit before the point");
            self.text.insert(point, b'.');
        }
        if quoted {
            self.text.push(b'"');
        }
    }

    /// The text, to give back in an error or in tests.
    #[cfg(test)]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(self.text).into_owned()
    }
}

/// Seconds since the epoch and nanoseconds of the second.
fn parts(value: i64, unit: Unit) -> (i64, i32) {
    let each = unit.per_second();
    let nanos = value.rem_euclid(each) * (1_000_000_000 / each);
    (value.div_euclid(each), nanos as i32)
}

/// Whether the year has four digits, as RFC 3339 asks.
fn in_four_digits(seconds: i64) -> bool {
    (-62_167_219_200..=253_402_300_799).contains(&seconds)
}

/// A member's name as it stands in an object: quoted, with its colon.
pub(super) fn key(name: &str) -> Box<[u8]> {
    let mut key = serde_json::to_vec(name).unwrap_or_default();
    key.push(b':');
    key.into()
}

/// A whole number in two's complement, the highest byte first; `None` above 128 bits.
pub(super) fn integer(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first()? & 0x80 != 0;
    let fill = if negative { 0xff } else { 0 };
    let mut whole = [fill; 16];
    let extra = bytes.len().saturating_sub(16);
    let (sign, digits) = bytes.split_at(extra);
    if sign.iter().any(|byte| *byte != fill) {
        return None;
    }
    whole[16 - digits.len()..].copy_from_slice(digits);
    let value = i128::from_be_bytes(whole);
    (value.is_negative() == negative).then_some(value)
}

/// The member's name in a key such as `"name":`.
pub(super) fn name_of(key: &[u8]) -> &str {
    let name = key
        .strip_prefix(b"\"")
        .and_then(|key| key.strip_suffix(b"\":"));
    std::str::from_utf8(name.unwrap_or(key)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Json<'_>)) -> String {
        let mut text = Vec::new();
        let mut json = Json::new(&mut text, Limits::new(1000, 10));
        write(&mut json);
        json.shown()
    }

    #[test]
    fn times_are_rfc_3339_and_what_is_out_of_range_is_a_number() {
        let at = |value, unit| written(|json| json.instant(value, unit));
        assert_eq!(
            at(1_706_463_936_500, Unit::Millis),
            r#""2024-01-28T17:45:36.5Z""#
        );
        assert_eq!(at(-1, Unit::Micros), r#""1969-12-31T23:59:59.999999Z""#);
        assert_eq!(at(1, Unit::Nanos), r#""1970-01-01T00:00:00.000000001Z""#);
        assert_eq!(at(i64::MAX, Unit::Millis), i64::MAX.to_string());
        assert_eq!(at(253_402_300_800_000, Unit::Millis), "253402300800000");
        assert_eq!(
            written(|json| json.local(1_706_463_936_500, Unit::Millis)),
            r#""2024-01-28T17:45:36.5""#
        );
        assert_eq!(written(|json| json.date(19_750)), r#""2024-01-28""#);
        assert_eq!(written(|json| json.date(i32::MAX)), i32::MAX.to_string());
        assert_eq!(
            written(|json| json.time_of_day(63_936_005, Unit::Millis)),
            r#""17:45:36.005""#
        );
        assert_eq!(written(|json| json.time_of_day(-1, Unit::Micros)), "-1");
    }

    #[test]
    fn decimals_keep_every_digit() {
        let of = |unscaled, scale| written(|json| json.decimal(unscaled, scale));
        assert_eq!(of(1250, 2), "12.50");
        assert_eq!(of(-5, 2), "-0.05");
        assert_eq!(of(7, 0), "7");
        assert_eq!(
            of(123_456_789_012_345_678_901, 3),
            r#""123456789012345678.901""#
        );
        assert_eq!(
            written(|json| json.seconds(-1, -500_000_000)),
            "-1.500000000"
        );
    }

    #[test]
    fn texts_are_escaped_and_numbers_without_a_value_are_null() {
        assert_eq!(
            written(|json| json.string("a\"\\\n\u{1}é").unwrap()),
            "\"a\\\"\\\\\\n\\u0001é\""
        );
        assert_eq!(
            written(|json| json.bytes(b"\xff\x00").unwrap()),
            r#""/wA=""#
        );
        assert_eq!(written(|json| json.double(f64::NAN)), "null");
        assert_eq!(
            written(|json| json.float(f32::NEG_INFINITY)),
            r#""-Infinity""#
        );
        assert_eq!(written(|json| json.float(12.1)), "12.1");
        assert_eq!(written(|json| json.uint(u64::MAX)), u64::MAX.to_string());
    }

    #[test]
    fn nothing_grows_beyond_the_limit() {
        let mut text = Vec::new();
        let mut json = Json::new(&mut text, Limits::new(16, 10));
        assert!(json.string(&"x".repeat(15)).is_err());
        assert!(json.string(&"\u{1}".repeat(10)).is_err());
        let mut json = Json::new(&mut text, Limits::new(16, 10));
        let steps = std::iter::from_fn(|| json.step().ok()).count();
        assert_eq!(steps, 16);
    }
}
