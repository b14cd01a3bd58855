//! Serial queues: validated records of one partition, queued per serial in the order of the partition.
//!
//! Owns the bytes of queued records (in the chunks into which they were decoded), one slot per record, one entry per serial
//! with records in hand, and the order in which serials are served.
//!
//! * S1: a serial's records leave in the order in which they came; a batch is always a prefix of its queue.
//! * S2: a serial with a batch in flight is not served again until that batch is completed.
//! * A serial that is set aside is served only when it is named ([`super::isolation`]).
//! * Oldest first: of the ready serials, the one with the oldest head record is served first.
//! * A chunk's bytes and its memory permit live until its last record is packed.
//!
//! Pure: no clock, no I/O. It does not decide when to pack ([`super::dispatch`]), and of offsets it knows only a record's
//! [`MessageSeq`]. Capacity: bounded by the memory permits. Dropping it drops the queued records; they stay unsettled.

mod aside;
mod pack;
mod spares;
mod watch;
mod withdraw;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use hashbrown::HashTable;

use super::isolation::{Errand, Name};
use super::offsets::MessageSeq;
use super::permits::Permit;
use super::request::{Request, Span};

pub use aside::PutBack;
pub use pack::{Limits, PackedRequest};
use spares::Spares;
pub use spares::kept_bytes;
pub use watch::Watch;
pub use withdraw::{Left, Withdrawn};

const NIL: u32 = u32::MAX;
/// Serials of 12 characters are the rule, 50 the longest the adapter's schema takes (dig/API.md 12); longer ones go to the heap.
const INLINE: usize = 50;
/// A queued record, or a free place.
#[derive(Debug, Clone, Copy)]
struct SerialSlot {
    /// Index of the chunk that has the record's bytes.
    chunk: u32,
    /// Start of the record within the chunk.
    start: u32,
    /// Length of the record.
    len: u32,
    /// Next record of the same serial, or next free slot; `NIL` at the end.
    next: u32,
    /// The message the record came from.
    seq: MessageSeq,
    /// Hash of serial, type and time, by which the gateway's later reports are matched.
    identity: u64,
    /// Place of the record in its message.
    place: u32,
}

/// What a queued record is known by beside its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Tag {
    /// The message the record came from.
    pub seq: MessageSeq,
    /// Hash of serial, type and time.
    pub identity: u64,
    /// Place of the record among those of its message, from 0.
    pub place: u32,
}

/// Whether a serial is ready, in flight, or set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hand {
    Ready,
    InFlight,
    Aside,
}

/// A serial with records queued or in flight.
#[derive(Debug)]
struct Serial {
    /// Hash of the serial, as in the device registry's tables.
    hash: u64,
    /// Text of the serial, unless it is longer than `INLINE`.
    inline: [u8; INLINE],
    /// Bytes of `inline` in use.
    len: u8,
    /// Text of a serial that does not fit `inline`.
    long: Option<Box<[u8]>>,
    /// Whether it may be served.
    hand: Hand,
    /// Oldest queued record; `NIL` for none.
    head: u32,
    /// Newest queued record; `NIL` for none.
    tail: u32,
    /// Queued records, those in flight not counted.
    records: u32,
    /// Bytes of the queued records.
    bytes: u64,
    /// The newest message packed for this serial, for the order sentinel.
    newest: Option<MessageSeq>,
}

impl Serial {
    fn new(hash: u64, text: &[u8]) -> Self {
        let mut inline = [0; INLINE];
        let long = if text.len() <= INLINE {
            inline[..text.len()].copy_from_slice(text);
            None
        } else {
            Some(text.into())
        };
        let len = if long.is_some() { 0 } else { text.len() as u8 };
        Self {
            hash,
            inline,
            len,
            long,
            hand: Hand::Ready,
            head: NIL,
            tail: NIL,
            records: 0,
            bytes: 0,
            newest: None,
        }
    }

    fn text(&self) -> &[u8] {
        self.long
            .as_deref()
            .unwrap_or(&self.inline[..self.len as usize])
    }
}

/// Bytes of records that arrived together.
#[derive(Debug)]
struct Chunk {
    /// Bytes of all its records, as they were decoded or as they came back with a request.
    bytes: Vec<u8>,
    /// Queued records that lie in it, and one more until it is sealed; at 0 it is freed.
    live: u32,
    /// When it was decoded or came back: the linger time counts from here.
    arrived: Instant,
    /// Memory permit for the bytes; dropped with the chunk.
    permit: Option<Permit>,
}

