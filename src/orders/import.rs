//! Assignments and shipments from a CSV file: what each line asks for, and the doing of it.
//!
//! A line names a unit (or, to ship all of it that can, an order) and gives marks, or a carrier and tracking numbers, or both.
//! Reading is pure and finds every bad line at once. Doing is one change of the store, all lines or none, unless the caller
//! wants the good ones; a line whose unit has all of it already changes nothing, so a file may be imported again. A line that insists
//! on its values (column `force`) gets them although a check refuses them, with an event for each.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::identifiers::{Prefixes, Unfit};
use super::journey::{Actor, Parcel};
use super::lines::{self, BadLine, bad, unfit};
use super::marks::{Given, Mark, insists};
use super::shell::word;
use super::store::change::Change;
use super::store::{Error, Store};

/// Bytes of a file that are read at most.
pub const LARGEST: u64 = 16 * 1024 * 1024;

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
    pub force: String,
    /// Delimiter between columns: one ASCII character.
    pub delimiter: String,
    /// Separator between several tracking numbers in one field.
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
            force: "force".into(),
            delimiter: ",".into(),
            separator: ";".into(),
        }
    }
}

impl Config {
    fn columns(&self) -> [(&'static str, &str); 9] {
        [
            ("unit", &self.unit),
            ("order", &self.order),
            ("serial", &self.serial),
            ("sim", &self.sim),
            ("imei", &self.imei),
            ("device_id", &self.device_id),
            ("carrier", &self.carrier),
            ("tracking", &self.tracking),
            ("force", &self.force),
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
    pub given: Given,
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
    fields: [Option<&str>; 9],
    names: [&str; 9],
    config: &Config,
) -> Result<Wish, BadLine> {
    let [
        unit,
        order,
        serial,
        sim,
        imei,
        device_id,
        carrier,
        tracking,
        force,
    ] = fields;
    let name = |at: usize| names[at];
    let whose = match (unit, order) {
        (Some(unit), Some(order)) if !unit.starts_with(&format!("{order}.")) => {
            let what = format!("the unit is not one of order {order}");
            return Err(bad(
                line,
                name(0),
                unit,
                &what,
                &format!("`orders show {}` lists its units", word(order)),
            ));
        }
        (Some(unit), _) => Whose::Unit(unit.to_owned()),
        (None, Some(order)) => Whose::Order(order.to_owned()),
        (None, None) => {
            let remedy = "name the unit, or the order to ship all of it";
            return Err(bad(line, name(0), "", "is empty", remedy));
        }
    };
    let refuse = |at: usize, text: Option<&str>, why: Unfit| {
        unfit(
            line,
            name(at),
            text.unwrap_or_default(),
            &why,
            &config.force,
        )
    };
    let insists = insists(force).map_err(|why| refuse(8, force, why))?;
    let mut given = Given::new(insists);
    for (at, mark, text) in [
        (2, Mark::Serial, serial),
        (3, Mark::Sim, sim),
        (4, Mark::Imei, imei),
        (5, Mark::DeviceId, device_id),
    ] {
        given.add(mark, text).map_err(|why| refuse(at, text, why))?;
    }
    let marked = !given.is_empty();
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
        given,
        parcel,
    })
}

/// How a file is done.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// Whatever can be done, instead of all of it or nothing.
    pub partial: bool,
    /// The header names of the columns, for what is told about them.
    pub columns: &'a Config,
    pub prefixes: &'a Prefixes,
}

/// Does what a file asks for: all of it or nothing, or with `partial` whatever can be done.
///
/// # Errors
/// The store cannot be written. What it refuses is told in the outcome.
pub async fn perform(
    store: &Store,
    wishes: Wishes,
    way: Way<'_>,
    by: &Actor,
    now: Timestamp,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome {
        bad: wishes.bad,
        ..Outcome::default()
    };
    if way.partial {
        for wish in &wishes.good {
            let mut change = store.change(by.clone(), None, now).await?;
            match grant(&mut change, wish, way).await {
                Ok(changed) => {
                    change.commit().await?;
                    outcome.count(changed);
                }
                Err(not) => outcome.bad.push(not.told(wish)?),
            }
        }
    } else {
        let mut change = store.change(by.clone(), None, now).await?;
        for wish in &wishes.good {
            match grant(&mut change, wish, way).await {
                Ok(changed) => outcome.count(changed),
                Err(not) => outcome.bad.push(not.told(wish)?),
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

/// Why a line is not done.
enum Not {
    Bad(BadLine),
    Store(Error),
}

impl From<Error> for Not {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Not {
    /// What is told of it, unless the store failed.
    fn told(self, wish: &Wish) -> Result<BadLine, Error> {
        match self {
            Self::Bad(bad) => Ok(bad),
            Self::Store(Error::Refused(refusal)) => Ok(refused(wish, &refusal)),
            Self::Store(error) => Err(error),
        }
    }
}

impl Outcome {
    fn count(&mut self, changed: bool) {
        self.done += 1;
        self.unchanged += usize::from(!changed);
    }
}

/// Does one line; false if nothing had to be changed.
async fn grant(change: &mut Change, wish: &Wish, way: Way<'_>) -> Result<bool, Not> {
    let mut changed = false;
    if let Whose::Unit(id) = &wish.whose
        && !wish.given.is_empty()
    {
        let before = change.unit(id).await?;
        let mut given = wish.given.clone();
        let fits = given.fits(
            before.unit.serial().as_ref(),
            &before.line.product_code,
            way.prefixes,
        );
        fits.map_err(|why| {
            let columns = way.columns;
            let serial = given.serial.as_ref().map(ToString::to_string);
            let serial = serial.unwrap_or_default();
            let line = wish.line;
            Not::Bad(unfit(line, &columns.serial, &serial, &why, &columns.force))
        })?;
        let after = change.give(id, &given).await?;
        changed |= after.version != before.version;
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
