//! Isolation: which records of a partition go again together after a failure, so that the devices the gateway fails on are found.
//!
//! Owns the sets of serials that failed together and wait to be sent again, and one entry per device that is known to fail alone.
//! Invariants:
//! * Q1: a set that fails is halved, unless the failure says nothing about its records; a serial that fails alone while the gateway
//!   takes others is isolated. Among n serials of one request k failing ones cost at most k (log2 n + 2) failing requests, beside
//!   those that a gateway that is away would cost as well ([`most_failures`]).
//! * While nothing is known of who is at fault, sets are tried in turn, the one that failed longest ago first: probes of an open
//!   circuit hold different serials.
//! * An isolated device is sent again with growing pauses, one record first. It is quarantined once it has failed for
//!   `quarantine_after_s`, and let go once [`CLEAR`] records in a row were taken.
//! * S1, S2: a serial is in one set, or isolated, or neither. Its records are not sent in any other way meanwhile.
//!
//! Pure: time is an argument. It holds no records ([`super::queues`]) and writes nothing ([`super::hold`]). Bounded by the serials
//! of the records in hand. Dropping it forgets what is found again with a few requests.

mod device;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use rand::Rng;

use super::request::Failed;
use crate::http::pacing::blame::{Blame, History};
use crate::http::retry::Backoff;

pub use device::{CLEAR, Figures, Found};
use device::{Device, Phase};

/// The pause before records that failed while the gateway was away stops growing here: they are its next probes.
const LONGEST: u32 = 1;

/// How long things take.
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

/// A serial, as the serial queues know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub hash: u64,
    pub text: Box<[u8]>,
}

/// What the upload of a request has to know about earlier ones of the same records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    pub history: History,
    /// Attempts in a row that got no answer in time.
    pub silent: u32,
    /// The records were sent before; whether they may have been taken.
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

/// Why a request is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Errand {
    /// Its records never failed.
    #[default]
    Fresh,
    Set(Set),
    /// One device that fails alone.
    Device(Name),
}

/// What goes next.
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

/// See the module.
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

    /// Nothing failed lately: there is nothing to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.devices.is_empty()
    }

    /// When the next set or device may go; `None` when nothing waits.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let sets = self.sets.iter().map(|set| set.after);
        let devices = self.devices.values().filter_map(Device::due);
        sets.chain(devices).min()
    }

    /// Takes out what goes next: sets before devices.
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

    /// A set that was taken out goes on waiting, or what of it found no place in the request.
    pub fn wait_on(&mut self, set: Set, names: Vec<Name>) {
        if !names.is_empty() {
            self.sets.push_front(Set { names, ..set });
        }
    }

    /// Records of a serial were put aside until [`next`](Self::next) gives them; false if nothing is known of it.
    pub fn queued(&mut self, serial: &[u8]) -> bool {
        let device = self.devices.get_mut(serial);
        device.is_some_and(|device| {
            device.waiting = true;
            true
        })
    }

    /// No records of a serial are queued any more.
    pub fn withdrawn(&mut self, serial: &[u8]) {
        if let Some(device) = self.devices.get_mut(serial) {
            (device.waiting, device.out) = (false, false);
        }
        for set in &mut self.sets {
            set.names.retain(|name| *name.text != *serial);
        }
        self.sets.retain(|set| !set.names.is_empty());
    }

    /// A request was taken whole. True if the records of its device go on being sent on their own; `left`: it has more queued.
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

    /// A request failed: `failing` are the serials of the part that did, `rest` those of it that were not sent with that part.
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
        // Silence may come from too large a request; the longer waits are for whole requests.
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
            // Whoever asks to wait may mean everybody: it takes a second time to mean these.
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
            // The circuit does the waiting, and what waits for the gateway goes together once it is back.
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
