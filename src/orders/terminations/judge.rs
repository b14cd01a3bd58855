//! Whether a sheet is applied, and what that means for each of its devices.
//!
//! Pure: the sheet, what we know of its devices and the time go in, a verdict comes out.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::cells::NoSheet;
use super::sheet::{Row, Sheet, bad};
use super::{Config, Confirm, Foreign};
use crate::orders::journey::Serial;
use crate::orders::lines::BadLine;
use crate::orders::store::sheets::Fate;
use crate::record::serial::is_usual;
use crate::registry::{Device, State};

/// The newest day number of a text is not older than this, or its days count from 1904 on: they would be read as four years ago.
const OLDEST: SignedDuration = SignedDuration::from_hours(24 * 3 * 365);

/// What is known besides the sheet.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Of every serial that a unit has.
    pub fates: HashMap<Serial, Fate>,
    /// What the device registry says of the sheet's serials that no unit has.
    pub registry: Registry,
    /// When the partner's device list was last read whole.
    pub listed_at: Option<Timestamp>,
    /// When that list last showed a serial.
    pub last_listed: HashMap<Serial, Timestamp>,
    /// Rows of the last sheet from the same place that was applied.
    pub rows_before: Option<u64>,
    /// What the serials of own products begin with, in upper case.
    pub own: Vec<String>,
    /// Serials that a later sheet does not name any more: this one does not end them (T5).
    pub withdrawn: HashSet<Serial>,
}

/// What the device registry says of serials that no unit has.
#[derive(Debug, Clone, Default)]
pub enum Registry {
    /// It could not be asked.
    #[default]
    Silent,
    Said {
        devices: HashMap<Serial, Vec<Device>>,
        /// Ids of devices that a sheet terminated, and whether the registry's topic has that.
        ended: HashMap<Box<str>, bool>,
    },
}

/// Why a sheet is not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    Empty,
    /// Fewer rows than the one before, by too much.
    Short {
        rows: u64,
        before: u64,
    },
    /// It cannot be read, or not all of it.
    Malformed {
        what: String,
        bad: Vec<BadLine>,
    },
    /// It would terminate more devices than one sheet may.
    Many {
        devices: usize,
        most: usize,
    },
}

impl Rejection {
    /// Its alarm's kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "sheet-empty",
            Self::Short { .. } => "sheet-short",
            Self::Malformed { .. } => "sheet-malformed",
            Self::Many { .. } => "sheet-many",
        }
    }

    /// Every kind.
    pub const KINDS: [&'static str; 4] = [
        "sheet-empty",
        "sheet-short",
        "sheet-malformed",
        "sheet-many",
    ];
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("it names no device"),
            Self::Short { rows, before } => {
                write!(f, "it has {rows} rows and the one before had {before}")
            }
            Self::Malformed { what, bad } => {
                f.write_str(what)?;
                bad.first().map_or(Ok(()), |bad| write!(f, " ({bad})"))
            }
            Self::Many { devices, most } => write!(
                f,
                "it would terminate {devices} devices at once, more than orders.terminations.most_at_once = {most}"
            ),
        }
    }
}

/// What a sheet asks for, device by device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub rows: u64,
    /// Terminated by this sheet.
    pub now: Vec<Row>,
    /// Terminated before.
    pub already: usize,
    /// The units among all that it names, whatever their date: their termination was asked for at the partner's.
    pub named: Vec<String>,
    /// Their date has not come.
    pub later: Vec<Row>,
    /// The partner's device list still shows them, or has not been read since.
    pub unconfirmed: Vec<Row>,
    /// No unit of ours has these, and no device of the registry; a person is told.
    pub unknown: Vec<Serial>,
    /// Nor these, and they are taken for those of other integrators.
    pub foreign: Vec<Serial>,
    /// A later sheet does not name them any more.
    pub withdrawn: Vec<Row>,
    /// No unit has these, and the registry could not be asked.
    pub unasked: Vec<Row>,
    /// A sheet terminated these, and somebody has registered them again since.
    pub returned: Vec<Serial>,
}

