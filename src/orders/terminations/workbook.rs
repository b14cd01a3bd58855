//! The first sheet of an XLSX workbook as rows of cells, read as a stream and within bounds.
//!
//! A workbook is a zip archive of XML files that somebody else made. Before any of it is parsed, every file of the archive is
//! unpacked once into nothing and measured ([`Limits`]): bytes, tags, and the number of shared strings it announces, for which the
//! parser would allocate at once. Then cells are taken one by one: a sheet whose only cell lies at XFD1048576 costs as much as one at
//! A1. Cells beyond [`COLUMNS`] are passed over, texts are cut at [`CELL_CHARS`].
//!
//! Pure, and slow for large files: run it on a thread that may block, and contain its panics.

use std::io::Cursor;

use calamine::{DataRef, Reader as _, Xlsx};
use jiff::civil::DateTime;
use zip::ZipArchive;

use super::cells::{Cell, NoSheet, SheetLine};

/// Columns that are looked at.
pub const COLUMNS: usize = 1_024;
/// Characters of a cell that are kept.
pub const CELL_CHARS: usize = 256;
/// Files of an archive at most; a workbook has a dozen.
const FILES: usize = 1_000;
/// What begins a file's entry in the directory of a zip archive.
const ENTRY: &[u8] = b"PK\x01\x02";
/// The number of strings that a file announces.
const ANNOUNCED: &[u8] = b"uniqueCount";
/// Bytes that are kept from one read to the next, so that nothing is missed between them.
const OVERLAP: usize = 256;

/// What an archive may be when it is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Tags of all files together that are not worksheets: the parser keeps what is in them.
    pub tags: u64,
}

impl Limits {
    /// For a file of at most `bytes`.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        Self {
            bytes: bytes.saturating_mul(2),
            tags: 500_000,
        }
    }
}

fn no_sheet(what: impl Into<String>) -> NoSheet {
    let remedy = "open it in a spreadsheet, save only the sheet of terminations, as XLSX or CSV";
    NoSheet::new(what, remedy)
}

fn broken(error: impl std::fmt::Display) -> NoSheet {
    no_sheet(format!("the workbook cannot be read: {error}"))
}

/// Hands over every row of the first sheet that has a cell, with its number from 1, and whether days count from 1904 on, which it
/// also gives back.
///
/// # Errors
/// It is no workbook, or exceeds the limits; and what `take` refuses.
pub(super) fn read(
    bytes: &[u8],
    limits: Limits,
    mut take: impl FnMut(SheetLine, bool) -> Result<(), NoSheet>,
) -> Result<bool, NoSheet> {
    measure(bytes, limits)?;
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).map_err(broken)?;
    let from_1904 = book.has_1904_epoch();
    let Some(name) = book.sheet_names().first().cloned() else {
        return Err(NoSheet::new(
            "the workbook has no sheet",
            "save the sheet of terminations as the first one",
        ));
    };
    let mut cells = book.worksheet_cells_reader(&name).map_err(broken)?;
    let mut line: Option<SheetLine> = None;
    while let Some(cell) = cells.next_cell().map_err(broken)? {
        let (row, column) = cell.get_position();
        let number = u64::from(row) + 1;
        if line.as_ref().is_some_and(|line| line.number != number)
            && let Some(full) = line.take()
        {
            take(full, from_1904)?;
        }
        let line = line.get_or_insert_with(|| SheetLine {
            number,
            cells: Vec::new(),
            open: false,
        });
        let column = usize::try_from(column).unwrap_or(usize::MAX);
        if column < COLUMNS {
            if line.cells.len() <= column {
                line.cells.resize(column + 1, Cell::Text(String::new()));
            }
            line.cells[column] = read_cell(cell.get_value());
        }
    }
    if let Some(last) = line {
        take(last, from_1904)?;
    }
    Ok(from_1904)
}

