//! What a reader of text and one of workbooks give alike: lines of cells; and why a file gives none. Pure.

use jiff::civil::DateTime;

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
    Number(f64),
    Day(DateTime),
}

impl Cell {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Day(day) => day.to_string(),
        }
    }

    pub(super) fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }
}

/// A line of the file with its number.
pub(super) struct SheetLine {
    pub number: u64,
    pub cells: Vec<Cell>,
    /// It is the last one of a text that does not end with a line's end.
    pub open: bool,
}

/// Where the columns are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub width: usize,
    pub serial: usize,
    pub date: Option<usize>,
}
