//! RFC 3339 in, microseconds out, and back.
//!
//! Accepted: `yyyy-MM-ddTHH:mm:ss`, 0 to 7 fraction digits, then `Z` or an offset `+HH:mm`. Years 0001 to 9999, also
//! after the offset is applied. A leap second (`:60`) is refused. Nothing is guessed: without a zone there is no instant.

/// An instant read from text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant {
    /// Microseconds since the epoch.
    pub micros: i64,
    /// The seventh fraction digit: hundreds of nanoseconds.
    pub tick: u8,
    /// Whether the text already is what the gateway wants: upper-case `T` and `Z`, no offset.
    pub verbatim: bool,
}

/// Why a text is not an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Not of the form at all, or no such day or time.
    Form,
    /// A local time: neither `Z` nor an offset.
    Zoneless,
}

const SECOND: i64 = 1_000_000;
/// Ticks in a microsecond.
pub const TICKS: i64 = 10;
const MIN: i64 = -62_135_596_800 * SECOND;
const MAX: i64 = 253_402_300_800 * SECOND - 1;

/// The day of the last instant that was read: telemetry rarely changes it, and it is half of the work.
#[derive(Debug)]
pub(super) struct LastDay {
    text: [u8; 10],
    days: i64,
}

impl Instant {
    /// Units of 100 ns since the epoch: the finest instant that the gateway takes.
    #[must_use]
    pub fn ticks(&self) -> i64 {
        self.micros * TICKS + i64::from(self.tick)
    }
}

impl Default for LastDay {
    fn default() -> Self {
        Self {
            text: *b"1970-01-01",
            days: 0,
        }
    }
}

/// Reads an instant.
///
/// # Errors
/// [`Unreadable`], when it is none.
pub fn parse(text: &[u8]) -> Result<Instant, Unreadable> {
    parse_after(text, &mut LastDay::default())
}

/// Reads an instant that is likely to lie on the same day as the last one.
#[inline]
pub(super) fn parse_after(text: &[u8], last: &mut LastDay) -> Result<Instant, Unreadable> {
    let (Some(date), Some(clock), Some(&letter), Some(rest)) = (
        text.first_chunk::<10>(),
        text.get(11..).and_then(|rest| rest.first_chunk::<8>()),
        text.get(10),
        text.get(19..),
    ) else {
        return Err(Unreadable::Form);
    };
    if *date != last.text {
        last.days = days(date).ok_or(Unreadable::Form)?;
        last.text = *date;
    }
    let second_of_day = second_of_day(*clock).ok_or(Unreadable::Form)?;
    if letter | 0x20 != b't' {
        return Err(Unreadable::Form);
    }
    let (fraction, tick, zone) = fraction(rest)?;
    let local = (last.days * 86_400 + second_of_day) * SECOND + fraction;
    match zone {
        b"Z" => Ok(Instant {
            micros: local,
            tick,
            verbatim: letter == b'T',
        }),
        b"z" => Ok(Instant {
            micros: local,
            tick,
            verbatim: false,
        }),
        b"" => Err(Unreadable::Zoneless),
        _ => {
            let micros = local - offset_seconds(zone)? * SECOND;
            if !(MIN..=MAX).contains(&micros) {
                return Err(Unreadable::Form);
            }
            Ok(Instant {
                micros,
                tick,
                verbatim: false,
            })
        }
    }
}

/// Days since 1970-01-01 of `yyyy-MM-dd`.
fn days(date: &[u8; 10]) -> Option<i64> {
    let (year, month, day) = (digits4(date, 0)?, digits2(date, 5)?, digits2(date, 8)?);
    let there_is = date[4] == b'-'
        && date[7] == b'-'
        && year > 0
        && (1..=12).contains(&month)
        && day > 0
        && (day <= 28 || day <= days_in_month(year, month));
    there_is.then(|| days_from_civil(year, month, day))
}

/// The values of eight characters, one per byte from the lowest on, if they have this form: `0` for any digit, others for themselves.
#[inline]
const fn values(text: [u8; 8], form: [u8; 8]) -> Option<u64> {
    /// What, added to a byte, sets its highest bit if the byte is more than it may be: 9 for a digit's place, else 0.
    const fn excess(form: [u8; 8]) -> u64 {
        let mut bytes = [0x7f; 8];
        let mut at = 0;
        while at < 8 {
            if form[at] == b'0' {
                bytes[at] -= 9;
            }
            at += 1;
        }
        u64::from_le_bytes(bytes)
    }
    // A digit is 0x30 with its value in the low bits.
    let values = u64::from_le_bytes(text) ^ u64::from_le_bytes(form);
    let beyond = values | values.wrapping_add(excess(form));
    if beyond & 0x8080_8080_8080_8080 == 0 {
        Some(values)
    } else {
        None
    }
}

/// In each byte: ten times that byte and the next one; for bytes of at most 9.
#[inline]
const fn pairs(values: u64) -> u64 {
    values * 10 + (values >> 8)
}

