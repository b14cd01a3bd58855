//! A sheet as read: CSV or XLSX, told apart by their first bytes; columns found by their headers.
//!
//! Pure. Rows that cannot be read are told one by one, by line and column and never by their content, which may be that of any file
//! that somebody put in place of a sheet; whether the rest counts is decided by [`super::judge`]. One row is in memory at a time
//! ([`Rows`], `workbook`); of those that name a device the serial and the date are kept, of at most [`ROWS`] rows.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::Config;
use super::workbook::{self, CELL_CHARS, Limits};
use crate::orders::journey::Serial;
use crate::orders::lines::BadLine;
use crate::orders::rows::{Rows, TooWide};

/// Rows above the header at most: titles.
const TITLES: usize = 20;
/// Rows below the header at most.
pub const ROWS: u64 = 200_000;
/// Bad rows that are told one by one.
const TOLD: usize = 20;

/// One device of the sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub line: u64,
    pub serial: Serial,
    /// From when on it is terminated; none: the sheet has no dates.
    pub since: Option<Timestamp>,
}

/// A sheet that is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sheet {
    /// Rows that name a device, good and bad.
    pub rows: u64,
    pub good: Vec<Row>,
    /// The first ones that cannot be read.
    pub bad: Vec<BadLine>,
}

/// Why a file is no sheet at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct NoSheet {
    /// Nothing is in it: it may have been cut off before its first byte.
    pub blank: bool,
    pub what: String,
    pub remedy: &'static str,
}

impl NoSheet {
    pub(super) fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            blank: false,
            what: what.into(),
            remedy,
        }
    }
}

/// A cell, as far as it matters.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Day(DateTime),
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::Day(day) => day.to_string(),
        }
    }

    fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }
}

/// A line of the file with its number.
pub(super) struct Line {
    pub number: u64,
    pub cells: Vec<Cell>,
}

/// Reads a sheet.
///
/// # Errors
/// It is empty, of another kind, or has not the columns.
pub fn read(bytes: &[u8], config: &Config) -> Result<Sheet, NoSheet> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reading = Reading::new(config, !bytes.starts_with(b"PK\x03\x04"));
    match bytes {
        _ if bytes.iter().all(u8::is_ascii_whitespace) => {
            return Err(NoSheet {
                blank: true,
                ..NoSheet::new("the file is empty", "look where it comes from")
            });
        }
        [b'P', b'K', 3, 4, ..] => {
            let limits = Limits::of(config.max_bytes);
            workbook::read(bytes, limits, |line| reading.take(line))?;
        }
        [0xD0, 0xCF, 0x11, 0xE0, ..] => {
            return Err(NoSheet::new(
                "it is a workbook of the old kind",
                "save it as XLSX or CSV",
            ));
        }
        _ if bytes.contains(&0) => {
            return Err(NoSheet::new("it is no text", "save it as CSV in UTF-8"));
        }
        _ if bytes.trim_ascii_start().starts_with(b"<") => {
            return Err(NoSheet::new(
                "it is a web page, perhaps one that asks to sign in",
                "look whether the sheet is shared by its link",
            ));
        }
        _ => text(bytes, config, &mut reading)?,
    }
    reading.end()
}

/// The rows of a file as they come, until the header is found and below it.
struct Reading<'c> {
    config: &'c Config,
    /// Of a text every row must be as wide as the header: a narrower one was cut off.
    exact: bool,
    header: Option<Header>,
    /// Rows looked at for the header.
    titles: usize,
    /// The first row of the file, for the person who is to name the columns.
    first: String,
    sheet: Sheet,
}

/// Where the columns are.
#[derive(Debug, Clone, Copy)]
struct Header {
    width: usize,
    serial: usize,
    date: Option<usize>,
}

impl<'c> Reading<'c> {
    fn new(config: &'c Config, exact: bool) -> Self {
        Self {
            config,
            exact,
            header: None,
            titles: 0,
            first: String::new(),
            sheet: Sheet::default(),
        }
    }

