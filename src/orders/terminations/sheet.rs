//! A sheet as read: text or XLSX, told apart by their first bytes; columns found by their headers.
//!
//! Pure. What a text is written in and what stands between its columns is found out (`text`), day numbers are dates
//! (`dates`), and rows below the devices that name none are passed over by a rule (`footer`). Rows that cannot be
//! read are told one by one, by line and column and never by their content, which may be that of any file that somebody put in place
//! of a sheet; whether the rest counts is decided by [`super::judge`]. One row is in memory at a time ([`Rows`], `workbook`); of
//! those that name a device the serial and the date are kept, of at most [`ROWS`] rows.

use jiff::Timestamp;

use super::Config;
use super::cells::{Cell, Header, NoSheet, SheetLine};
use super::dates::{System, moment};
use super::footer::{Footer, footer};
use super::text::{self, DELIMITERS, Text};
use super::workbook::{self, CELL_CHARS, Limits};
use crate::orders::journey::Serial;
use crate::orders::lines::BadLine;
use crate::orders::rows::{BadRow, Rows};

/// Rows above the header at most: titles.
const TITLES: usize = 20;
/// Rows below the header at most.
pub const ROWS: u64 = 200_000;
/// Bad rows that are told one by one.
pub(super) const TOLD: usize = 1_000;
/// Words of one row that is not understood that may be serials, and of all such rows.
const WORDS: usize = 16;
const ALL_WORDS: usize = 50_000;

/// One device of the sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub line: u64,
    pub serial: Serial,
    /// From when on it is terminated; none: the sheet has no dates.
    pub since: Option<Timestamp>,
    /// The date was a day number of a text, which does not say what it counts from.
    pub assumed: bool,
}

/// A sheet that is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sheet {
    /// Rows that name a device, good and bad.
    pub rows: u64,
    pub good: Vec<Row>,
    /// The first ones that are not understood.
    pub bad: Vec<BadLine>,
    /// All that are not understood.
    pub bad_count: u64,
    /// What may be serials in rows that are not understood, with the row's line. A file that is no sheet may be in its place: only
    /// those that name a device are kept (`super::kept`), and none is quoted.
    pub spoiled: Vec<(u64, Serial)>,
    /// How it was read, for people: `text in UTF-8, semicolon between columns`.
    pub form: String,
}

impl Sheet {
    pub(super) fn spoil(&mut self, bad: BadLine) {
        self.bad_count += 1;
        if self.bad.len() < TOLD {
            self.bad.push(bad);
        }
    }
}

/// Reads a sheet.
///
/// # Errors
/// It is empty, of another kind, or has not the columns.
pub fn read(bytes: &[u8], config: &Config) -> Result<Sheet, NoSheet> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => {
            let mut reading = Reading::new(config, System::Usual);
            let limits = Limits::of(config.max_bytes);
            let from_1904 = workbook::read(bytes, limits, |line, from_1904| {
                if from_1904 {
                    reading.system = System::From1904;
                }
                reading.take(&line)
            })?;
            let system = if from_1904 { ", days from 1904 on" } else { "" };
            reading.end(format!("workbook{system}"))
        }
        [0xD0, 0xCF, 0x11, 0xE0, ..] => Err(NoSheet::new(
            "it is a workbook of the old kind",
            "save it as XLSX or CSV",
        )),
        _ => {
            let text = text::decode(bytes)?;
            if text.text.trim().is_empty() {
                return Err(NoSheet {
                    blank: true,
                    ..NoSheet::new("the file is empty", "look where it comes from")
                });
            }
            if text.text.trim_start().starts_with('<') {
                return Err(NoSheet::new(
                    "it is a web page, perhaps one that asks to sign in",
                    "look whether the sheet is shared by its link",
                ));
            }
            read_text(&text, config)
        }
    }
}

