//! Assignments and shipments from a CSV file: what each line asks for, and the doing of it.
//!
//! A line names a unit (or, to ship all of it that can, an order) and gives marks, or a carrier and tracking numbers, or both.
//! Reading is pure and finds every bad line at once. Doing is one change of the store, all lines or none, unless the caller
//! wants the good ones; a line whose unit has all of it already changes nothing, so a file may be imported again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::journey::{Actor, Parcel, Serial, Tags};
use super::store::change::Change;
use super::store::{Error, Store};

/// Bytes of a file that are read at most.
pub const LARGEST: u64 = 16 * 1024 * 1024;
/// Bytes of a mark at most.
const LONGEST_MARK: usize = 64;

/// Settings (`[orders.import]`): the header names of the columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub unit: String,
    pub order: String,
    pub serial: String,
    pub sim: String,
    pub imei: String,
    pub device_id: String,
    pub carrier: String,
    pub tracking: String,
    /// Between columns; one character.
    pub delimiter: String,
    /// Between several tracking numbers of one field.
    pub separator: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            unit: "unit".into(),
            order: "order".into(),
            serial: "serial".into(),
            sim: "sim".into(),
            imei: "imei".into(),
            device_id: "device_id".into(),
            carrier: "carrier".into(),
            tracking: "tracking".into(),
            delimiter: ",".into(),
            separator: ";".into(),
        }
    }
}

impl Config {
    fn columns(&self) -> [(&'static str, &str); 8] {
        [
            ("unit", &self.unit),
            ("order", &self.order),
            ("serial", &self.serial),
            ("sim", &self.sim),
            ("imei", &self.imei),
            ("device_id", &self.device_id),
            ("carrier", &self.carrier),
            ("tracking", &self.tracking),
        ]
    }

    /// What the types cannot say.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), String> {
        if self.delimiter.len() != 1 {
            return Err("import.delimiter: must be one ASCII character".into());
        }
        if self.separator.is_empty() {
            return Err("import.separator: must not be empty".into());
        }
        let columns = self.columns();
        for (at, (name, header)) in columns.iter().enumerate() {
            if header.trim().is_empty() {
                return Err(format!("import.{name}: must not be empty"));
            }
            if columns[..at].iter().any(|(_, other)| same(other, header)) {
                return Err(format!("import.{name}: {header:?} is named twice"));
            }
        }
        Ok(())
    }
}

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    Unit(String),
    /// All units of the order that can ship.
    Order(String),
}

/// What one line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Its number in the file; the header is line 1.
    pub line: u64,
    pub whose: Whose,
    pub serial: Option<Serial>,
    pub tags: Tags,
    pub parcel: Option<Parcel>,
}

/// A line that cannot be done, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    pub line: u64,
    pub field: String,
    pub value: String,
    pub what: String,
    pub remedy: String,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        if !self.value.is_empty() {
            write!(f, " {:?}", self.value)?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}

/// A file as read: the good lines and the bad ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    pub good: Vec<Wish>,
    pub bad: Vec<BadLine>,
}

/// What became of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Lines done; 0 when one was bad and all or nothing was asked for.
    pub done: usize,
    /// Of them, lines whose units had all of it already.
    pub unchanged: usize,
    pub bad: Vec<BadLine>,
}

pub(super) fn same(a: &str, b: &str) -> bool {
    a.trim().eq_ignore_ascii_case(b.trim())
}

/// Reads a file. Empty lines are skipped; columns that nobody asked for are too.
#[must_use]
pub fn read(bytes: &[u8], config: &Config) -> Wishes {
    let mut wishes = Wishes::default();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(config.delimiter.bytes().next().unwrap_or(b','))
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => {
            let remedy = "save the file as CSV in UTF-8";
            wishes
                .bad
                .push(bad(1, "", "", &format!("no header: {error}"), remedy));
            return wishes;
        }
    };
    let column = |name: &str| header.iter().position(|title| same(title, name));
    let columns = config
        .columns()
        .map(|(_, name)| (name.to_owned(), column(name)));
    if columns[0].1.is_none() && columns[1].1.is_none() {
        let what = format!(
            "the header has neither {:?} nor {:?}",
            config.unit, config.order
        );
        let found = header.iter().collect::<Vec<_>>().join(",");
        let remedy = "add the column, or name yours in [orders.import]";
        wishes.bad.push(bad(1, "header", &found, &what, remedy));
        return wishes;
    }
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(false) => return wishes,
            Ok(true) => {
                let line = record.position().map_or(line, |at| line_at(bytes, at));
                if record.iter().all(str::is_empty) {
                    continue;
                }
                match wish(line, &record, header.len(), &columns, config) {
                    Ok(wish) => wishes.good.push(wish),
                    Err(found) => wishes.bad.push(found),
                }
            }
            Err(error) => {
                let remedy = "save the file as CSV in UTF-8";
                wishes
                    .bad
                    .push(bad(line, "", "", &error.to_string(), remedy));
                if error.is_io_error() {
                    return wishes;
                }
            }
        }
    }
}

