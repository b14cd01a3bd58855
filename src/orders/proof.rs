//! Whether the store is the one that published last, and where registry and store differ. Pure.
//!
//! * P3: a store is proven when it knows the nonce of the published mark, and every serial that the registry shows for an order.
//! * G2: what differs is written again from the store; a device that is called terminated while the store does not know it is a
//!   difference like any other, except before the first publication of a store that is carried over: then it is an end by the
//!   command of an older version, and the store learns it.
//!
//! Devices without an order are no business of the journey, unless they claim the serial of one of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::journey::Serial;
use super::journey::registration::Registration;
use super::outbox::Entry;
use super::store::identity::{Identity, Origin, Proof};
use crate::registry::entries::Entries;
use crate::registry::{self, State};

/// Examples of device ids in a text.
const EXAMPLES: usize = 3;

/// The store's identity, and the state of the registry that the store asks for.
#[derive(Debug)]
pub struct Own {
    pub identity: Identity,
    pub nonces: HashSet<String>,
    /// Devices with the unit that each is.
    pub devices: Vec<(Registration, Option<Box<str>>)>,
    /// Serials of units.
    pub serials: HashSet<Serial>,
    /// Ids of devices with a change that is not published yet.
    pub waiting: HashSet<String>,
}

/// Why the store is not proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// Was found before, and nobody accepted yet.
    Stands(String),
    /// Another store published last.
    Other { published: Box<str>, own: Box<str> },
    /// A later state of this store published, or another copy of it.
    Older { published: i64, own: i64 },
    /// Serials with an order that the store does not know.
    Unknown { serials: usize, example: String },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stands(why) => f.write_str(why),
            Self::Other { published, own } => write!(
                f,
                "the registry was last published by store {published}, and this is store {own}"
            ),
            Self::Older { published, own } => write!(
                f,
                "the registry was published at generation {published}, and this store (generation {own}) does not know that \
                 publication: it is an older copy, or a copy beside another one"
            ),
            Self::Unknown { serials, example } => write!(
                f,
                "the registry shows {serials} serials with an order that this store does not know, such as {example}"
            ),
        }
    }
}

impl Own {
    fn knows(&self, serial: &str) -> bool {
        Serial::parse(serial).is_ok_and(|serial| {
            self.serials.contains(&serial)
                || self
                    .devices
                    .iter()
                    .any(|(device, _)| device.serial.as_ref() == Some(&serial))
        })
    }
}

/// Devices of the registry with an order and a serial that the store does not know.
#[must_use]
pub fn unknown<'a>(own: &Own, entries: &'a Entries) -> Vec<&'a registry::entries::Entry> {
    let known: HashSet<&str> = own
        .devices
        .iter()
        .filter_map(|(device, _)| device.serial.as_ref())
        .chain(&own.serials)
        .map(Serial::as_str)
        .collect();
    let canonical = |serial: &str| Serial::parse(serial).map(|serial| serial.to_string());
    entries
        .devices
        .values()
        .filter(|entry| entry.device.order.is_some())
        .filter(|entry| {
            entry.device.serial.as_deref().is_some_and(|serial| {
                !canonical(serial).is_ok_and(|serial| known.contains(serial.as_str()))
            })
        })
        .collect()
}

/// Why the store is not proven; none if it is.
#[must_use]
pub fn judge(own: &Own, entries: &Entries) -> Option<Doubt> {
    let identity = &own.identity;
    if identity.proof == Proof::Unproven {
        return Some(Doubt::Stands(identity.why.clone()));
    }
    if let Some(mark) = &entries.mark
        && !own.nonces.contains(&*mark.nonce)
    {
        return Some(if *mark.store == *identity.id {
            Doubt::Older {
                published: mark.generation,
                own: identity.generation,
            }
        } else {
            Doubt::Other {
                published: mark.store.clone(),
                own: identity.id.as_str().into(),
            }
        });
    }
    let unknown = unknown(own, entries);
    let example = unknown.first()?;
    Some(Doubt::Unknown {
        serials: unknown.len(),
        example: format!(
            "{} (order {})",
            example.device.serial.as_deref().unwrap_or_default(),
            example.device.order.as_deref().unwrap_or_default()
        ),
    })
}

