//! The rows of a CSV file of others, one at a time, each bounded in bytes and fields.
//!
//! A file of commas alone makes a field of every byte; whoever reads it into records pays 60 times its size. Here one row is in
//! memory at a time, at most [`ROW_BYTES`] and [`ROW_FIELDS`] of it; a wider one ends the reading. Pure.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// Bytes of one row at most, without delimiters and quotes.
pub const ROW_BYTES: usize = 64 * 1024;
/// Fields of one row at most.
pub const ROW_FIELDS: usize = 1_024;

/// A row that cannot be read; nothing after it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRow {
    /// Wider than any sheet of people.
    #[error("line {line} has more than {ROW_FIELDS} fields or {ROW_BYTES} bytes")]
    TooWide { line: u64 },
    /// All that follows is in one field: the file was cut off, or a quote is missing.
    #[error("a double quote is opened in the row of line {line} and never closed")]
    OpenQuote { line: u64 },
}

impl BadRow {
    /// The row's first line in the file, counted from 1.
    #[must_use]
    pub const fn line(self) -> u64 {
        match self {
            Self::TooWide { line } | Self::OpenQuote { line } => line,
        }
    }
}

/// See the module's documentation.
pub struct Rows<'b> {
    reader: Reader,
    rest: &'b [u8],
    delimiter: u8,
    /// The line `rest` begins on, counted from 1.
    line: u64,
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'r> {
    /// Its first line in the file, counted from 1.
    pub line: u64,
    text: &'r [u8],
    ends: &'r [usize],
}

impl<'r> Row<'r> {
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = &'r [u8]> + use<'r> {
        let (text, ends) = (self.text, self.ends);
        (0..ends.len()).map(move |at| {
            let from = at.checked_sub(1).map_or(0, |before| ends[before]);
            &text[from..ends[at]]
        })
    }
}

impl<'b> Rows<'b> {
    /// `bytes` without a byte order mark.
    #[must_use]
    pub fn new(bytes: &'b [u8], delimiter: u8) -> Self {
        Self {
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            rest: bytes,
            delimiter,
            line: 1,
            text: vec![0; ROW_BYTES],
            ends: vec![0; ROW_FIELDS],
        }
    }

    /// The next row that is not an empty line; none at the end.
    ///
    /// # Errors
    /// The row is too wide or ends within a quoted field; nothing more can be read.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, BadRow> {
        let blank = self
            .rest
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let blank = blank.count();
        self.advance(blank);
        let line = self.line;
        let (mut bytes, mut fields) = (0, 0);
        let row = self.rest;
        loop {
            let (result, read, written, ended) = self.reader.read_record(
                self.rest,
                &mut self.text[bytes..],
                &mut self.ends[fields..],
            );
            (bytes, fields) = (bytes + written, fields + ended);
            self.advance(read);
            match result {
                // Asked again with nothing left, it ends the last row, also within quotes.
                ReadRecordResult::InputEmpty => {
                    if self.rest.is_empty() && ends_within_quotes(row, self.delimiter) {
                        return Err(BadRow::OpenQuote { line });
                    }
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    self.rest = &[];
                    return Err(BadRow::TooWide { line });
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        Ok(Some(Row {
            line,
            text: &self.text[..bytes],
            ends: &self.ends[..fields],
        }))
    }

    /// Whether nothing is left after the row that came last.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn advance(&mut self, bytes: usize) {
        let (read, rest) = self.rest.split_at(bytes);
        self.line += read.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.rest = rest;
    }
}

/// Whether the last row of a file ends within quotes. The reader does not tell: it takes the end of the file for the quote's.
fn ends_within_quotes(row: &[u8], delimiter: u8) -> bool {
    let (mut is_start, mut is_quoted) = (true, false);
    let mut bytes = row.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if is_quoted {
            if byte == b'"' && bytes.next_if_eq(&b'"').is_none() {
                is_quoted = false;
            }
        } else if byte == b'"' && is_start {
            is_quoted = true;
        }
        is_start = !is_quoted && byte == delimiter;
    }
    is_quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u64, Vec<String>)>, BadRow> {
        let mut rows = Rows::new(bytes, b',');
        let mut found = Vec::new();
        while let Some(row) = rows.next_row()? {
            let fields = row
                .fields()
                .map(|field| String::from_utf8_lossy(field).into_owned());
            found.push((row.line, fields.collect()));
        }
        Ok(found)
    }

    #[test]
    fn rows_come_with_their_lines() {
        let text = b"a,b\r\n\r\n\"x\r\ny\",\"say \"\"hi\"\"\"\r\n1,\n,2";
        let rows = all(text).unwrap();
        let shown: Vec<(u64, Vec<&str>)> = rows
            .iter()
            .map(|(line, fields)| (*line, fields.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            shown,
            [
                (1, vec!["a", "b"]),
                (3, vec!["x\r\ny", "say \"hi\""]),
                (5, vec!["1", ""]),
                (6, vec!["", "2"]),
            ]
        );
        assert_eq!(all(b"").unwrap(), []);
        assert_eq!(all(b"\n\r\n").unwrap(), []);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_told() {
        assert_eq!(
            all(b"a,b\n1,\"2\n3,4\n"),
            Err(BadRow::OpenQuote { line: 2 })
        );
        assert_eq!(all(b"a\n\""), Err(BadRow::OpenQuote { line: 2 }));
        for closed in [&b"a\n\"1\""[..], b"a\n\"1\"\n", b"a\n1\"", b"a\n\"1\"\"\""] {
            assert_eq!(all(closed).unwrap().len(), 2, "{closed:?}");
        }
    }

    #[test]
    fn a_row_of_commas_or_of_one_endless_field_ends_the_reading() {
        let commas = [b"a,b\n".as_slice(), &vec![b','; 1 << 20]].concat();
        assert_eq!(all(&commas), Err(BadRow::TooWide { line: 2 }));
        let field = vec![b'x'; 1 << 20];
        assert_eq!(all(&field), Err(BadRow::TooWide { line: 1 }));
        let quote = [b"a\n\"".as_slice(), &vec![b'\n'; 1 << 20]].concat();
        assert_eq!(all(&quote), Err(BadRow::TooWide { line: 2 }));
        let widest = vec![b','; ROW_FIELDS - 1];
        assert_eq!(all(&widest).unwrap()[0].1.len(), ROW_FIELDS);
    }

    proptest! {
        /// The same rows as the reader that keeps them all.
        #[test]
        fn rows_are_those_of_the_unbounded_reader(text in "[ab,\"\r\n]{0,60}") {
            let mut reader = csv::ReaderBuilder::new()
                .flexible(true)
                .has_headers(false)
                .from_reader(text.as_bytes());
            let wanted: Vec<Vec<String>> = reader
                .byte_records()
                .map(|row| row.unwrap().iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect())
                .collect();
            let rows = match all(text.as_bytes()) {
                Err(BadRow::OpenQuote { .. }) => {
                    prop_assert!(text.contains('"'));
                    return Ok(());
                }
                rows => rows.unwrap(),
            };
            let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, fields)| fields).collect();
            prop_assert_eq!(rows, wanted);
        }
    }
}
