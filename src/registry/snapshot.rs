//! The snapshot: all devices at one moment, by device id and by serial.
//!
//! Owns shards by the hash of the device id, and tables by the hash of the serial that refer to places in the shards. A clone
//! shares everything; changing a clone copies only the shards that the change touches, so that a million devices are followed
//! without ever being held twice. A look-up allocates nothing.
//!
//! * Serials are kept in normal form, whichever program wrote them.
//! * A serial that two devices claim is disputed for both, until one of them gives it up; P1 would be broken otherwise.

use std::sync::Arc;

use hashbrown::HashTable;
use jiff::Timestamp;

use super::shard::Shard;
use super::{Device, State, Unfit};
use crate::record::{SerialOf, serial_hash};

/// Shards, and tables of serials, as a power of 2.
const SHARD_BITS: u32 = 10;
const SHARDS: usize = 1 << SHARD_BITS;
/// Bits of a device's place within its shard.
const PLACE_BITS: u32 = 32 - SHARD_BITS;

/// The shard of a hash, by bits that the tables themselves do not use first.
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize & (SHARDS - 1)
}

/// A device's shard and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At(u32);

impl At {
    fn new(shard: usize, place: u32) -> Self {
        debug_assert!(place < 1 << PLACE_BITS);
        Self((shard as u32) << PLACE_BITS | place)
    }

    fn shard(self) -> usize {
        (self.0 >> PLACE_BITS) as usize
    }

    fn place(self) -> u32 {
        self.0 & ((1 << PLACE_BITS) - 1)
    }
}

/// Numbers of devices by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub pending: u64,
    pub active: u64,
    pub terminated: u64,
    /// Devices whose serial another device claims too.
    pub disputed: u64,
}

impl Counts {
    fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::Pending => &mut self.pending,
            State::Active => &mut self.active,
            State::Terminated => &mut self.terminated,
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Devices by the hash of their device id; clones of the snapshot share them until one changes.
    shards: Vec<Arc<Shard>>,
    /// Places of devices by the hash of their serial; shared likewise.
    serials: Vec<Arc<HashTable<At>>>,
    /// Devices by state.
    counts: Counts,
}

/// A device of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The shard that has the device.
    shard: &'a Shard,
    /// Its place in the shard.
    place: u32,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            shards: vec![Arc::default(); SHARDS],
            serials: vec![Arc::default(); SHARDS],
            counts: Counts::default(),
        }
    }
}