/// The line of a record. The reader's own count is one behind where lines end in two characters.
pub(super) fn line_at(bytes: &[u8], at: &csv::Position) -> u64 {
    let from = usize::try_from(at.byte()).unwrap_or(usize::MAX);
    let ends = bytes.get(from..).unwrap_or_default().iter();
    let ends = ends.take_while(|byte| matches!(byte, b'\r' | b'\n'));
    at.line() + ends.filter(|byte| **byte == b'\n').count() as u64
}

pub(super) fn bad(line: u64, field: &str, value: &str, what: &str, remedy: &str) -> BadLine {
    BadLine {
        line,
        field: field.to_owned(),
        value: value.chars().take(100).collect(),
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn wish(
    line: u64,
    record: &csv::StringRecord,
    width: usize,
    columns: &[(String, Option<usize>); 8],
    config: &Config,
) -> Result<Wish, BadLine> {
    if record.len() != width {
        let what = format!("{} fields, the header has {width}", record.len());
        let remedy = "put fields that hold the delimiter in double quotes";
        return Err(bad(line, "", "", &what, remedy));
    }
    let field = |at: usize| {
        columns[at]
            .1
            .and_then(|column| record.get(column))
            .filter(|text| !text.is_empty())
    };
    let [unit, order, serial, sim, imei, device_id, carrier, tracking] =
        [0, 1, 2, 3, 4, 5, 6, 7].map(field);
    let name = |at: usize| columns[at].0.as_str();
    let whose = match (unit, order) {
        (Some(unit), Some(order)) if !unit.starts_with(&format!("{order}.")) => {
            let what = format!("the unit is not one of order {order}");
            return Err(bad(
                line,
                name(0),
                unit,
                &what,
                "`orders show` lists an order's units",
            ));
        }
        (Some(unit), _) => Whose::Unit(unit.to_owned()),
        (None, Some(order)) => Whose::Order(order.to_owned()),
        (None, None) => {
            let remedy = "name the unit, or the order to ship all of it";
            return Err(bad(line, name(0), "", "is empty", remedy));
        }
    };
    let serial = serial
        .map(|text| {
            Serial::parse(text).map_err(|error| {
                bad(
                    line,
                    name(2),
                    text,
                    &error.to_string(),
                    "copy it from MyAdmin",
                )
            })
        })
        .transpose()?;
    for (at, kind, text) in [
        (3, "sim", sim),
        (4, "imei", imei),
        (5, "device_id", device_id),
    ] {
        mark(line, name(at), text, kind)?;
    }
    let tags = Tags {
        sim: sim.map(Into::into),
        imei: imei.map(Into::into),
        device_id: device_id.map(Into::into),
    };
    let marked = serial.is_some() || tags != Tags::default();
    let parcel = match (carrier, tracking) {
        (None, None) => None,
        (Some(carrier), Some(tracking)) => {
            let numbers = tracking.split(&config.separator).map(str::trim);
            let parcel = Parcel::new(carrier, numbers)
                .ok_or_else(|| bad(line, name(7), tracking, "holds no number", "give one"))?;
            Some(parcel)
        }
        (Some(_), None) => {
            let remedy = "a shipment has a carrier and a tracking number";
            return Err(bad(line, name(7), "", "is empty", remedy));
        }
        (None, Some(_)) => {
            let remedy = "a shipment has a carrier and a tracking number";
            return Err(bad(line, name(6), "", "is empty", remedy));
        }
    };
    if marked && matches!(whose, Whose::Order(_)) {
        return Err(bad(
            line,
            name(0),
            "",
            "is empty",
            "marks belong to one unit: name it",
        ));
    }
    if !marked && parcel.is_none() {
        let remedy = "give marks, or carrier and tracking, or leave the line out";
        return Err(bad(line, "", "", "asks for nothing", remedy));
    }
    Ok(Wish {
        line,
        whose,
        serial,
        tags,
        parcel,
    })
}

fn mark(line: u64, name: &str, text: Option<&str>, kind: &str) -> Result<(), BadLine> {
    match text.and_then(|text| unfit(kind, text).map(|why| (text, why))) {
        None => Ok(()),
        Some((text, (what, remedy))) => Err(bad(line, name, text, what, remedy)),
    }
}

/// Why a text cannot be a unit's mark, and what to do about it. Spreadsheets turn long numbers into `3.5E+14`: the mark is lost.
#[must_use]
pub fn unfit(kind: &str, text: &str) -> Option<(&'static str, &'static str)> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if text.parse::<f64>().is_ok() && !digits {
        let remedy = "format the column as text in the spreadsheet and enter it again";
        return Some(("a number in another spelling", remedy));
    }
    if kind == "imei" && !digits {
        return Some(("not all digits", "copy it from the device"));
    }
    if text.is_empty() || text.len() > LONGEST_MARK || text.chars().any(char::is_control) {
        let remedy = "give 1 to 64 characters, none of them a control character";
        return Some(("cannot be a mark", remedy));
    }
    None
}

/// Does what a file asks for: all of it or nothing, or with `partial` whatever can be done.
///
/// # Errors
/// The store cannot be written. What it refuses is told in the outcome.
pub async fn perform(
    store: &Store,
    wishes: Wishes,
    partial: bool,
    by: &Actor,
    now: Timestamp,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome {
        bad: wishes.bad,
        ..Outcome::default()
    };
    if partial {
        for wish in &wishes.good {
            let mut change = store.change(by.clone(), None, now).await?;
            match grant(&mut change, wish).await {
                Ok(changed) => {
                    change.commit().await?;
                    outcome.count(changed);
                }
                Err(Error::Refused(refusal)) => outcome.bad.push(refused(wish, &refusal)),
                Err(error) => return Err(error),
            }
        }
    } else {
        let mut change = store.change(by.clone(), None, now).await?;
        for wish in &wishes.good {
            match grant(&mut change, wish).await {
                Ok(changed) => outcome.count(changed),
                Err(Error::Refused(refusal)) => outcome.bad.push(refused(wish, &refusal)),
                Err(error) => return Err(error),
            }
        }
        if outcome.bad.is_empty() {
            change.commit().await?;
        } else {
            (outcome.done, outcome.unchanged) = (0, 0);
        }
    }
    outcome.bad.sort_by_key(|bad| bad.line);
    Ok(outcome)
}

impl Outcome {
    fn count(&mut self, changed: bool) {
        self.done += 1;
        self.unchanged += usize::from(!changed);
    }
}

/// Does one line; false if nothing had to be changed.
async fn grant(change: &mut Change, wish: &Wish) -> Result<bool, Error> {
    let mut changed = false;
    if let Whose::Unit(id) = &wish.whose
        && (wish.serial.is_some() || wish.tags != Tags::default())
    {
        let before = change.unit(id).await?.version;
        let after = change.assign(id, wish.serial.as_ref(), &wish.tags).await?;
        changed |= after.version != before;
    }
    if let Some(parcel) = &wish.parcel {
        let (order, named) = match &wish.whose {
            Whose::Unit(id) => (change.unit(id).await?.order_id, Some(vec![id.clone()])),
            Whose::Order(id) => (id.clone(), None),
        };
        let before = change.units(&order).await?;
        let after = change.ship(&order, named.as_deref(), parcel).await?;
        changed |= after.iter().any(|unit| {
            before
                .iter()
                .all(|old| old.id != unit.id || old.version != unit.version)
        });
    }
    Ok(changed)
}

fn refused(wish: &Wish, refusal: &super::store::Refusal) -> BadLine {
    bad(
        wish.line,
        "",
        &refusal.subject,
        &refusal.what,
        &refusal.remedy,
    )
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
