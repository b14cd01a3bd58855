//! The gate: decides by the device registry whether a record may be sent.
//!
//! Owns no state: the caller passes the registry's snapshot.
//!
//! * G1: with `mode = "registry"` no record of a device that is not active passes.
//!
//! Pure; the gate decides, other modules hold and release.

use serde::{Deserialize, Serialize};

use crate::record::serial::{self, Serial};
use crate::record::serial_hash;
use crate::registry::{Known, Snapshot, State};

/// Settings (`[gate]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Device gate: `off` sends every valid record, `registry` sends only records of devices that are active in the device registry.
    pub mode: Mode,
    /// Treatment of records of devices that the device registry does not know, if `gate.mode` is `registry`: `hold` (until the registry
    /// knows the device), `send` (a record without a serial becomes a dead letter), or `dead-letter`.
    pub unknown: UnknownPolicy,
    /// Treatment of records of terminated devices, held or new, if `gate.mode` is `registry`: `dead-letter`, or `discard` (counted, not
    /// kept).
    pub terminated: TerminatedPolicy,
    /// Retention of held records in days; an older record becomes a dead letter (reason `held.expired`). 0: unlimited.
    pub hold_max_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            unknown: UnknownPolicy::default(),
            terminated: TerminatedPolicy::default(),
            hold_max_days: 90,
        }
    }
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

/// See [`Config::terminated`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TerminatedPolicy {
    #[default]
    DeadLetter,
    /// Counted and forgotten.
    Discard,
}

/// The gate's decision on one record; the text is the reason code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Send,
    Hold(&'static str),
    DeadLetter(&'static str),
    Discard,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    /// Settings; every partition has a clone of its own.
    config: Config,
}

impl Gate {
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Whether the registry is asked at all: only then are records held and released.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.config.mode == Mode::Registry
    }

    /// Milliseconds a record may be held.
    #[must_use]
    pub fn longest_ms(&self) -> Option<i64> {
        let days = i64::from(self.config.hold_max_days);
        (days > 0).then_some(days * 24 * 3_600 * 1_000)
    }

    /// Decides on a record with this serial, and gives the device that has it.
    #[must_use]
    pub fn decide<'d>(
        &self,
        hash: u64,
        serial: &[u8],
        devices: &'d Snapshot,
    ) -> (Decision, Option<Known<'d>>) {
        match self.config.mode {
            Mode::Off => (Decision::Send, None),
            Mode::Registry => {
                let device = devices
                    .with_serial(hash, serial)
                    .or_else(|| in_normal_form(serial, devices));
                (self.by_state(device), device)
            }
        }
    }

    fn by_state(&self, device: Option<Known<'_>>) -> Decision {
        match device.map(|device| (device.state(), device.disputed())) {
            Some((State::Terminated, _)) => match self.config.terminated {
                TerminatedPolicy::DeadLetter => Decision::DeadLetter("device.terminated"),
                TerminatedPolicy::Discard => Decision::Discard,
            },
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

    /// Decides on a record whose device id has no serial: such a record cannot be sent, whatever the policy.
    #[must_use]
    pub fn decide_unknown(&self, device_id: &str, devices: &Snapshot) -> Decision {
        let device = devices.device(device_id);
        match (self.config.mode, self.by_state(device)) {
            (Mode::Off, _) => Decision::DeadLetter("device.unknown"),
            (Mode::Registry, Decision::Send) if device.is_some() => {
                Decision::Hold("device.no-serial")
            }
            (Mode::Registry, Decision::Send) => Decision::DeadLetter("device.unknown"),
            (Mode::Registry, decision) => decision,
        }
    }

    /// Decides on records held under a name, a device id or a serial, and gives the device.
    #[must_use]
    pub fn decide_held<'d>(
        &self,
        name: &str,
        devices: &'d Snapshot,
    ) -> (Decision, Option<Known<'d>>) {
        let device = devices
            .device(name)
            .or_else(|| devices.with_serial(serial_hash(name.as_bytes()), name.as_bytes()));
        let decision = match self.by_state(device) {
            _ if self.config.mode == Mode::Off => Decision::Send,
            Decision::Send if device.is_some_and(|device| device.serial().is_none()) => {
                Decision::Hold("device.no-serial")
            }
            decision => decision,
        };
        (decision, device)
    }
}

/// The device of a serial that is not in normal form (`validate.normalise_serial = false`).
fn in_normal_form<'d>(serial: &[u8], devices: &'d Snapshot) -> Option<Known<'d>> {
    if serial::is_usual(serial) {
        return None;
    }
    let normal = Serial::normal(std::str::from_utf8(serial).ok()?).ok()?;
    devices.with_serial(serial_hash(normal.as_bytes()), normal.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Device;

    #[test]
    fn g1_only_active_devices_pass() {
        let gate = Gate::new(Config {
            mode: Mode::Registry,
            ..Config::default()
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
                let gate = Gate::new(Config {
                    mode,
                    unknown,
                    ..Config::default()
                });
                assert_ne!(gate.decide_unknown("a", &devices), Decision::Send);
                assert_ne!(gate.decide_unknown("b", &devices), Decision::Send);
            }
        }
    }
}