/// What a sheet finds under one serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Unknown,
    Unasked,
    Ended,
    Returned,
    Live,
}

impl Known {
    pub(super) fn find(&self, serial: &Serial) -> Found {
        if let Some(fate) = self.fates.get(serial) {
            return if fate.terminated {
                Found::Ended
            } else {
                Found::Live
            };
        }
        let Registry::Said { devices, ended } = &self.registry else {
            return Found::Unasked;
        };
        let Some(devices) = devices.get(serial) else {
            return Found::Unknown;
        };
        let live: HashSet<Option<bool>> = devices
            .iter()
            .filter(|device| device.state != State::Terminated)
            .map(|device| ended.get(&device.device_id).copied())
            .collect();
        if live.contains(&None) {
            Found::Live
        } else if live.contains(&Some(true)) {
            Found::Returned
        } else {
            // What is left is on its way to the topic.
            Found::Ended
        }
    }

    /// Whether a word of a row that is not understood names a device. Where the registry could not be asked, one of an own product does.
    pub(super) fn is_device(&self, serial: &Serial) -> bool {
        match self.find(serial) {
            Found::Ended | Found::Returned | Found::Live => true,
            Found::Unknown | Found::Unasked => {
                self.last_listed.contains_key(serial)
                    || (is_usual(serial.as_str().as_bytes()) && self.is_own(serial))
            }
        }
    }

    /// Whether a serial that nobody has may be ours all the same.
    fn is_own(&self, serial: &Serial) -> bool {
        let begins = |prefix: &String| serial.as_str().starts_with(&**prefix);
        self.own.iter().any(begins) || self.last_listed.contains_key(serial)
    }

    /// Devices of the registry that have this serial and are not terminated.
    pub fn registered(&self, serial: &Serial) -> impl Iterator<Item = &Device> {
        let devices = match &self.registry {
            Registry::Said { devices, .. } => devices.get(serial),
            Registry::Silent => None,
        };
        let live = |device: &&Device| device.state != State::Terminated;
        devices.into_iter().flatten().filter(live)
    }
}

impl Plan {
    /// Rows that are to be done later, or that only a person can have done.
    pub fn waiting(&self) -> impl Iterator<Item = &Row> {
        let later = self.later.iter().chain(&self.unconfirmed);
        later.chain(&self.unasked).chain(&self.withdrawn)
    }

    /// The first date that has not come.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.later.iter().filter_map(|row| row.since).min()
    }
}

/// Judges a sheet.
///
/// # Errors
/// Why nothing of it is done.
pub fn judge(
    sheet: Result<Sheet, NoSheet>,
    known: &Known,
    config: &Config,
    now: Timestamp,
) -> Result<Plan, Rejection> {
    let sheet = sheet.map_err(|no_sheet| {
        if no_sheet.blank {
            Rejection::Empty
        } else {
            Rejection::Malformed {
                what: no_sheet.to_string(),
                bad: Vec::new(),
            }
        }
    })?;
    let sheet = settled(sheet, now);
    if sheet.bad_count > 0 {
        return Err(Rejection::Malformed {
            what: format!("{} of its rows are not understood", sheet.bad_count),
            bad: sheet.bad,
        });
    }
    let before = known.rows_before.unwrap_or(0);
    if sheet.rows == 0 && (before > 0 || !config.allow_empty) {
        return Err(Rejection::Empty);
    }
    let kept = u64::from(100 - config.shrink_percent.min(100));
    if sheet.rows < before && sheet.rows * 100 <= before * kept {
        let rows = sheet.rows;
        return Err(Rejection::Short { rows, before });
    }
    let deeds = asked(sheet, known, config, now);
    let (devices, most) = (deeds.now.len(), config.most_at_once);
    if most > 0 && devices > most {
        return Err(Rejection::Many { devices, most });
    }
    Ok(deeds)
}

