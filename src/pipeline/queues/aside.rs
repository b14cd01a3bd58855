//! Serials that are set aside: their records stay queued and are sent only when the serial is named.
//!
//! * S1: records of a request that failed return to the front of their queue, in their order.

use std::ops::Range;
use std::time::Instant;

use super::{Chunk, Hand, NIL, Name, PackedRequest, Request, SerialQueues, SerialSlot};
use crate::pipeline::permits::Permit;
use std::cmp::Reverse;

/// The serials whose records were put back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PutBack {
    /// Serials of the part that failed.
    pub failing: Vec<Name>,
    /// All others.
    pub rest: Vec<Name>,
}

impl SerialQueues {
    pub(super) fn find(&self, hash: u64, text: &[u8]) -> Option<u32> {
        self.table
            .find(hash, |&at| self.serials[at as usize].text() == text)
            .copied()
    }

    /// Whether a serial has records queued.
    #[must_use]
    pub fn has(&self, name: &Name) -> bool {
        self.find(name.hash, &name.text)
            .is_some_and(|at| self.serials[at as usize].head != NIL)
    }

    /// Puts the records of a request from `failed.start` on back to the front of their queues. The serials of `failed` are set
    /// aside, and with `all` the others too. The request is completed after this.
    pub fn put_back(
        &mut self,
        request: Request,
        ticket: &PackedRequest,
        failed: Range<u32>,
        all: bool,
        permit: Option<Permit>,
        now: Instant,
    ) -> PutBack {
        let mut back = PutBack::default();
        let count = request.records.len() as u32;
        let live = count - failed.start;
        if live == 0 {
            return back;
        }
        let chunk = Chunk {
            bytes: Vec::from(request.body),
            live,
            arrived: now,
            permit,
        };
        let chunk = self.place_chunk(chunk);
        for (batch, &at) in ticket.serials.iter().enumerate() {
            let first = request.batches[batch];
            let end = request.batches.get(batch + 1).copied().unwrap_or(count);
            let from = first.max(failed.start);
            if from >= end {
                continue;
            }
            let records = from as usize..end as usize;
            for index in records.rev() {
                let span = request.records[index];
                let next = self.serials[at as usize].head;
                let slot = self.place_slot(SerialSlot {
                    chunk,
                    start: span.start,
                    len: span.end - span.start,
                    next,
                    seq: ticket.seqs[index],
                    identity: ticket.identities[index],
                    place: ticket.places[index],
                });
                let serial = &mut self.serials[at as usize];
                if next == NIL {
                    serial.tail = slot;
                }
                serial.head = slot;
                serial.records += 1;
                serial.bytes += u64::from(span.end - span.start);
            }
            self.queued += (end - from) as usize;
            let serial = &mut self.serials[at as usize];
            // The newest record settled before this part; older ones are not known any more.
            serial.newest = (from > first).then(|| ticket.seqs[from as usize - 1]);
            let name = Name {
                hash: serial.hash,
                text: serial.text().into(),
            };
            let failing = from < failed.end;
            if failing || all {
                serial.hand = Hand::Aside;
            }
            if failing {
                back.failing.push(name);
            } else {
                back.rest.push(name);
            }
        }
        back
    }

    /// Sets a serial with queued records aside; false if it has no entry or is in flight.
    pub fn set_aside(&mut self, hash: u64, text: &[u8]) -> bool {
        let Some(at) = self.find(hash, text) else {
            return false;
        };
        let serial = &mut self.serials[at as usize];
        match serial.hand {
            Hand::Aside => true,
            Hand::InFlight => false,
            Hand::Ready => {
                serial.hand = Hand::Aside;
                self.ready_records -= serial.records as usize;
                self.ready_bytes -= serial.bytes;
                self.fresh.retain(|&other| other != at);
                self.returned.retain(|entry| entry.0.1 != at);
                true
            }
        }
    }

    /// Makes a serial that was set aside ready again.
    pub fn readmit(&mut self, name: &Name) {
        let Some(at) = self.find(name.hash, &name.text) else {
            return;
        };
        let serial = &mut self.serials[at as usize];
        if serial.hand == Hand::Aside && serial.head != NIL {
            serial.hand = Hand::Ready;
            self.ready_records += serial.records as usize;
            self.ready_bytes += serial.bytes;
            let seq = self.slots[serial.head as usize].seq;
            self.returned.push(Reverse((seq, at)));
        }
    }

    /// Records of serials that are set aside.
    #[must_use]
    pub fn aside(&self) -> usize {
        self.table
            .iter()
            .map(|&at| &self.serials[at as usize])
            .filter(|serial| serial.hand == Hand::Aside)
            .map(|serial| serial.records as usize)
            .sum()
    }
}
