//! A sheet as text: its encoding, and what stands between its columns. Pure.
//!
//! A byte order mark decides (UTF-8, UTF-16 LE, UTF-16 BE). Without one a text is UTF-8 if it is valid UTF-8; else it is read as
//! Windows-1252, which every sequence of bytes is: a last resort that is said with the sheet ([`Text::encoding`]). Serials and dates
//! are ASCII, so a wrong guess can only hide a header, and a sheet without its headers ends nobody.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use super::cells::NoSheet;

/// What may stand between columns when the settings leave it open, in the order in which it is tried.
pub(super) const DELIMITERS: [(u8, &str); 3] =
    [(b',', "comma"), (b';', "semicolon"), (b'\t', "tab")];
/// What cannot be read as a text.
const SAVE: &str = "save it as CSV in UTF-8";

/// A decoded text.
#[derive(Debug)]
pub(super) struct Text<'b> {
    pub text: Cow<'b, str>,
    /// For people.
    pub encoding: &'static str,
}

/// Decodes a sheet.
///
/// # Errors
/// Bytes that its byte order mark does not allow, or no text at all.
pub(super) fn decode(bytes: &[u8]) -> Result<Text<'_>, NoSheet> {
    let (text, encoding) = match Encoding::for_bom(bytes) {
        Some((encoding, mark)) => {
            let (text, broken) = encoding.decode_without_bom_handling(&bytes[mark..]);
            if broken {
                let name = encoding.name();
                return Err(NoSheet::new(
                    format!(
                        "it is marked as {name} and has bytes that are none; it may be cut off"
                    ),
                    SAVE,
                ));
            }
            (text, encoding.name())
        }
        None => match UTF_8.decode_without_bom_handling_and_without_replacement(bytes) {
            Some(text) => (text, UTF_8.name()),
            None => {
                let (text, _) = WINDOWS_1252.decode_without_bom_handling(bytes);
                (text, "Windows-1252 (a guess: it is no UTF-8)")
            }
        },
    };
    if text.contains('\0') {
        return Err(NoSheet::new("it is no text", SAVE));
    }
    Ok(Text { text, encoding })
}

/// The name of what stands between columns.
pub(super) fn name(delimiter: u8) -> String {
    let known = DELIMITERS.iter().find(|(known, _)| *known == delimiter);
    known.map_or_else(
        || format!("{:?}", char::from(delimiter)),
        |(_, name)| (*name).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_decoded_by_its_mark_or_by_what_it_is() {
        let units = |text: &str, swap: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(swap).collect()
        };
        let text = "Série,Ende\n";
        let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        for (bytes, encoding) in [
            (text.as_bytes().to_vec(), "UTF-8"),
            ([b"\xef\xbb\xbf", text.as_bytes()].concat(), "UTF-8"),
            (
                [b"\xff\xfe".to_vec(), units(text, u16::to_le_bytes)].concat(),
                "UTF-16LE",
            ),
            (
                [b"\xfe\xff".to_vec(), units(text, u16::to_be_bytes)].concat(),
                "UTF-16BE",
            ),
            (latin, "Windows-1252"),
        ] {
            let decoded = decode(&bytes).unwrap();
            assert_eq!(decoded.text, text, "{encoding}");
            assert!(
                decoded.encoding.starts_with(encoding),
                "{}",
                decoded.encoding
            );
        }
    }

    #[test]
    fn bytes_that_a_mark_does_not_allow_are_no_text() {
        for bytes in [
            &b"\xff\xfeS\0e\0r"[..],
            b"\xfe\xff\xd8\x00\0S",
            b"\xef\xbb\xbfS\xe9rie",
            b"S\0e\0r\0",
        ] {
            let error = decode(bytes).unwrap_err();
            assert!(error.to_string().contains("UTF-8"), "{error}");
        }
    }
}
