//! The device registry: which device id has which serial, and whether that device may send.
//!
//! Owns the device and its states. Readers follow the newest [`Snapshot`] through a `watch` channel; it comes from a file
//! ([`mod@file`]) or from a compacted topic ([`topic`]).
//!
//! * G1 rests on it: only `active` lets a record through, and a serial that two devices claim lets none.
//!
//! It decides nothing; the gate does. It is where `pipeline` and the orders journey meet.

pub mod entries;
pub mod file;
pub mod mark;
mod shard;
mod snapshot;
pub mod topic;
mod trouble;
pub mod writer;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use snapshot::{Counts, Known, Snapshot};

/// Longest device id, serial and order, in bytes.
pub const LONGEST: usize = 255;

/// Settings (`[registry]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the devices are: `auto`, `file` or `topic`.
    pub source: Source,
    /// File of devices, one JSON object per line, written by `dig-ingest devices import`; empty for none. The job follows it.
    pub file: std::path::PathBuf,
}

/// See [`Config::source`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The file if one is named, else the topic if the gate asks the registry, else nothing.
    #[default]
    Auto,
    File,
    Topic,
}

impl Config {
    /// Where the devices are; `None` when nobody asks for them. `gated`: the gate asks the registry.
    #[must_use]
    pub fn place(&self, gated: bool) -> Option<Source> {
        match self.source {
            Source::File | Source::Topic => Some(self.source),
            Source::Auto if !self.file.as_os_str().is_empty() => Some(Source::File),
            Source::Auto => gated.then_some(Source::Topic),
        }
    }
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
    pub const ALL: [Self; 3] = [Self::Pending, Self::Active, Self::Terminated];

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
    /// The order it belongs to, if it came by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Box<str>>,
    /// When it came into its state.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "instant")]
    pub since: Option<Timestamp>,
}

/// A device whose texts no registry takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{field} has {length} bytes; a registry takes 1 to {LONGEST}")]
    Length { field: &'static str, length: usize },
    #[error(
        "device_id begins with {:?}, which is reserved; give the device another id",
        mark::RESERVED
    )]
    Reserved,
}

impl Device {
    /// Whether every registry can keep it.
    ///
    /// # Errors
    /// The text that is empty or too long.
    pub fn check(&self) -> Result<(), Unfit> {
        let texts = [
            ("device_id", Some(&self.device_id)),
            ("serial", self.serial.as_ref()),
            ("order", self.order.as_ref()),
        ];
        for (field, text) in texts {
            let length = text.map_or(1, |text| text.len());
            if !(1..=LONGEST).contains(&length) {
                return Err(Unfit::Length { field, length });
            }
        }
        if self.device_id.starts_with(mark::RESERVED) {
            return Err(Unfit::Reserved);
        }
        Ok(())
    }
}

/// The channel every reader follows.
pub type Feed = tokio::sync::watch::Receiver<Arc<Snapshot>>;

/// Instants as RFC 3339 text.
mod instant {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(instant: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match instant {
            Some(instant) => to.collect_str(instant),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_as_it_was_written() {
        let device = Device {
            device_id: "356938035643809".into(),
            serial: Some("CX0000000001".into()),
            state: State::Active,
            order: Some("SO-1".into()),
            since: Some("2026-09-21T10:00:00Z".parse().expect("an instant")),
        };
        let text = serde_json::to_string(&device).expect("plain");
        assert_eq!(
            text,
            r#"{"device_id":"356938035643809","serial":"CX0000000001","state":"active","order":"SO-1","since":"2026-09-21T10:00:00Z"}"#
        );
        assert_eq!(
            serde_json::from_str::<Device>(&text).expect("reads"),
            device
        );
        let least: Device =
            serde_json::from_str(r#"{"device_id":"a","state":"pending"}"#).expect("reads");
        assert_eq!((least.serial, least.since), (None, None));
    }

    #[test]
    fn texts_that_no_registry_takes_are_named() {
        let mut device = Device {
            device_id: "a".into(),
            serial: Some("".into()),
            state: State::Pending,
            order: None,
            since: None,
        };
        assert_eq!(
            device.check().expect_err("empty").to_string(),
            "serial has 0 bytes; a registry takes 1 to 255"
        );
        device.serial = None;
        device.check().expect("fits");
        device.device_id = mark::KEY.into();
        assert_eq!(device.check(), Err(Unfit::Reserved));
    }

    #[test]
    fn the_place_of_the_devices_follows_from_what_is_set() {
        let mut config = Config::default();
        assert_eq!(
            (config.place(false), config.place(true)),
            (None, Some(Source::Topic))
        );
        config.file = "devices.ndjson".into();
        assert_eq!(config.place(true), Some(Source::File));
        config.source = Source::Topic;
        assert_eq!(config.place(false), Some(Source::Topic));
    }
}