/// The sheet without the day numbers that cannot be what they seem: those of a text whose newest one lies years back; and without rows
/// that contradict each other.
#[must_use]
pub fn settled(mut sheet: Sheet, now: Timestamp) -> Sheet {
    let assumed = sheet.good.iter().filter(|row| row.assumed);
    let newest = assumed.filter_map(|row| row.since).max();
    if newest.is_some_and(|newest| now.duration_since(newest) > OLDEST) {
        let (assumed, good) = sheet.good.into_iter().partition(|row| row.assumed);
        sheet.good = good;
        let assumed: Vec<Row> = assumed;
        for row in assumed {
            let what = "is a day number, and the newest of the sheet lies more than three years back: it may count from 1904 on";
            let remedy = "write dates as 2026-03-01, or save the sheet as XLSX";
            sheet.spoil(bad(row.line, "date", what, remedy));
            sheet.spoiled.push((row.line, row.serial));
        }
    }
    contradictions(sheet)
}

/// The sheet without the rows that name one device with different dates: nobody can tell which of them counts.
fn contradictions(mut sheet: Sheet) -> Sheet {
    let mut dates: HashMap<&Serial, Option<Timestamp>> = HashMap::new();
    let mut doubted: HashSet<Serial> = HashSet::new();
    for row in &sheet.good {
        let first = dates.entry(&row.serial).or_insert(row.since);
        if *first != row.since {
            doubted.insert(row.serial.clone());
        }
    }
    if doubted.is_empty() {
        return sheet;
    }
    let (contradict, good): (Vec<Row>, Vec<Row>) = sheet
        .good
        .into_iter()
        .partition(|row| doubted.contains(&row.serial));
    sheet.good = good;
    for row in contradict {
        let what = "names a device that another row names with another date";
        let remedy = "leave one row of the device, with its date";
        sheet.spoil(bad(row.line, "date", what, remedy));
        sheet.spoiled.push((row.line, row.serial));
    }
    sheet
}

/// What a sheet asks for, whatever may be doubted about it: a person decided. It is [`settled`].
#[must_use]
pub fn asked(sheet: Sheet, known: &Known, config: &Config, now: Timestamp) -> Plan {
    let mut deeds = Plan {
        rows: sheet.rows,
        ..Plan::default()
    };
    // A device that is named twice has the same date twice: it is settled.
    let mut rows: BTreeMap<Serial, Row> = BTreeMap::new();
    for row in sheet.good {
        let kept = rows
            .entry(row.serial.clone())
            .or_insert_with(|| row.clone());
        if row.since < kept.since {
            *kept = row;
        }
    }
    for (serial, row) in rows {
        let fate = known.fates.get(&serial);
        deeds.named.extend(fate.map(|fate| fate.unit.clone()));
        match known.find(&serial) {
            Found::Unknown => {
                let told = match config.foreign_serials {
                    Foreign::Alarm => true,
                    Foreign::Own => known.is_own(&serial),
                    Foreign::Ignore => false,
                };
                let list = if told {
                    &mut deeds.unknown
                } else {
                    &mut deeds.foreign
                };
                list.push(serial);
            }
            Found::Unasked => deeds.unasked.push(row),
            Found::Returned => deeds.returned.push(serial),
            Found::Ended => deeds.already += 1,
            Found::Live if known.withdrawn.contains(&serial) => deeds.withdrawn.push(row),
            Found::Live if row.since.is_some_and(|since| since > now) => deeds.later.push(row),
            Found::Live if !confirmed(&row, known, config.confirm) => deeds.unconfirmed.push(row),
            Found::Live => deeds.now.push(row),
        }
    }
    deeds
}

/// Whether enough says that a device is terminated. A list read before its date says nothing.
fn confirmed(row: &Row, known: &Known, confirm: Confirm) -> bool {
    match (confirm, known.listed_at) {
        (Confirm::Sheet, _) => true,
        (Confirm::Contracts, None) => false,
        (Confirm::Contracts, Some(listed_at)) => {
            let shown = known.last_listed.get(&row.serial);
            row.since.is_none_or(|since| since <= listed_at)
                && shown.is_none_or(|shown| *shown < listed_at)
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
