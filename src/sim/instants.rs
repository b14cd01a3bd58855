//! Time of the simulated world: its clock, and the date-times of records.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The world's clock: the machine's, plus what tests moved it forward.
#[derive(Debug, Default)]
pub struct Clock {
    ahead_us: AtomicI64,
}

impl Clock {
    /// Microseconds since the epoch.
    pub fn now_us(&self) -> i64 {
        let real = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        real.as_micros() as i64 + self.ahead_us.load(Ordering::Relaxed)
    }

    /// Moves the world's time forward: tokens age, windows pass, invalid records show.
    pub fn advance(&self, by: Duration) {
        self.ahead_us
            .fetch_add(by.as_micros() as i64, Ordering::Relaxed);
    }
}

/// RFC 3339 in UTC with six fractional digits.
#[must_use]
pub fn text(us: i64) -> String {
    match jiff::Timestamp::from_microsecond(us) {
        Ok(at) => format!("{at:.6}"),
        Err(_) => "1970-01-01T00:00:00.000000Z".to_owned(),
    }
}

/// RFC 3339 in UTC with three fractional digits, as MyAdmin writes (myadmin/API.md 1.3).
#[must_use]
pub fn millis(us: i64) -> String {
    let at = jiff::Timestamp::from_microsecond(us).unwrap_or_default();
    format!("{at:.3}")
}

/// The form of the `Retry-After` and `Date` headers, e.g. `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn http_date(us: i64) -> String {
    let at = jiff::Timestamp::from_microsecond(us).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[inline]
fn two(text: &[u8], at: usize) -> Option<i64> {
    let (a, b) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (a < 10 && b < 10).then(|| i64::from(a) * 10 + i64::from(b))
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Ticks per second of [`parse`]: the finest instant a record may carry is seven fractional digits.
pub const TICKS: i64 = 10_000_000;

/// The first second of year 1 and the last of year 9999.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;

/// An RFC 3339 date-time with at most seven fractional digits, as ticks of 100 ns since the epoch.
///
/// A zone-less value is refused unless `zoneless_is_utc` (dig/API.md 6.2, 6.3).
#[inline]
#[must_use]
pub fn parse(text: &[u8], zoneless_is_utc: bool) -> Option<i64> {
    if text.len() < 19 || text.len() > 33 {
        return None;
    }
    if text[4] != b'-'
        || text[7] != b'-'
        || text[10] | 0x20 != b't'
        || text[13] != b':'
        || text[16] != b':'
    {
        return None;
    }
    let year = two(text, 0)? * 100 + two(text, 2)?;
    let (month, day) = (two(text, 5)?, two(text, 8)?);
    let (hour, minute, second) = (two(text, 11)?, two(text, 14)?, two(text, 17)?);
    if !(1..=12).contains(&month) || day < 1 || (day > 28 && day > days_in(year, month)) {
        return None;
    }
    // Years 0001 to 9999, and no leap second (dig/API.md 6.2).
    if year == 0 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut fraction = 0;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let mut scale = TICKS / 10;
        while let Some(digit) = text
            .get(at)
            .map(|byte| byte.wrapping_sub(b'0'))
            .filter(|digit| *digit < 10)
        {
            if scale == 0 {
                return None;
            }
            fraction += i64::from(digit) * scale;
            scale /= 10;
            at += 1;
        }
        if at == 20 {
            return None;
        }
    }
    let offset = match text.get(at..)? {
        [b'Z' | b'z'] => 0,
        [] if zoneless_is_utc => 0,
        zone @ [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(zone, 1)?, two(zone, 4)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    (FIRST..=LAST)
        .contains(&seconds)
        .then_some(seconds * TICKS + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_specification_allows() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.0000001Z", 1),
            ("1970-01-02T00:00:00.5Z", 86_400 * TICKS + TICKS / 2),
            ("1970-01-01T02:00:00+02:00", 0),
            ("1969-12-31T23:30:00-00:30", 0),
            ("2000-02-29T00:00:00z", 951_782_400 * TICKS),
        ];
        for (text, ticks) in cases {
            assert_eq!(parse(text.as_bytes(), false), Some(ticks), "{text}");
        }
        for text in [
            "2024-02-29T12:34:56.123456Z",
            "1999-12-31T23:59:59+14:00",
            "2026-11-23T00:00:00-11:30",
        ] {
            let ours = parse(text.as_bytes(), false).expect(text);
            let theirs: jiff::Timestamp = text.parse().expect(text);
            assert_eq!(ours / 10, theirs.as_microsecond(), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01 00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2016-12-31T23:59:60Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.12345678Z",
            "2024-01-01T00:00:00+0200",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00Z",
            "2024-01-01T00:00:00Zjunk",
        ] {
            assert_eq!(parse(text.as_bytes(), false), None, "{text}");
        }
        assert_eq!(parse(b"1970-01-01T00:00:01", true), Some(TICKS));
    }

    #[test]
    fn writes_both_forms() {
        assert_eq!(text(1_500_000), "1970-01-01T00:00:01.500000Z");
        assert_eq!(millis(1_500_999), "1970-01-01T00:00:01.500Z");
        assert_eq!(
            http_date(784_111_777_000_000),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }
}