/// Seconds since midnight of `HH:mm:ss`.
#[inline]
fn second_of_day(clock: [u8; 8]) -> Option<i64> {
    let pairs = pairs(values(clock, *b"00:00:00")?);
    let (hour, minute, second) = (pairs & 0xff, pairs >> 24 & 0xff, pairs >> 48 & 0xff);
    (hour < 24 && minute < 60 && second < 60).then_some((hour * 3600 + minute * 60 + second) as i64)
}

/// The fraction in microseconds with its seventh digit, and what follows it.
#[inline]
fn fraction(rest: &[u8]) -> Result<(i64, u8, &[u8]), Unreadable> {
    // Microseconds and `Z`: what most devices send.
    if let Ok(usual) = <[u8; 8]>::try_from(rest)
        && let Some(values) = values(usual, *b".000000Z")
    {
        let pairs = pairs(values >> 8);
        let micros = (pairs & 0xff) * 10_000 + (pairs >> 16 & 0xff) * 100 + (pairs >> 32 & 0xff);
        return Ok((micros as i64, 0, &rest[7..]));
    }
    let Some((b'.', digits)) = rest.split_first() else {
        return Ok((0, 0, rest));
    };
    let mut micros = 0i64;
    let mut tick = 0;
    let mut count = 0;
    while let Some(digit) = digits
        .get(count)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|&digit| digit < 10)
    {
        if count < 6 {
            micros = micros * 10 + i64::from(digit);
        } else {
            tick = digit;
        }
        count += 1;
        if count > 7 {
            return Err(Unreadable::Form);
        }
    }
    if count == 0 {
        return Err(Unreadable::Form);
    }
    const SCALE: [i64; 8] = [0, 100_000, 10_000, 1000, 100, 10, 1, 1];
    Ok((micros * SCALE[count], tick, &digits[count..]))
}

fn offset_seconds(zone: &[u8]) -> Result<i64, Unreadable> {
    let Ok(zone) = <&[u8; 6]>::try_from(zone) else {
        return Err(Unreadable::Form);
    };
    let (Some(hours), Some(minutes)) = (digits2(zone, 1), digits2(zone, 4)) else {
        return Err(Unreadable::Form);
    };
    if zone[3] != b':' || hours > 23 || minutes > 59 {
        return Err(Unreadable::Form);
    }
    let seconds = i64::from(hours * 3600 + minutes * 60);
    match zone[0] {
        b'+' => Ok(seconds),
        b'-' => Ok(-seconds),
        _ => Err(Unreadable::Form),
    }
}

#[inline]
fn digits2<const N: usize>(text: &[u8; N], at: usize) -> Option<u32> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| u32::from(tens) * 10 + u32::from(ones))
}

#[inline]
fn digits4<const N: usize>(text: &[u8; N], at: usize) -> Option<u32> {
    Some(digits2(text, at)? * 100 + digits2(text, at + 2)?)
}

#[inline]
fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. The year starts in March, so that the leap day is its last.
#[inline]
fn days_from_civil(year: u32, month: u32, day: u32) -> i64 {
    let shifted = year - u32::from(month <= 2);
    let century = shifted / 100;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    i64::from(shifted * 365 + shifted / 4 - century + century / 4 + day_of_year) - 719_468
}

/// Year, month and day of a count of days since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// An instant as text.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    text: [u8; 28],
    len: usize,
}

impl Written {
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

/// The gateway's recommended form, `yyyy-MM-ddTHH:mm:ss.ffffffZ`, with a seventh digit where there is one; an instant outside years 1 to
/// 9999 is clamped. `ticks` are units of 100 ns since the epoch.
#[must_use]
pub fn render(ticks: i64) -> Written {
    let micros = ticks.div_euclid(TICKS).clamp(MIN, MAX);
    let (days, of_day) = (
        micros.div_euclid(86_400 * SECOND),
        micros.rem_euclid(86_400 * SECOND),
    );
    let (year, month, day) = civil_from_days(days);
    let seconds = of_day / SECOND;
    let mut out = Written {
        text: *b"0000-00-00T00:00:00.000000Z ",
        len: 27,
    };
    for (at, width, value) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, seconds / 3600),
        (14, 2, seconds / 60 % 60),
        (17, 2, seconds % 60),
        (20, 6, of_day % SECOND),
    ] {
        let mut left = value;
        for byte in out.text[at..at + width].iter_mut().rev() {
            *byte = b'0' + (left % 10) as u8;
            left /= 10;
        }
    }
    let tick = ticks.rem_euclid(TICKS);
    if tick != 0 {
        out.text[26] = b'0' + tick as u8;
        out.text[27] = b'Z';
        out.len = 28;
    }
    out
}

