//! The gate: may this record's device send now?
//!
//! Owns no state: it reads the registry's snapshot it is handed.
//!
//! * G1: with `mode = "registry"` nothing passes for a device that is not active.
//!
//! Pure; it neither holds nor releases, it only says which.

use serde::{Deserialize, Serialize};

use crate::record::ValidRecord;
use crate::registry::{Known, Snapshot, State};

/// Settings (`[gate]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `off`: every valid record is sent. `registry`: only those of active devices.
    pub mode: Mode,
    /// What happens to records of devices the registry does not know: `hold`, `send` or `dead-letter`.
    /// A record that names only a `DeviceId` cannot be sent without a serial; `send` dead-letters it.
    pub unknown: UnknownPolicy,
}

/// See [`Config::mode`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Off,
    Registry,
}

/// See [`Config::unknown`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownPolicy {
    #[default]
    Hold,
    Send,
    DeadLetter,
}

/// The gate's word on one record; the text is the reason code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Send,
    Hold(&'static str),
    DeadLetter(&'static str),
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    config: Config,
}

impl Gate {
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Decides on a record that has a serial.
    #[must_use]
    pub fn decide(&self, record: &ValidRecord, bytes: &[u8], devices: &Snapshot) -> Decision {
        match self.config.mode {
            Mode::Off => Decision::Send,
            Mode::Registry => {
                self.by_state(devices.with_serial(record.hash(), record.serial(bytes)))
            }
        }
    }

    fn by_state(&self, device: Option<Known<'_>>) -> Decision {
        match device.map(|device| (device.state(), device.disputed())) {
            Some((State::Terminated, _)) => Decision::DeadLetter("device.terminated"),
            Some((_, true)) => Decision::Hold("device.serial-disputed"),
            Some((State::Active, false)) => Decision::Send,
            Some((State::Pending, false)) => Decision::Hold("device.pending"),
            None => match self.config.unknown {
                UnknownPolicy::Hold => Decision::Hold("device.unknown"),
                UnknownPolicy::Send => Decision::Send,
                UnknownPolicy::DeadLetter => Decision::DeadLetter("device.unknown"),
            },
        }
    }

    /// Decides on a record whose device id has no serial: it cannot be sent, whatever the policy.
    #[must_use]
    pub fn decide_unknown(&self, device_id: &str, devices: &Snapshot) -> Decision {
        match (self.config.mode, self.by_state(devices.device(device_id))) {
            (Mode::Off, _) | (_, Decision::Send) => Decision::DeadLetter("device.unknown"),
            (Mode::Registry, decision) => decision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Device;

    #[test]
    fn g1_only_active_devices_pass() {
        let gate = Gate::new(Config {
            mode: Mode::Registry,
            unknown: UnknownPolicy::Hold,
        });
        let device = |id: &str, serial: &str, state| Device {
            device_id: id.into(),
            serial: Some(serial.into()),
            state,
            order: None,
            since: None,
        };
        let devices = Snapshot::new(&[
            device("a", "S1", State::Active),
            device("p", "S2", State::Pending),
            device("t", "S3", State::Terminated),
            device("x", "S4", State::Active),
            device("y", "S4", State::Pending),
        ])
        .expect("fits");
        for (id, decision) in [
            ("a", Decision::Send),
            ("p", Decision::Hold("device.pending")),
            ("t", Decision::DeadLetter("device.terminated")),
            ("x", Decision::Hold("device.serial-disputed")),
            ("y", Decision::Hold("device.serial-disputed")),
            ("nobody", Decision::Hold("device.unknown")),
        ] {
            assert_eq!(gate.by_state(devices.device(id)), decision, "{id}");
        }
    }

    #[test]
    fn a_record_without_a_serial_is_never_sent() {
        let devices = Snapshot::new(&[Device {
            device_id: "a".into(),
            serial: None,
            state: State::Active,
            order: None,
            since: None,
        }])
        .expect("one");
        for mode in [Mode::Off, Mode::Registry] {
            for unknown in [
                UnknownPolicy::Hold,
                UnknownPolicy::Send,
                UnknownPolicy::DeadLetter,
            ] {
                let gate = Gate::new(Config { mode, unknown });
                assert_ne!(gate.decide_unknown("a", &devices), Decision::Send);
                assert_ne!(gate.decide_unknown("b", &devices), Decision::Send);
            }
        }
    }
}
