//! Admitting a decoded chunk: records that may be sent are queued, all others become letters.
//!
//! * M1: the caller bounds the bytes of letters made at once, whatever a message holds; the rest of the chunk waits in a
//!   [`Rest`] and is admitted when the broker has confirmed letters.
//! * S1: nothing else of the partition may be admitted while a [`Rest`] waits.
//!
//! Pure. Dropping a [`Rest`] leaves its messages unsettled; they are re-delivered to the partition's next owner.

use std::time::Instant;

use super::{
    Draft, Partition, RELEASING, Read, by_gate, dead, gate_reason, gated, rejected, slice,
};
use crate::pipeline::gate::Decision;
use crate::pipeline::letter::{Destination, Letter, Reason};
use crate::pipeline::offsets::MessageSeq;
use crate::pipeline::permits::Permit;
use crate::pipeline::queues::{ChunkId, Tag};
use crate::record::tally::Excess;
use crate::record::{Decoded, Outcome, Unknown};
use crate::registry::Snapshot;

/// The part of a chunk that is not admitted yet.
#[derive(Debug)]
pub struct Rest {
    /// Open until everything is admitted: its bytes are those of the outcomes.
    chunk: ChunkId,
    outcomes: std::vec::IntoIter<Outcome>,
    at: At,
}

impl Rest {
    /// How many of the chunk's messages are admitted whole; the caller passes those behind them.
    #[must_use]
    pub fn done(&self) -> usize {
        self.at.done
    }
}

/// How far a chunk is admitted.
#[derive(Debug, Default)]
struct At {
    /// Messages admitted whole.
    done: usize,
    /// The message that is admitted in part, and how many of its records are left.
    open: Option<(MessageSeq, u32)>,
    /// Whether there is no room for more letters, and records are left.
    paused: bool,
}

