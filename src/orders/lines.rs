//! The lines of a CSV file that people keep: a header that names columns, one thing per line, every bad line told at once.
//!
//! Columns are found by the header names of the settings, in any order; others are passed over. Pure; one row is in memory at a time,
//! and the number of lines is bounded.

use serde::{Deserialize, Serialize};

use super::identifiers::Unfit;
use super::rows::{BadRow, Row, Rows};
use crate::config::nearest;

/// Lines of one file at most.
pub const LINES: u64 = 200_000;
/// Bad lines of one file that are told.
pub const BAD: usize = 1_000;

/// A line that cannot be done, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// A value that a check refuses, in a file whose column `force` may insist on it.
pub(super) fn unfit(line: u64, field: &str, value: &str, why: &Unfit, force: &str) -> BadLine {
    let remedy = why.remedy(&format!("write yes in the column {force:?}"));
    bad(line, field, value, &why.what, &remedy)
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
/// columns must be there. Gives the lines that could not be read or were not taken; the header is line 1. After [`LINES`] lines, or
/// [`BAD`] bad ones, the rest is not read, and the last bad line says so.
pub(super) fn read<const COLUMNS: usize>(
    bytes: &[u8],
    section: &str,
    delimiter: &str,
    names: [&str; COLUMNS],
    mut take: impl FnMut(u64, [Option<&str>; COLUMNS]) -> Result<(), BadLine>,
) -> Vec<BadLine> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut rows = Rows::new(bytes, delimiter.bytes().next().unwrap_or(b','));
    let unreadable = "save the file as CSV in UTF-8";
    let broken = |error: BadRow| {
        let what = match error {
            BadRow::TooWide { .. } => "is too wide",
            BadRow::OpenQuote { .. } => "opens a double quote that is never closed",
        };
        bad(error.line(), "", "", what, unreadable)
    };
    let header: Vec<String> = match rows.next_row() {
        Ok(Some(row)) => match texts(&row) {
            Some(titles) => titles.into_iter().map(str::to_owned).collect(),
            None => return vec![bad(1, "", "", "no header: it is not UTF-8", unreadable)],
        },
        Ok(None) => Vec::new(),
        Err(error) => return vec![broken(error)],
    };
    let unclear = headers(&header, &names, section);
    if !unclear.is_empty() {
        return unclear;
    }
    let columns = names.map(|name| header.iter().position(|title| same(title, name)));
    if columns.iter().take(2).all(Option::is_none) {
        let what = format!("the header has neither {:?} nor {:?}", names[0], names[1]);
        let found = header.join(",");
        let remedy = format!("add the column, or name yours in [orders.{section}]");
        return vec![bad(1, "header", &found, &what, &remedy)];
    }
    let mut wrong = Vec::new();
    let mut lines = 0;
    loop {
        let row = match rows.next_row() {
            Ok(None) => return wrong,
            Ok(Some(row)) => row,
            Err(error) => {
                wrong.push(broken(error));
                return wrong;
            }
        };
        let line = row.line;
        let Some(texts) = texts(&row) else {
            wrong.push(bad(line, "", "", "is not UTF-8", unreadable));
            continue;
        };
        if texts.iter().all(|text| text.is_empty()) {
            continue;
        }
        lines += 1;
        if lines > LINES || wrong.len() >= BAD {
            let what = format!(
                "nothing is read from here on: {lines} lines, {} of them bad",
                wrong.len()
            );
            let remedy = format!("correct the lines above, and give at most {LINES} lines at once");
            wrong.push(bad(line, "", "", &what, &remedy));
            return wrong;
        }
        if texts.len() != header.len() {
            let what = format!("{} fields, the header has {}", texts.len(), header.len());
            let remedy = "put fields that hold the delimiter in double quotes";
            wrong.push(bad(line, "", "", &what, remedy));
            continue;
        }
        let fields = columns.map(|column| {
            column
                .and_then(|column| texts.get(column).copied())
                .filter(|text| !text.is_empty())
        });
        wrong.extend(take(line, fields).err());
    }
}

/// The faults of a header: a column that is there twice, or one that is nearly called as one that is missing. To pass it over
/// would lose its values.
fn headers(header: &[String], names: &[&str], section: &str) -> Vec<BadLine> {
    let mut unclear = Vec::new();
    let mut missing: Vec<String> = Vec::new();
    for name in names {
        match header.iter().filter(|title| same(title, name)).count() {
            0 => missing.push(name.trim().to_ascii_lowercase()),
            1 => {}
            count => {
                let what = format!("is there {count} times");
                unclear.push(bad(1, "header", name, &what, "leave one of these columns"));
            }
        }
    }
    for title in header {
        let known = names.iter().any(|name| same(title, name));
        let plain: String = title.trim().to_ascii_lowercase().replace([' ', '-'], "_");
        if !known && let Some(meant) = nearest(&plain, missing.iter().map(String::as_str)) {
            let what = format!("is no column that is read; did you mean {meant:?}?");
            let remedy =
                format!("rename or remove the column, or name yours in [orders.{section}]");
            unclear.push(bad(1, "header", title, &what, &remedy));
        }
    }
    unclear
}

/// The fields of a row without white space around them; none if one is not UTF-8.
fn texts<'r>(row: &Row<'r>) -> Option<Vec<&'r str>> {
    row.fields()
        .map(|field| std::str::from_utf8(field).ok().map(str::trim))
        .collect()
}

fn same(a: &str, b: &str) -> bool {
    a.trim().eq_ignore_ascii_case(b.trim())
}
