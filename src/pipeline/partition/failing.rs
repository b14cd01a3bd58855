//! Failed records of the partition: given back, retried, and quarantined (Q1).
//!
//! [`Isolation`] has the rules; this file connects them to the serial queues, the gate and the held index. Pure.
//!
//! * S1: failed records return to the front of their queue. The gate treats a device in quarantine as one that is not active,
//!   so its live records go to the held topic behind older ones, and a probe is the release of its oldest held records alone.

use std::time::Instant;

use super::Partition;
use crate::pipeline::gate::Decision;
use crate::pipeline::hold::Hold;
use crate::pipeline::isolation::{Errand, Isolation, Name, Next, Past, Pauses};
use crate::pipeline::letter::Letter;
use crate::pipeline::permits::Permit;
use crate::pipeline::queues::{ChunkId, Limits, PackedRequest};
use crate::pipeline::request::{Request, Verdicts};
use crate::record::{ValidRecord, serial_hash};
use crate::registry::{Known, Snapshot};

/// The reason of records that are held because the gateway fails on their device.
pub const FAILING: &str = "gateway.failing";
/// The reason of records that are held because older ones of their device are being released.
pub const RELEASING: &str = "device.releasing";

impl Partition {
    #[must_use]
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    pub fn isolation_mut(&mut self) -> &mut Isolation {
        &mut self.isolation
    }

    /// Sets the backoff and the bounds of isolation and quarantine.
    pub fn set_pauses(&mut self, pauses: Pauses) {
        self.isolation = Isolation::new(pauses);
    }

    /// Whether the gate asks the device registry who may send.
    #[must_use]
    pub fn gated(&self) -> bool {
        self.gate.holds()
    }

    /// Queued records of serials that are not set aside.
    #[must_use]
    pub fn queued_well(&self) -> usize {
        let queued = self.queues.queued();
        if self.isolation.is_empty() {
            queued
        } else {
            queued - self.queues.aside()
        }
    }