impl Snapshot {
    /// Builds a snapshot. Of several entries with one device id the last counts.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn new<'a>(devices: impl IntoIterator<Item = &'a Device>) -> Result<Self, Unfit> {
        let mut snapshot = Self::default();
        for device in devices {
            snapshot.set(device)?;
        }
        Ok(snapshot)
    }

    /// Adds or replaces a device.
    ///
    /// # Errors
    /// A text that no registry takes; nothing has changed then.
    pub fn set(&mut self, device: &Device) -> Result<(), Unfit> {
        let device = &*device.normal()?;
        let hash = serial_hash(device.device_id.as_bytes());
        let shard = shard_of(hash);
        let at = match self.shards[shard].find(hash, &device.device_id) {
            Some(place) => {
                let at = At::new(shard, place);
                if let Some(state) = self.shards[shard].entry(place).state {
                    *self.counts.of(state) -= 1;
                }
                self.give_up(at);
                Arc::make_mut(&mut self.shards[shard]).replace(place, device);
                at
            }
            None => {
                let place = Arc::make_mut(&mut self.shards[shard]).insert(hash, device);
                At::new(shard, place)
            }
        };
        *self.counts.of(device.state) += 1;
        self.claim(at);
        Ok(())
    }

    /// Removes a device; true if it was known.
    pub fn remove(&mut self, device_id: &str) -> bool {
        let hash = serial_hash(device_id.as_bytes());
        let shard = shard_of(hash);
        let Some(place) = self.shards[shard].find(hash, device_id) else {
            return false;
        };
        if let Some(state) = self.shards[shard].entry(place).state {
            *self.counts.of(state) -= 1;
        }
        self.give_up(At::new(shard, place));
        Arc::make_mut(&mut self.shards[shard]).remove(hash, place);
        true
    }

    fn serial_at(&self, at: At) -> &str {
        self.shards[at.shard()].serial(at.place())
    }

    /// The devices that claim a serial; `hash` is the serial's hash.
    fn claimants(&self, hash: u64, serial: &str) -> Vec<At> {
        self.serials[shard_of(hash)]
            .iter_hash(hash)
            .copied()
            .filter(|&at| self.serial_at(at) == serial)
            .collect()
    }

    fn claim(&mut self, at: At) {
        let serial = self.serial_at(at);
        if serial.is_empty() {
            return;
        }
        let hash = serial_hash(serial.as_bytes());
        let others = self.claimants(hash, serial);
        let table = Arc::make_mut(&mut self.serials[shard_of(hash)]);
        let shards = &self.shards;
        table.insert_unique(hash, at, |at| {
            serial_hash(shards[at.shard()].serial(at.place()).as_bytes())
        });
        if !others.is_empty() {
            self.dispute(at, true);
            for other in others {
                self.dispute(other, true);
            }
        }
    }

    fn give_up(&mut self, at: At) {
        let serial = self.serial_at(at);
        if serial.is_empty() {
            return;
        }
        let hash = serial_hash(serial.as_bytes());
        let mut left = self.claimants(hash, serial);
        left.retain(|&other| other != at);
        let table = Arc::make_mut(&mut self.serials[shard_of(hash)]);
        if let Ok(found) = table.find_entry(hash, |&other| other == at) {
            found.remove();
        }
        self.dispute(at, false);
        if let [alone] = left[..] {
            self.dispute(alone, false);
        }
    }

    fn dispute(&mut self, at: At, disputed: bool) {
        if self.shards[at.shard()].entry(at.place()).disputed == disputed {
            return;
        }
        Arc::make_mut(&mut self.shards[at.shard()])
            .entry_mut(at.place())
            .disputed = disputed;
        if disputed {
            self.counts.disputed += 1;
        } else {
            self.counts.disputed -= 1;
        }
    }

    #[must_use]
    pub fn device(&self, device_id: &str) -> Option<Known<'_>> {
        let hash = serial_hash(device_id.as_bytes());
        let shard = &*self.shards[shard_of(hash)];
        let place = shard.find(hash, device_id)?;
        Some(Known { shard, place })
    }

    /// A device with this serial (either of two that claim it); `hash` is [`serial_hash`] of it.
    #[must_use]
    pub fn with_serial(&self, hash: u64, serial: &[u8]) -> Option<Known<'_>> {
        let at = *self.serials[shard_of(hash)]
            .find(hash, |&at| self.serial_at(at).as_bytes() == serial)?;
        Some(Known {
            shard: &self.shards[at.shard()],
            place: at.place(),
        })
    }

    /// All devices, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Known<'_>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.places().map(move |place| Known { shard, place }))
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    #[must_use]
    pub fn len(&self) -> usize {
        (self.counts.pending + self.counts.active + self.counts.terminated) as usize
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of the disputed serials, with the devices that claim it, for an alarm.
    #[must_use]
    pub fn dispute_example(&self) -> Option<(&str, Vec<&str>)> {
        if self.counts.disputed == 0 {
            return None;
        }
        let serial = self.iter().find(Known::disputed)?.serial()?;
        let claimants = self.claimants(serial_hash(serial.as_bytes()), serial);
        let ids = claimants
            .into_iter()
            .map(|at| self.shards[at.shard()].device_id(at.place()))
            .collect();
        Some((serial, ids))
    }

    /// Frees unused capacity, after the first reading.
    pub fn shrink(&mut self) {
        for shard in &mut self.shards {
            if let Some(shard) = Arc::get_mut(shard) {
                shard.shrink();
            }
        }
    }
}

impl<'a> Known<'a> {
    #[must_use]
    pub fn device_id(&self) -> &'a str {
        self.shard.device_id(self.place)
    }

    #[must_use]
    pub fn serial(&self) -> Option<&'a str> {
        Some(self.shard.serial(self.place)).filter(|serial| !serial.is_empty())
    }

    #[must_use]
    pub fn order(&self) -> Option<&'a str> {
        Some(self.shard.order(self.place)).filter(|order| !order.is_empty())
    }

    #[must_use]
    pub fn state(&self) -> State {
        // A place that a table refers to is in use, so its state is set.
        self.shard
            .entry(self.place)
            .state
            .unwrap_or(State::Terminated)
    }

    /// Whether another device claims the same serial: neither may send.
    #[must_use]
    pub fn disputed(&self) -> bool {
        self.shard.entry(self.place).disputed
    }

    #[must_use]
    pub fn to_device(&self) -> Device {
        let since = self.shard.entry(self.place).since;
        Device {
            device_id: self.device_id().into(),
            serial: self.serial().map(Into::into),
            state: self.state(),
            order: self.order().map(Into::into),
            since: since.and_then(|since| Timestamp::from_microsecond(since).ok()),
        }
    }
}

