//! Packing: records leave their serial queues as one request.

use bytes::Bytes;

use super::{Errand, Hand, MessageSeq, NIL, Name, Request, SerialQueues, Span, free_chunk};

/// The queues' side of a request in flight; it must come back through [`SerialQueues::complete`].
#[derive(Debug)]
pub struct PackedRequest {
    /// The message of each record of the request.
    pub seqs: Vec<MessageSeq>,
    /// The identity of each record of the request.
    pub identities: Vec<u64>,
    /// The place in its message of each record of the request.
    pub places: Vec<u32>,
    /// The entry of each batch's serial.
    pub(super) serials: Vec<u32>,
    /// Why the request is in flight; returned to `Isolation` with the outcome.
    pub errand: Errand,
}

/// Limits of one request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most records of the request.
    pub records: usize,
    /// Bytes of the body, brackets and commas included.
    pub bytes: usize,
}

/// A request while it is being packed.
struct Packing {
    limits: Limits,
    body: Vec<u8>,
    records: Vec<Span>,
    seqs: Vec<MessageSeq>,
    identities: Vec<u64>,
    places: Vec<u32>,
    batches: Vec<u32>,
    serials: Vec<u32>,
    out_of_order: u64,
}

impl SerialQueues {
    /// Packs one request from the oldest ready serials; `None` when nothing is ready.
    ///
    /// A record larger than the byte limit is sent alone: only the gateway can say that it is too large.
    pub fn pack(&mut self, limits: Limits) -> Option<(Request, PackedRequest)> {
        let mut at = self.next_ready()?;
        let want = limits.records.min(self.ready_records);
        let mut packing = self.packing(limits, want, self.ready_bytes as usize + want + 1);
        loop {
            if self.take(at, usize::MAX, &mut packing) == 0 {
                break;
            }
            self.pop_ready(at);
            let left = self.serials[at as usize].head != NIL;
            let full = packing.records.len() >= limits.records || left;
            match self.next_ready() {
                Some(next) if !full => at = next,
                _ => break,
            }
        }
        Some(self.packed(packing, Errand::Fresh))
    }

    /// Packs one request of serials that were set aside, with about as many records of each. The second value are the serials
    /// that found no place. `None` when none of them has queued records.
    pub fn pack_aside(
        &mut self,
        names: Vec<Name>,
        limits: Limits,
    ) -> (Option<(Request, PackedRequest)>, Vec<Name>) {
        let each = (limits.records / names.len().max(1)).max(1);
        let mut packing = self.packing(limits, limits.records.min(names.len() * each), 0);
        let mut names = names.into_iter();
        let mut left_over = Vec::new();
        for name in names.by_ref() {
            let Some(at) = self.find(name.hash, &name.text) else {
                continue;
            };
            if self.serials[at as usize].hand != Hand::Aside {
                continue;
            }
            if self.take(at, each, &mut packing) == 0 {
                left_over.push(name);
                break;
            }
        }
        left_over.extend(names);
        if packing.records.is_empty() {
            return (None, left_over);
        }
        (Some(self.packed(packing, Errand::Fresh)), left_over)
    }

    fn packing(&mut self, limits: Limits, records: usize, room: usize) -> Packing {
        let mut body = self.spares.body();
        body.reserve(limits.bytes.min(room).max(2));
        Packing {
            limits,
            body,
            records: Vec::with_capacity(records),
            seqs: Vec::with_capacity(records),
            identities: Vec::with_capacity(records),
            places: Vec::with_capacity(records),
            batches: Vec::new(),
            serials: Vec::new(),
            out_of_order: 0,
        }
    }

    /// Moves at most `most` records of a serial into the request; gives how many.
    fn take(&mut self, at: u32, most: usize, packing: &mut Packing) -> usize {
        let Packing {
            limits,
            body,
            records,
            seqs,
            identities,
            places,
            batches,
            serials,
            out_of_order,
        } = packing;
        let serial = &self.serials[at as usize];
        let first = records.len();
        let end = limits.records.min(first.saturating_add(most));
        let mut head = serial.head;
        let mut bytes = 0;
        let mut newest = serial.newest;
        while head != NIL && records.len() < end {
            let slot = self.slots[head as usize];
            // One byte before each record (bracket or comma), one bracket at the end.
            if body.len() + 1 + slot.len as usize + 1 > limits.bytes && !records.is_empty() {
                break;
            }
            body.push(if records.is_empty() { b'[' } else { b',' });
            let start = body.len() as u32;
            if let Some(chunk) = self.chunks[slot.chunk as usize].as_mut() {
                body.extend_from_slice(
                    &chunk.bytes[slot.start as usize..(slot.start + slot.len) as usize],
                );
                chunk.live -= 1;
                if chunk.live == 0 {
                    free_chunk(
                        &mut self.chunks,
                        &mut self.free_chunks,
                        &mut self.spares,
                        slot.chunk,
                    );
                }
            }
            records.push(Span {
                start,
                end: body.len() as u32,
            });
            seqs.push(slot.seq);
            identities.push(slot.identity);
            places.push(slot.place);
            *out_of_order += u64::from(newest.is_some_and(|newest| slot.seq.overtaken_by(newest)));
            newest = Some(slot.seq);
            bytes += u64::from(slot.len);
            self.slots[head as usize].next = self.free_slots;
            self.free_slots = head;
            head = slot.next;
        }
        let taken = records.len() - first;
        if taken == 0 {
            return 0;
        }
        batches.push(first as u32);
        serials.push(at);
        let serial = &mut self.serials[at as usize];
        if serial.hand == Hand::Ready {
            self.ready_records -= serial.records as usize;
            self.ready_bytes -= serial.bytes;
        }
        self.queued -= taken;
        serial.hand = Hand::InFlight;
        serial.newest = newest;
        serial.head = head;
        if head == NIL {
            serial.tail = NIL;
        }
        serial.records -= taken as u32;
        serial.bytes -= bytes;
        taken
    }

    fn packed(&mut self, packing: Packing, errand: Errand) -> (Request, PackedRequest) {
        let Packing {
            mut body,
            records,
            seqs,
            identities,
            places,
            batches,
            serials,
            out_of_order,
            limits: _,
        } = packing;
        body.push(b']');
        self.watch.batches += batches.len() as u64;
        self.watch.out_of_order += out_of_order;
        let request = Request {
            body: Bytes::from(body),
            records,
            batches,
        };
        let ticket = PackedRequest {
            seqs,
            identities,
            places,
            serials,
            errand,
        };
        (request, ticket)
    }
}
