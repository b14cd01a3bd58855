//! The lines of a CSV file that people keep: a header that names columns, one thing per line, every bad line told at once.
//!
//! Columns are found by the header names of the settings, in any order; others are passed over. Pure; a file is read whole.

use serde::Serialize;

/// A line that cannot be done, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    pub line: u64,
    pub field: String,
    pub value: String,
    pub what: String,
    pub remedy: String,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        if !self.value.is_empty() {
            write!(f, " {:?}", self.value)?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}

pub(super) fn bad(line: u64, field: &str, value: &str, what: &str, remedy: &str) -> BadLine {
    BadLine {
        line,
        field: field.to_owned(),
        value: value.chars().take(100).collect(),
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// Checks the settings of such a file: `[orders.SECTION]`, with what each column is and its header name.
///
/// # Errors
/// The first setting that cannot be used.
pub(super) fn check(
    section: &str,
    delimiter: &str,
    columns: &[(&'static str, &str)],
) -> Result<(), String> {
    if delimiter.len() != 1 {
        return Err(format!("{section}.delimiter: must be one ASCII character"));
    }
    for (at, (name, header)) in columns.iter().enumerate() {
        if header.trim().is_empty() {
            return Err(format!("{section}.{name}: must not be empty"));
        }
        if columns[..at].iter().any(|(_, other)| same(other, header)) {
            return Err(format!("{section}.{name}: {header:?} is named twice"));
        }
    }
    Ok(())
}

/// Hands over each line that is not empty, as its number and its fields by column; an empty field is none. One of the first two
/// columns must be there. Gives the lines that could not be read or were not taken; the header is line 1.
pub(super) fn read<const COLUMNS: usize>(
    bytes: &[u8],
    section: &str,
    delimiter: &str,
    names: [&str; COLUMNS],
    mut take: impl FnMut(u64, [Option<&str>; COLUMNS]) -> Result<(), BadLine>,
) -> Vec<BadLine> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter.bytes().next().unwrap_or(b','))
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let unreadable = "save the file as CSV in UTF-8";
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return vec![bad(1, "", "", &format!("no header: {error}"), unreadable)],
    };
    let columns = names.map(|name| header.iter().position(|title| same(title, name)));
    if columns.iter().take(2).all(Option::is_none) {
        let what = format!("the header has neither {:?} nor {:?}", names[0], names[1]);
        let found = header.iter().collect::<Vec<_>>().join(",");
        let remedy = format!("add the column, or name yours in [orders.{section}]");
        return vec![bad(1, "header", &found, &what, &remedy)];
    }
    let mut wrong = Vec::new();
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(false) => return wrong,
            Ok(true) => {
                let line = record.position().map_or(line, |at| line_at(bytes, at));
                if record.iter().all(str::is_empty) {
                    continue;
                }
                if record.len() != header.len() {
                    let what = format!("{} fields, the header has {}", record.len(), header.len());
                    let remedy = "put fields that hold the delimiter in double quotes";
                    wrong.push(bad(line, "", "", &what, remedy));
                    continue;
                }
                let fields = columns.map(|column| {
                    column
                        .and_then(|column| record.get(column))
                        .filter(|text| !text.is_empty())
                });
                wrong.extend(take(line, fields).err());
            }
            Err(error) => {
                wrong.push(bad(line, "", "", &error.to_string(), unreadable));
                if error.is_io_error() {
                    return wrong;
                }
            }
        }
    }
}

fn same(a: &str, b: &str) -> bool {
    a.trim().eq_ignore_ascii_case(b.trim())
}

/// The line of a record. The reader's own count is one behind where lines end in two characters.
pub(super) fn line_at(bytes: &[u8], at: &csv::Position) -> u64 {
    let from = usize::try_from(at.byte()).unwrap_or(usize::MAX);
    let ends = bytes.get(from..).unwrap_or_default().iter();
    let ends = ends.take_while(|byte| matches!(byte, b'\r' | b'\n'));
    at.line() + ends.filter(|byte| **byte == b'\n').count() as u64
}