/// Identifies a chunk while its records are pushed.
#[derive(Debug, Clone, Copy)]
pub struct ChunkId(u32);

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct SerialQueues {
    /// Chunks by index; `None` marks a free place.
    chunks: Vec<Option<Chunk>>,
    /// Free places in `chunks`.
    free_chunks: Vec<u32>,
    /// Emptied buffers for the next chunks and bodies; no permit stands for them.
    spares: Spares,
    /// One slot per queued record, linked by serial, and free slots linked likewise.
    slots: Vec<SerialSlot>,
    /// First free slot; `NIL` for none.
    free_slots: u32,
    /// One entry per serial with records queued or in flight.
    serials: Vec<Serial>,
    /// Free places in `serials`.
    free_serials: Vec<u32>,
    /// Index into `serials` by the text of the serial.
    table: HashTable<u32>,
    /// Ready serials whose head record was the newest when it came: ascending by construction.
    fresh: VecDeque<u32>,
    /// Ready serials that came back from a request with records left, by their head's sequence.
    returned: BinaryHeap<Reverse<(MessageSeq, u32)>>,
    /// Records of the serials that may be served now.
    ready_records: usize,
    /// Bytes of those records.
    ready_bytes: u64,
    /// All queued records, whatever their serial waits for.
    queued: usize,
    /// Order sentinel with its denominator, counted while packing.
    watch: Watch,
}

impl SerialQueues {
    #[must_use]
    pub fn new() -> Self {
        Self {
            free_slots: NIL,
            ..Self::default()
        }
    }

    /// Keeps emptied buffers of at most so many bytes.
    pub fn keep_at_most(&mut self, bytes: u64) {
        self.spares.keep_at_most(bytes);
    }

    /// A buffer for the next chunk, recycled when there is one.
    pub fn spare(&mut self) -> Vec<u8> {
        self.spares.chunk()
    }

    /// Takes over a chunk's bytes; its records follow by [`push`](Self::push), then [`seal`](Self::seal).
    pub fn open_chunk(
        &mut self,
        bytes: Vec<u8>,
        permit: Option<Permit>,
        arrived: Instant,
    ) -> ChunkId {
        ChunkId(self.place_chunk(Chunk {
            bytes,
            // The caller that fills the chunk counts until it is sealed.
            live: 1,
            arrived,
            permit,
        }))
    }

    fn place_chunk(&mut self, chunk: Chunk) -> u32 {
        let chunk = Some(chunk);
        match self.free_chunks.pop() {
            Some(id) => {
                self.chunks[id as usize] = chunk;
                id
            }
            None => {
                self.chunks.push(chunk);
                (self.chunks.len() - 1) as u32
            }
        }
    }

    /// Ends the pushing: the chunk is freed with its last record, at once if it has none.
    pub fn seal(&mut self, id: ChunkId) {
        if let Some(chunk) = self.chunks[id.0 as usize].as_mut() {
            chunk.live -= 1;
        }
        self.free_if_empty(id.0);
    }

    /// The bytes of an open chunk.
    #[must_use]
    pub fn chunk_bytes(&self, id: ChunkId) -> &[u8] {
        self.chunks[id.0 as usize]
            .as_ref()
            .map_or(&[], |chunk| &chunk.bytes)
    }

    /// Appends a record to its serial's queue. `range` and `serial` lie within the chunk's bytes.
    pub fn push(
        &mut self,
        id: ChunkId,
        range: std::ops::Range<usize>,
        serial: std::ops::Range<usize>,
        hash: u64,
        tag: Tag,
    ) {
        let Some(chunk) = self.chunks[id.0 as usize].as_mut() else {
            return;
        };
        chunk.live += 1;
        let text = &chunk.bytes[serial];
        let serials = &mut self.serials;
        let entry = match self
            .table
            .find(hash, |&at| serials[at as usize].text() == text)
        {
            Some(&at) => at,
            None => {
                let fresh = Serial::new(hash, text);
                let at = match self.free_serials.pop() {
                    Some(at) => {
                        serials[at as usize] = fresh;
                        at
                    }
                    None => {
                        serials.push(fresh);
                        (serials.len() - 1) as u32
                    }
                };
                self.table
                    .insert_unique(hash, at, |&at| serials[at as usize].hash);
                self.fresh.push_back(at);
                at
            }
        };
        let slot = SerialSlot {
            chunk: id.0,
            start: range.start as u32,
            len: range.len() as u32,
            next: NIL,
            seq: tag.seq,
            identity: tag.identity,
            place: tag.place,
        };
        let at = self.place_slot(slot);
        let serial = &mut self.serials[entry as usize];
        if serial.head == NIL {
            serial.head = at;
        } else {
            self.slots[serial.tail as usize].next = at;
        }
        serial.tail = at;
        serial.records += 1;
        serial.bytes += range.len() as u64;
        self.queued += 1;
        if serial.hand == Hand::Ready {
            self.ready_records += 1;
            self.ready_bytes += range.len() as u64;
        }
    }

