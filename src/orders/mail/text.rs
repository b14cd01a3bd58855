//! Texts of a mail as rows of cells: plain text, HTML, CSV, and what was read of a PDF file.
//!
//! Pure. A tab, a bar, or two spaces and more divide the cells of a line. What a text is made of is bounded by [`SEARCHED`].

use serde::{Deserialize, Serialize};

/// Bytes of one text that are looked at, at most.
pub const SEARCHED: usize = 1024 * 1024;
/// Cells of a line, at most; the rest is one more cell.
const CELLS: usize = 64;

/// A text and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// For people: `the text`, `attachment "PO.pdf"`.
    pub place: String,
    /// Lines, with tabs between cells.
    pub lines: String,
}

impl Text {
    #[must_use]
    pub fn plain(place: &str, text: &str) -> Self {
        let mut lines = text.replace('\u{c}', "\n");
        shorten(&mut lines);
        Self {
            place: place.to_owned(),
            lines,
        }
    }

    /// Cells of tables stay apart, and rows too.
    #[must_use]
    pub fn html(place: &str, html: &str) -> Self {
        let mut html = html.to_owned();
        shorten(&mut html);
        Self::plain(place, &without_tags(&html))
    }

    /// A file of comma or semicolon separated values.
    #[must_use]
    pub fn csv(place: &str, text: &str) -> Self {
        let mut text = text.trim_start_matches('\u{feff}').to_owned();
        shorten(&mut text);
        let first = text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let count = |mark: char| first.matches(mark).count();
        let mark = [(';', b';'), ('\t', b'\t'), (',', b',')]
            .into_iter()
            .max_by_key(|(mark, _)| count(*mark));
        let mark = mark.map_or(b',', |(_, byte)| byte);
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(mark)
            .from_reader(text.as_bytes());
        let mut lines = String::new();
        for record in reader.records().map_while(Result::ok) {
            let cells: Vec<String> = record
                .iter()
                .map(|cell| cell.replace(['\t', '\n', '\r'], " "))
                .collect();
            lines.push_str(&cells.join("\t"));
            lines.push('\n');
        }
        Self::plain(place, &lines)
    }
}

fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(SEARCHED));
}

/// The cells of a line, without the empty ones at its ends.
#[must_use]
pub fn cells(line: &str) -> Vec<&str> {
    let line = line.trim_matches(|c: char| c.is_whitespace() || c == '|');
    let tabs = line.contains(['\t', '|']);
    let mut cells = Vec::new();
    let mut rest = line;
    while cells.len() < CELLS {
        let found = if tabs {
            rest.find(['\t', '|'])
        } else {
            rest.find("  ")
        };
        let Some(at) = found else { break };
        let (cell, behind) = rest.split_at(at);
        cells.push(cell.trim());
        rest = if tabs {
            &behind[1..]
        } else {
            behind.trim_start()
        };
    }
    cells.push(rest.trim());
    cells
}

/// Marks that no mail holds, for the ends of cells and of rows.
const CELL: char = '\u{1f}';
const ROW: char = '\u{1e}';

fn without_tags(html: &str) -> String {
    let mut marked = String::with_capacity(html.len() + html.len() / 8);
    let mut rest = html;
    let mut within = 0_usize;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        marked.push_str(before);
        let end = tag.find('>').map_or(tag.len(), |end| end + 1);
        let (tag, behind) = tag.split_at(end);
        let name = tag.trim_start_matches(['<', '/']);
        let name = name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        let closes = tag.starts_with("</");
        match name.to_ascii_lowercase().as_str() {
            "td" | "th" if closes => {
                within = within.saturating_sub(1);
                marked.push(CELL);
            }
            "td" | "th" => within += 1,
            "tr" | "table" => marked.push(ROW),
            // Within a cell they do not end its row.
            "div" | "li" | "h1" | "h2" | "h3" | "h4" | "blockquote" if closes && within == 0 => {
                marked.push(ROW)
            }
            _ => {}
        }
        marked.push_str(tag);
        rest = behind;
    }
    marked.push_str(rest);
    let text = mail_parser::decoders::html::html_to_text(&marked);
    let mut lines = String::with_capacity(text.len());
    for row in text.split(ROW) {
        // Within a row of a table a line break is a space.
        if row.contains(CELL) {
            for (at, cell) in row
                .trim_end_matches(|c: char| c == CELL || c.is_whitespace())
                .split(CELL)
                .enumerate()
            {
                if at > 0 {
                    lines.push('\t');
                }
                let words: Vec<&str> = cell.split_whitespace().collect();
                lines.push_str(&words.join(" "));
            }
        } else {
            lines.push_str(row);
        }
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tables_of_any_text_are_rows_of_cells() {
        let html = "<html><head><style>td { color: red }</style></head><body><p>Sales No: SO-7</p>\
            <table><tr><th>Item</th><th>Qty</th><th>Price</th></tr>\
            <tr><td><b>CTD&#45;200</b></td>\n<td>2&nbsp;pcs</td><td></td><td>89,50&nbsp;&euro;</td></tr></table></body></html>";
        let text = Text::html("the text", html).lines;
        let rows: Vec<Vec<&str>> = text.lines().map(cells).collect();
        assert!(rows.contains(&vec!["Item", "Qty", "Price"]), "{text:?}");
        assert!(
            rows.iter()
                .any(|row| row.len() == 4 && row[0] == "CTD-200" && row[2].is_empty()),
            "{text:?}"
        );
        assert!(!text.contains("color"), "{text}");
        assert_eq!(
            cells("CTD-200   LTE tracker  2 pcs   89.50"),
            ["CTD-200", "LTE tracker", "2 pcs", "89.50"]
        );
        assert_eq!(cells("| CTD-200 | 2 |"), ["CTD-200", "2"]);
        let csv = Text::csv("f", "\u{feff}Item;Qty\n\"CTD;200\";\"2\n\"\n").lines;
        assert_eq!(
            csv.lines().map(cells).collect::<Vec<_>>(),
            [vec!["Item", "Qty"], vec!["CTD;200", "2"]]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            for text in [Text::plain("p", &text), Text::html("h", &text), Text::csv("c", &text)] {
                for line in text.lines.lines() {
                    prop_assert!(cells(line).len() <= CELLS + 1);
                }
            }
        }
    }
}
