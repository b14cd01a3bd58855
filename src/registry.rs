//! The device registry: which device id has which serial, and whether that device may send.
//!
//! Owns nothing shared: a [`Snapshot`] is immutable; readers follow the newest one through a `watch` channel.
//!
//! * G1 rests on it: only `active` lets a record through.
//!
//! It decides nothing; the gate does. It is where `pipeline` and the orders journey meet.

pub mod file;

use std::sync::Arc;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use crate::record::{SerialOf, serial_hash};

/// Settings (`[registry]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// File of devices, one JSON object per line, written by `dig-ingest devices import`; empty for none. The job follows it.
    pub file: std::path::PathBuf,
}

/// What a device may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Ordered or provisioned, not yet allowed to send: its first record would start billing.
    Pending,
    Active,
    /// Ended; a record would resume billing (dig-api.md 11.6).
    Terminated,
}

impl State {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Terminated => "terminated",
        }
    }
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The integrator's own id, often the IMEI.
    pub device_id: Box<str>,
    /// Geotab serial, once provisioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Box<str>>,
    pub state: State,
}

/// An immutable view of all devices, by device id and by serial.
#[derive(Debug, Default)]
pub struct Snapshot {
    devices: Vec<Device>,
    by_id: HashTable<u32>,
    by_serial: HashTable<u32>,
}

/// The channel every reader follows.
pub type Feed = tokio::sync::watch::Receiver<Arc<Snapshot>>;

impl Snapshot {
    /// Builds the view. The last entry of a device id wins.
    ///
    /// # Errors
    /// The serial that two devices claim.
    pub fn new(devices: Vec<Device>) -> Result<Self, DuplicateSerial> {
        let mut kept: Vec<Device> = Vec::with_capacity(devices.len());
        let mut by_id: HashTable<u32> = HashTable::with_capacity(devices.len());
        for device in devices {
            let hash = serial_hash(device.device_id.as_bytes());
            match by_id.find(hash, |&at| kept[at as usize].device_id == device.device_id) {
                Some(&at) => kept[at as usize] = device,
                None => {
                    kept.push(device);
                    let at = (kept.len() - 1) as u32;
                    by_id.insert_unique(hash, at, |&at| {
                        serial_hash(kept[at as usize].device_id.as_bytes())
                    });
                }
            }
        }
        let mut by_serial: HashTable<u32> = HashTable::with_capacity(kept.len());
        let serial_at = |at: u32| kept[at as usize].serial.as_deref().unwrap_or_default();
        for at in 0..kept.len() as u32 {
            if kept[at as usize].serial.is_none() {
                continue;
            }
            let serial = serial_at(at);
            let hash = serial_hash(serial.as_bytes());
            if let Some(&other) = by_serial.find(hash, |&other| serial_at(other) == serial) {
                return Err(DuplicateSerial {
                    serial: serial.to_owned(),
                    devices: [
                        kept[other as usize].device_id.to_string(),
                        kept[at as usize].device_id.to_string(),
                    ],
                });
            }
            by_serial.insert_unique(hash, at, |&at| serial_hash(serial_at(at).as_bytes()));
        }
        Ok(Self {
            devices: kept,
            by_id,
            by_serial,
        })
    }

    #[must_use]
    pub fn device(&self, device_id: &str) -> Option<&Device> {
        let hash = serial_hash(device_id.as_bytes());
        self.by_id
            .find(hash, |&at| {
                &*self.devices[at as usize].device_id == device_id
            })
            .map(|&at| &self.devices[at as usize])
    }

    /// The device with this serial; `hash` is [`serial_hash`] of it.
    #[must_use]
    pub fn with_serial(&self, hash: u64, serial: &[u8]) -> Option<&Device> {
        self.by_serial
            .find(hash, |&at| {
                self.devices[at as usize]
                    .serial
                    .as_deref()
                    .is_some_and(|s| s.as_bytes() == serial)
            })
            .map(|&at| &self.devices[at as usize])
    }

    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }
}

impl SerialOf for Snapshot {
    fn serial_of(&self, device_id: &str) -> Option<&str> {
        self.device(device_id)?.serial.as_deref()
    }
}

/// Two devices with one serial: P1 would be broken, so nothing of it is used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("serial {serial} is claimed by device {} and device {}", devices[0], devices[1])]
pub struct DuplicateSerial {
    pub serial: String,
    pub devices: [String; 2],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str, serial: Option<&str>, state: State) -> Device {
        Device {
            device_id: id.into(),
            serial: serial.map(Into::into),
            state,
        }
    }

    #[test]
    fn finds_a_device_by_id_and_by_serial() {
        let snapshot = Snapshot::new(vec![
            device("a", Some("CX0000000001"), State::Active),
            device("b", None, State::Pending),
            device("a", Some("CX0000000002"), State::Terminated),
        ])
        .expect("no conflict");
        assert_eq!(snapshot.devices().len(), 2);
        assert_eq!(snapshot.serial_of("a"), Some("CX0000000002"));
        assert_eq!(snapshot.serial_of("b"), None);
        let serial = b"CX0000000002";
        assert_eq!(
            snapshot
                .with_serial(serial_hash(serial), serial)
                .map(|d| d.state),
            Some(State::Terminated)
        );
        let gone = b"CX0000000001";
        assert_eq!(snapshot.with_serial(serial_hash(gone), gone), None);
    }

    #[test]
    fn refuses_a_serial_claimed_twice() {
        let error = Snapshot::new(vec![
            device("a", Some("CX0000000001"), State::Active),
            device("b", Some("CX0000000001"), State::Active),
        ])
        .expect_err("a conflict");
        assert_eq!(
            error.to_string(),
            "serial CX0000000001 is claimed by device a and device b"
        );
    }
}
