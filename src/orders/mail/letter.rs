//! A mail as read: whether it is a purchase order or a packing slip, and the numbers it names.
//!
//! Pure. Numbers are looked for in the subject, the names of attachments, the text and attachments that are text; PDF is not read.

use jiff::Timestamp;
use mail_parser::{Message, MessageParser, MimeHeaders as _};
use regex::{Regex, RegexBuilder};

use super::Config;

/// Bytes of text that are searched at most.
const SEARCHED: usize = 1024 * 1024;

/// Bytes of a mail that are no attachment in Base64, at most: headers, texts, boundaries.
pub const PLAIN: usize = 2 * 1024 * 1024;

/// What a mail is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Items and prices; not yet a go-ahead.
    PurchaseOrder,
    /// The order is approved.
    PackingSlip,
}

/// A purchase order or a packing slip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub kind: Kind,
    /// For people: its message id, or its file's name.
    pub name: String,
    pub sent: Timestamp,
    pub sales_no: Option<String>,
    pub po_number: Option<String>,
}

/// The settings' patterns, ready to be used. None looks at upper or lower case.
#[derive(Debug)]
pub struct Patterns {
    purchase_order: (Regex, Regex),
    packing_slip: (Regex, Regex),
    sales_no: Regex,
    po_number: Regex,
}

impl Patterns {
    /// # Errors
    /// The first pattern that is none, or has no group where one is needed.
    pub fn new(config: &Config) -> Result<Self, String> {
        let pattern = |name: &str, text: &str| {
            RegexBuilder::new(text)
                .case_insensitive(true)
                .size_limit(1 << 20)
                .build()
                .map_err(|error| format!("mail.{name}: {error}"))
        };
        let number = |name: &str, text: &str| {
            let pattern = pattern(name, text)?;
            if pattern.captures_len() == 2 {
                Ok(pattern)
            } else {
                Err(format!(
                    "mail.{name}: needs exactly one group in parentheses, around the number"
                ))
            }
        };
        Ok(Self {
            purchase_order: (
                pattern("purchase_order_from", &config.purchase_order_from)?,
                pattern("purchase_order_named", &config.purchase_order_named)?,
            ),
            packing_slip: (
                pattern("packing_slip_from", &config.packing_slip_from)?,
                pattern("packing_slip_named", &config.packing_slip_named)?,
            ),
            sales_no: number("sales_no", &config.sales_no)?,
            po_number: number("po_number", &config.po_number)?,
        })
    }
}

/// Whether the parser may read a mail: it keeps up to some 50 bytes for every one that is no attachment in Base64.
///
/// # Errors
/// Why not.
pub fn check_size(bytes: &[u8]) -> Result<(), String> {
    let is_encoded = |line: &&[u8]| {
        let letters =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        (40..=100).contains(&line.len()) && line.iter().all(letters)
    };
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let plain: usize = lines
        .filter(|line| !is_encoded(line))
        .map(|line| line.len() + 1)
        .sum();
    if plain > PLAIN {
        return Err(format!(
            "it has {plain} bytes beside attachments in Base64, at most {PLAIN} are read; remove the mail"
        ));
    }
    Ok(())
}

/// Reads a mail; nothing if it is neither kind. `file` names it and `arrived` dates it if it does not do so itself.
#[must_use]
pub fn read(bytes: &[u8], patterns: &Patterns, file: &str, arrived: Timestamp) -> Option<Letter> {
    let mail = MessageParser::default().parse(bytes)?;
    let sender = mail.from()?.first()?.address()?.trim().to_owned();
    let subject = mail.subject().unwrap_or_default();
    let names: Vec<&str> = mail
        .attachments()
        .filter_map(|part| part.attachment_name())
        .chain([subject])
        .collect();
    let is = |(from, named): &(Regex, Regex)| {
        from.is_match(&sender) && names.iter().any(|name| named.is_match(name))
    };
    let kind = if is(&patterns.packing_slip) {
        Kind::PackingSlip
    } else if is(&patterns.purchase_order) {
        Kind::PurchaseOrder
    } else {
        return None;
    };
    let searched = searched(&mail, &names);
    let sent = mail
        .date()
        .and_then(|date| Timestamp::from_second(date.to_timestamp()).ok());
    Some(Letter {
        kind,
        name: mail
            .message_id()
            .unwrap_or(file)
            .chars()
            .take(200)
            .collect(),
        // A date to come would never grow old.
        sent: sent.unwrap_or(arrived).min(arrived),
        sales_no: number(&patterns.sales_no, &searched),
        po_number: number(&patterns.po_number, &searched),
    })
}

/// Everything of a mail that is text, a line each.
fn searched(mail: &Message<'_>, names: &[&str]) -> String {
    let mut all = names.join("\n");
    let bodies = (0..mail.text_body_count()).filter_map(|at| mail.body_text(at));
    for text in bodies {
        all.push('\n');
        all.push_str(&text);
    }
    for text in mail.attachments().filter_map(|part| part.text_contents()) {
        all.push('\n');
        all.push_str(text);
    }
    let mut end = all.len().min(SEARCHED);
    while !all.is_char_boundary(end) {
        end -= 1;
    }
    all.truncate(end);
    all
}