    /// The decision of the gate on a live record, then that of the quarantine.
    pub(super) fn decide<'d>(
        &self,
        hash: u64,
        serial: &[u8],
        devices: &'d Snapshot,
    ) -> (Decision, Option<Known<'d>>) {
        let (decision, device) = self.gate.decide(hash, serial, devices);
        if decision == Decision::Send && self.isolation.holds(serial) {
            return (Decision::Hold(FAILING), device);
        }
        (decision, device)
    }

    /// As [`decide`](Self::decide), for a record that was queued or read from the held topic: a probe may be sent.
    pub(super) fn decide_queued<'d>(
        &self,
        hash: u64,
        serial: &[u8],
        devices: &'d Snapshot,
    ) -> (Decision, Option<Known<'d>>) {
        let (decision, device) = self.gate.decide(hash, serial, devices);
        if decision == Decision::Send && self.isolation.part(serial) == Some(0) {
            return (Decision::Hold(FAILING), device);
        }
        (decision, device)
    }

    /// Sets the serial of a record just queued aside if its device is sent alone.
    pub(super) fn queue_alone(&mut self, chunk: ChunkId, record: &ValidRecord) {
        if self.isolation.is_empty() {
            return;
        }
        let serial = record.serial(self.queues.chunk_bytes(chunk));
        if self.isolation.knows(serial) {
            let serial = serial.to_vec();
            if self.queues.set_aside(record.hash(), &serial) {
                self.isolation.queued(&serial);
            }
        }
    }

    /// Packs failed records that are due, unless the partition was revoked (O3).
    pub fn pack_failing(
        &mut self,
        limits: Limits,
        now: Instant,
    ) -> Option<(Request, PackedRequest, Past)> {
        if self.revoked || self.recheck {
            return None;
        }
        loop {
            let (names, past, limits, errand) = match self.isolation.next(now)? {
                Next::Set(mut set) => {
                    let names = std::mem::take(&mut set.names);
                    (names, set.past, limits, Errand::Set(set))
                }
                Next::Device(name, past, window) => {
                    let records = limits.records.min(window as usize);
                    let limits = Limits { records, ..limits };
                    (vec![name.clone()], past, limits, Errand::Device(name))
                }
            };
            let (packed, left) = self.queues.pack_aside(names, limits);
            match &errand {
                Errand::Set(set) => self.isolation.wait_on(set.clone(), left),
                Errand::Device(name) if packed.is_none() => self.isolation.withdrawn(&name.text),
                Errand::Device(_) | Errand::Fresh => {}
            }
            if let Some((request, mut ticket)) = packed {
                ticket.errand = errand;
                self.requests += 1;
                self.count_resent(&ticket);
                return Some((request, ticket, past));
            }
        }
    }

    /// Takes a request back of which a part got no verdict; records settled before that part may give letters.
    pub fn give_back(
        &mut self,
        request: Request,
        mut ticket: PackedRequest,
        verdicts: Verdicts,
        permit: Option<Permit>,
        now: Instant,
    ) -> Vec<Letter> {
        let letters = self.settle(&request, &ticket, &verdicts);
        let Some(failed) = verdicts.failed else {
            return letters;
        };
        let errand = std::mem::take(&mut ticket.errand);
        let all = errand != Errand::Fresh;
        let part = failed.from..failed.until;
        let back = self
            .queues
            .put_back(request, &ticket, part, all, permit, now);
        self.end_request(&ticket);
        let mut dice = rand::rng();
        self.isolation
            .failed(errand, back.failing, back.rest, &failed, now, &mut dice);
        // A record that came back may be of a device that may not send any more.
        self.recheck |= self.gate.holds() || self.isolation.holds_any();
        letters
    }

    /// Notes that a request was accepted whole: its device may be let go, or sends more of its records.
    pub(super) fn passed(&mut self, ticket: &PackedRequest) {
        if let Errand::Device(name) = &ticket.errand {
            let left = self.queues.has(name);
            if self.isolation.passed(&ticket.errand, left) && left {
                self.queues.set_aside(name.hash, &name.text);
            }
        }
    }

    /// Takes devices that have failed for long into quarantine, or all that fail if memory is `short`.
    pub fn quarantine(&mut self, short: bool, devices: &Snapshot, now: Instant) -> Vec<Letter> {
        if self.revoked || !self.isolation.quarantine(short, now) {
            return Vec::new();
        }
        self.withdraw(devices)
    }

    /// Restores the quarantine of devices whose records were held as failing, after a start.
    pub fn restore_quarantine(&mut self, devices: &Snapshot, now: Instant) {
        for (name, held) in self.hold.held() {
            if *held.reason == *FAILING {
                let serial = serial_of(&self.gate, name, devices);
                let name = Name {
                    hash: serial_hash(&serial),
                    text: serial.into(),
                };
                self.isolation.restore(name, now, &mut rand::rng());
            }
        }
    }

    /// Lets due probes begin with the next review, and forgets devices without records in hand.
    pub fn begin_probes(&mut self, now: Instant) {
        self.isolation.tidy();
        self.isolation.begin_probes(now);
    }

    /// Ends the quarantine of devices without held records.
    pub(super) fn end_quarantines(&mut self, devices: &Snapshot) {
        let hold = &self.hold;
        let gone: Vec<Box<[u8]>> = self
            .isolation
            .quarantined()
            .filter(|serial| !is_held(hold, serial, devices))
            .map(Into::into)
            .collect();
        for serial in gone {
            self.isolation.emptied(&serial);
        }
    }
}

/// The serial that records held under a name have.
pub(super) fn serial_of(gate: &super::Gate, name: &[u8], devices: &Snapshot) -> Vec<u8> {
    let text = String::from_utf8_lossy(name);
    let device = gate.decide_held(&text, devices).1;
    let serial = device.and_then(|device| device.serial());
    serial.map_or_else(|| name.to_vec(), |serial| serial.as_bytes().to_vec())
}

fn is_held(hold: &Hold, serial: &[u8], devices: &Snapshot) -> bool {
    hold.has(serial)
        || devices
            .with_serial(serial_hash(serial), serial)
            .is_some_and(|device| hold.has(device.device_id().as_bytes()))
}
