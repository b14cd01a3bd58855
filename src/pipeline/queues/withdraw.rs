//! Withdrawing queued records before they are sent, because their device may not send any more (G1).

use super::{Hand, MessageSeq, NIL, SerialQueues, free_chunk};

/// A record that was queued and will not be sent.
#[derive(Debug)]
pub struct Withdrawn {
    /// The message the record came from.
    pub seq: MessageSeq,
    /// Place of the record in that message.
    pub place: u32,
    /// Hash of the serial.
    pub hash: u64,
    /// Text of the serial.
    pub serial: Vec<u8>,
    /// The record.
    pub bytes: Vec<u8>,
}

/// Bytes of a withdrawn record beside its own: the headers of its letter.
const RECORD_BYTES: u64 = 1024;

/// Why unwanted records are still queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// None is.
    Nothing,
    /// They are behind a batch in flight.
    InFlight,
    /// There was no room for their letters.
    NoRoom,
}

impl SerialQueues {
    /// Whether the newest record of a serial, queued or in flight, is one of the partition itself, not a released one.
    #[must_use]
    pub fn ends_live(&self, hash: u64, serial: &[u8]) -> bool {
        let found = self
            .table
            .find(hash, |&at| self.serials[at as usize].text() == serial);
        let newest = found.and_then(|&at| {
            let serial = &self.serials[at as usize];
            match serial.tail {
                NIL => serial.newest.filter(|_| serial.hand == Hand::InFlight),
                tail => Some(self.slots[tail as usize].seq),
            }
        });
        newest.is_some_and(|seq| seq.as_released().is_none())
    }

    /// Withdraws the queued records of the serials that `unwanted` selects (by hash and text), a whole serial at a time, until
    /// they have `most` bytes. A serial with a batch in flight is left: the verdict on its older records comes first.
    pub fn withdraw(
        &mut self,
        mut unwanted: impl FnMut(u64, &[u8]) -> bool,
        most: u64,
    ) -> (Vec<Withdrawn>, Left) {
        let mut later = false;
        let mut chosen: Vec<u32> = self.table.iter().copied().collect();
        chosen.retain(|&at| {
            let serial = &self.serials[at as usize];
            let chosen = serial.head != NIL && unwanted(serial.hash, serial.text());
            later |= chosen && serial.hand == Hand::InFlight;
            chosen && serial.hand != Hand::InFlight
        });
        let mut out: Vec<Withdrawn> = Vec::new();
        let mut taken = 0;
        for &at in &chosen {
            if taken >= most {
                return (out, Left::NoRoom);
            }
            let serial = &mut self.serials[at as usize];
            let (hash, text) = (serial.hash, serial.text().to_vec());
            let mut head = std::mem::replace(&mut serial.head, NIL);
            serial.tail = NIL;
            let (records, bytes) = (
                std::mem::take(&mut serial.records),
                std::mem::take(&mut serial.bytes),
            );
            self.queued -= records as usize;
            taken += bytes + u64::from(records) * RECORD_BYTES;
            while head != NIL {
                let slot = self.slots[head as usize];
                if let Some(chunk) = self.chunks[slot.chunk as usize].as_mut() {
                    let range = slot.start as usize..(slot.start + slot.len) as usize;
                    out.push(Withdrawn {
                        seq: slot.seq,
                        place: slot.place,
                        hash,
                        serial: text.clone(),
                        bytes: chunk.bytes[range].to_vec(),
                    });
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
                self.slots[head as usize].next = self.free_slots;
                self.free_slots = head;
                head = slot.next;
            }
            if self.serials[at as usize].hand == Hand::Ready {
                self.ready_records -= records as usize;
                self.ready_bytes -= bytes;
            }
            if let Ok(entry) = self.table.find_entry(hash, |&other| other == at) {
                entry.remove();
            }
            self.free_serials.push(at);
            self.fresh.retain(|&other| other != at);
            self.returned.retain(|entry| entry.0.1 != at);
        }
        (out, if later { Left::InFlight } else { Left::Nothing })
    }
}
