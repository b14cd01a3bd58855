//! A device on which the gateway fails: sent alone, then in quarantine, then let go.
//!
//! Owns nothing beyond [`Device`]; the parent has the map of devices.

use std::time::{Duration, Instant};

use rand::Rng;

use super::{Isolation, Name, Next, Past};
use crate::http::pacing::blame::{Blame, History};
use crate::http::retry::Backoff;
use crate::pipeline::request::Failed;

/// Records in a row that the gateway has to accept before a device that failed is sent like any other again.
pub const CLEAR: u32 = 32;
/// Most devices of a partition whose quarantine is probed at once.
const PROBES: usize = 16;

/// Where the records of a device are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// In its serial queue.
    Queued,
    /// In the held topic. `part`: some of them may be taken up, as a probe.
    Held { part: bool },
}

/// State of a device that fails alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    /// Hash of the serial.
    hash: u64,
    /// Where its records are: queued or held.
    pub phase: Phase,
    /// When its present run of failures began; `None` after a success.
    pub since: Option<Instant>,
    /// Failures in a row.
    pub failures: u32,
    /// It is not sent, or probed, before this instant.
    next: Instant,
    /// Records it may send in one request; doubles with each success, 1 after a failure.
    window: u32,
    /// What the next upload has to know of the earlier attempts.
    past: Past,
    /// Whether a request of it is in flight.
    pub out: bool,
    /// Whether it has queued records.
    pub waiting: bool,
    /// Status of the last failure (0 for no answer) and the server's text.
    last: (u16, String),
}

/// A change of a device's isolation, to be logged and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A device fails alone: status (0 for no answer) and the server's text.
    Isolated(Box<[u8]>, u16, String),
    /// It has failed for long: its records go to the held topic.
    Quarantined(Box<[u8]>, Duration, u16, String),
    /// The gateway takes its records again.
    Cleared(Box<[u8]>),
}

/// Numbers of devices by their isolation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Serials in sets that failed together.
    pub suspected: u64,
    /// Devices that fail alone, with their records in memory.
    pub isolated: u64,
    /// Devices that fail alone, with their records in the held topic.
    pub quarantined: u64,
}

impl Device {
    pub fn due(&self) -> Option<Instant> {
        let goes = self.phase != Phase::Held { part: false };
        (goes && self.waiting && !self.out).then_some(self.next)
    }

    pub fn go(&mut self, text: &[u8]) -> Next {
        self.out = true;
        let name = Name {
            hash: self.hash,
            text: text.into(),
        };
        Next::Device(name, self.past, self.window)
    }

    pub fn passed(&mut self, left: bool) {
        self.out = false;
        self.waiting = left;
        self.since = None;
        self.failures = 0;
        self.window = self.window.saturating_mul(2);
    }

    pub fn is_clear(&self) -> bool {
        self.window > CLEAR
    }
}

impl Isolation {
    /// Whether a serial is isolated or in quarantine.
    #[must_use]
    pub fn knows(&self, serial: &[u8]) -> bool {
        self.devices.contains_key(serial)
    }

    /// Whether live records of a serial go to the held topic.
    #[must_use]
    pub fn holds(&self, serial: &[u8]) -> bool {
        self.held > 0 && self.part(serial).is_some()
    }