    fn place_slot(&mut self, slot: SerialSlot) -> u32 {
        if self.free_slots == NIL {
            self.slots.push(slot);
            return (self.slots.len() - 1) as u32;
        }
        let at = self.free_slots;
        self.free_slots = self.slots[at as usize].next;
        self.slots[at as usize] = slot;
        at
    }

    /// Records that a request could take now: those of serials without a batch in flight.
    #[must_use]
    pub fn ready_records(&self) -> usize {
        self.ready_records
    }

    /// Bytes of the ready records, without brackets and commas.
    #[must_use]
    pub fn ready_bytes(&self) -> u64 {
        self.ready_bytes
    }

    /// All queued records, ready or waiting behind a batch in flight.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Serials with records queued or in flight.
    #[must_use]
    pub fn serials(&self) -> usize {
        self.table.len()
    }

    /// When the oldest ready record arrived.
    #[must_use]
    pub fn oldest_ready(&self) -> Option<Instant> {
        let head = self.serials[self.next_ready()? as usize].head;
        self.chunks[self.slots[head as usize].chunk as usize]
            .as_ref()
            .map(|chunk| chunk.arrived)
    }

    fn next_ready(&self) -> Option<u32> {
        let fresh = self.fresh.front().map(|&at| (self.head_seq(at), at));
        let returned = self.returned.peek().map(|Reverse(top)| *top);
        match (fresh, returned) {
            (Some(a), Some(b)) => Some(a.min(b).1),
            (a, b) => a.or(b).map(|(_, at)| at),
        }
    }

    fn pop_ready(&mut self, at: u32) {
        if self.fresh.front() == Some(&at) {
            self.fresh.pop_front();
        } else {
            self.returned.pop();
        }
    }

    fn head_seq(&self, at: u32) -> MessageSeq {
        self.slots[self.serials[at as usize].head as usize].seq
    }

    /// Batches packed so far, and how many records of them broke the order of their serial.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.watch
    }

    /// Makes the serials of a finished request ready again (S2).
    pub fn complete(&mut self, ticket: &PackedRequest) {
        for &at in &ticket.serials {
            let serial = &mut self.serials[at as usize];
            if serial.hand == Hand::Aside {
                continue;
            }
            serial.hand = Hand::Ready;
            if serial.head == NIL {
                let hash = serial.hash;
                if let Ok(entry) = self.table.find_entry(hash, |&other| other == at) {
                    entry.remove();
                }
                self.free_serials.push(at);
            } else {
                self.ready_records += serial.records as usize;
                self.ready_bytes += serial.bytes;
                let seq = self.slots[serial.head as usize].seq;
                self.returned.push(Reverse((seq, at)));
            }
        }
    }

    /// Takes a finished request's body back for a later one, if no other handle holds it.
    pub fn recycle(&mut self, body: Bytes) {
        if body.is_unique() {
            self.spares.keep_body(Vec::from(body));
        }
    }

    fn free_if_empty(&mut self, id: u32) {
        if self.chunks[id as usize]
            .as_ref()
            .is_some_and(|chunk| chunk.live == 0)
        {
            free_chunk(
                &mut self.chunks,
                &mut self.free_chunks,
                &mut self.spares,
                id,
            );
        }
    }
}

fn free_chunk(chunks: &mut [Option<Chunk>], free: &mut Vec<u32>, spares: &mut Spares, id: u32) {
    if let Some(chunk) = chunks[id as usize].take() {
        free.push(id);
        spares.keep_chunk(chunk.bytes);
        drop(chunk.permit);
    }
}

#[cfg(test)]
#[path = "queues_tests.rs"]
mod tests;