    fn take(&mut self, line: Line) -> Result<(), NoSheet> {
        let Some(header) = self.header else {
            return self.look_for_header(&line);
        };
        if line.cells.iter().all(Cell::is_blank) {
            return Ok(());
        }
        self.sheet.rows += 1;
        if self.sheet.rows > ROWS {
            return Err(NoSheet::new(
                format!("the sheet has more than {ROWS} rows"),
                "give a sheet of fewer rows: those of former sheets need not be on it",
            ));
        }
        match row(&line, header, self.config, self.exact) {
            Ok(row) => self.sheet.good.push(row),
            Err(bad) if self.sheet.bad.len() < TOLD => self.sheet.bad.push(bad),
            Err(_) => {}
        }
        Ok(())
    }

    fn look_for_header(&mut self, line: &Line) -> Result<(), NoSheet> {
        let place = |name: &str| {
            let is = |cell: &Cell| cell.text().eq_ignore_ascii_case(name.trim());
            line.cells.iter().position(is)
        };
        let dated = !self.config.date.trim().is_empty();
        let date = place(&self.config.date).filter(|_| dated);
        if let Some(serial) = place(&self.config.serial)
            && date.is_some() == dated
        {
            self.header = Some(Header {
                width: line.cells.len(),
                serial,
                date,
            });
            return Ok(());
        }
        if self.titles == 0 {
            let cells: Vec<String> = line.cells.iter().map(Cell::text).collect();
            self.first = cells.join(",").chars().take(200).collect();
        }
        self.titles += 1;
        if self.titles >= TITLES {
            return Err(self.no_header());
        }
        Ok(())
    }

    fn no_header(&self) -> NoSheet {
        let (config, first) = (self.config, &self.first);
        let wanted = if config.date.trim().is_empty() {
            format!("{:?}", config.serial)
        } else {
            format!("{:?} and {:?}", config.serial, config.date)
        };
        NoSheet::new(
            format!("no line has the headers {wanted}; the first one is {first:?}"),
            "name the columns in [orders.terminations]",
        )
    }

    fn end(self) -> Result<Sheet, NoSheet> {
        match self.header {
            Some(_) => Ok(self.sheet),
            None => Err(self.no_header()),
        }
    }
}

fn text(bytes: &[u8], config: &Config, reading: &mut Reading<'_>) -> Result<(), NoSheet> {
    let delimiter = config.delimiter.bytes().next().unwrap_or(b',');
    let mut rows = Rows::new(bytes, delimiter);
    let wide = |error: TooWide| {
        NoSheet::new(
            error.to_string(),
            "save the sheet as CSV with one device per line",
        )
    };
    while let Some(row) = rows.next_row().map_err(wide)? {
        let cell = |field: &[u8]| {
            let text = String::from_utf8_lossy(field);
            Cell::Text(text.chars().take(CELL_CHARS).collect())
        };
        reading.take(Line {
            number: row.line,
            cells: row.fields().map(cell).collect(),
        })?;
    }
    Ok(())
}

fn row(line: &Line, header: Header, config: &Config, exact: bool) -> Result<Row, BadLine> {
    let bad = |field: &str, what: String, remedy: &str| BadLine {
        line: line.number,
        field: field.to_owned(),
        value: String::new(),
        what,
        remedy: remedy.to_owned(),
    };
    if exact && line.cells.len() != header.width {
        let (there, wanted) = (line.cells.len(), header.width);
        let what = format!("{there} fields, the header has {wanted}");
        return Err(bad("", what, "the sheet may be cut off: get it again"));
    }
    let text = line
        .cells
        .get(header.serial)
        .map_or(String::new(), Cell::text);
    let serial = Serial::parse(&text).map_err(|error| {
        let why = error.why.to_string();
        bad(&config.serial, why, "correct the sheet")
    })?;
    let since = match header.date {
        None => None,
        Some(date) => {
            let cell = line.cells.get(date);
            let since = cell.and_then(|cell| moment(cell, config));
            Some(since.ok_or_else(|| {
                let remedy = "add its form to orders.terminations.date_formats";
                bad(
                    &config.date,
                    "is no known form of a date".to_owned(),
                    remedy,
                )
            })?)
        }
    };
    Ok(Row {
        line: line.number,
        serial,
        since,
    })
}

/// When a termination counts from. A day without a zone begins at midnight UTC: rather early than late.
fn moment(cell: &Cell, config: &Config) -> Option<Timestamp> {
    let at_utc = |at: DateTime| TimeZone::UTC.to_timestamp(at).ok();
    let text = match cell {
        Cell::Day(at) => return at_utc(*at),
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
}

#[cfg(test)]
#[path = "sheet_tests.rs"]
mod tests;