impl Partition {
    /// Admits a decoded chunk, whatever room its letters need.
    ///
    /// `reads` yields the chunk's messages in order; their `records` add up to those of `decoded.outcomes`.
    pub fn admit<'a>(
        &mut self,
        reads: impl Iterator<Item = Read<'a>>,
        decoded: &mut Decoded,
        permit: Option<Permit>,
        devices: &Snapshot,
        now: Instant,
    ) -> Vec<Letter> {
        let (letters, rest) = self.admit_within(reads, decoded, permit, devices, (now, u64::MAX));
        debug_assert!(rest.is_none(), "there was room for every letter");
        letters
    }

    /// As [`admit`](Self::admit), with letters of about `room` bytes at most; one letter is always made.
    pub fn admit_within<'a>(
        &mut self,
        reads: impl Iterator<Item = Read<'a>>,
        decoded: &mut Decoded,
        permit: Option<Permit>,
        devices: &Snapshot,
        (now, room): (Instant, u64),
    ) -> (Vec<Letter>, Option<Rest>) {
        let spare = self.queues.spare();
        let bytes = std::mem::replace(&mut decoded.bytes, spare);
        let chunk = self.queues.open_chunk(bytes, permit, now);
        let mut outcomes = decoded.outcomes.drain(..);
        let mut at = At::default();
        let letters = self.take_in(chunk, reads, &mut outcomes, &mut at, devices, room);
        if at.paused {
            let outcomes = outcomes.collect::<Vec<_>>().into_iter();
            let rest = Rest {
                chunk,
                outcomes,
                at,
            };
            return (letters, Some(rest));
        }
        debug_assert!(
            outcomes.next().is_none(),
            "more outcomes than the messages have records"
        );
        self.queues.seal(chunk);
        (letters, None)
    }

    /// Admits more of the rest. `reads` yields the chunk's messages behind the first [`Rest::done`].
    pub fn admit_rest<'a>(
        &mut self,
        mut rest: Rest,
        reads: impl Iterator<Item = Read<'a>>,
        devices: &Snapshot,
        room: u64,
    ) -> (Vec<Letter>, Option<Rest>) {
        rest.at.paused = false;
        let letters = self.take_in(
            rest.chunk,
            reads,
            &mut rest.outcomes,
            &mut rest.at,
            devices,
            room,
        );
        if rest.at.paused {
            return (letters, Some(rest));
        }
        self.queues.seal(rest.chunk);
        (letters, None)
    }

    fn take_in<'a>(
        &mut self,
        chunk: ChunkId,
        reads: impl Iterator<Item = Read<'a>>,
        outcomes: &mut impl Iterator<Item = Outcome>,
        at: &mut At,
        devices: &Snapshot,
        room: u64,
    ) -> Vec<Letter> {
        let mut letters = Vec::new();
        let mut taken = 0;
        for read in reads {
            let (seq, mut left) = at.open.take().unwrap_or_else(|| {
                self.account.messages += 1;
                self.account.read += u64::from(read.records);
                self.account.empty += u64::from(read.records == 0);
                let seq = self
                    .tracker
                    .read_at(read.offset, read.records, read.timestamp_ms);
                self.source_end = self.source_end.map(|end| end.max(read.offset + 1));
                (seq, read.records)
            });
            while left > 0 {
                if taken >= room {
                    (at.open, at.paused) = (Some((seq, left)), true);
                    self.letters += letters.len() as u64;
                    return letters;
                }
                let Some(outcome) = outcomes.next() else {
                    debug_assert!(false, "fewer outcomes than the message has records");
                    break;
                };
                let records = outcome.records();
                let place = read.records - left;
                left -= records;
                let whole = matches!(outcome, Outcome::Excess(_));
                let Some((decision, draft)) =
                    self.judge(chunk, outcome, &read, (seq, place), devices)
                else {
                    continue;
                };
                if decision == Decision::Discard {
                    self.account.discarded += 1;
                    self.tracker.settle(seq);
                    continue;
                }
                let record = (!whole).then_some(place);
                let source = self.source(read.offset, read.timestamp_ms, record);
                let letter = draft.addressed(source, seq, records);
                if letter.destination == Destination::Held {
                    self.note_coming(&letter);
                }
                taken += letter.bytes();
                letters.push(letter);
            }
            at.done += 1;
        }
        self.letters += letters.len() as u64;
        letters
    }

    /// Queues a record that may be sent; for any other outcome gives decision and letter.
    #[inline]
    fn judge(
        &mut self,
        chunk: ChunkId,
        outcome: Outcome,
        read: &Read<'_>,
        (seq, place): (MessageSeq, u32),
        devices: &Snapshot,
    ) -> Option<(Decision, Draft)> {
        Some(match outcome {
            Outcome::Valid(record) => {
                let bytes = self.queues.chunk_bytes(chunk);
                let serial = record.serial(bytes);
                let (decision, device) = self.decide(record.hash(), serial, devices);
                let behind = (self.gate.holds() || self.isolation.holds_any())
                    && self.queues.ends_live(record.hash(), serial);
                self.closing |= behind && decision != Decision::Send;
                let decision = match decision {
                    Decision::Send if !behind && self.waits_behind(serial, device) => {
                        Decision::Hold(RELEASING)
                    }
                    decision if behind || decision == Decision::Send => {
                        self.queues.push(
                            chunk,
                            record.range(),
                            record.serial_range(),
                            record.hash(),
                            Tag {
                                seq,
                                identity: record.identity(),
                                place,
                            },
                        );
                        self.queue_alone(chunk, &record);
                        return None;
                    }
                    decision => decision,
                };
                let draft = gated(decision, device, serial, record.bytes(bytes));
                (decision, draft)
            }
            Outcome::Unknown(unknown) => {
                let decision = self.gate.decide_unknown(&unknown.device_id, devices);
                let payload = read.payload.unwrap_or_default();
                (decision, unresolved(decision, &unknown, payload))
            }
            Outcome::Reject(reject) => {
                let decision = Decision::DeadLetter(reject.rule);
                (decision, rejected(&reject, read))
            }
            Outcome::Excess(excess) => {
                let decision = Decision::DeadLetter(excess.main_rule());
                (decision, many_rejected(&excess, read))
            }
        })
    }
}

pub(super) fn unresolved(decision: Decision, unknown: &Unknown, payload: &[u8]) -> Draft {
    let (destination, code) = by_gate(decision);
    let value = match destination {
        Destination::DeadLetter => slice(payload, &unknown.original),
        Destination::Held => unknown.native(payload).to_vec(),
    };
    Draft {
        destination,
        key: Some(unknown.device_id.clone().into_bytes()),
        value,
        reason: gate_reason(
            code,
            format!("device {} has no serial in the registry", unknown.device_id),
            None,
        ),
    }
}

/// One letter for all rejects of a message beyond a bound: the whole message, the number of rejected records by rule, and the
/// first reject.
pub(super) fn many_rejected(excess: &Excess, read: &Read<'_>) -> Draft {
    let first = excess.examples.first();
    dead(
        read.key.map(<[u8]>::to_vec),
        read.payload.unwrap_or_default().to_vec(),
        Reason {
            code: excess.main_rule().to_owned(),
            detail: excess.detail(),
            stage: first
                .map_or("decode", |first| first.stage.name())
                .to_owned(),
            http_status: None,
            server_text: None,
            serial: None,
            attempts: 0,
        },
    )
}
