//! What the store keeps of a sheet: the rows that name a device and those that are not understood, never the bytes.
//!
//! Pure. A doubted sheet is kept whole until it is decided; of an applied or accepted one the rows that are to be done later, and those
//! that were not understood. Serials, dates and row numbers are all that is kept of its content.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Config;
use super::sheet::{Row, Sheet};
use crate::orders::journey::Serial;
use crate::orders::lines::BadLine;

/// Goes up when a sheet may be understood otherwise than before: sheets that were doubted are judged again.
const READER: u32 = 2;
/// Characters of a digest that name a sheet beside its file's name.
const SHORT: usize = 8;

/// What is kept of a sheet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub rows: u64,
    /// Line, serial, and the date in microseconds.
    pub good: Vec<(u64, Serial, Option<i64>)>,
    pub bad: Vec<BadLine>,
    pub bad_count: u64,
    /// The serials of rows that are not understood, as a version without [`Kept::doubtful`] kept them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    spoiled: Vec<Serial>,
    /// Devices that rows name which are not understood, with the rows' lines.
    #[serde(default)]
    pub doubtful: Vec<(u64, Serial)>,
    pub form: String,
}

impl Kept {
    /// What is kept of a sheet. Of the rows that are not understood only `is_device` words are kept: the file may be no sheet.
    pub(super) fn of(sheet: &Sheet, is_device: impl Fn(&Serial) -> bool) -> Self {
        let doubtful = sheet.spoiled.iter();
        Self {
            rows: sheet.rows,
            good: sheet.good.iter().map(flat).collect(),
            bad: sheet.bad.clone(),
            bad_count: sheet.bad_count,
            spoiled: Vec::new(),
            doubtful: doubtful
                .filter(|(_, serial)| is_device(serial))
                .cloned()
                .collect(),
            form: sheet.form.clone(),
        }
    }

    /// Rows that are not understood and name no device.
    pub(super) fn nameless(&self) -> u64 {
        let mut lines: Vec<u64> = self.doubtful.iter().map(|(line, _)| *line).collect();
        lines.sort_unstable();
        lines.dedup();
        let named = lines.len() + self.spoiled.len();
        self.bad_count.saturating_sub(named as u64)
    }

    /// The same with only these devices.
    pub(super) fn with<'r>(&self, rows: impl Iterator<Item = &'r Row>) -> Self {
        Self {
            good: rows.map(flat).collect(),
            ..self.clone()
        }
    }

    /// Every serial that is named, in rows that are understood and in others.
    pub(super) fn serials(&self) -> impl Iterator<Item = &Serial> {
        let good = self.good.iter().map(|(_, serial, _)| serial);
        good.chain(self.doubted_serials())
    }

    /// Every device that a row names which is not understood.
    pub(super) fn doubted_serials(&self) -> impl Iterator<Item = &Serial> {
        let doubtful = self.doubtful.iter().map(|(_, serial)| serial);
        doubtful.chain(&self.spoiled)
    }

    /// As it was read. That a date was a day number was settled before.
    pub(super) fn sheet(&self) -> Sheet {
        let row = |(line, serial, since): &(u64, Serial, Option<i64>)| Row {
            line: *line,
            serial: serial.clone(),
            since: since.and_then(|at| Timestamp::from_microsecond(at).ok()),
            assumed: false,
        };
        Sheet {
            rows: self.rows,
            good: self.good.iter().map(row).collect(),
            bad: self.bad.clone(),
            bad_count: self.bad_count,
            spoiled: self.doubtful.clone(),
            form: self.form.clone(),
        }
    }

    pub(super) fn written(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers serialise")
    }

    /// What [`Kept::written`] wrote; none of a text that is something else.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

fn flat(row: &Row) -> (u64, Serial, Option<i64>) {
    let since = row.since.map(Timestamp::as_microsecond);
    (row.line, row.serial.clone(), since)
}

/// What a sheet is called for people and in alarms: its file's name, and what tells its content if it names a device.
pub(super) fn subject(name: &str, digest: &str, names_a_row: bool) -> String {
    if names_a_row {
        let short: String = digest.chars().take(SHORT).collect();
        format!("{name}@{short}")
    } else {
        name.to_owned()
    }
}

/// Tells one content from another; not a defence against forgery. FNV-1a, with the length.
pub(super) fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}-{}", bytes.len())
}

/// Tells the settings by which sheets are judged from others.
pub(super) fn judged_by(config: &Config) -> String {
    let Config {
        serial,
        date,
        date_formats,
        delimiter,
        footer,
        shrink_percent,
        allow_empty,
        most_at_once,
        ..
    } = config;
    let columns = (serial, date, date_formats, delimiter, footer);
    let bounds = (shrink_percent, allow_empty, most_at_once);
    digest(format!("{READER} {columns:?} {bounds:?}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_read() {
        let sheet = Sheet {
            rows: 2,
            good: vec![Row {
                line: 2,
                serial: Serial::parse("CX01").unwrap(),
                since: Some("2026-03-01T00:00:00Z".parse().unwrap()),
                assumed: false,
            }],
            bad: vec![super::super::sheet::bad(3, "date", "is none", "write one")],
            bad_count: 1,
            spoiled: vec![(3, Serial::parse("CX02").unwrap())],
            form: "workbook".into(),
        };
        let kept = Kept::of(&sheet, |_| true);
        assert_eq!(Kept::read(&kept.written()).unwrap().sheet(), sheet);
        assert_eq!(kept.nameless(), 0);
        let unknown = Kept::of(&sheet, |_| false);
        assert!(!unknown.written().contains("CX02"), "{}", unknown.written());
        assert_eq!(unknown.nameless(), 1);
        let before =
            r#"{"rows":1,"good":[],"bad":[],"bad_count":2,"spoiled":["CX02"],"form":"text"}"#;
        let before = Kept::read(before).expect("as it was written before");
        assert_eq!(
            before.serials().map(Serial::as_str).collect::<Vec<_>>(),
            ["CX02"]
        );
        assert_eq!(before.nameless(), 1);
        assert_eq!(Kept::read("{"), None);
        assert_eq!(
            subject("a.csv", "0123456789abcdef-12", true),
            "a.csv@01234567"
        );
        assert_eq!(subject("a.csv", "0123456789abcdef-12", false), "a.csv");
    }

    #[test]
    fn settings_that_decide_about_a_sheet_tell_a_judgement_from_another() {
        let default = Config::default();
        let of = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            judged_by(&config)
        };
        assert_eq!(of(|config| config.every_s = 1), judged_by(&default));
        assert_ne!(of(|config| config.most_at_once = 1), judged_by(&default));
        assert_ne!(
            of(|config| config.date_formats.clear()),
            judged_by(&default)
        );
    }
}
