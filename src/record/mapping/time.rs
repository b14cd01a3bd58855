//! Times as vendors write them, into units of 100 ns since the epoch.
//!
//! Local time is never guessed: a form without an offset needs a `zone` in the mapping file, a local time that the clocks skipped is
//! refused, and one that they showed twice too, unless the file says which one is meant (`doubled`).

use jiff::Timestamp;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::value::Scalar;
use crate::record::datetime;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Format {
    Rfc3339,
    /// Ticks per unit: 10,000,000, 10,000 or 10.
    Epoch(i64),
    Pattern(String),
}

/// A compiled time form.
#[derive(Debug, Clone)]
pub struct Form {
    format: Format,
    zone: Option<TimeZone>,
    doubled: Doubled,
}

/// Which of two instants a local time means that the clocks showed twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Doubled {
    /// Neither: the time is refused.
    #[default]
    Reject,
    /// The one before the clocks were set back.
    Earlier,
    Later,
}

/// Ticks in a second.
pub const SECOND: i64 = 1_000_000 * datetime::TICKS;

impl Form {
    /// Compiles `format` (`rfc3339`, `epoch_s`, `epoch_ms`, `epoch_us`, or a pattern with `%`) and `zone` (`UTC`, `+02:00`, or a name
    /// such as `Europe/Berlin`) for values without an offset.
    ///
    /// # Errors
    /// `(which, problem and remedy)`, `which` being `format` or `zone`.
    pub fn compile(
        format: Option<&str>,
        zone: Option<&str>,
        doubled: Doubled,
    ) -> Result<Self, (&'static str, String)> {
        let format = match format {
            None | Some("rfc3339") => Format::Rfc3339,
            Some("epoch_s") => Format::Epoch(SECOND),
            Some("epoch_ms") => Format::Epoch(SECOND / 1_000),
            Some("epoch_us") => Format::Epoch(SECOND / 1_000_000),
            Some(pattern) if pattern.contains('%') => Format::Pattern(pattern.to_owned()),
            Some(other) => {
                return Err((
                    "format",
                    format!(
                        "\"{other}\" is no time format; use rfc3339, epoch_s, epoch_ms, epoch_us or a pattern such as \"%d/%m/%Y %H:%M:%S\""
                    ),
                ));
            }
        };
        let zone = match zone {
            None => None,
            Some(_) if matches!(format, Format::Epoch(_)) => {
                return Err(("zone", "epoch times have no zone; leave it out".to_owned()));
            }
            Some(name) => Some(parse_zone(name).ok_or_else(|| {
                ("zone", format!("\"{name}\" is no time zone; use UTC, an offset such as +02:00, or a name such as Europe/Berlin"))
            })?),
        };
        let form = Self {
            format,
            zone,
            doubled,
        };
        form.probe()?;
        Ok(form)
    }

    /// Writes a time by the pattern and reads it back, so that a pattern that cannot work is found at load.
    fn probe(&self) -> Result<(), (&'static str, String)> {
        let Format::Pattern(pattern) = &self.format else {
            return Ok(());
        };
        let sample = jiff::civil::date(2024, 1, 28)
            .at(17, 45, 36, 0)
            .in_tz("UTC")
            .map_err(|e| ("format", e.to_string()))?;
        let text = strtime::format(pattern, &sample)
            .map_err(|e| ("format", format!("the pattern \"{pattern}\" is wrong: {e}")))?;
        let parsed = BrokenDownTime::parse(pattern, &text).map_err(|e| {
            (
                "format",
                format!("the pattern \"{pattern}\" cannot be read by: {e}"),
            )
        })?;
        if parsed.to_timestamp().is_ok() {
            return Ok(());
        }
        if parsed.to_datetime().is_err() {
            return Err((
                "format",
                format!("the pattern \"{pattern}\" does not give a date"),
            ));
        }
        match self.zone {
            Some(_) => Ok(()),
            None => Err((
                "zone",
                format!(
                    "the pattern \"{pattern}\" has no offset (%z, or %:z with a colon); add zone = \"UTC\" or the zone the vendor means"
                ),
            )),
        }
    }

    /// Reads a value into units of 100 ns since the epoch.
    ///
    /// # Errors
    /// What would have been right: the value is not in this form, outside the years 1 to 9999, or a local time that is not one instant.
    pub fn ticks(&self, value: Scalar<'_>) -> Result<i64, String> {
        let read = self.read(value).ok_or_else(|| self.bound())?;
        let ticks = match read {
            Read::Instant(ticks) => ticks,
            Read::Local(local) => self.in_zone(local)?,
        };
        if datetime::is_writable(ticks) {
            Ok(ticks)
        } else {
            Err(self.bound())
        }
    }

