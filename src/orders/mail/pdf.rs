//! The text of a PDF file, line by line, with a tab between the cells of a table and a form feed behind each page.
//!
//! Pure, and bounded in pages, unpacked bytes and text; what the parser of the file builds is bounded by the process that this runs in
//! ([`super::apart`]). Pictures are not looked at: a scan has no text. Text that runs upwards is taken for text that runs to the right.

mod page;

use lopdf::{DecompressError, Document, Error, LoadOptions};

/// Pages of a file, at most.
pub const PAGES: usize = 100;
/// Bytes that streams of a file unpack to, at most: one stream while it is loaded, and the contents of all pages.
pub const UNPACKED: usize = 16 * 1024 * 1024;
/// Bytes of text, at most.
pub const TEXT: usize = 1024 * 1024;

/// Why a file is not read, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    #[error("it is encrypted; have it sent without a password, or compare it by hand")]
    Encrypted,
    #[error("it has {0} pages, at most {PAGES} are read; compare it by hand")]
    Pages(usize),
    #[error("it unpacks to more than {UNPACKED} bytes; compare it by hand")]
    TooLarge,
    #[error("it holds no text: a scan, or a picture; compare it by hand, or have it sent as text")]
    NoText,
    #[error("it is no PDF file that can be read ({0}); have it sent again, or compare it by hand")]
    Broken(String),
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidPassword
            | Error::Decryption(_)
            | Error::UnsupportedSecurityHandler(_) => Self::Encrypted,
            Error::Decompress(DecompressError::MemoryLimitExceeded { .. }) => Self::TooLarge,
            other => Self::Broken(other.to_string().chars().take(200).collect()),
        }
    }
}

/// Reads a file.
///
/// # Errors
/// See [`Unread`].
pub fn text(bytes: &[u8]) -> Result<String, Unread> {
    let document =
        Document::load_mem_with_options(bytes, LoadOptions::with_max_decompressed_size(UNPACKED))?;
    // One that needs no password to be read was decrypted.
    if document.is_encrypted() && !document.was_encrypted() {
        return Err(Unread::Encrypted);
    }
    let pages = document.page_iter().take(PAGES * 100).count();
    if pages > PAGES {
        return Err(Unread::Pages(pages));
    }
    let mut left = page::Left::default();
    let mut text = String::new();
    for id in document.page_iter() {
        page::write(&document, id, &mut left, &mut text)?;
        text.push('\u{c}');
        if text.len() > TEXT {
            return Err(Unread::TooLarge);
        }
    }
    if text.trim().is_empty() {
        return Err(Unread::NoText);
    }
    Ok(text)
}

#[cfg(test)]
#[path = "pdf_tests.rs"]
mod tests;
