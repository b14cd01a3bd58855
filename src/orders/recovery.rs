//! What a store that is not proven can learn from the registry and from MyAdmin, and what a person must decide. Pure.
//!
//! * P1: a serial that the registry shows for a unit becomes that unit's; a unit with a call of which nobody knows the answer is
//!   parked; so that accepting a plan never leads to a second serial for a unit that is known to have one.
//! * What cannot be told is a [`Plan::open`] question with a command that answers it; while one is open nothing is accepted.
//!
//! `store::recovery` writes an accepted plan.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Serialize;

use super::journey::Serial;
use super::journey::registration::{Registration, device_id};
use super::journey::unit::{Live, Unit};
use super::proof::{self, Doubt, Own};
use super::reconcile::doubt::{Fit, fits};
use super::settings::Config;
use super::store::identity::Proof;
use super::store::intents::{IntentRow, Outcome, Wish};
use super::store::listed_devices::SeenRow;
use super::store::read::Whole;
use super::store::rows::UnitRow;
use crate::registry::entries::{Entries, Entry};
use crate::registry::mark::Mark;
use crate::registry::{Device, State};

/// What is known, from all three sides.
#[derive(Debug)]
pub struct Known {
    pub own: Own,
    pub entries: Entries,
    /// All orders with their units.
    pub wholes: Vec<Whole>,
    /// Serials of MyAdmin's list that no unit has.
    pub unclaimed: Vec<SeenRow>,
    pub accepted: HashSet<Serial>,
    pub intents: Vec<IntentRow>,
}

/// Where a serial of the registry goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Target {
    /// The unit has no serial and gets this one.
    Unit { unit: String },
    /// The unit has it; the registry says more of it than the store.
    CatchUp { unit: String },
    /// The unit gets it when its order is taken in.
    Later { unit: String },
    /// The unit is not known, and the one that it replaces (RMA) is: it is made anew and gets this serial.
    Replacement { unit: String, replaces: String },
    /// Its order is not known, and the registry does not say which unit it is: its units wait for a person once it is taken in.
    Order { order: String },
    /// No unit; the device is kept as the registry has it.
    Device,
}

/// A serial that the registry proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    pub device: Registration,
    pub target: Target,
}

/// A serial that nothing explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unexplained {
    pub serial: String,
    pub product_code: String,
    pub database: String,
    pub first_seen: String,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Plan {
    /// Why nothing is provisioned; none if the store is proven.
    pub doubt: Option<String>,
    pub published: Option<Mark>,
    pub adopt: Vec<Adoption>,
    /// Units with a call of which nobody knows the answer: parked.
    pub in_doubt: Vec<String>,
    /// Serials of own products that MyAdmin lists: accepted as no unit's.
    pub accept: Vec<Unexplained>,
    /// What a person must settle before anything can be accepted.
    pub open: Vec<String>,
    /// Units that get a new serial when it goes on.
    pub to_provision: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to decide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.doubt.is_none() && self.accept.is_empty()
    }
}

fn registration(device: &Device, serial: Serial) -> Registration {
    Registration {
        device_id: device.device_id.clone(),
        serial: Some(serial),
        state: device.state,
        order: device.order.clone(),
        since: device.since,
    }
}

/// A unit that could be given a serial.
fn lacks_serial(row: &UnitRow) -> bool {
    row.line.needs.serial && row.unit.serial().is_none()
}

/// Makes the plan.
#[must_use]
pub fn plan(known: &Known, config: &Config) -> Plan {
    let mut plan = Plan {
        doubt: doubt(known),
        published: known.entries.mark.clone(),
        ..Plan::default()
    };
    let mut given: BTreeSet<String> = BTreeSet::new();
    let mut adopted: HashSet<Serial> = HashSet::new();
    if plan.doubt.is_some() {
        adopt(known, config, &mut plan, &mut given, &mut adopted);
        // A unit is made after the one that it replaces.
        plan.adopt.sort_by_key(|adoption| match &adoption.target {
            Target::Replacement { unit, .. } => Some((unit.len(), unit.clone())),
            _ => None,
        });
        in_doubt(known, &mut plan, &given);
    }
    for seen in unexplained(
        &known.unclaimed,
        &known.accepted,
        &known.intents,
        known,
        config,
    ) {
        if !adopted.contains(&seen.serial) {
            plan.accept.push(Unexplained {
                serial: seen.serial.to_string(),
                product_code: seen.product_code.clone(),
                database: seen.owner_database.clone(),
                first_seen: seen.first_seen.to_string(),
            });
        }
    }
    plan.to_provision = units(known)
        .filter(|(whole, row)| {
            whole.row.order.clear().is_some()
                && lacks_serial(row)
                && matches!(row.unit, Unit::Live(Live::Ordered(_)))
        })
        .map(|(_, row)| row.id.clone())
        .filter(|id| !given.contains(id) && !plan.in_doubt.contains(id))
        .collect();
    plan
}