impl SerialOf for Snapshot {
    fn serial_of(&self, device_id: &str) -> Option<&str> {
        self.device(device_id)?.serial()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn device(id: &str, serial: Option<&str>, state: State) -> Device {
        Device {
            device_id: id.into(),
            serial: serial.map(Into::into),
            state,
            order: None,
            since: None,
        }
    }

    fn by_serial<'a>(snapshot: &'a Snapshot, serial: &str) -> Option<Known<'a>> {
        snapshot.with_serial(serial_hash(serial.as_bytes()), serial.as_bytes())
    }

    #[test]
    fn finds_a_device_by_id_and_by_serial() {
        let snapshot = Snapshot::new(&[
            device("a", Some("CX0000000001"), State::Active),
            device("b", None, State::Pending),
            device("a", Some("CX0000000002"), State::Terminated),
        ])
        .expect("fits");
        assert_eq!(snapshot.len(), 2);
        assert_eq!(snapshot.serial_of("a"), Some("CX0000000002"));
        assert_eq!(snapshot.serial_of("b"), None);
        let found = by_serial(&snapshot, "CX0000000002").expect("known");
        assert_eq!((found.device_id(), found.state()), ("a", State::Terminated));
        assert!(by_serial(&snapshot, "CX0000000001").is_none());
    }

    #[test]
    fn a_clone_is_not_changed_with_its_origin() {
        let mut new = Snapshot::new(&[device("a", Some("S"), State::Pending)]).expect("fits");
        let old = new.clone();
        new.set(&device("a", Some("S"), State::Active))
            .expect("fits");
        assert_eq!(old.device("a").expect("known").state(), State::Pending);
        assert_eq!(new.device("a").expect("known").state(), State::Active);
    }

    proptest! {
        /// Against a plain map: every device is found as it was set last, and a serial is disputed exactly while more than one
        /// device claims it.
        #[test]
        fn it_is_a_map_with_disputes(steps in prop::collection::vec((0u8..12, prop::option::of((0u8..6, 0usize..3, "[a-z]{0,9}"))), 1..200)) {
            let mut model: BTreeMap<String, Device> = BTreeMap::new();
            let mut snapshot = Snapshot::default();
            for (id, change) in steps {
                let id = format!("device-{id}");
                match change {
                    None => { prop_assert_eq!(snapshot.remove(&id), model.remove(&id).is_some()); }
                    Some((serial, state, order)) => {
                        let serial = (serial > 0).then(|| format!("S{serial}"));
                        let mut device = device(&id, serial.as_deref(), State::ALL[state]);
                        device.order = Some(order.into_boxed_str()).filter(|order| !order.is_empty());
                        snapshot.set(&device).expect("fits");
                        model.insert(id, device);
                    }
                }
                let claims = |serial: &Option<Box<str>>| model.values().filter(|d| serial.is_some() && d.serial == *serial).count();
                let mut all: Vec<Device> = snapshot.iter().map(|known| known.to_device()).collect();
                all.sort_by(|a, b| a.device_id.cmp(&b.device_id));
                prop_assert_eq!(all, model.values().cloned().collect::<Vec<_>>());
                let disputed = model.values().filter(|d| claims(&d.serial) > 1).count() as u64;
                prop_assert_eq!(snapshot.counts().disputed, disputed);
                prop_assert_eq!(snapshot.dispute_example().is_some(), disputed > 0);
                for device in model.values() {
                    let known = snapshot.device(&device.device_id).expect("known");
                    prop_assert_eq!(known.disputed(), claims(&device.serial) > 1);
                    if let Some(serial) = &device.serial {
                        prop_assert_eq!(by_serial(&snapshot, serial).expect("known").serial(), Some(&**serial));
                    }
                }
            }
        }
    }
}
