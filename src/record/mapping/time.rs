//! Times as vendors write them, into microseconds since the epoch.
//!
//! Local time is never guessed: a form without an offset needs a `zone` in the mapping file.

use jiff::Timestamp;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{Offset, TimeZone};

use super::value::Scalar;
use crate::record::datetime;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Format {
    Rfc3339,
    /// Microseconds per unit: 1,000,000, 1,000 or 1.
    Epoch(i64),
    Pattern(String),
}

/// A compiled time form.
#[derive(Debug, Clone)]
pub struct Form {
    format: Format,
    zone: Option<TimeZone>,
}

impl Form {
    /// Compiles `format` (`rfc3339`, `epoch_s`, `epoch_ms`, `epoch_us`, or a pattern with `%`) and `zone` (`UTC`, `+02:00`, or a name
    /// such as `Europe/Berlin`) for values without an offset.
    ///
    /// # Errors
    /// `(which, problem and remedy)`, `which` being `format` or `zone`.
    pub fn compile(
        format: Option<&str>,
        zone: Option<&str>,
    ) -> Result<Self, (&'static str, String)> {
        let format = match format {
            None | Some("rfc3339") => Format::Rfc3339,
            Some("epoch_s") => Format::Epoch(1_000_000),
            Some("epoch_ms") => Format::Epoch(1_000),
            Some("epoch_us") => Format::Epoch(1),
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
        let form = Self { format, zone };
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

    /// Reads a value; `None` when it is not in this form or outside the years 1 to 9999.
    pub fn micros(&self, value: Scalar<'_>) -> Option<i64> {
        let micros = match (&self.format, value) {
            (Format::Epoch(unit), value) => epoch(value, *unit)?,
            (Format::Rfc3339, Scalar::Text(text)) => match datetime::parse(text.as_bytes()) {
                Ok(instant) => instant.micros,
                Err(_) => match rfc3339(text.trim().as_bytes())? {
                    (local, Some(offset_s)) => local - offset_s * 1_000_000,
                    (local, None) => self.in_zone(civil(local)?)?,
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
                    Ok(timestamp) => timestamp.as_microsecond(),
                    Err(_) => self.in_zone(parsed.to_datetime().ok()?)?,
                }
            }
            _ => return None,
        };
        datetime::is_writable(micros).then_some(micros)
    }

    fn in_zone(&self, local: jiff::civil::DateTime) -> Option<i64> {
        // Of two instants of one local time (clocks set back) the earlier counts; one that never was moves forward.
        Some(
            self.zone
                .as_ref()?
                .to_timestamp(local)
                .ok()?
                .as_microsecond(),
        )
    }

    /// The form in words, for rejects.
    pub fn bound(&self) -> String {
        match &self.format {
            Format::Rfc3339 if self.zone.is_none() => "RFC 3339 with an offset".to_owned(),
            Format::Rfc3339 => "RFC 3339".to_owned(),
            Format::Epoch(1_000_000) => "seconds since 1970".to_owned(),
            Format::Epoch(1_000) => "milliseconds since 1970".to_owned(),
            Format::Epoch(_) => "microseconds since 1970".to_owned(),
            Format::Pattern(pattern) => format!("a time like {pattern}"),
        }
    }
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
    match value {
        Scalar::Int(whole) => whole.checked_mul(unit),
        Scalar::Float(number) => {
            let micros = (number * unit as f64).round();
            // 2^62: far outside the years a timestamp has, well inside i64.
            (micros.abs() < 4.6e18).then_some(micros as i64)
        }
        Scalar::Text(text) => {
            let text = text.trim();
            match text.parse::<i64>() {
                Ok(whole) => whole.checked_mul(unit),
                Err(_) => epoch(Scalar::Float(text.parse().ok()?), unit),
            }
        }
        Scalar::Bool(_) => None,
    }
}

fn civil(local_micros: i64) -> Option<jiff::civil::DateTime> {
    Some(TimeZone::UTC.to_datetime(Timestamp::from_microsecond(local_micros).ok()?))
}

/// What the gateway's own form does not allow but vendors write: `2024-01-28T17:45:36[.fraction][Z|+02:00|+0200|+02]`, with `T`, `t` or a space: local microseconds and the offset in seconds.
///
/// Fractions beyond microseconds are cut off, as the gateway's form has six digits.
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
    let mut micros = ((days * 24 + hour) * 60 + minute) * 60 + second;
    micros *= 1_000_000;
    let mut rest = &text[19..];
    if let Some((b'.' | b',', fraction)) = rest.split_first() {
        let len = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 || len > 9 {
            return None;
        }
        let kept = len.min(6);
        micros += digits(&fraction[..kept])? * 10i64.pow(6 - kept as u32);
        rest = &fraction[len..];
    }
    match rest {
        b"" => Some((micros, None)),
        b"Z" | b"z" => Some((micros, Some(0))),
        _ => Some((micros, Some(offset(rest)?))),
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

    const T: i64 = 1_706_463_936_000_000; // 2024-01-28T17:45:36Z

    fn read(format: Option<&str>, zone: Option<&str>, value: Scalar<'_>) -> Option<i64> {
        Form::compile(format, zone).unwrap().micros(value)
    }

    #[test]
    fn every_form_reads_the_same_instant() {
        for (format, zone, value, wanted) in [
            (None, None, Scalar::Text("2024-01-28T17:45:36Z"), Some(T)),
            (
                Some("rfc3339"),
                None,
                Scalar::Text("2024-01-28T17:45:36.123456789+00:00"),
                Some(T + 123_456),
            ),
            (
                Some("rfc3339"),
                None,
                Scalar::Text("2024-01-28T19:45:36.5+0200"),
                Some(T + 500_000),
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
            (Some("epoch_s"), None, Scalar::Int(T / 1_000_000), Some(T)),
            (
                Some("epoch_s"),
                None,
                Scalar::Float(1_706_463_936.123_456),
                Some(T + 123_456),
            ),
            (
                Some("epoch_s"),
                None,
                Scalar::Text("1706463936.5"),
                Some(T + 500_000),
            ),
            (Some("epoch_s"), None, Scalar::Float(1e300), None),
            (Some("epoch_s"), None, Scalar::Int(i64::MAX), None),
            (Some("epoch_s"), None, Scalar::Bool(true), None),
            (
                Some("epoch_ms"),
                None,
                Scalar::Int(T / 1_000 + 7),
                Some(T + 7_000),
            ),
            (Some("epoch_us"), None, Scalar::Int(T + 7), Some(T + 7)),
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
                Some(T + 250_000),
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
            let (field, problem) = Form::compile(Some(format), zone).unwrap_err();
            assert_eq!(field, which, "{format}: {problem}");
            assert!(problem.contains(wanted), "{problem}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}", digits in "[0-9:T+.Z-]{0,35}") {
            for form in [None, Some("epoch_s"), Some("%Y-%m-%dT%H:%M:%S%z")] {
                let form = Form::compile(form, None).unwrap();
                let _ = form.micros(Scalar::Text(&text));
                let _ = form.micros(Scalar::Text(&digits));
            }
        }
    }
}