fn doubt(known: &Known) -> Option<String> {
    if known.own.identity.proof == Proof::Accepted {
        return None;
    }
    proof::judge(&known.own, &known.entries).map(|doubt: Doubt| doubt.to_string())
}

fn units(known: &Known) -> impl Iterator<Item = (&Whole, &UnitRow)> {
    known
        .wholes
        .iter()
        .flat_map(|whole| whole.units.iter().map(move |row| (whole, row)))
}

/// Serials of own products that nothing explains.
fn unexplained<'a>(
    unclaimed: &'a [SeenRow],
    accepted: &HashSet<Serial>,
    intents: &[IntentRow],
    known: &Known,
    config: &Config,
) -> Vec<&'a SeenRow> {
    let devices: HashSet<&Serial> = known
        .own
        .devices
        .iter()
        .filter_map(|(device, _)| device.serial.as_ref())
        .collect();
    unclaimed
        .iter()
        .filter(|seen| !products(seen, config).is_empty())
        .filter(|seen| !accepted.contains(&seen.serial) && !devices.contains(&seen.serial))
        .filter(|seen| {
            !intents.iter().any(|intent| {
                intent.outcome == Outcome::Open && fits(&intent.wish, seen) != Fit::Other
            })
        })
        .collect()
}

/// The own products that a listed serial may be of.
#[must_use]
pub fn products(seen: &SeenRow, config: &Config) -> Vec<String> {
    let fitting = config.products.iter().filter(|(code, product)| {
        let wish = Wish {
            unit_id: String::new(),
            product_code: (*code).clone(),
            product_id: product.product_id,
            prefix: product.prefix.clone(),
            erp_no: String::new(),
            listed_at: None,
        };
        fits(&wish, seen) != Fit::Other
    });
    fitting.map(|(code, _)| code.clone()).collect()
}

/// What the registry proves.
fn adopt(
    known: &Known,
    config: &Config,
    plan: &mut Plan,
    given: &mut BTreeSet<String>,
    adopted: &mut HashSet<Serial>,
) {
    let by_serial: HashMap<Serial, &UnitRow> = units(known)
        .filter_map(|(_, row)| Some((row.unit.serial()?, row)))
        .collect();
    let kept: HashMap<&str, &Registration> = known
        .own
        .devices
        .iter()
        .map(|(device, _)| (&*device.device_id, device))
        .collect();
    let ended: HashMap<&Serial, &Registration> = known
        .own
        .devices
        .iter()
        .filter(|(device, _)| device.state == State::Terminated)
        .filter_map(|(device, _)| Some((device.serial.as_ref()?, device)))
        .collect();
    for entry in known.entries.devices.values() {
        let Some(order) = &entry.device.order else {
            continue;
        };
        let Some(Ok(serial)) = entry.device.serial.as_deref().map(Serial::parse) else {
            continue;
        };
        let mut device = registration(&entry.device, serial.clone());
        // A termination that reached this store and not the registry is not taken back.
        if let Some(ended) = ended.get(&serial) {
            device.state = State::Terminated;
            device.since = ended.since;
        }
        let target = match by_serial.get(&serial) {
            Some(row) if is_ahead(&device, row, kept.get(&*device.device_id).copied()) => {
                Some(Target::CatchUp {
                    unit: row.id.clone(),
                })
            }
            Some(_) => None,
            // The store knows the device as no unit's, and no unit lacks its serial. A store that was not recovered yet may have the
            // device from a termination sheet alone: its unit lacks the serial then, and would get a second one.
            None if !is_lacking(known, entry)
                && kept
                    .get(&*device.device_id)
                    .is_some_and(|kept| kept.serial.as_ref() == Some(&serial)) =>
            {
                None
            }
            None => match meant(known, config, entry, &serial, order) {
                Ok(target) => Some(target),
                Err(question) => {
                    plan.open.push(question);
                    None
                }
            },
        };
        let Some(target) = target else { continue };
        if let Target::Unit { unit } | Target::Replacement { unit, .. } = &target
            && !given.insert(unit.clone())
        {
            plan.open.push(format!(
                "serials of two devices are unit {unit}'s by the registry, one of them {serial}: give it the right one with \
                 `dig-ingest orders assign {unit} --serial SERIAL`"
            ));
            continue;
        }
        adopted.insert(serial);
        plan.adopt.push(Adoption { device, target });
    }
}

