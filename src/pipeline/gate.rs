//! The gate: may this record's device send now?
//!
//! Owns no state: it reads the registry's snapshot it is handed.
//!
//! * G1: with `mode = "registry"` nothing passes for a device that is not active.
//!
//! Pure; it neither holds nor releases, it only says which.

use serde::{Deserialize, Serialize};

use crate::record::ValidRecord;
use crate::registry::{Snapshot, State};

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
            Mode::Registry => self.by_state(
                devices
                    .with_serial(record.hash(), record.serial(bytes))
                    .map(|d| d.state),
            ),
        }
    }

    fn by_state(&self, state: Option<State>) -> Decision {
        match state {
            Some(State::Active) => Decision::Send,
            Some(State::Pending) => Decision::Hold("device.pending"),
            Some(State::Terminated) => Decision::DeadLetter("device.terminated"),
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
        match (
            self.config.mode,
            self.by_state(devices.device(device_id).map(|d| d.state)),
        ) {
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
        assert_eq!(gate.by_state(Some(State::Active)), Decision::Send);
        assert_eq!(
            gate.by_state(Some(State::Pending)),
            Decision::Hold("device.pending")
        );
        assert_eq!(
            gate.by_state(Some(State::Terminated)),
            Decision::DeadLetter("device.terminated")
        );
        assert_eq!(gate.by_state(None), Decision::Hold("device.unknown"));
    }

    #[test]
    fn a_record_without_a_serial_is_never_sent() {
        let devices = Snapshot::new(vec![Device {
            device_id: "a".into(),
            serial: None,
            state: State::Active,
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
