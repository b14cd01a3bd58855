//! The device registry: which device id has which serial, and whether that device may send.
//!
//! Owns the device and its states. Readers follow the newest [`Snapshot`] through a `watch` channel; snapshots come from a file
//! ([`mod@file`]) or from a compacted topic ([`topic`]).
//!
//! * G1 rests on it: only an `active` device may send, and of two devices that claim the same serial neither may.
//!
//! It decides nothing; the gate decides. `pipeline` and the orders journey meet here.

pub mod entries;
pub mod file;
pub mod mark;
mod shard;
mod snapshot;
pub mod topic;
mod trouble;
pub mod writer;

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::serial::{NotASerial, Serial};

pub use snapshot::{Counts, Known, Snapshot};

/// Longest device id and order, in bytes.
pub const LONGEST: usize = 255;

/// Settings (`[registry]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Location of the device registry: `auto`, `file` or `topic`.
    pub source: Source,
    /// Device registry file: one JSON object per line, written by `dig-ingest devices import`. The job reloads the file when it changes.
    /// Empty: none.
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
    /// Source of the devices; `None` when they are not used. `gated`: the gate asks the registry.
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
    /// Ended; a record would resume billing (dig/API.md 11.6).
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

/// Why a device is refused: a text that no registry takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{field} has {length} bytes; a registry takes 1 to {LONGEST}")]
    Length { field: &'static str, length: usize },
    #[error(
        "device_id begins with {:?}, which is reserved; give the device another id",
        mark::RESERVED
    )]
    Reserved,
    #[error(
        "device_id {shown} holds a control character or one that changes the direction of text"
    )]
    Hidden { shown: String },
    #[error("serial {0}")]
    Serial(#[from] NotASerial),
}

impl Device {
    /// The device with its serial in normal form; borrowed when it is in normal form already. Entries of older versions are
    /// read with it.
    ///
    /// # Errors
    /// A text that is empty, too long, or holds what no registry takes.
    pub fn normal(&self) -> Result<Cow<'_, Self>, Unfit> {
        let texts = [
            ("device_id", Some(&self.device_id)),
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
        if self.device_id.chars().any(is_hidden) {
            let shown = format!("{:?}", self.device_id);
            return Err(Unfit::Hidden { shown });
        }
        Ok(
            match self.serial.as_deref().map(Serial::normal).transpose()? {
                Some(Cow::Owned(serial)) => Cow::Owned(Self {
                    serial: Some(serial.into()),
                    ..self.clone()
                }),
                Some(Cow::Borrowed(_)) | None => Cow::Borrowed(self),
            },
        )
    }
}

/// Whether a character is invisible: a control character, or one that changes the direction of text.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Receiver of the newest snapshot, as every reader has it.
pub type RegistryWatch = tokio::sync::watch::Receiver<Arc<Snapshot>>;

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
        let device = |id: &str, serial: Option<&str>| Device {
            device_id: id.into(),
            serial: serial.map(Into::into),
            state: State::Pending,
            order: None,
            since: None,
        };
        let refused = |device: &Device| device.normal().expect_err("refused").to_string();
        assert_eq!(
            refused(&device("", None)),
            "device_id has 0 bytes; a registry takes 1 to 255"
        );
        assert!(refused(&device(mark::KEY, None)).contains("reserved"));
        for serial in ["", "CX\u{0}1", "CX\u{202e}1"] {
            let error = refused(&device("a", Some(serial)));
            assert!(error.contains("is not a serial number"), "{error}");
            assert!(!error.contains(['\u{0}', '\u{202e}']), "{error:?}");
        }
        let error = refused(&device("a\u{202e}b", None));
        assert!(
            error.contains("device_id") && !error.contains('\u{202e}'),
            "{error:?}"
        );
        let plain = device("a", Some("CX0000000001"));
        assert!(matches!(plain.normal(), Ok(Cow::Borrowed(_))));
        let printed = device("a", Some("cx00-0000-0001"));
        assert_eq!(printed.normal().expect("fits").into_owned(), plain);
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
