//! Isolation: which serials are sent together again after a failure, so that the devices on which the gateway fails are found.
//!
//! Owns the sets of serials that failed together and wait to be sent again, and one entry per device that is known to fail alone.
//! Invariants:
//! * Q1: a set that fails is halved, unless the failure says nothing about its records; a serial that fails alone while the gateway
//!   takes others is isolated. Among n serials of one request k failing ones cost at most k (log2 n + 2) failing requests, beside
//!   those that a gateway that is away would cost as well ([`most_failures`]).
//! * While the failing serial is unknown, sets are retried in turn, the one that failed longest ago first: the probes of an
//!   open circuit hold different serials.
//! * An isolated device is retried with growing backoff, one record first. It is quarantined once it has failed for
//!   `quarantine_after_s`, and let go once [`CLEAR`] records in a row were accepted.
//! * S1, S2: a serial is in one set, or isolated, or neither. Its records are not sent in any other way meanwhile.
//!
//! Pure: time is an argument. It holds no records ([`super::queues`]) and writes nothing ([`super::hold`]). Bounded by the
//! serials of the records in hand. After it is dropped, a few requests find the same again.

mod device;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use rand::Rng;

use super::request::Failed;
use crate::http::pacing::blame::{Blame, History};
use crate::http::retry::Backoff;

pub use device::{CLEAR, Figures, Found};
use device::{Device, Phase};

/// Failures after which the backoff stops growing while the gateway is away: these records are its next probes.
const LONGEST: u32 = 1;

/// Backoffs and bounds of isolation and quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// Before the first retry of records that failed; doubles.
    pub retry: Duration,
    /// Between retries at most.
    pub retry_max: Duration,
    /// A device that fails alone for so long is quarantined.
    pub quarantine_after: Duration,
    /// Before the first probe of a quarantined device; doubles.
    pub probe: Duration,
    /// Between probes at most.
    pub probe_max: Duration,
}

/// A serial as the serial queues identify it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub hash: u64,
    pub text: Box<[u8]>,
}

/// Earlier attempts of the same records, as the next upload has to know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    pub history: History,
    /// Attempts in a row that timed out.
    pub silent: u32,
    /// `None` if the records were never sent; otherwise whether the last attempt may have been accepted.
    pub sent: Option<bool>,
}

/// Serials that failed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The serials; their records are set aside in the serial queues.
    pub names: Vec<Name>,
    /// What the next upload has to know of the earlier attempts.
    pub past: Past,
    /// How often the set failed, for the backoff.
    failures: u32,
    /// It is not sent before this instant.
    after: Instant,
    /// Whether it failed while the gateway was away: serials that fail likewise may join it.
    open: bool,
}

/// Why a request is in flight.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Errand {
    /// Its records have not failed before.
    #[default]
    Fresh,
    Set(Set),
    /// One device that fails alone.
    Device(Name),
}

/// The set or device that is sent next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Set(Set),
    /// This device, with at most so many records.
    Device(Name, Past, u32),
}

