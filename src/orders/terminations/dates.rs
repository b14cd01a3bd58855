//! When a termination counts from: dates as people and spreadsheets write them. Pure.
//!
//! A spreadsheet counts days: Excel from the end of 1899 on, old workbooks of a Mac from 1904 on. A workbook says which one it does.
//! A text does not: its day numbers are taken for Excel's usual ones and marked as [`Moment::assumed`], so that [`super::judge`] can
//! refuse a sheet whose newest day would lie years back, as one of the 1904 system does.

use jiff::civil::{Date, DateTime, date};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Config;
use super::cells::Cell;

/// Years of dates.
const YEARS: std::ops::Range<i16> = 2000..2100;

/// What a day number counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    /// A text does not say.
    Text,
    /// A workbook that counts as Excel usually does.
    Usual,
    /// A workbook of the 1904 system.
    From1904,
}

/// When a termination counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub at: Timestamp,
    /// It was a day number of a text.
    pub assumed: bool,
}

/// Reads a date. A day without a zone begins at midnight UTC: rather early than late. A year that is mistyped (`0026`) is no date.
pub(super) fn moment(cell: &Cell, config: &Config, system: System) -> Option<Moment> {
    let moment = unbounded(cell, config, system)?;
    let year = TimeZone::UTC.to_datetime(moment.at).year();
    YEARS.contains(&year).then_some(moment)
}

/// As [`moment`], of any year.
fn unbounded(cell: &Cell, config: &Config, system: System) -> Option<Moment> {
    let sure = |at| Moment { at, assumed: false };
    let text = match cell {
        Cell::Day(at) => return at_utc(*at).map(sure),
        Cell::Number(number) => return day(*number, system),
        Cell::Text(text) => text.trim(),
    };
    let formatted = config.date_formats.iter().find_map(|format| {
        let parsed = strtime::parse(format, text).ok()?;
        parsed
            .to_timestamp()
            .ok()
            .or_else(|| parsed.to_datetime().ok().and_then(at_utc))
            .or_else(|| parsed.to_date().ok().and_then(|day| at_utc(day.into())))
    });
    formatted
        .or_else(|| text.parse::<Timestamp>().ok())
        .or_else(|| text.parse::<DateTime>().ok().and_then(at_utc))
        .or_else(|| text.parse::<Date>().ok().and_then(|day| at_utc(day.into())))
        .map(sure)
        .or_else(|| day(number(text)?, system))
}

fn at_utc(at: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(at).ok()
}

/// Digits, and at most one comma or point: what a spreadsheet writes of a day and its hours.
fn number(text: &str) -> Option<f64> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','));
    if !plain || !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    text.replace(',', ".").parse().ok()
}

fn day(number: f64, system: System) -> Option<Moment> {
    let from = match system {
        System::Text | System::Usual => date(1899, 12, 30),
        System::From1904 => date(1904, 1, 1),
    };
    if !(1.0..100_000.0).contains(&number) {
        return None;
    }
    let (whole, part) = (number.trunc(), number.fract());
    let span = SignedDuration::from_hours(24 * whole as i64)
        + SignedDuration::from_secs((part * 86_400.0).round() as i64);
    let at = from
        .to_datetime(jiff::civil::Time::midnight())
        .checked_add(span)
        .ok()?;
    Some(Moment {
        at: at_utc(at)?,
        assumed: system == System::Text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cell: &Cell, system: System) -> Option<(String, bool)> {
        let moment = moment(cell, &Config::default(), system)?;
        Some((moment.at.to_string(), moment.assumed))
    }

    #[test]
    fn a_day_number_is_the_day_that_excel_shows() {
        let of = |text: &str| read(&Cell::Text(text.into()), System::Text);
        let day = |text: &str| Some((text.to_owned(), true));
        assert_eq!(of("46082"), day("2026-03-01T00:00:00Z"));
        assert_eq!(of(" 46082.5 "), day("2026-03-01T12:00:00Z"));
        assert_eq!(of("46082,25"), day("2026-03-01T06:00:00Z"));
        assert_eq!(of("36526"), day("2000-01-01T00:00:00Z"));
        for none in ["17", "202603", "1.2E+05", "-46082", "4.6.0", "46082d", ""] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_mistyped_year_is_no_date() {
        let of = |text: &str| read(&Cell::Text(text.into()), System::Text);
        for none in [
            "0026-11-30",
            "0226-12-31",
            "20260-01-01",
            "1026-11-30T00:00:00Z",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        assert!(of("2026-11-30").is_some());
    }

    #[test]
    fn a_workbook_says_from_when_it_counts() {
        let number = Cell::Number(44620.0);
        let read = |system| read(&number, system);
        assert_eq!(
            read(System::Usual),
            Some(("2022-02-28T00:00:00Z".into(), false))
        );
        assert_eq!(
            read(System::From1904),
            Some(("2026-03-01T00:00:00Z".into(), false))
        );
    }
}