/// The first match that holds a digit: words such as a post office's box are none. What follows a word may be the next match's
/// label, so the search goes on within it.
fn number(pattern: &Regex, text: &str) -> Option<String> {
    let mut from = 0;
    while let Some(found) = pattern.captures_at(text, from) {
        let (whole, number) = (found.get(0)?, found.get(1)?);
        if number.as_str().bytes().any(|byte| byte.is_ascii_digit()) {
            return Some(normal(number.as_str()));
        }
        let first = whole.as_str().chars().next().map_or(1, char::len_utf8);
        from = whole.start() + first;
        if from > text.len() {
            return None;
        }
    }
    None
}

/// A number in one spelling.
#[must_use]
pub fn normal(number: &str) -> String {
    number.trim().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: &str = "2026-03-10T12:00:00Z";

    fn mail(from: &str, subject: &str, attachment: &str, text: &str) -> String {
        format!(
            "From: Geotab <{from}>\r\nTo: us@example.com\r\nMessage-ID: <m1@geotab>\r\n\
             Date: Mon, 9 Mar 2026 10:00:00 +0000\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=\"cut\"\r\n\r\n--cut\r\nContent-Type: text/plain\r\n\r\n{text}\r\n\
             --cut\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"{attachment}\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n--cut--\r\n"
        )
    }

    fn letter(text: &str) -> Option<Letter> {
        let patterns = Patterns::new(&Config::default()).unwrap();
        read(text.as_bytes(), &patterns, "file", NOW.parse().unwrap())
    }

    #[test]
    fn a_purchase_order_and_a_packing_slip_are_told_apart() {
        let order = mail(
            "purchasing@geotab.com",
            "Confirmation",
            "GeotabPurchaseOrderConfirmation_12.pdf",
            "Our address: P.O. Box 9, Oakville\r\nSales No: so-7781\r\nPO Number: PO-55",
        );
        let order = letter(&order).unwrap();
        assert_eq!(order.kind, Kind::PurchaseOrder);
        assert_eq!(order.sales_no.as_deref(), Some("SO-7781"));
        assert_eq!(order.po_number.as_deref(), Some("PO-55"));
        assert_eq!(order.name, "m1@geotab");
        assert_eq!(order.sent, "2026-03-09T10:00:00Z".parse().unwrap());

        let slip = mail(
            "AR@geotab.com",
            "Packing slip",
            "x.pdf",
            "Sales Order # 7781",
        );
        let slip = letter(&slip).unwrap();
        assert_eq!(slip.kind, Kind::PackingSlip);
        assert_eq!(slip.sales_no.as_deref(), Some("7781"));
        assert_eq!(slip.po_number, None);
    }

    #[test]
    fn a_number_is_found_behind_its_label_and_nowhere_else() {
        let patterns = Patterns::new(&Config::default()).unwrap();
        for (text, found) in [
            ("PurchaseOrder\nPO Number: PO-7", Some("PO-7")),
            ("PO Number\n\tpo/8", Some("PO/8")),
            ("P.O. # 12", Some("12")),
            ("P.O. Box 12, expo 13", None),
            ("é PO", None),
        ] {
            assert_eq!(
                number(&patterns.po_number, text).as_deref(),
                found,
                "{text}"
            );
        }
    }

    #[test]
    fn other_mail_is_none_of_our_business() {
        for (from, name) in [
            ("ar@geotab.com.example.org", "x.pdf"),
            ("someone@example.com", "GeotabPurchaseOrderConfirmation.pdf"),
            ("purchasing@geotab.com", "newsletter.pdf"),
        ] {
            assert_eq!(
                letter(&mail(from, "Hello", name, "Sales No: 1")),
                None,
                "{from}"
            );
        }
        assert_eq!(letter("no mail at all"), None);
    }

    #[test]
    fn a_pattern_that_cannot_be_used_is_named() {
        let broken = Config {
            sales_no: "(".into(),
            ..Config::default()
        };
        assert!(
            Patterns::new(&broken)
                .unwrap_err()
                .starts_with("mail.sales_no")
        );
        let groupless = Config {
            po_number: "PO [0-9]+".into(),
            ..Config::default()
        };
        assert!(Patterns::new(&groupless).unwrap_err().contains("one group"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let patterns = Patterns::new(&Config::default()).unwrap();
            let head = b"From: ar@geotab.com\r\nSubject: ";
            let _ = read(&[&head[..], &bytes].concat(), &patterns, "f", Timestamp::UNIX_EPOCH);
            let _ = read(&bytes, &patterns, "f", Timestamp::UNIX_EPOCH);
        }
    }
}
