//! A mail taken apart: who sent it, its texts, its attachments as far as they can be read, and the mails within it.
//!
//! Pure, and bounded in parts, depth and bytes of text. PDF files and mails within mails are opened only where that may go wrong
//! ([`super::apart`]): [`open`] with [`How::Plain`] says that they are there. A text is kept as it was declared; bytes that do not
//! fit their character set are replaced, and nothing else of the text is lost.

use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders as _, PartType};
use serde::{Deserialize, Serialize};

use super::pdf;
use super::text::Text;

/// Mails within mails, at most.
pub const DEPTH: usize = 5;
/// Attachments of a mail and of the mails within it, at most.
pub const ATTACHED: usize = 60;
/// Bytes of all texts, at most.
pub const TEXTS: usize = 4 * 1024 * 1024;

/// A mail taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    pub sender: String,
    pub subject: String,
    pub id: Option<String>,
    /// In seconds since 1970.
    pub sent: Option<i64>,
    /// Its text in one or two forms that say the same.
    pub body: Vec<Text>,
    pub attached: Vec<Attached>,
    /// Mails within it.
    pub inner: Vec<Opened>,
    /// Whether it has more than [`How::Plain`] reads.
    pub more: bool,
}

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    pub name: String,
    pub text: Option<Text>,
    /// Why there is no text, if there should be one.
    pub unread: Option<Gap>,
}

/// Why an attachment has no text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub said: String,
    /// Whether it is of no account where the letter has its items elsewhere: a picture, a file of terms.
    pub minor: bool,
}

/// How much of a mail is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The parts of a mail that need no parser but that of mails.
    Plain,
    /// PDF files and mails within it too.
    Whole,
}

/// Whether a mail may hold mails: these are opened apart, because they may be nested to any depth.
#[must_use]
pub fn may_hold_mails(bytes: &[u8]) -> bool {
    static WORDS: OnceLock<AhoCorasick> = OnceLock::new();
    let words = WORDS.get_or_init(|| {
        AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(["rfc822", "message/", "digest", "global"])
            .expect("four words are searched for")
    });
    words.is_match(bytes)
}

/// Opens a mail; nothing if it is none.
#[must_use]
pub fn open(bytes: &[u8], how: How) -> Option<Opened> {
    let mail = MessageParser::default().parse(bytes)?;
    let mut left = Left {
        how,
        attached: ATTACHED,
        bytes: TEXTS,
    };
    left.mail(&mail, 0)
}

/// The rest of the limits on opening attachments.
struct Left {
    how: How,
    attached: usize,
    bytes: usize,
}

impl Left {
    fn mail(&mut self, mail: &Message<'_>, depth: usize) -> Option<Opened> {
        let sender = mail.from()?.first()?.address()?.trim().to_owned();
        let mut opened = Opened {
            sender,
            subject: mail.subject().unwrap_or_default().to_owned(),
            id: mail.message_id().map(str::to_owned),
            sent: mail.date().map(mail_parser::DateTime::to_timestamp),
            ..Opened::default()
        };
        opened.body = self.body(mail);
        for part in mail.attachments() {
            self.part(part, depth, &mut opened);
        }
        Some(opened)
    }

    fn body(&mut self, mail: &Message<'_>) -> Vec<Text> {
        let mut forms = vec![joined(mail, &mail.text_body)];
        if mail.html_body != mail.text_body {
            forms.push(joined(mail, &mail.html_body));
        }
        forms.retain(|lines| !lines.trim().is_empty());
        let forms = forms
            .into_iter()
            .filter_map(|lines| self.take(Text::plain("the mail's text", &lines)).ok());
        forms.collect()
    }

    /// Counts a text.
    fn take(&mut self, text: Text) -> Result<Text, Gap> {
        match self.bytes.checked_sub(text.lines.len()) {
            Some(left) => {
                self.bytes = left;
                Ok(text)
            }
            None => Err(Gap {
                said: format!(
                    "the texts of the mail have more than {TEXTS} bytes; compare it by hand"
                ),
                minor: false,
            }),
        }
    }