/// Whether an instant in units of 100 ns has a year between 1 and 9999, the only ones that can be written.
#[must_use]
pub fn is_writable(ticks: i64) -> bool {
    (MIN..=MAX).contains(&ticks.div_euclid(TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        parse(text.as_bytes())
            .unwrap_or_else(|why| panic!("{text}: {why:?}"))
            .micros
    }

    #[test]
    fn forms() {
        assert_eq!(micros("1970-01-01T00:00:00Z"), 0);
        assert_eq!(micros("1970-01-01T00:00:00.000001Z"), 1);
        assert_eq!(micros("1969-12-31T23:59:59.9999999Z"), -1);
        assert_eq!(micros("2024-02-29T12:00:00.5Z"), 1_709_208_000_500_000);
        assert_eq!(micros("2024-02-29T14:00:00.5+02:00"), 1_709_208_000_500_000);
        assert_eq!(micros("2024-02-29T03:15:00-08:45"), 1_709_208_000_000_000);
        let zulu = parse(b"2024-02-29T12:00:00.1234567Z").unwrap();
        assert!(zulu.verbatim);
        assert_eq!((zulu.micros % SECOND, zulu.tick), (123_456, 7));
        let offset = parse(b"2024-02-29T13:00:00.1234567+01:00").unwrap();
        assert_eq!(offset.ticks(), zulu.ticks());
        assert_eq!(
            render(offset.ticks()).bytes(),
            b"2024-02-29T12:00:00.1234567Z"
        );
        for rewritten in [
            "2024-02-29t12:00:00Z",
            "2024-02-29T12:00:00z",
            "2024-02-29T12:00:00+00:00",
        ] {
            assert!(
                !parse(rewritten.as_bytes()).unwrap().verbatim,
                "{rewritten}"
            );
        }
    }

    #[test]
    fn refusals() {
        assert_eq!(
            parse(b"\0\0\0\0\0\0\0\0\0\0T12:00:00Z"),
            Err(Unreadable::Form)
        );
        for zoneless in ["2024-02-29T12:00:00", "2024-02-29T12:00:00.123"] {
            assert_eq!(
                parse(zoneless.as_bytes()),
                Err(Unreadable::Zoneless),
                "{zoneless}"
            );
        }
        for bad in [
            "",
            "2024-02-29",
            "2023-02-29T12:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "2024-01-01 00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.12345678Z",
            "2024-01-01T00:00:00+0100",
            "2024-01-01T00:00:00+01",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00 Z",
            "2024-01-01T00:00:00ZZ",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "20x4-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(Unreadable::Form), "{bad}");
        }
    }

    #[test]
    fn any_wrong_byte_is_seen_however_the_text_is_read() {
        let good = b"2024-02-29T19:58:37.504918Z";
        let long = |text: &[u8]| [&text[..26], b"0", &text[26..]].concat();
        for at in 0..good.len() {
            for byte in 0..=u8::MAX {
                let mut text = *good;
                text[at] = byte;
                let read = parse(&text);
                // One more digit is read the long way.
                if at < 26 {
                    assert_eq!(read, parse(&long(&text)), "{}", text.escape_ascii());
                }
                let mut last = LastDay::default();
                assert_eq!(parse_after(good, &mut last), parse(good));
                // Twice: a date that is none must not be remembered.
                for _ in 0..2 {
                    let after = parse_after(&text, &mut last);
                    assert_eq!(after, read, "{}", text.escape_ascii());
                }
                let form = match at {
                    4 | 7 => b"-".as_slice(),
                    10 => b"Tt",
                    13 | 16 => b":",
                    19 => b".",
                    26 => b"Zz",
                    _ => b"0123456789",
                };
                assert!(
                    read.is_err() || form.contains(&byte),
                    "{}",
                    text.escape_ascii()
                );
                if let Ok(instant) = read {
                    let upper = text.to_ascii_uppercase();
                    let text = std::str::from_utf8(&upper).unwrap();
                    let jiff = text.parse::<jiff::Timestamp>().unwrap();
                    assert_eq!(jiff.as_microsecond(), instant.micros, "{text}");
                }
            }
        }
    }

    #[test]
    fn agrees_with_jiff_and_renders_back() {
        let mut micros = MIN;
        while micros < MAX {
            for tick in [0, 1, 9] {
                let instant = Instant {
                    micros,
                    tick,
                    verbatim: true,
                };
                assert_eq!(parse(render(instant.ticks()).bytes()), Ok(instant));
            }
            let text = render(micros * TICKS);
            let text = std::str::from_utf8(text.bytes()).unwrap();
            if micros > -62_000_000_000_000_000 && micros < 253_000_000_000_000_000 {
                assert_eq!(
                    text.parse::<jiff::Timestamp>().unwrap().as_microsecond(),
                    micros
                );
            }
            micros += 86_400 * SECOND * 31 + 12_345_678_901;
        }
        assert_eq!(render(MAX * TICKS).bytes(), b"9999-12-31T23:59:59.999999Z");
        assert_eq!(render(i64::MAX).bytes(), b"9999-12-31T23:59:59.9999997Z");
    }
}