    /// Whether any device is in quarantine.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        self.held > 0
    }

    /// For a device in quarantine: how many of its held messages may be taken up now; 0 for none yet.
    #[must_use]
    pub fn part(&self, serial: &[u8]) -> Option<u32> {
        let device = self.devices.get(serial)?;
        match device.phase {
            Phase::Held { part } => Some(if part { device.window } else { 0 }),
            Phase::Queued => None,
        }
    }

    /// Serials of the devices in quarantine.
    pub fn quarantined(&self) -> impl Iterator<Item = &[u8]> {
        let held = |device: &Device| matches!(device.phase, Phase::Held { .. });
        self.devices
            .iter()
            .filter(move |(_, device)| held(device))
            .map(|(text, _)| &**text)
    }

    /// Restores the quarantine of a device whose held records were found after a start; it is probed soon.
    pub fn restore(&mut self, name: Name, now: Instant, dice: &mut impl Rng) {
        if self.devices.contains_key(&name.text) {
            return;
        }
        self.held += 1;
        let device = Device {
            hash: name.hash,
            phase: Phase::Held { part: false },
            since: Some(now),
            failures: 1,
            next: now + self.pauses.probe.mul_f64(dice.random_range(0.0..=1.0)),
            window: 1,
            past: isolated(0, None),
            out: false,
            waiting: false,
            last: (0, String::new()),
        };
        self.devices.insert(name.text, device);
    }

    /// Lets held records of devices whose probe is due be taken up; true if there are any.
    pub fn begin_probes(&mut self, now: Instant) -> bool {
        let mut due: Vec<(Instant, &mut Device)> = self
            .devices
            .values_mut()
            .filter(|device| device.phase == Phase::Held { part: false } && device.next <= now)
            .map(|device| (device.next, device))
            .collect();
        due.sort_by_key(|(next, _)| *next);
        let any = !due.is_empty();
        for (_, device) in due.into_iter().take(PROBES) {
            device.phase = Phase::Held { part: true };
        }
        any
    }

    /// Ends the quarantine of a device without held records: its next records are sent, alone for a while.
    pub fn emptied(&mut self, serial: &[u8]) {
        if let Some(device) = self.devices.get_mut(serial)
            && matches!(device.phase, Phase::Held { .. })
        {
            self.held -= 1;
            device.phase = Phase::Queued;
        }
    }

    /// Forgets isolated devices without records in hand.
    pub fn tidy(&mut self) {
        let idle =
            |device: &Device| device.phase == Phase::Queued && !device.waiting && !device.out;
        let idle: Vec<Box<[u8]>> = self
            .devices
            .iter()
            .filter(|(_, device)| idle(device))
            .map(|(text, _)| text.clone())
            .collect();
        for text in idle {
            self.remove(&text);
        }
    }

    /// Takes the changes since the last call.
    pub fn take_found(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.found)
    }

    #[must_use]
    pub fn figures(&self) -> Figures {
        let quarantined = self.held as u64;
        Figures {
            suspected: self.sets.iter().map(|set| set.names.len() as u64).sum(),
            isolated: self.devices.len() as u64 - quarantined,
            quarantined,
        }
    }

    /// Quarantines devices that have failed for `quarantine_after`, or all that fail if memory is `short`. True if there are
    /// any.
    pub fn quarantine(&mut self, short: bool, now: Instant) -> bool {
        let after = self.pauses.quarantine_after;
        let mut any = false;
        for (text, device) in &mut self.devices {
            let since = device
                .since
                .filter(|_| device.phase == Phase::Queued && device.waiting);
            let Some(since) = since else { continue };
            let failed_for = now.saturating_duration_since(since);
            if device.out || !(short || device.failures > 1 && failed_for >= after) {
                continue;
            }
            any = true;
            self.held += 1;
            device.phase = Phase::Held { part: false };
            device.next = now + self.pauses.probe;
            let (status, server) = device.last.clone();
            let found = Found::Quarantined(text.clone(), failed_for, status, server);
            self.found.push(found);
        }
        any
    }

    pub(super) fn isolate(
        &mut self,
        name: Name,
        failed: &Failed,
        now: Instant,
        dice: &mut impl Rng,
    ) {
        let pause = self
            .backoff(0, dice)
            .max(failed.retry_after.unwrap_or_default());
        let device = Device {
            hash: name.hash,
            phase: Phase::Queued,
            since: Some(now),
            failures: 1,
            next: now + pause,
            window: 1,
            past: isolated(failed.seen, Some(failed.ambiguous)),
            out: false,
            waiting: true,
            last: (failed.status, failed.text.clone()),
        };
        let found = Found::Isolated(name.text.clone(), failed.status, failed.text.clone());
        self.found.push(found);
        self.devices.insert(name.text, device);
    }

    pub(super) fn device_failed(
        &mut self,
        name: &Name,
        failed: &Failed,
        now: Instant,
        dice: &mut impl Rng,
    ) {
        let pauses = self.pauses;
        let Some(device) = self.devices.get_mut(&name.text) else {
            return;
        };
        device.out = false;
        device.waiting = true;
        device.window = 1;
        device.past = isolated(failed.seen, Some(failed.ambiguous));
        device.last = (failed.status, failed.text.clone());
        let asked = failed.retry_after.unwrap_or_default();
        if failed.blame != Blame::Records {
            // The gateway is away: its failure says nothing about the device.
            let pause = match device.phase {
                Phase::Queued => asked,
                Phase::Held { .. } => asked.max(pauses.probe),
            };
            if let Phase::Held { part } = &mut device.phase {
                *part = false;
            }
            device.next = now + pause;
            return;
        }
        let since = *device.since.get_or_insert(now);
        let pause = match &mut device.phase {
            Phase::Queued => {
                let left = (since + pauses.quarantine_after).saturating_duration_since(now);
                let pause = Backoff::new(pauses.retry, pauses.retry_max).nth(device.failures, dice);
                // One more attempt is made at the moment when the device would be quarantined.
                if left.is_zero() {
                    pause
                } else {
                    pause.min(left)
                }
            }
            Phase::Held { part } => {
                *part = false;
                Backoff::new(pauses.probe, pauses.probe_max).nth(device.failures, dice)
            }
        };
        device.failures = device.failures.saturating_add(1);
        device.next = now + pause.max(asked);
    }
}

fn isolated(seen: u64, sent: Option<bool>) -> Past {
    Past {
        history: History::Isolated { seen },
        silent: 0,
        sent,
    }
}