/// Reads a text with the delimiter of the settings, or with the one that shows the headers.
fn read_text(text: &Text<'_>, config: &Config) -> Result<Sheet, NoSheet> {
    let shows = |delimiter: &u8| {
        let mut reading = Reading::new(config, System::Text);
        reading.only_header = true;
        // What is wrong with it is told when it is read.
        each(&text.text, *delimiter, &mut reading).is_ok() && reading.header.is_some()
    };
    let mut known = DELIMITERS.iter().map(|(delimiter, _)| *delimiter);
    let delimiter = config.delimiter();
    let used = delimiter
        .or_else(|| known.clone().find(shows))
        .unwrap_or(b',');
    let mut reading = Reading::new(config, System::Text);
    each(&text.text, used, &mut reading)?;
    if reading.header.is_none()
        && let Some(other) = delimiter.and_then(|_| known.find(shows))
    {
        return Err(NoSheet::new(
            format!("its columns are parted by a {}", text::name(other)),
            "set orders.terminations.delimiter = \"auto\"",
        ));
    }
    let (encoding, name) = (text.encoding, text::name(used));
    reading.end(format!("text in {encoding}, {name} between columns"))
}

/// Hands over the rows of a text until the reading has enough.
fn each(text: &str, delimiter: u8, reading: &mut Reading<'_>) -> Result<(), NoSheet> {
    let whole = text.ends_with(['\n', '\r']);
    let mut rows = Rows::new(text.as_bytes(), delimiter);
    let wide = |error: BadRow| {
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
        let (number, cells) = (row.line, row.fields().map(cell).collect());
        let line = SheetLine {
            number,
            cells,
            open: !whole && rows.is_at_end(),
        };
        reading.take(&line)?;
        if reading.is_enough() {
            break;
        }
    }
    Ok(())
}

/// The rows of a file as they come, until the header is found and below it.
struct Reading<'c> {
    config: &'c Config,
    system: System,
    header: Option<Header>,
    /// Only whether there is a header is asked.
    only_header: bool,
    /// Rows looked at for the header.
    titles: usize,
    /// Rows below the last device that name none.
    footers: Vec<Footer>,
    sheet: Sheet,
}

impl Header {
    fn find(line: &SheetLine, config: &Config) -> Option<Self> {
        let place = |name: &str| {
            let is = |cell: &Cell| cell.text().eq_ignore_ascii_case(name.trim());
            line.cells.iter().position(is)
        };
        let dated = !config.date.trim().is_empty();
        let date = place(&config.date).filter(|_| dated);
        let serial = place(&config.serial)?;
        (date.is_some() == dated).then_some(Self {
            width: line.cells.len(),
            serial,
            date,
        })
    }
}

impl Header {
    /// Whether each column is there once: nobody can tell which of two is meant.
    fn check(line: &SheetLine, config: &Config) -> Result<(), NoSheet> {
        for name in [&config.serial, &config.date] {
            let name = name.trim();
            let is = |cell: &&Cell| cell.text().eq_ignore_ascii_case(name);
            if !name.is_empty() && line.cells.iter().filter(is).count() > 1 {
                return Err(NoSheet::new(
                    format!("several columns have the header {name:?}"),
                    "give each column a header of its own",
                ));
            }
        }
        Ok(())
    }
}

impl<'c> Reading<'c> {
    fn new(config: &'c Config, system: System) -> Self {
        Self {
            config,
            system,
            header: None,
            only_header: false,
            titles: 0,
            footers: Vec::new(),
            sheet: Sheet::default(),
        }
    }

    fn is_enough(&self) -> bool {
        self.header.is_none() && self.titles >= TITLES || self.only_header && self.header.is_some()
    }

    fn take(&mut self, line: &SheetLine) -> Result<(), NoSheet> {
        let Some(header) = self.header else {
            if self.titles < TITLES {
                self.header = Header::find(line, self.config);
                self.titles += 1;
            }
            return match self.header {
                Some(_) => Header::check(line, self.config),
                None => Ok(()),
            };
        };
        if line.cells.iter().all(Cell::is_blank) {
            return Ok(());
        }
        if let Some(footer) = footer(line, header, self.config, self.system) {
            if self.footers.len() < TOLD {
                self.footers.push(footer);
                return Ok(());
            }
            return Err(NoSheet::new(
                format!("more than {TOLD} rows in a row name no device"),
                "remove them from the sheet",
            ));
        }
        for footer in std::mem::take(&mut self.footers) {
            let what = "names no device and stands between rows of devices";
            let remedy = "remove the row, and send the sheet again";
            self.sheet.spoil(bad(footer.line, "", what, remedy));
        }
        self.sheet.rows += 1;
        if self.sheet.rows > ROWS {
            return Err(NoSheet::new(
                format!("the sheet has more than {ROWS} rows"),
                "give a sheet of fewer rows: those of former sheets need not be on it",
            ));
        }
        match row(line, header, self.config, self.system) {
            Ok(row) => self.sheet.good.push(row),
            Err(bad) => {
                self.sheet.spoil(bad);
                let room = ALL_WORDS.saturating_sub(self.sheet.spoiled.len());
                let words = candidates(line).into_iter().take(room);
                let words = words.map(|serial| (line.number, serial));
                self.sheet.spoiled.extend(words);
            }
        }
        Ok(())
    }

