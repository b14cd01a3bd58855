//! Letters as tables, sheets and JSON. Texts of others are escaped for a terminal; JSON escapes them by itself.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::commands::columns::{aligned, plain};
use crate::config::printable;
use crate::letters::entry::Entry;
use crate::letters::group::{By, Group};
use crate::letters::marks::Mark;

/// Longest text in a table, in characters.
const CELL: usize = 60;
/// Longest value on a sheet, in bytes; the raw bytes are given by --raw.
const SHEET: usize = 64 * 1024;

fn time(ms: Option<i64>) -> String {
    ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "-".to_owned(), |at| format!("{at:.3}"))
}

fn cell(text: &str) -> String {
    let text = plain(text);
    match text.char_indices().nth(CELL) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "-".to_owned())
}

pub(super) fn table<'e>(entries: impl IntoIterator<Item = &'e (Entry, Option<Mark>)>) -> String {
    let header = [
        "LETTER", "WRITTEN", "REASON", "STAGE", "OF", "SOURCE", "MARK", "DETAIL",
    ];
    aligned(
        header,
        entries.into_iter().map(|(entry, mark)| {
            [
                entry.place.to_string(),
                time(entry.time_ms),
                cell(&entry.reason),
                or_dash(Some(cell(&entry.stage))),
                or_dash(entry.subject().map(cell)),
                or_dash(entry.source.as_ref().map(ToString::to_string)),
                or_dash(mark.map(|mark| mark.name().to_owned())),
                cell(&entry.detail),
            ]
        }),
    )
}

pub(super) fn groups(by: By, groups: &[Group]) -> String {
    let name = by.name().to_uppercase();
    let header = [
        "LETTERS", "BYTES", &name, "FIRST", "LAST", "EXAMPLE", "DETAIL",
    ];
    aligned(
        header,
        groups.iter().map(|group| {
            [
                group.letters.to_string(),
                group.bytes.to_string(),
                cell(&group.group),
                time(group.first_ms),
                time(group.last_ms),
                group.example.to_string(),
                cell(&group.detail),
            ]
        }),
    )
}

/// Without the bytes.
pub(super) fn entry(entry: &Entry, mark: Option<Mark>) -> Value {
    let mut value = serde_json::to_value(entry).unwrap_or_else(|_| Value::Object(Map::new()));
    value["mark"] = json!(mark);
    value["bytes"] = json!(entry.value.len());
    value
}

/// With the bytes.
pub(super) fn whole(of: &Entry, mark: Option<Mark>) -> Value {
    let mut value = entry(of, mark);
    put(&mut value, "value", &of.value);
    if let Some(key) = &of.key {
        put(&mut value, "key", key);
    }
    value
}

fn put(value: &mut Value, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => value[name] = json!(text),
        Err(_) => value[format!("{name}_base64")] = json!(STANDARD.encode(bytes)),
    }
}

/// One letter for a person.
pub(super) fn sheet(entry: &Entry, mark: Option<Mark>) -> String {
    let mut out = String::new();
    let replays = (entry.replays > 0).then(|| format!("{} times", entry.replays));
    let attempts = (entry.attempts > 0).then(|| entry.attempts.to_string());
    let full = entry
        .full
        .as_ref()
        .map(|full| format!("the first {} of {} bytes", entry.value.len(), full.length));
    for (name, text) in [
        ("letter", Some(entry.place.to_string())),
        ("topic", Some(entry.kind.name().to_owned())),
        ("written", Some(time(entry.time_ms))),
        ("reason", Some(entry.reason.clone())),
        ("detail", Some(entry.detail.clone())),
        ("stage", Some(entry.stage.clone())),
        (
            "HTTP status",
            entry.http_status.map(|code| code.to_string()),
        ),
        ("gateway said", entry.server_text.clone()),
        ("requests", attempts),
        ("serial", entry.serial.clone()),
        ("key", entry.name.clone()),
        ("source", entry.source.as_ref().map(ToString::to_string)),
        (
            "source record",
            entry.source_record.map(|place| place.to_string()),
        ),
        (
            "source written",
            entry.source_time_ms.map(|ms| time(Some(ms))),
        ),
        ("replayed before", replays),
        ("mark", mark.map(|mark| mark.name().to_owned())),
        ("shortened", full),
    ] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            let _ = writeln!(out, "{name:<16} {}", plain(&text));
        }
    }
    let kept = &entry.value[..entry.value.len().min(SHEET)];
    let text = String::from_utf8_lossy(kept);
    let _ = writeln!(out, "\n{}", printable::lines(&text));
    if kept.len() < entry.value.len() {
        let _ = writeln!(
            out,
            "({} of {} bytes; --raw gives all)",
            kept.len(),
            entry.value.len()
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letters::entry::{Kind, Raw};
    use crate::letters::place::LetterPlace;

    /// Whatever a letter holds, nothing of it is applied by a terminal, and JSON stays JSON.
    #[test]
    fn hostile_letters_are_shown_and_not_obeyed() {
        let hostile = "\u{1b}]0;owned\u{7}\u{202e}\r\nx".as_bytes();
        let raw = Raw {
            kind: Kind::DeadLetter,
            place: LetterPlace::new("dead", 0, 7),
            time_ms: Some(i64::MAX),
            key: Some(b"\xff\x1b[2J"),
            value: hostile,
        };
        let headers = [
            "reason",
            "detail",
            "stage",
            "serial",
            "server-text",
            "source-topic",
        ];
        let numbers = [("source-partition", &b"0"[..]), ("source-offset", b"1")];
        let headers = headers.iter().map(|name| (*name, hostile)).chain(numbers);
        let entry = Entry::read(raw, headers);
        let hidden = |text: &str| text.chars().any(|c| printable::is_hidden(c) && c != '\n');
        let sheet = sheet(&entry, None);
        assert!(!hidden(&sheet), "{sheet:?}");
        let row = (entry, Some(Mark::Replayed));
        let table = table([&row]);
        assert!(!hidden(&table) && table.lines().count() == 2, "{table:?}");
        let json = whole(&row.0, row.1).to_string();
        let read: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(read["mark"], "replayed");
        assert_eq!(read["key_base64"], STANDARD.encode(b"\xff\x1b[2J"));
    }
}
