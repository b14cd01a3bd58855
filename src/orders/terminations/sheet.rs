//! A sheet as read: CSV or XLSX, told apart by their first bytes; columns found by their headers.
//!
//! Pure. Rows that cannot be read are told one by one; whether the rest counts is decided by [`super::judge`]. An XLSX file is
//! unpacked in memory, as large as it says it is: the folder and the URL are trusted that far.

use std::io::Cursor;

use calamine::{Data, Reader as _, Xlsx};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::Config;
use crate::orders::journey::Serial;
use crate::orders::lines::{BadLine, line_at};

/// Rows above the header at most: titles.
const TITLES: usize = 20;
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
    fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            blank: false,
            what: what.into(),
            remedy,
        }
    }
}

/// A cell, as far as it matters.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
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
struct Line {
    number: u64,
    cells: Vec<Cell>,
}

/// Reads a sheet.
///
/// # Errors
/// It is empty, of another kind, or has not the columns.
pub fn read(bytes: &[u8], config: &Config) -> Result<Sheet, NoSheet> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let exact = !bytes.starts_with(b"PK\x03\x04");
    let lines = match bytes {
        _ if bytes.iter().all(u8::is_ascii_whitespace) => {
            return Err(NoSheet {
                blank: true,
                ..NoSheet::new("the file is empty", "look where it comes from")
            });
        }
        [b'P', b'K', 3, 4, ..] => workbook(bytes)?,
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
        _ => text(bytes, config),
    };
    rows(&lines, config, exact)
}

fn text(bytes: &[u8], config: &Config) -> Vec<Line> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(config.delimiter.bytes().next().unwrap_or(b','))
        .flexible(true)
        .has_headers(false)
        .from_reader(bytes);
    let (mut lines, mut record) = (Vec::new(), csv::ByteRecord::new());
    // Reading from memory as bytes fails at nothing but the end.
    while let Ok(true) = reader.read_byte_record(&mut record) {
        lines.push(Line {
            number: record.position().map_or(0, |at| line_at(bytes, at)),
            cells: record
                .iter()
                .map(|field| Cell::Text(String::from_utf8_lossy(field).into_owned()))
                .collect(),
        });
    }
    lines
}

fn workbook(bytes: &[u8]) -> Result<Vec<Line>, NoSheet> {
    let broken = |error: calamine::XlsxError| {
        NoSheet::new(
            format!("the workbook cannot be read: {error}"),
            "open it in a spreadsheet and save it again, as XLSX or CSV",
        )
    };
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).map_err(broken)?;
    let Some(range) = book.worksheet_range_at(0) else {
        let remedy = "save the sheet of terminations as the first one";
        return Err(NoSheet::new("the workbook has no sheet", remedy));
    };
    let range = range.map_err(broken)?;
    let first = range.start().map_or(0, |(row, _)| u64::from(row));
    Ok((first + 1..)
        .zip(range.rows())
        .map(|(number, cells)| Line {
            number,
            cells: cells.iter().map(cell).collect(),
        })
        .collect())
}

fn cell(data: &Data) -> Cell {
    match data {
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => {
            Cell::Text(text.clone())
        }
        Data::Int(number) => Cell::Text(number.to_string()),
        Data::Float(number) => Cell::Text(number.to_string()),
        Data::Bool(truth) => Cell::Text(truth.to_string()),
        Data::Error(error) => Cell::Text(error.to_string()),
        Data::Empty => Cell::Text(String::new()),
        Data::DateTime(at) => {
            let (year, month, day, hour, minute, second, _) = at.to_ymd_hms_milli();
            let small = |number: u8| i8::try_from(number).unwrap_or(i8::MAX);
            let day = i16::try_from(year).ok().and_then(|year| {
                let [month, day, hour, minute, second] =
                    [month, day, hour, minute, second].map(small);
                DateTime::new(year, month, day, hour, minute, second, 0).ok()
            });
            day.map_or_else(|| Cell::Text(at.as_f64().to_string()), Cell::Day)
        }
    }
}

/// The rows below the header. Of a text every row must be as wide as the header: a narrower one was cut off.
fn rows(lines: &[Line], config: &Config, exact: bool) -> Result<Sheet, NoSheet> {
    let place = |line: &Line, name: &str| {
        let is = |cell: &Cell| cell.text().eq_ignore_ascii_case(name.trim());
        line.cells.iter().position(is)
    };
    let dated = !config.date.trim().is_empty();
    let header = lines
        .iter()
        .take(TITLES)
        .enumerate()
        .find_map(|(at, line)| {
            let serial = place(line, &config.serial)?;
            let date = place(line, &config.date).filter(|_| dated);
            (date.is_some() || !dated).then_some((at, serial, date))
        });
    let Some((at, serial, date)) = header else {
        let first = lines.first().map_or(String::new(), |line| {
            let cells: Vec<String> = line.cells.iter().map(Cell::text).collect();
            cells.join(",").chars().take(200).collect()
        });
        let wanted = if dated {
            format!("{:?} and {:?}", config.serial, config.date)
        } else {
            format!("{:?}", config.serial)
        };
        return Err(NoSheet::new(
            format!("no line has the headers {wanted}; the first one is {first:?}"),
            "name the columns in [orders.terminations]",
        ));
    };
    let width = lines[at].cells.len();
    let mut sheet = Sheet::default();
    for line in &lines[at + 1..] {
        if line.cells.iter().all(Cell::is_blank) {
            continue;
        }
        sheet.rows += 1;
        match row(line, width, serial, date, config, exact) {
            Ok(row) => sheet.good.push(row),
            Err(bad) if sheet.bad.len() < TOLD => sheet.bad.push(bad),
            Err(_) => {}
        }
    }
    Ok(sheet)
}

fn row(
    line: &Line,
    width: usize,
    serial: usize,
    date: Option<usize>,
    config: &Config,
    exact: bool,
) -> Result<Row, BadLine> {
    let bad = |field: &str, value: &str, what: String, remedy: &str| BadLine {
        line: line.number,
        field: field.to_owned(),
        value: value.chars().take(100).collect(),
        what,
        remedy: remedy.to_owned(),
    };
    if exact && line.cells.len() != width {
        let what = format!("{} fields, the header has {width}", line.cells.len());
        return Err(bad("", "", what, "the sheet may be cut off: get it again"));
    }
    let text = line.cells.get(serial).map_or(String::new(), Cell::text);
    let serial = Serial::parse(&text).map_err(|error| {
        bad(
            &config.serial,
            &text,
            error.to_string(),
            "correct the sheet",
        )
    })?;
    let since = match date {
        None => None,
        Some(date) => {
            let cell = line.cells.get(date);
            let shown = cell.map_or(String::new(), Cell::text);
            let since = cell.and_then(|cell| moment(cell, config));
            Some(since.ok_or_else(|| {
                let remedy = "add its form to orders.terminations.date_formats";
                bad(
                    &config.date,
                    &shown,
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
