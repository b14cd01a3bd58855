//! The rows of a CSV file of others, one at a time, each bounded in bytes and fields.
//!
//! A file of commas alone makes a field of every byte; whoever reads it into records pays 60 times its size. Here one row is in
//! memory at a time, at most [`ROW_BYTES`] and [`ROW_FIELDS`] of it; a wider one ends the reading. Pure.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// Bytes of one row at most, without delimiters and quotes.
pub const ROW_BYTES: usize = 64 * 1024;
/// Fields of one row at most.
pub const ROW_FIELDS: usize = 1_024;

/// A row that is wider than any sheet of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} has more than {ROW_FIELDS} fields or {ROW_BYTES} bytes")]
pub struct TooWide {
    pub line: u64,
}

/// See the module's documentation.
pub struct Rows<'b> {
    reader: Reader,
    rest: &'b [u8],
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
            line: 1,
            text: vec![0; ROW_BYTES],
            ends: vec![0; ROW_FIELDS],
        }
    }

    /// The next row that is not an empty line; none at the end.
    ///
    /// # Errors
    /// The row is too wide; nothing more can be read.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, TooWide> {
        let blank = self
            .rest
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let blank = blank.count();
        self.advance(blank);
        let line = self.line;
        let (mut bytes, mut fields) = (0, 0);
        loop {
            let (result, read, written, ended) = self.reader.read_record(
                self.rest,
                &mut self.text[bytes..],
                &mut self.ends[fields..],
            );
            (bytes, fields) = (bytes + written, fields + ended);
            self.advance(read);
            match result {
                // Asked again with nothing left, it ends the last row.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    self.rest = &[];
                    return Err(TooWide { line });
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u64, Vec<String>)>, TooWide> {
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
    fn a_row_of_commas_or_of_one_endless_field_ends_the_reading() {
        let commas = [b"a,b\n".as_slice(), &vec![b','; 1 << 20]].concat();
        assert_eq!(all(&commas), Err(TooWide { line: 2 }));
        let field = vec![b'x'; 1 << 20];
        assert_eq!(all(&field), Err(TooWide { line: 1 }));
        let quote = [b"a\n\"".as_slice(), &vec![b'\n'; 1 << 20]].concat();
        assert_eq!(all(&quote), Err(TooWide { line: 2 }));
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
            let rows: Vec<Vec<String>> = all(text.as_bytes()).unwrap().into_iter().map(|(_, fields)| fields).collect();
            prop_assert_eq!(rows, wanted);
        }
    }
}