    /// The footers as far as they do not agree with the rows (F4, F5).
    fn end_footers(&mut self) {
        let rows = self.sheet.rows;
        let mut serials: Vec<&Serial> = self.sheet.good.iter().map(|row| &row.serial).collect();
        serials.sort_unstable();
        serials.dedup();
        let devices = serials.len() as u64;
        for footer in std::mem::take(&mut self.footers) {
            let agrees = footer.total.map(|total| total == rows || total == devices);
            if agrees == Some(false) {
                let total = footer.total.unwrap_or_default();
                let what = format!("is a total of {total}, and {rows} rows name a device");
                let remedy = "rows may be missing: get the sheet again, or correct its total";
                self.sheet.spoil(bad(footer.line, "", &what, remedy));
            } else if footer.doubtful && agrees.is_none() {
                let what = "is the last row and has no end of line";
                let remedy = "the sheet may be cut off: get it again";
                self.sheet.spoil(bad(footer.line, "", what, remedy));
            }
        }
    }

    fn end(mut self, form: String) -> Result<Sheet, NoSheet> {
        if self.header.is_some() {
            self.end_footers();
            self.sheet.form = form;
            return Ok(self.sheet);
        }
        let config = self.config;
        let wanted = if config.date.trim().is_empty() {
            format!("{:?}", config.serial)
        } else {
            format!("{:?} and {:?}", config.serial, config.date)
        };
        Err(NoSheet::new(
            format!("no line has the headers {wanted}; it was read as {form}"),
            "write the headers as the sheet has them into orders.terminations.serial and orders.terminations.date",
        ))
    }
}

pub(super) fn bad(line: u64, field: &str, what: &str, remedy: &str) -> BadLine {
    BadLine {
        line,
        field: field.to_owned(),
        value: String::new(),
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// What may be serials in a row: whole cells and their words, as the columns of a row that is not understood may be shifted.
fn candidates(line: &SheetLine) -> Vec<Serial> {
    let mut found: Vec<Serial> = Vec::new();
    for cell in &line.cells {
        let text = cell.text();
        let parts = text.split(|c: char| {
            c.is_whitespace() || matches!(c, ',' | ';' | '|' | '/' | '(' | ')' | '"')
        });
        for part in [text.as_str()].into_iter().chain(parts) {
            if found.len() == WORDS {
                return found;
            }
            if let Ok(serial) = Serial::parse(part)
                && serial.as_str().contains(|c: char| c.is_ascii_digit())
                && !found.contains(&serial)
            {
                found.push(serial);
            }
        }
    }
    found
}

/// A row of a device, or why it is none.
fn row(line: &SheetLine, header: Header, config: &Config, system: System) -> Result<Row, BadLine> {
    let number = line.number;
    // Of a text every row must be as wide as the header: a narrower one was cut off, perhaps within its serial.
    if system == System::Text && line.cells.len() != header.width {
        let (there, wanted) = (line.cells.len(), header.width);
        let what = format!("{there} fields, the header has {wanted}");
        let remedy = "the sheet may be cut off: get it again; a row below the devices that is no device begins with a word of \
                      orders.terminations.footer";
        return Err(bad(number, "", &what, remedy));
    }
    let text = line
        .cells
        .get(header.serial)
        .map_or(String::new(), Cell::text);
    let serial = Serial::parse(&text)
        .map_err(|error| bad(number, &config.serial, error.why, "correct the sheet"))?;
    let moment = match header.date.map(|date| line.cells.get(date)) {
        None => None,
        Some(cell) => match cell.and_then(|cell| moment(cell, config, system)) {
            None => {
                let what = "has no known form of a date";
                let remedy = "add its form to orders.terminations.date_formats";
                return Err(bad(number, &config.date, what, remedy));
            }
            read => read,
        },
    };
    Ok(Row {
        line: number,
        serial,
        since: moment.map(|moment| moment.at),
        assumed: moment.is_some_and(|moment| moment.assumed),
    })
}

#[cfg(test)]
#[path = "sheet_tests.rs"]
mod tests;