/// The most failing requests that finding `failing` of `serials` costs while the gateway takes everything else.
#[must_use]
pub fn most_failures(serials: u64, failing: u64) -> u64 {
    let levels = u64::from(serials.max(1).next_power_of_two().ilog2());
    failing * (levels + 2)
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Isolation {
    /// Settings of backoff and quarantine.
    pauses: Pauses,
    /// Sets that wait to be sent; one that is in flight travels with its request's ticket.
    sets: VecDeque<Set>,
    /// Devices that fail alone, by serial.
    devices: HashMap<Box<[u8]>, Device>,
    /// How many of them are in quarantine.
    held: usize,
    /// What happened to devices since the worker last took it for log and metrics.
    found: Vec<Found>,
}

impl Isolation {
    #[must_use]
    pub fn new(pauses: Pauses) -> Self {
        Self {
            pauses,
            sets: VecDeque::new(),
            devices: HashMap::new(),
            held: 0,
            found: Vec::new(),
        }
    }

    /// Whether no set waits and no device is known to fail.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.devices.is_empty()
    }

    /// When the next set or device may be sent; `None` when none waits.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let sets = self.sets.iter().map(|set| set.after);
        let devices = self.devices.values().filter_map(Device::due);
        sets.chain(devices).min()
    }

    /// Takes out the set or device that is sent next: sets before devices.
    pub fn next(&mut self, now: Instant) -> Option<Next> {
        if let Some(at) = self.sets.iter().position(|set| set.after <= now) {
            return self.sets.remove(at).map(Next::Set);
        }
        let due = |device: &Device| device.due().filter(|due| *due <= now);
        let (text, device) = self
            .devices
            .iter_mut()
            .filter(|(_, device)| due(device).is_some())
            .min_by_key(|(_, device)| device.due())?;
        Some(device.go(text))
    }

    /// Returns the serials of a set that found no place in the request, or were not sent with the part that failed.
    pub fn wait_on(&mut self, set: Set, names: Vec<Name>) {
        if !names.is_empty() {
            self.sets.push_front(Set { names, ..set });
        }
    }

    /// Notes that records of a serial are queued and set aside; false if the serial is not known to fail.
    pub fn queued(&mut self, serial: &[u8]) -> bool {
        let device = self.devices.get_mut(serial);
        device.is_some_and(|device| {
            device.waiting = true;
            true
        })
    }

    /// Notes that no records of a serial are queued any more.
    pub fn withdrawn(&mut self, serial: &[u8]) {
        if let Some(device) = self.devices.get_mut(serial) {
            (device.waiting, device.out) = (false, false);
        }
        for set in &mut self.sets {
            set.names.retain(|name| *name.text != *serial);
        }
        self.sets.retain(|set| !set.names.is_empty());
    }

    /// Notes that a request was accepted whole. True if its device goes on being sent alone; `left`: it has more records
    /// queued.
    pub fn passed(&mut self, errand: &Errand, left: bool) -> bool {
        let Errand::Device(name) = errand else {
            return false;
        };
        let Some(device) = self.devices.get_mut(&name.text) else {
            return false;
        };
        device.passed(left);
        if device.is_clear() {
            self.remove(&name.text);
            return false;
        }
        true
    }

    /// Notes that a request failed: `failing` are the serials of the part that failed, `rest` those not sent with that part.
    pub fn failed(
        &mut self,
        errand: Errand,
        failing: Vec<Name>,
        rest: Vec<Name>,
        failed: &Failed,
        now: Instant,
        dice: &mut impl Rng,
    ) {
        let past = Past {
            history: History::Failed { seen: failed.seen },
            silent: failed.silent,
            sent: Some(failed.ambiguous),
        };
        let asked = failed.retry_after.unwrap_or_default();
        let failures = match errand {
            Errand::Device(name) => {
                self.device_failed(&name, failed, now, dice);
                return;
            }
            Errand::Set(set) => {
                let failures = set.failures;
                self.wait_on(set, rest);
                failures
            }
            Errand::Fresh => 0,
        };
        let blamed = failed.blame == Blame::Records;
        // A timeout may come from too large a request: the longer timeouts are for whole requests.
        let silent = if blamed { 0 } else { past.silent };
        let past = Past { silent, ..past };
        if blamed && failing.len() == 1 {
            for name in failing {
                self.isolate(name, failed, now, dice);
            }
            return;
        }
        let halves = failed.blame != Blame::Gateway
            && failing.len() > 1
            // A 503 may concern the whole gateway: only a second one is taken to concern these serials.
            && (failures > 0 || !failed.asked_to_wait);
        let pause = if blamed {
            asked
        } else {
            asked.max(self.backoff(failures, dice))
        };
        let mut set = Set {
            names: failing,
            past,
            failures: failures + 1,
            after: now + pause,
            open: failed.blame == Blame::Gateway,
        };
        if halves {
            let right = set.names.split_off(set.names.len().div_ceil(2));
            let right = Set {
                names: right,
                ..set.clone()
            };
            if blamed {
                self.sets.push_front(right);
                self.sets.push_front(set);
            } else {
                self.sets.push_back(set);
                self.sets.push_back(right);
            }
            return;
        }
        if set.open {
            // The open circuit is the backoff; serials that failed while the gateway was away are sent together afterwards.
            let pause = self.backoff(failures.min(LONGEST), dice);
            set.after = now + pause.max(asked);
            if let Some(last) = self.sets.back_mut().filter(|last| last.open) {
                last.names.append(&mut set.names);
                last.past = set.past;
                last.after = last.after.max(set.after);
                return;
            }
        }
        self.sets.push_back(set);
    }

    fn backoff(&self, failures: u32, dice: &mut impl Rng) -> Duration {
        Backoff::new(self.pauses.retry, self.pauses.retry_max).nth(failures, dice)
    }

    fn remove(&mut self, serial: &[u8]) {
        if let Some(device) = self.devices.remove(serial) {
            self.held -= usize::from(matches!(device.phase, Phase::Held { .. }));
            if device.since.is_none() {
                self.found.push(Found::Cleared(serial.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
