//! Assignments and shipments from a CSV file: what each line asks for, and the doing of it.
//!
//! A line names a unit (or, to ship all of it that can, an order) and gives marks, or a carrier and tracking numbers, or both.
//! Reading is pure and finds every bad line at once. Doing is one change of the store, all lines or none, unless the caller
//! wants the good ones; a line whose unit has all of it already changes nothing, and neither does a line of an order of which a unit
//! travels in that parcel, so a file may be imported again. A line that insists
//! on its values (column `force`) gets them although a check refuses them, with an event for each.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::identifiers::{Prefixes, Unfit};
use super::journey::{Actor, Parcel};
use super::lines::{self, BadLine, bad, unfit};
use super::store::change::Change;
use super::store::rows::UnitRow;
use super::store::{Error, Store};
use super::unit_identifiers::{Given, Mark, insists};
use crate::config::printable::word;

/// Bytes of a file that are read at most.
pub const LARGEST: u64 = 16 * 1024 * 1024;
/// Lines of one unit or order at most: each is compared with the others.
const LINES_OF_ONE: usize = 16;
/// Lines that are done in one change of the store at most. While it is made nobody else writes: the holder of the lease must be able to
/// renew it.
pub const AT_ONCE: usize = 5_000;

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
    let mut good: Vec<Wish> = Vec::new();
    // Lines of a unit or an order, as places in `good`.
    let mut lines_of: HashMap<Box<str>, Vec<usize>> = HashMap::new();
    let bad = lines::read(bytes, "import", &config.delimiter, names, |line, fields| {
        let wish = wish(line, fields, names, config)?;
        let (Whose::Unit(id) | Whose::Order(id)) = &wish.whose;
        let others = lines_of.entry(id.as_str().into()).or_default();
        for other in others.iter().filter_map(|at| good.get(*at)) {
            agree(&wish, other, names)?;
        }
        if others.len() == LINES_OF_ONE {
            let what = format!("has more than {LINES_OF_ONE} lines");
            return Err(bad(
                line,
                names[0],
                id,
                &what,
                "put what it is given on one line",
            ));
        }
        others.push(good.len());
        good.push(wish);
        Ok(())
    });
    Wishes { good, bad }
}

/// Whether a line gives its unit or order nothing else than an earlier line does: nobody can tell which of two values is meant.
fn agree(wish: &Wish, first: &Wish, names: [&str; 9]) -> Result<(), BadLine> {
    let serial = |wish: &Wish| wish.given.serial.as_ref().map(ToString::to_string);
    let tag = |tag: &Option<Box<str>>| tag.as_deref().map(str::to_owned);
    let parcel = |wish: &Wish| {
        let parcel = wish.parcel.as_ref()?;
        Some(format!(
            "{} {}",
            parcel.carrier,
            parcel.tracking().join(" ")
        ))
    };
    let (new, old) = (&wish.given.tags, &first.given.tags);
    for (name, new, old) in [
        (names[2], serial(wish), serial(first)),
        (names[3], tag(&new.sim), tag(&old.sim)),
        (names[4], tag(&new.imei), tag(&old.imei)),
        (names[5], tag(&new.device_id), tag(&old.device_id)),
        (names[7], parcel(wish), parcel(first)),
    ] {
        if let (Some(new), Some(old)) = (new, old)
            && new != old
        {
            let what = format!("is not what line {} gives it, {old:?}", first.line);
            return Err(bad(
                wish.line,
                name,
                &new,
                &what,
                "leave one of the two lines",
            ));
        }
    }
    Ok(())
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
    } else if wishes.good.len() > AT_ONCE {
        let (line, count) = (wishes.good[AT_ONCE].line, wishes.good.len());
        let what =
            format!("{count} lines are more than {AT_ONCE}, which are done at once or not at all");
        let remedy = "import the file in parts, or with --partial (partial=true), which does each line by itself";
        outcome.bad.push(bad(line, "", "", &what, remedy));
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
        let travels = |row: &UnitRow| row.unit.known().parcel.as_ref() == Some(parcel);
        // The same file again would ship what became ready since: that is another parcel, or its units are named.
        if named.is_none() && before.iter().any(travels) {
            return Ok(changed);
        }
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
