//! Mails that a person forwarded within the text of a mail of their own.
//!
//! Pure. A mail program writes a line that says so, and below it the headers of the mail, in the person's language. The sender and
//! the subject of the forwarded mail are what counts then. A forwarded mail may hold another one.

use super::opened::Opened;
use super::text::Text;

/// Forwarded mails of one text, at most: the first ones.
const MOST: usize = 5;
/// Lines below the mark in which the headers stand.
const HEADERS: usize = 12;

/// Words of the lines that mark a forwarded mail, in lower case.
const MARKS: [&str; 12] = [
    "forwarded message",
    "original message",
    "begin forwarded message",
    "forwarded by",
    "weitergeleitete nachricht",
    "ursprüngliche nachricht",
    "original-nachricht",
    "message transféré",
    "message d'origine",
    "mensaje reenviado",
    "mensaje original",
    "messaggio inoltrato",
];

const FROM: [&str; 4] = ["from", "von", "de", "da"];
const SUBJECT: [&str; 5] = ["subject", "betreff", "objet", "asunto", "oggetto"];
const OTHERS: [&str; 12] = [
    "to", "cc", "date", "sent", "an", "gesendet", "datum", "à", "envoyé", "para", "enviado",
    "fecha",
];

/// The mails that a mail's text forwards, outermost first; each has the whole text below its headers, and the attachments of the mail.
#[must_use]
pub fn within(opened: &Opened) -> Vec<Opened> {
    let mut found = Vec::new();
    for body in &opened.body {
        let lines: Vec<&str> = body.lines.lines().map(unquoted).collect();
        for (at, line) in lines.iter().enumerate() {
            if found.len() >= MOST {
                break;
            }
            // Outlook marks a forwarded mail by its headers alone.
            let begins = is_mark(line).then_some(at + 1).or_else(|| {
                let first = header(line).is_some_and(|(name, _)| FROM.contains(&name.as_str()));
                first.then_some(at)
            });
            let Some(inner) = begins.and_then(|from| headers(&lines[from..])) else {
                continue;
            };
            let same = |other: &Opened| {
                other.sender == inner.sender
                    && (inner.subject.is_empty() || other.subject == inner.subject)
            };
            if found.iter().any(same) {
                continue;
            }
            let text = lines[at..].join("\n");
            found.push(Opened {
                body: vec![Text::plain("the forwarded mail's text", &text)],
                attached: opened.attached.clone(),
                ..inner
            });
        }
    }
    found
}

/// A line without the marks of quotation before it.
fn unquoted(line: &str) -> &str {
    line.trim_start_matches(['>', ' ']).trim_end()
}

fn is_mark(line: &str) -> bool {
    let words = line.trim_matches(|c: char| matches!(c, '-' | '_' | '*' | ' ' | ':' | '='));
    let words = words.to_lowercase();
    MARKS.iter().any(|mark| words.starts_with(mark)) && words.len() < 80
}

/// The name and the value of a header, whose name may be printed bold.
fn header(line: &str) -> Option<(String, String)> {
    let line = line.trim_start_matches(['*', '|', '\t', ' ']);
    let (name, value) = line.split_once(':')?;
    let name = name.trim_end_matches(['*', ' ', '\u{a0}']).to_lowercase();
    let known = [&FROM[..], &SUBJECT[..], &OTHERS[..]]
        .iter()
        .any(|names| names.contains(&name.as_str()));
    let value = value.trim_matches(['*', ' ', '\t', '\u{a0}']);
    known.then(|| (name, value.to_owned()))
}

/// The sender and the subject of the headers that begin here; nothing if there is no address.
fn headers(lines: &[&str]) -> Option<Opened> {
    let mut opened = Opened::default();
    let mut others = 0;
    for line in lines.iter().take(HEADERS) {
        let Some((name, value)) = header(line) else {
            // Before the first header and between two of them there may be an empty line.
            if line.trim().is_empty() || (opened.sender.is_empty() && others == 0) {
                continue;
            }
            if opened.sender.is_empty() || opened.subject.is_empty() {
                continue;
            }
            break;
        };
        if FROM.contains(&name.as_str()) && opened.sender.is_empty() {
            opened.sender = address(&value)?;
        } else if SUBJECT.contains(&name.as_str()) && opened.subject.is_empty() {
            opened.subject = value;
        } else {
            others += 1;
        }
    }
    let is_whole = !opened.sender.is_empty() && (others > 0 || !opened.subject.is_empty());
    is_whole.then_some(opened)
}

/// The address of `Geotab <ar@geotab.com>`, `ar@geotab.com`, `Geotab [mailto:ar@geotab.com]`.
fn address(text: &str) -> Option<String> {
    let cut = |c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '<' | '>' | '[' | ']' | '(' | ')' | '"' | ',' | ';' | '\''
            )
    };
    let word = text.split(cut).find(|word| word.contains('@'))?;
    Some(word.trim_start_matches("mailto:").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn senders(text: &str) -> Vec<(String, String)> {
        let opened = Opened {
            body: vec![Text::plain("t", text)],
            ..Opened::default()
        };
        within(&opened)
            .into_iter()
            .map(|inner| (inner.sender, inner.subject))
            .collect()
    }

    #[test]
    fn every_mail_programs_way_of_forwarding_is_known() {
        let wanted = vec![("ar@geotab.com".to_owned(), "Packing slip".to_owned())];
        for text in [
            "See below\n\n---------- Forwarded message ---------\nFrom: Geotab AR <ar@geotab.com>\nDate: Mon, 9 Mar 2026\nSubject: Packing slip\nTo: <us@example.com>\n\n\nSales No: 7",
            "-----Original Message-----\nFrom: Geotab [mailto:ar@geotab.com]\nSent: Monday\nTo: us\nSubject: Packing slip\n\nx",
            "> Begin forwarded message:\n> \n> From: ar@geotab.com\n> Subject: Packing slip\n> Date: 9 March\n",
            "-------- Weitergeleitete Nachricht --------\nBetreff: \tPacking slip\nDatum: \tMon\nVon: \tGeotab <ar@geotab.com>\nAn: us\n",
            "Bitte ansehen\n\n*Von:* Geotab <ar@geotab.com>\n*Gesendet:* Montag\n*An:* uns\n*Betreff:* Packing slip\n",
        ] {
            assert_eq!(senders(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_mail_that_only_speaks_of_mails_forwards_none() {
        for text in [
            "From: the desk of Ann\nHello",
            "I lost the original message",
            "From: a@b.example\nHello",
            "",
        ] {
            assert_eq!(senders(text), [], "{text}");
        }
    }

    #[test]
    fn a_forwarded_mail_may_hold_another_one() {
        let text = "---------- Forwarded message ---------\nFrom: Bob <bob@example.com>\nSubject: Fwd: Packing slip\nTo: ann\n\nplease\n\n\
                    -----Original Message-----\nFrom: <ar@geotab.com>\nSent: Monday\nSubject: Packing slip\n\nSales No: 7\n";
        let senders: Vec<_> = senders(text)
            .into_iter()
            .map(|(sender, _)| sender)
            .collect();
        assert_eq!(senders, ["bob@example.com", "ar@geotab.com"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(From:|Subject:|---|Forwarded message|[ -~é]|\n){0,80}") {
            prop_assert!(senders(&text).len() <= MOST);
        }
    }
}
