//! A shard of the registry: some hundred devices whose texts are stored in one string.
//!
//! Owns the texts, one fixed-size entry per device, and the table by device id. A device keeps its place while it is known,
//! because the table by serial refers to the place. Cloning a shard copies a few blocks of memory.

use hashbrown::HashTable;

use super::{Device, State};
use crate::record::serial_hash;

/// One device; its texts have `id`, `serial` and `order` bytes and begin at `at`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Start of the device's texts in the shard's text.
    at: u32,
    /// Length of the device id.
    id: u8,
    /// Length of the serial; 0 for none.
    serial: u8,
    /// Length of the order; 0 for none.
    order: u8,
    /// `None` marks a free place.
    pub state: Option<State>,
    /// Whether another device claims the same serial.
    pub disputed: bool,
    /// When the device came into its state, in microseconds since the epoch.
    pub since: Option<i64>,
}

impl Entry {
    fn length(&self) -> usize {
        usize::from(self.id) + usize::from(self.serial) + usize::from(self.order)
    }
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub(super) struct Shard {
    /// Device ids, serials and orders, one behind the other.
    texts: String,
    /// One entry per device, by place; free places included.
    entries: Vec<Entry>,
    /// Places by device id.
    by_id: HashTable<u32>,
    /// Free places in `entries`.
    free: Vec<u32>,
    /// Bytes of texts that no entry points at any more.
    dead: usize,
}

impl Shard {
    pub fn find(&self, hash: u64, device_id: &str) -> Option<u32> {
        self.by_id
            .find(hash, |&at| self.device_id(at) == device_id)
            .copied()
    }

    pub fn entry(&self, at: u32) -> &Entry {
        &self.entries[at as usize]
    }

    pub fn entry_mut(&mut self, at: u32) -> &mut Entry {
        &mut self.entries[at as usize]
    }

    fn text(&self, from: usize, length: u8) -> &str {
        &self.texts[from..from + usize::from(length)]
    }

    pub fn device_id(&self, at: u32) -> &str {
        let entry = self.entry(at);
        self.text(entry.at as usize, entry.id)
    }

    /// Serial of the device; empty when it has none.
    pub fn serial(&self, at: u32) -> &str {
        let entry = self.entry(at);
        self.text(entry.at as usize + usize::from(entry.id), entry.serial)
    }

    /// Order of the device; empty when it has none.
    pub fn order(&self, at: u32) -> &str {
        let entry = self.entry(at);
        let from = entry.at as usize + usize::from(entry.id) + usize::from(entry.serial);
        self.text(from, entry.order)
    }

    /// The places in use.
    pub fn places(&self) -> impl Iterator<Item = u32> {
        let used = |(at, entry): (usize, &Entry)| entry.state.map(|_| at as u32);
        self.entries.iter().enumerate().filter_map(used)
    }

    /// Adds a new device; the caller has checked its texts (see [`Device`]).
    pub fn insert(&mut self, hash: u64, device: &Device) -> u32 {
        let entry = self.append(device);
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let (texts, entries) = (&self.texts, &self.entries);
        self.by_id.insert_unique(hash, at, |&at| {
            let entry = &entries[at as usize];
            let from = entry.at as usize;
            serial_hash(&texts.as_bytes()[from..from + usize::from(entry.id)])
        });
        at
    }

    /// Replaces the device at a place; the device id stays the same.
    pub fn replace(&mut self, at: u32, device: &Device) {
        self.dead += self.entries[at as usize].length();
        self.entries[at as usize] = self.append(device);
        self.tidy();
    }

    pub fn remove(&mut self, hash: u64, at: u32) {
        if let Ok(found) = self.by_id.find_entry(hash, |&other| other == at) {
            found.remove();
        }
        self.dead += self.entries[at as usize].length();
        self.entries[at as usize].state = None;
        self.free.push(at);
        self.tidy();
    }

    fn append(&mut self, device: &Device) -> Entry {
        let at = self.texts.len() as u32;
        let (serial, order) = (
            device.serial.as_deref().unwrap_or_default(),
            device.order.as_deref().unwrap_or_default(),
        );
        for text in [&*device.device_id, serial, order] {
            self.texts.push_str(text);
        }
        Entry {
            at,
            id: device.device_id.len() as u8,
            serial: serial.len() as u8,
            order: order.len() as u8,
            state: Some(device.state),
            disputed: false,
            since: device.since.map(|since| since.as_microsecond()),
        }
    }

    /// Rewrites the texts when more than half of their bytes are dead.
    fn tidy(&mut self) {
        if self.dead * 2 <= self.texts.len() {
            return;
        }
        let mut texts = String::with_capacity(self.texts.len() - self.dead);
        for entry in self
            .entries
            .iter_mut()
            .filter(|entry| entry.state.is_some())
        {
            let from = entry.at as usize;
            let length = entry.length();
            entry.at = texts.len() as u32;
            texts.push_str(&self.texts[from..from + length]);
        }
        self.texts = texts;
        self.dead = 0;
    }

    /// Frees unused capacity.
    pub fn shrink(&mut self) {
        self.texts.shrink_to_fit();
        self.entries.shrink_to_fit();
    }
}