/// The registry entries to be written so that the registry agrees with the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences {
    pub write: Vec<Entry>,
    /// Devices of which readers see something else than the store wants.
    pub differing: Vec<Box<str>>,
}

impl Differences {
    /// For an alarm.
    #[must_use]
    pub fn examples(&self) -> String {
        let shown: Vec<&str> = self
            .differing
            .iter()
            .take(EXAMPLES)
            .map(|id| &**id)
            .collect();
        shown.join(", ")
    }
}

/// Compares. Devices whose change waits in the outbox are left to it.
#[must_use]
pub fn differences(own: &Own, entries: &Entries) -> Differences {
    let mut found = Differences::default();
    let mut differs = |entry: Entry, id: &str| {
        found.write.push(entry);
        found.differing.push(id.into());
    };
    let mut owners: HashMap<&str, &str> = HashMap::new();
    let mut ids: HashSet<&str> = HashSet::new();
    let mut incomplete = Vec::new();
    for (device, unit) in &own.devices {
        let id = &*device.device_id;
        ids.insert(id);
        if let Some(serial) = &device.serial {
            owners.insert(serial.as_str(), id);
        }
        if own.waiting.contains(id) {
            continue;
        }
        let wanted = Entry::of(device, unit.clone());
        let Entry::Put(wanted_device, _) = &wanted else {
            continue;
        };
        match entries.devices.get(id) {
            Some(entry) if entry.device == *wanted_device => {
                if unit.is_some() && entry.unit != *unit {
                    // Written by a version that did not name the unit; nobody who asks for the device sees a difference.
                    incomplete.push(wanted);
                }
            }
            _ => differs(wanted, id),
        }
    }
    for (id, entry) in &entries.devices {
        if ids.contains(&**id) || own.waiting.contains(&**id) {
            continue;
        }
        let claims = entry.device.serial.as_deref().and_then(|serial| {
            let serial = Serial::parse(serial).ok()?;
            owners.get(serial.as_str()).copied()
        });
        if claims.is_some() {
            // It claims the serial of a device that goes by another id.
            differs(Entry::Forget(id.clone()), id);
        }
    }
    found.write.extend(incomplete);
    found
}

/// Devices that the store calls terminated and the registry does not: these are written whatever else is in doubt (G1).
#[must_use]
pub fn terminations(own: &Own, entries: &Entries) -> Vec<Entry> {
    own.devices
        .iter()
        .filter(|(device, _)| device.state == State::Terminated)
        .filter(|(device, _)| {
            let serial = device.serial.as_ref().map(Serial::as_str);
            entries.devices.get(&device.device_id).is_some_and(|entry| {
                entry.device.state != State::Terminated && entry.device.serial.as_deref() == serial
            })
        })
        .map(|(device, unit)| Entry::of(device, unit.clone()))
        .collect()
}

/// Serials that an older version's command terminated in the registry without telling the store.
#[must_use]
pub fn ended_before(own: &Own, entries: &Entries) -> BTreeMap<Serial, Box<str>> {
    if own.identity.origin != Origin::CarriedOver || entries.mark.is_some() {
        return BTreeMap::new();
    }
    own.devices
        .iter()
        .filter(|(device, _)| device.state != State::Terminated)
        .filter(|(device, _)| !own.waiting.contains(&*device.device_id))
        .filter_map(|(device, _)| {
            let serial = device.serial.clone()?;
            let entry = entries.devices.get(&device.device_id)?;
            let ended = entry.device.state == State::Terminated
                && entry.device.serial.as_deref() == Some(serial.as_str());
            ended.then(|| (serial, device.device_id.clone()))
        })
        .collect()
}

/// Whether a serial of the registry is known to the store.
#[must_use]
pub fn knows(own: &Own, serial: &str) -> bool {
    own.knows(serial)
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
