//! Rows below the devices that name none: a total, a note, who made the sheet. Pure.
//!
//! F1: a row is a footer only if its first cell that is not empty begins with a word of `orders.terminations.footer`.
//! F2: no footer has what a device's row has: a word of letters and digits as a serial is, eight digits or more in a row, a date in
//!     the column of dates, or letters in the column of serials below another first cell.
//! F3: below a footer there is no device: a row of a device there makes all footers above it rows that are not understood.
//! F4: a total that names a number names that of the rows of devices, or of the devices; else rows are missing.
//! F5: the last row of a text without the end of a line may be a row that was cut off: it is a footer only if its word is followed
//!     by a colon, or if it is a total that agrees.
//!
//! Rows of empty cells say nothing anywhere, and are passed over before this is asked.

use super::Config;
use super::cells::{Cell, Header, SheetLine};
use super::dates::{System, moment};

/// Words of a row that says how many devices there are.
const TOTALS: [&str; 9] = [
    "total",
    "totals",
    "grand total",
    "sum",
    "count",
    "summe",
    "gesamt",
    "anzahl",
    "number",
];
/// Digits that may be a serial, an IMEI or a SIM's number.
const LONG: usize = 8;

/// A row that names no device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub line: u64,
    /// How many rows it says there are.
    pub total: Option<u64>,
    /// It may be a row that was cut off, unless its total agrees (F5).
    pub doubtful: bool,
}

/// Whether a row is a footer by its own content (F1, F2).
pub(super) fn footer(
    line: &SheetLine,
    header: Header,
    config: &Config,
    system: System,
) -> Option<Footer> {
    let at = line.cells.iter().position(|cell| !cell.is_blank())?;
    let first = line.cells[at].text();
    let begins = |word: &str| -> Option<usize> {
        let word = word.trim();
        let head = first.get(..word.len())?;
        let rest = &first[word.len()..];
        let whole = !rest.starts_with(char::is_alphanumeric);
        (!word.is_empty() && head.eq_ignore_ascii_case(word) && whole).then_some(word.len())
    };
    let length = config.footer.iter().filter_map(|word| begins(word)).max()?;
    if line.cells.iter().any(|cell| names(&cell.text(), config)) {
        return None;
    }
    let dated = header.date.and_then(|date| line.cells.get(date));
    if dated.is_some_and(|cell| moment(cell, config, system).is_some()) {
        return None;
    }
    let serial = line
        .cells
        .get(header.serial)
        .filter(|_| header.serial != at);
    if serial.is_some_and(|cell| cell.text().contains(char::is_alphabetic)) {
        return None;
    }
    let is_total = TOTALS.iter().any(|word| begins(word).is_some());
    let after = first[length..].trim_start();
    Some(Footer {
        line: line.number,
        total: is_total
            .then(|| total(&first, &line.cells[at + 1..]))
            .flatten(),
        doubtful: line.open && !after.starts_with(':'),
    })
}

/// Whether a text has a word that may be a device's.
fn names(text: &str, config: &Config) -> bool {
    let is_date = |word: &str| {
        let written = word.contains(|c: char| !c.is_ascii_digit());
        written && moment(&Cell::Text(word.to_owned()), config, System::Usual).is_some()
    };
    text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')'))
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty() && !is_date(word))
        .any(|word| {
            let digits = word.chars().filter(char::is_ascii_digit).count();
            digits >= LONG || digits > 0 && word.contains(char::is_alphabetic)
        })
}

/// The whole number of a total's own cell, or of the next cell that is not empty.
fn total(first: &str, rest: &[Cell]) -> Option<u64> {
    let number = |text: &str| {
        let digits = text.trim_matches(|c: char| !c.is_ascii_digit());
        digits.parse().ok()
    };
    if first.contains(|c: char| c.is_ascii_digit()) {
        return first
            .split_whitespace()
            .find_map(|word| number(word.split(':').next_back()?));
    }
    rest.iter()
        .find(|cell| !cell.is_blank())?
        .text()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        width: 3,
        serial: 1,
        date: Some(2),
    };

    fn of(cells: &[&str], open: bool) -> Option<(Option<u64>, bool)> {
        let line = SheetLine {
            number: 9,
            cells: cells
                .iter()
                .map(|text| Cell::Text((*text).into()))
                .collect(),
            open,
        };
        footer(&line, HEADER, &Config::default(), System::Text)
            .map(|footer| (footer.total, footer.doubtful))
    }

    #[test]
    fn a_total_and_a_note_are_footers() {
        for (cells, total) in [
            (&["Total: 17"][..], Some(17)),
            (&["Total", "17", ""], Some(17)),
            (&["", "TOTAL", "17"], Some(17)),
            (&["Grand total 17 devices", "", ""], Some(17)),
            (&["Total", "", "12.50"], None),
            (&["Note: all times are UTC", "", ""], None),
            (&["Generated on 2026-03-01 by the partner portal"], None),
            (&["Page 1 of 1", "", ""], None),
        ] {
            assert_eq!(of(cells, false), Some((total, false)), "{cells:?}");
        }
    }

    #[test]
    fn nothing_that_may_be_a_device_is_a_footer() {
        for cells in [
            &["Total Energies", "CX0000000001", "2026-03-01"][..],
            &["Total Energies", "CX01", "soon"],
            &["Total Energies", "", "2026-03-01"],
            &["Total Energies", "CXABCDEFABCD", ""],
            &["Note Ltd", "356938035643809", ""],
            &["Note: CX-00-0001 too", "", ""],
            &["Totally Ltd", "", ""],
            &["CX", "", ""],
            &["ACME Trucks", "", ""],
            &["17", "", ""],
            &["", "", ""],
        ] {
            assert_eq!(of(cells, false), None, "{cells:?}");
        }
    }

    #[test]
    fn a_last_row_that_may_be_cut_off_is_doubtful() {
        assert_eq!(of(&["Total Ener"], true), Some((None, true)));
        assert_eq!(of(&["Total 17"], true), Some((Some(17), true)));
        assert_eq!(of(&["Note: none"], true), Some((None, false)));
    }
}