    fn part(&mut self, part: &MessagePart<'_>, depth: usize, opened: &mut Opened) {
        let name: String = part
            .attachment_name()
            .unwrap_or_default()
            .chars()
            .take(100)
            .collect();
        let ending = name
            .rsplit_once('.')
            .map(|(_, ending)| ending.to_ascii_lowercase())
            .unwrap_or_default();
        let kind = part
            .content_type()
            .map(|kind| (kind.ctype(), kind.subtype().unwrap_or_default()));
        let is_kind = |one: &str, two: &str| {
            kind.is_some_and(|(a, b)| a.eq_ignore_ascii_case(one) && b.eq_ignore_ascii_case(two))
        };
        if self.attached == 0 {
            if !opened
                .attached
                .iter()
                .any(|attached| attached.name.is_empty())
            {
                opened.attached.push(Attached {
                    name: String::new(),
                    text: None,
                    unread: Some(Gap {
                        said: format!(
                            "the mail has more than {ATTACHED} attachments; compare it by hand"
                        ),
                        minor: true,
                    }),
                });
            }
            return;
        }
        self.attached -= 1;
        let place = format!("attachment {name:?}");
        let bytes = part.contents();
        let read = match &part.body {
            PartType::Message(inner) => return self.inner(inner, name, depth, opened),
            PartType::Text(text) if ending == "csv" || is_kind("text", "csv") => {
                Ok(Some(Text::csv(&place, text)))
            }
            PartType::Html(text) => Ok(Some(Text::html(&place, text))),
            PartType::Text(text) if ending == "html" || ending == "htm" => {
                Ok(Some(Text::html(&place, text)))
            }
            PartType::Text(text) => Ok(Some(Text::plain(&place, text))),
            PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Multipart(_) => {
                if bytes.starts_with(b"%PDF-") || ending == "pdf" || is_kind("application", "pdf") {
                    if self.how == How::Plain {
                        opened.more = true;
                        Ok(None)
                    } else {
                        pdf(bytes, &place).map(Some)
                    }
                } else if ending == "eml" || is_kind("message", "rfc822") {
                    return self.file(bytes, name, depth, opened);
                } else {
                    other(bytes, &ending, &place)
                }
            }
        };
        let read = read.and_then(|text| text.map(|text| self.take(text)).transpose());
        let (text, unread) = match read {
            Ok(text) => (text, None),
            Err(gap) => (None, Some(gap)),
        };
        opened.attached.push(Attached { name, text, unread });
    }

    /// A file that is a mail.
    fn file(&mut self, bytes: &[u8], name: String, depth: usize, opened: &mut Opened) {
        if self.how == How::Plain {
            opened.more = true;
            return;
        }
        match MessageParser::default().parse(bytes) {
            Some(mail) => self.inner(&mail, name, depth, opened),
            None => opened.attached.push(Attached {
                name,
                text: None,
                unread: Some(Gap {
                    said:
                        "it is no mail that can be read; have it sent again, or compare it by hand"
                            .to_owned(),
                    minor: false,
                }),
            }),
        }
    }

    fn inner(&mut self, mail: &Message<'_>, name: String, depth: usize, opened: &mut Opened) {
        if self.how == How::Plain {
            opened.more = true;
        } else if depth >= DEPTH {
            opened.attached.push(Attached {
                name,
                text: None,
                unread: Some(Gap {
                    said: format!("mails within mails are read {DEPTH} deep; compare it by hand"),
                    minor: false,
                }),
            });
        } else if let Some(inner) = self.mail(mail, depth + 1) {
            opened.inner.push(inner);
        }
    }
}

/// The texts of some parts of a mail.
fn joined(mail: &Message<'_>, ids: &[u32]) -> String {
    let parts = ids
        .iter()
        .filter_map(|id| mail.parts.get(*id as usize))
        .take(ATTACHED);
    let texts = parts.map(|part| match &part.body {
        PartType::Text(text) => Text::plain("", text).lines,
        PartType::Html(html) => Text::html("", html).lines,
        PartType::Binary(_)
        | PartType::InlineBinary(_)
        | PartType::Message(_)
        | PartType::Multipart(_) => String::new(),
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn pdf(bytes: &[u8], place: &str) -> Result<Text, Gap> {
    match pdf::text(bytes) {
        Ok(text) => Ok(Text::plain(place, &text)),
        Err(unread) => Err(Gap {
            said: unread.to_string(),
            minor: unread == pdf::Unread::NoText,
        }),
    }
}

/// Files that hold documents and are not read.
const DOCUMENTS: [&str; 12] = [
    "xls", "xlsx", "xlsm", "doc", "docx", "odt", "ods", "rtf", "tif", "tiff", "zip", "xps",
];

/// A file of another kind: a text by another name, a document that is not read, or something of no account.
fn other(bytes: &[u8], ending: &str, place: &str) -> Result<Option<Text>, Gap> {
    if DOCUMENTS.contains(&ending) {
        return Err(Gap {
            said: format!(
                "files of the kind .{ending} are not read; compare it by hand, or have it sent as PDF"
            ),
            minor: true,
        });
    }
    let text = std::str::from_utf8(bytes).ok();
    Ok(match (ending, text) {
        ("csv", Some(text)) => Some(Text::csv(place, text)),
        ("txt", Some(text)) => Some(Text::plain(place, text)),
        ("html" | "htm", Some(text)) => Some(Text::html(place, text)),
        _ => None,
    })
}