    fn read(&self, value: Scalar<'_>) -> Option<Read> {
        Some(match (&self.format, value) {
            (Format::Epoch(unit), value) => Read::Instant(epoch(value, *unit)?),
            (Format::Rfc3339, Scalar::Text(text)) => match datetime::parse(text.as_bytes()) {
                Ok(instant) => Read::Instant(instant.ticks()),
                Err(_) => match rfc3339(text.trim().as_bytes())? {
                    (local, Some(offset_s)) => Read::Instant(local - offset_s * SECOND),
                    (local, None) => Read::Local(civil(local)?),
                },
            },
            (Format::Pattern(pattern), value) => {
                let parsed = match value {
                    Scalar::Text(text) => BrokenDownTime::parse(pattern, text.trim()),
                    // 20240128174536 as a number
                    Scalar::Int(number) => BrokenDownTime::parse(pattern, number.to_string()),
                    _ => return None,
                }
                .ok()?;
                match parsed.to_timestamp() {
                    Ok(timestamp) => Read::Instant(ticks_of(timestamp)?),
                    Err(_) => Read::Local(parsed.to_datetime().ok()?),
                }
            }
            _ => return None,
        })
    }

    fn in_zone(&self, local: jiff::civil::DateTime) -> Result<i64, String> {
        let zone = self.zone.as_ref().ok_or_else(|| self.bound())?;
        let name = || zone.iana_name().unwrap_or("the zone").to_owned();
        let found = zone.to_ambiguous_timestamp(local);
        let timestamp = match (found.offset(), self.doubled) {
            (AmbiguousOffset::Gap { .. }, _) => {
                return Err(format!(
                    "a local time that there was in {}: the clocks were set forward over this one",
                    name()
                ));
            }
            (AmbiguousOffset::Fold { .. }, Doubled::Reject) => {
                return Err(format!(
                    "a local time that there was once in {}: the clocks showed this one twice, say which one counts with doubled = \"earlier\" or \"later\"",
                    name()
                ));
            }
            (_, Doubled::Later) => found.later(),
            _ => found.earlier(),
        };
        timestamp
            .ok()
            .and_then(ticks_of)
            .ok_or_else(|| self.bound())
    }

    /// The form in words, for rejects.
    pub fn bound(&self) -> String {
        match &self.format {
            Format::Rfc3339 if self.zone.is_none() => "RFC 3339 with an offset".to_owned(),
            Format::Rfc3339 => "RFC 3339".to_owned(),
            Format::Epoch(SECOND) => "seconds since 1970".to_owned(),
            Format::Epoch(10_000) => "milliseconds since 1970".to_owned(),
            Format::Epoch(_) => "microseconds since 1970".to_owned(),
            Format::Pattern(pattern) => format!("a time like {pattern}"),
        }
    }
}

/// What a text says.
enum Read {
    /// Units of 100 ns since the epoch.
    Instant(i64),
    Local(jiff::civil::DateTime),
}

fn ticks_of(timestamp: Timestamp) -> Option<i64> {
    i64::try_from(timestamp.as_nanosecond().div_euclid(100)).ok()
}

fn parse_zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" || name == "Z" {
        return Some(TimeZone::UTC);
    }
    if name.starts_with(['+', '-']) {
        let seconds = offset(name.as_bytes())?;
        return Some(TimeZone::fixed(
            Offset::from_seconds(i32::try_from(seconds).ok()?).ok()?,
        ));
    }
    TimeZone::get(name).ok()
}

fn epoch(value: Scalar<'_>, unit: i64) -> Option<i64> {
    match value.numbered() {
        Scalar::Int(whole) => whole.checked_mul(unit),
        Scalar::Float(number) => {
            // Whole microseconds: a double holds no more of today's seconds.
            let micros = (number * (unit / datetime::TICKS) as f64).round();
            // Far outside the years a timestamp has, well inside i64.
            (micros.abs() < 4.6e17).then(|| micros as i64 * datetime::TICKS)
        }
        Scalar::Unsigned(_) | Scalar::Text(_) | Scalar::Bool(_) => None,
    }
}

fn civil(local_ticks: i64) -> Option<jiff::civil::DateTime> {
    let instant = Timestamp::from_nanosecond(i128::from(local_ticks) * 100).ok()?;
    Some(TimeZone::UTC.to_datetime(instant))
}

