//! Tables for people: columns of equal width.

use std::fmt::Write as _;

use crate::config::printable;

/// Columns of equal width, two spaces apart; what would break the lines is taken out.
pub(super) fn aligned<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let header = header.map(str::to_owned);
    let rows: Vec<[String; N]> = std::iter::once(header)
        .chain(rows)
        .map(|row| row.map(|text| plain(&text)))
        .collect();
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max();
        longest.unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (text, width) in row.iter().zip(widths) {
            let _ = write!(line, "{text:<width$}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// A remote text may hold control characters: a terminal would apply them.
pub(super) fn plain(text: &str) -> String {
    printable::text(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_hold_no_control_character() {
        let text = aligned(
            ["A", "B"],
            [["long one".to_owned(), "x\u{1b}[2J\ny".to_owned()]],
        );
        assert_eq!(text, "A         B\nlong one  x\\u{1b}[2J\\ny\n");
    }
}