/// Whether the unit that the registry names lacks a serial, or is not taken in yet.
fn is_lacking(known: &Known, entry: &Entry) -> bool {
    entry.unit.as_ref().is_some_and(|unit| {
        let row = units(known).find(|(_, row)| *row.id == **unit);
        row.is_none_or(|(_, row)| row.unit.serial().is_none())
    })
}

/// Whether the registry says more of a unit than the store.
fn is_ahead(device: &Registration, row: &UnitRow, kept: Option<&Registration>) -> bool {
    let known = row.unit.known();
    let over = matches!(row.unit, Unit::Cancelled(_) | Unit::Terminated(_));
    match device.state {
        State::Terminated => !matches!(row.unit, Unit::Terminated(_)) && !over,
        State::Active => {
            !over && (!row.unit.is_active()) && kept.is_none_or(|kept| kept.state != State::Active)
        }
        State::Pending => {
            let serial = known.serial.as_ref();
            !over
                && serial.is_some_and(|serial| device_id(serial, &known.tags) != device.device_id)
                && kept.is_none()
        }
    }
}

/// Which unit a serial of the registry is meant for that no unit has.
fn meant(
    known: &Known,
    config: &Config,
    entry: &Entry,
    serial: &Serial,
    order: &str,
) -> Result<Target, String> {
    let whole = known.wholes.iter().find(|whole| *whole.row.id == *order);
    if let Some(unit) = &entry.unit {
        let row = whole.and_then(|whole| whole.units.iter().find(|row| *row.id == **unit));
        return Ok(match row {
            Some(row) if row.unit.serial().is_none() => Target::Unit {
                unit: row.id.clone(),
            },
            // It has another one: two were made, and this one is kept as a device of its own.
            Some(_) => Target::Device,
            None => match whole.and_then(|whole| replaced(whole, unit)) {
                Some(before) => Target::Replacement {
                    unit: unit.to_string(),
                    replaces: before.id.clone(),
                },
                None => Target::Later {
                    unit: unit.to_string(),
                },
            },
        });
    }
    let Some(whole) = whole else {
        return Ok(Target::Order {
            order: order.to_owned(),
        });
    };
    let seen = known.unclaimed.iter().find(|seen| seen.serial == *serial);
    let codes = match seen {
        Some(seen) => products(seen, config),
        None => {
            let prefixed = config.products.iter().filter(|(_, product)| {
                product.prefix.is_empty()
                    || serial
                        .as_str()
                        .starts_with(&product.prefix.to_ascii_uppercase())
            });
            prefixed.map(|(code, _)| code.clone()).collect()
        }
    };
    let candidates: Vec<&UnitRow> = whole
        .units
        .iter()
        .filter(|row| lacks_serial(row) && codes.contains(&row.line.product_code))
        .collect();
    match candidates[..] {
        [] => Ok(Target::Device),
        [one] => Ok(Target::Unit {
            unit: one.id.clone(),
        }),
        [first, ..] => Err(format!(
            "serial {serial} is of order {order} by the registry, and {} units of it could be meant: find out which one has it \
             (MyAdmin, or the box), then `dig-ingest orders assign {} --serial {serial}` with that unit",
            candidates.len(),
            first.id
        )),
    }
}

/// The unit of the order that a unit replaces by its id (`store::later`).
fn replaced<'a>(whole: &'a Whole, unit: &str) -> Option<&'a UnitRow> {
    let (first, number) = unit.rsplit_once('r')?;
    let number: u32 = number.parse().ok()?;
    let before = match number.checked_sub(1)? {
        0 => first.to_owned(),
        before => format!("{first}r{before}"),
    };
    let known = |id: &str| whole.units.iter().find(|row| row.id == id);
    // The one between them may be missing too: it is made before, from its own entry, if the registry has it.
    known(&before).or_else(|| known(first))
}

/// Units with a call at the last publication, of which the store does not know.
fn in_doubt(known: &Known, plan: &mut Plan, given: &BTreeSet<String>) {
    let Some(mark) = &known.entries.mark else {
        return;
    };
    for unit in &mark.open {
        let row = units(known).find(|(_, row)| *row.id == **unit);
        let later = Target::Later {
            unit: unit.to_string(),
        };
        let is_known = known.intents.iter().any(|intent| {
            *intent.wish.unit_id == **unit
                && matches!(intent.outcome, Outcome::Open | Outcome::Unresolved)
        });
        let has_serial = row.is_some_and(|(_, row)| row.unit.serial().is_some());
        let adopted = plan.adopt.iter().any(|adoption| adoption.target == later);
        if !is_known && !has_serial && !adopted && !given.contains(&**unit) {
            plan.in_doubt.push(unit.to_string());
        }
    }
}