fn read_cell(data: &DataRef<'_>) -> Cell {
    let text = |text: &str| Cell::Text(text.chars().take(CELL_CHARS).collect());
    match data {
        DataRef::String(given) | DataRef::DateTimeIso(given) | DataRef::DurationIso(given) => {
            text(given)
        }
        DataRef::SharedString(given) => text(given),
        DataRef::Int(number) => Cell::Number(*number as f64),
        DataRef::Float(number) => Cell::Number(*number),
        DataRef::Bool(truth) => Cell::Text(truth.to_string()),
        DataRef::Error(error) => Cell::Text(error.to_string()),
        DataRef::Empty => Cell::Text(String::new()),
        DataRef::DateTime(at) => {
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

/// Unpacks everything into nothing and counts: what an archive says about its own sizes is not believed.
fn measure(bytes: &[u8], limits: Limits) -> Result<(), NoSheet> {
    let entries = bytes.windows(ENTRY.len()).filter(|at| *at == ENTRY).count();
    if entries > FILES {
        return Err(no_sheet(format!(
            "the workbook has {entries} files, at most {FILES} are read"
        )));
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    let mut measured = Measured::default();
    for at in 0..archive.len() {
        let mut file = archive.by_index(at).map_err(broken)?;
        let streamed = file
            .name()
            .map_err(broken)?
            .to_ascii_lowercase()
            .contains("/worksheets/");
        measured.file(&mut file, streamed, limits)?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Measured {
    bytes: u64,
    tags: u64,
}

impl Measured {
    fn file(
        &mut self,
        file: &mut impl std::io::Read,
        streamed: bool,
        limits: Limits,
    ) -> Result<(), NoSheet> {
        let mut buffer = vec![0; OVERLAP + 64 * 1024];
        let mut kept = 0;
        loop {
            let read = file.read(&mut buffer[kept..]).map_err(broken)?;
            if read == 0 {
                return Ok(());
            }
            self.bytes += read as u64;
            if !streamed {
                let fresh = &buffer[kept..kept + read];
                self.tags += fresh.iter().filter(|byte| **byte == b'<').count() as u64;
            }
            if self.bytes > limits.bytes || self.tags > limits.tags {
                return Err(no_sheet(format!(
                    "the workbook is larger than {} bytes or {} tags when it is unpacked",
                    limits.bytes, limits.tags
                )));
            }
            let seen = &buffer[..kept + read];
            if let Some(announced) = announced(seen)
                && announced > limits.tags
            {
                return Err(no_sheet(format!(
                    "the workbook announces more than {} strings",
                    limits.tags
                )));
            }
            let keep = seen.len().min(OVERLAP);
            let from = seen.len() - keep;
            buffer.copy_within(from..from + keep, 0);
            kept = keep;
        }
    }
}

/// The largest number of strings that a part of a file announces. White space without end before the number counts as too large; what
/// is cut off by the end of the part is seen again with the next one.
fn announced(text: &[u8]) -> Option<u64> {
    let found = text
        .windows(ANNOUNCED.len())
        .enumerate()
        .filter(|(_, at)| *at == ANNOUNCED);
    let numbers = found.filter_map(|(at, _)| {
        let rest = &text[at + ANNOUNCED.len()..];
        let rest = &rest[..rest.len().min(OVERLAP / 4)];
        let equals = rest.iter().position(|byte| !byte.is_ascii_whitespace());
        let Some(equals) = equals else {
            return (rest.len() == OVERLAP / 4).then_some(u64::MAX);
        };
        let value = rest[equals..].strip_prefix(b"=")?;
        let mut value = value
            .iter()
            .skip_while(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\''))
            .peekable();
        if value.peek().is_none() {
            return (rest.len() == OVERLAP / 4).then_some(u64::MAX);
        }
        let digits = value.take_while(|byte| byte.is_ascii_digit());
        Some(digits.fold(0, |number: u64, digit| {
            number
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        }))
    });
    numbers.max()
}
