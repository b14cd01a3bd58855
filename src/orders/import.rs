//! Assignments and shipments from a CSV file: what each line asks for, and the doing of it.
//!
//! A line names a unit (or, to ship all of it that can, an order) and gives marks, or a carrier and tracking numbers, or both.
//! Reading is pure and finds every bad line at once. Doing is one change of the store, all lines or none, unless the caller
//! wants the good ones; a line whose unit has all of it already changes nothing, so a file may be imported again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::journey::{Actor, Parcel, Serial, Tags};
use super::lines::{self, BadLine, bad};
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
        if self.separator.is_empty() {
            return Err("import.separator: must not be empty".into());
        }
        lines::check("import", &self.delimiter, &self.columns())
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

/// Reads a file. Empty lines are skipped; columns that nobody asked for are too.
#[must_use]
pub fn read(bytes: &[u8], config: &Config) -> Wishes {
    let names = config.columns().map(|(_, name)| name);
    let mut good = Vec::new();
    let bad = lines::read(bytes, "import", &config.delimiter, names, |line, fields| {
        good.push(wish(line, fields, names, config)?);
        Ok(())
    });
    Wishes { good, bad }
}

fn wish(
    line: u64,
    fields: [Option<&str>; 8],
    names: [&str; 8],
    config: &Config,
) -> Result<Wish, BadLine> {
    let [unit, order, serial, sim, imei, device_id, carrier, tracking] = fields;
    let name = |at: usize| names[at];
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