/// What the gateway's own form does not allow but vendors write: `2024-01-28T17:45:36[.fraction][Z|+02:00|+0200|+02]`, with `T`, `t` or a space: local ticks and the offset in seconds.
///
/// Fractions beyond 100 ns are cut off, as the gateway's form has at most seven digits.
fn rfc3339(text: &[u8]) -> Option<(i64, Option<i64>)> {
    if text.len() < 19 || text[4] != b'-' || text[7] != b'-' || text[13] != b':' || text[16] != b':'
    {
        return None;
    }
    if !matches!(text[10], b'T' | b't' | b' ') {
        return None;
    }
    let number = |from: usize, to: usize| digits(&text[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // A leap second is the instant after the 59th.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let date = jiff::civil::Date::new(year as i16, month as i8, day as i8).ok()?;
    let days = date.duration_since(jiff::civil::date(1970, 1, 1)).as_secs() / 86_400;
    let mut ticks = (((days * 24 + hour) * 60 + minute) * 60 + second) * SECOND;
    let mut rest = &text[19..];
    if let Some((b'.' | b',', fraction)) = rest.split_first() {
        let len = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 || len > 9 {
            return None;
        }
        let kept = len.min(7);
        ticks += digits(&fraction[..kept])? * 10i64.pow(7 - kept as u32);
        rest = &fraction[len..];
    }
    match rest {
        b"" => Some((ticks, None)),
        b"Z" | b"z" => Some((ticks, Some(0))),
        _ => Some((ticks, Some(offset(rest)?))),
    }
}

/// Seconds east of UTC: `+02:00`, `+0200`, `+02`.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest {
        [_, _] => (digits(rest)?, 0),
        [h @ .., b':', m1, m2] if h.len() == 2 => (digits(h)?, digits(&[*m1, *m2])?),
        [_, _, _, _] => (digits(&rest[..2])?, digits(&rest[2..])?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0i64, |sum, b| {
        b.is_ascii_digit().then(|| sum * 10 + i64::from(b - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_706_463_936 * SECOND; // 2024-01-28T17:45:36Z

    fn read(format: Option<&str>, zone: Option<&str>, value: Scalar<'_>) -> Option<i64> {
        let form = Form::compile(format, zone, Doubled::Reject).unwrap();
        form.ticks(value).ok()
    }

    #[test]
    fn every_form_reads_the_same_instant() {
        for (format, zone, value, wanted) in [
            (None, None, Scalar::Text("2024-01-28T17:45:36Z"), Some(T)),
            (
                Some("rfc3339"),
                None,
                Scalar::Text("2024-01-28T17:45:36.123456789+00:00"),
                Some(T + 1_234_567),
            ),
            (
                Some("rfc3339"),
                None,
                Scalar::Text("2024-01-28T19:45:36.5+0200"),
                Some(T + 5_000_000),
            ),
            (
                Some("rfc3339"),
                None,
                Scalar::Text("2024-01-28 12:15:36-05:30"),
                Some(T),
            ),
            (
                Some("rfc3339"),
                None,
                Scalar::Text("2024-01-28T19:45:36+02"),
                Some(T),
            ),
            (
                Some("rfc3339"),
                None,
                Scalar::Text("2024-01-28T17:45:36"),
                None,
            ),
            (
                Some("rfc3339"),
                Some("UTC"),
                Scalar::Text("2024-01-28T17:45:36"),
                Some(T),
            ),
            (
                Some("rfc3339"),
                Some("+02:00"),
                Scalar::Text("2024-01-28T19:45:36"),
                Some(T),
            ),
            (
                Some("rfc3339"),
                Some("+02:00"),
                Scalar::Text("2024-01-28T17:45:36Z"),
                Some(T),
            ),
            (
                Some("rfc3339"),
                None,
                Scalar::Text("2024-02-30T17:45:36Z"),
                None,
            ),
            (
                Some("rfc3339"),
                None,
                Scalar::Text("2024-01-28T25:45:36Z"),
                None,
            ),
            (Some("rfc3339"), None, Scalar::Text("yesterday"), None),
            (Some("rfc3339"), None, Scalar::Int(17), None),
            (Some("epoch_s"), None, Scalar::Int(T / SECOND), Some(T)),
            (
                Some("epoch_s"),
                None,
                Scalar::Float(1_706_463_936.123_456),
                Some(T + 1_234_560),
            ),
            (
                Some("epoch_s"),
                None,
                Scalar::Text("1706463936.5"),
                Some(T + 5_000_000),
            ),
            (Some("epoch_s"), None, Scalar::Float(1e300), None),
            (Some("epoch_s"), None, Scalar::Int(i64::MAX), None),
            (Some("epoch_s"), None, Scalar::Bool(true), None),
            (
                Some("epoch_ms"),
                None,
                Scalar::Int(T / 10_000 + 7),
                Some(T + 70_000),
            ),
            (
                Some("epoch_us"),
                None,
                Scalar::Int(T / 10 + 7),
                Some(T + 70),
            ),
            (Some("epoch_us"), None, Scalar::Int(i64::MAX), None),
            (
                Some("%d/%m/%Y %H:%M:%S %z"),
                None,
                Scalar::Text("28/01/2024 19:45:36 +0200"),
                Some(T),
            ),
            (
                Some("%Y-%m-%dT%H:%M:%S%.f%z"),
                None,
                Scalar::Text("2024-01-28T17:45:36.250+0000"),
                Some(T + 2_500_000),
            ),
            (
                Some("%d/%m/%Y %H:%M:%S"),
                Some("UTC"),
                Scalar::Text("28/01/2024 17:45:36"),
                Some(T),
            ),
            (
                Some("%Y%m%d%H%M%S"),
                Some("UTC"),
                Scalar::Int(20_240_128_174_536),
                Some(T),
            ),
            (
                Some("%d/%m/%Y %H:%M:%S"),
                Some("UTC"),
                Scalar::Text("28-01-2024"),
                None,
            ),
        ] {
            assert_eq!(
                read(format, zone, value),
                wanted,
                "{format:?} {zone:?} {value:?}"
            );
        }
    }

    #[test]
    fn a_form_that_cannot_work_is_refused_at_load() {
        for (format, zone, which, wanted) in [
            ("iso", None, "format", "epoch_ms"),
            ("%H:%M:%S", None, "format", "a date"),
            ("%d/%m/%Y %H:%M:%S", None, "zone", "%z"),
            ("%d/%m/%Y %!", None, "format", "pattern"),
            ("epoch_s", Some("UTC"), "zone", "leave it out"),
            ("rfc3339", Some("Mars/Olympus"), "zone", "Europe/Berlin"),
        ] {
            let (field, problem) = Form::compile(Some(format), zone, Doubled::Reject).unwrap_err();
            assert_eq!(field, which, "{format}: {problem}");
            assert!(problem.contains(wanted), "{problem}");
        }
    }

    /// Clocks in Berlin were set back from 3:00 to 2:00 on 27 October 2024 and forward from 2:00 to 3:00 on 31 March.
    #[test]
    fn local_times_that_are_not_one_instant_are_never_guessed() {
        let read = |doubled, text| {
            let form = Form::compile(None, Some("Europe/Berlin"), doubled).unwrap();
            form.ticks(Scalar::Text(text))
        };
        let first = 1_729_989_000 * SECOND; // 2024-10-27T00:30:00Z
        let twice = read(Doubled::Reject, "2024-10-27 02:30:00").unwrap_err();
        assert!(
            twice.contains("twice") && twice.contains("Europe/Berlin"),
            "{twice}"
        );
        assert_eq!(read(Doubled::Earlier, "2024-10-27 02:30:00"), Ok(first));
        assert_eq!(
            read(Doubled::Later, "2024-10-27 02:30:00"),
            Ok(first + 3600 * SECOND)
        );
        assert_eq!(
            read(Doubled::Reject, "2024-10-27 03:00:00"),
            Ok(first + 5400 * SECOND)
        );
        assert_eq!(
            read(Doubled::Reject, "2024-10-27 02:30:00+02:00"),
            Ok(first)
        );
        for doubled in [Doubled::Reject, Doubled::Earlier, Doubled::Later] {
            let never = read(doubled, "2024-03-31 02:30:00").unwrap_err();
            assert!(never.contains("set forward"), "{never}");
            assert!(read(doubled, "2024-03-31 03:00:00").is_ok());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}", digits in "[0-9:T+.Z-]{0,35}") {
            for form in [None, Some("epoch_s"), Some("%Y-%m-%dT%H:%M:%S%z")] {
                let form = Form::compile(form, None, Doubled::Reject).unwrap();
                let _ = form.ticks(Scalar::Text(&text));
                let _ = form.ticks(Scalar::Text(&digits));
            }
        }
    }
}
