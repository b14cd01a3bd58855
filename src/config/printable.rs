//! Characters of others that must not reach a terminal or a log as they are: control characters (ANSI escape sequences, newlines)
//! and invisible ones that change how the rest is shown (bidirectional overrides, separators, tags).
//!
//! They are escaped so that they can be seen: `\n`, `\u{202e}`. Pure.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character changes what a person sees without being seen.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn escaped<'a>(text: &'a str, kept: impl Fn(char) -> bool, json: bool) -> Cow<'a, str> {
    if !text.chars().any(|c| is_hidden(c) && !kept(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if !is_hidden(c) || kept(c) {
            out.push(c);
        } else if json {
            // Writing to a string does not fail.
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.extend(c.escape_default());
        }
    }
    Cow::Owned(out)
}

/// A text on one line: newlines and tabs are escaped too.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false, false)
}

/// A text of several lines of our own: newlines and tabs stay.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || c == '\t', false)
}

/// JSON that is written already: what is left raw in its texts is escaped as JSON has it. Newlines and tabs between its parts stay.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || c == '\t', true)
}

/// A text as one word of a POSIX shell, so that a command that holds it can be pasted: quoted only if it must be. Hidden characters are
/// escaped as [`text`] escapes them, and one that begins with a hyphen comes after `--`, as it is no option.
#[must_use]
pub fn word(word: &str) -> String {
    let shown = text(word);
    let plain = |c: char| {
        c.is_alphanumeric()
            || matches!(c, '_' | '@' | '%' | '+' | '=' | ':' | ',' | '.' | '/' | '-')
    };
    let mut out = String::with_capacity(shown.len() + 4);
    if shown.starts_with('-') {
        out.push_str("-- ");
    }
    if !shown.is_empty() && shown.chars().all(plain) {
        out.push_str(&shown);
    } else {
        out.push('\'');
        out.push_str(&shown.replace('\'', r"'\''"));
        out.push('\'');
    }
    out
}

/// A line in which our own colour sequences (`ESC [ digits m`) stay.
#[must_use]
pub fn coloured(line: &str) -> Cow<'_, str> {
    let colour = |from: &str| {
        let rest = from.strip_prefix("\u{1b}[")?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
        rest[end..].starts_with('m').then_some(2 + end + 1)
    };
    if !line.chars().any(is_hidden) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('\u{1b}') {
        out.push_str(&text(&rest[..at]));
        rest = &rest[at..];
        let length = colour(rest).unwrap_or(0);
        if length == 0 {
            out.push_str(&text(&rest[..1]));
            rest = &rest[1..];
        } else {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    out.push_str(&text(rest));
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_shown() {
        assert_eq!(
            text("a\u{1b}[31mb\nc\u{202e}d"),
            "a\\u{1b}[31mb\\nc\\u{202e}d"
        );
        assert_eq!(lines("a\nb\r\tc\u{9b}"), "a\nb\\r\tc\\u{9b}");
        assert_eq!(text("Zoë 王 😀 نام‌ه"), "Zoë 王 😀 نام‌ه");
        assert!(matches!(text("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_word_is_one_word_of_a_shell() {
        for (given, wanted) in [
            ("2026-03-01.csv@4f1c09ab", "2026-03-01.csv@4f1c09ab"),
            ("März 2026.csv", "'März 2026.csv'"),
            ("", "''"),
            ("$(id) `id` \"x\" !!", "'$(id) `id` \"x\" !!'"),
            ("it's", r"'it'\''s'"),
            ("-rf", "-- -rf"),
            ("-r f", "-- '-r f'"),
            ("a\nb", r"'a\nb'"),
            ("~root", "'~root'"),
        ] {
            assert_eq!(word(given), wanted, "{given:?}");
        }
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({ "a": "x\u{7f}\u{202e}\u{e0041}\n" });
        let written = json(&value.to_string()).into_owned();
        assert!(written.chars().all(|c| !is_hidden(c)), "{written:?}");
        let read: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn only_whole_colour_sequences_stay() {
        assert_eq!(
            coloured("\u{1b}[2mtime\u{1b}[0m \u{1b}[2Jx\u{1b}]0;t\u{7}\n"),
            "\u{1b}[2mtime\u{1b}[0m \\u{1b}[2Jx\\u{1b}]0;t\\u{7}\\n"
        );
    }
}
