//! The state of one assigned partition: its offset tracker, serial queues, held index, isolation and record account. Pure; the
//! worker does its I/O.
//!
//! Owns the state between a decoded chunk and the watermark, for one partition of one assignment.
//!
//! * O1, S1, S2: through [`OffsetTracker`] and [`SerialQueues`].
//! * O2: read = accepted + dead-lettered + held + discarded + in hand, after every call.
//! * O3: after [`revoke`](Partition::revoke) no request is packed.
//! * G1: a record that the gate does not pass is never queued, and a queued one is withdrawn when the registry changes.
//!
//! It does no I/O and reads no clock: the worker puts chunks, verdicts and confirmations in, and takes requests and letters
//! out. Dropping it abandons the records in hand; their offsets stay unsettled and they are re-delivered to the next owner.

mod account;
mod failing;
mod held;
mod intake;
mod log;

use super::gate::{Decision, Gate};
use super::hold::Hold;
use super::isolation::Isolation;
use super::letter::{Destination, Letter, Reason, Source};
use super::offsets::{MessageSeq, OffsetTracker};
use super::queues::{Limits, PackedRequest, SerialQueues};
use super::replay::Replays;
use super::request::{Request, Verdicts};
use crate::record::{Reject, Stage};
use crate::registry::Known;

pub use account::Account;
pub use failing::{FAILING, RELEASING};
pub use held::HeldMessage;
pub use intake::Rest;

/// A message that was read, with the number of outcomes that it decoded to.
#[derive(Debug, Clone, Copy)]
pub struct Read<'a> {
    pub offset: i64,
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub payload: Option<&'a [u8]>,
    pub records: u32,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Partition {
    /// Name of the input topic.
    topic: String,
    /// Name of the held topic of the input topic.
    held_topic: String,
    /// Number of the partition, in both topics.
    number: i32,
    /// The gate's settings; a clone of the consumer thread's, without state.
    gate: Gate,
    /// Open messages of the partition itself and their watermark (O1).
    tracker: OffsetTracker,
    /// How often open messages were replayed; empty while none is.
    replays: Replays,
    /// Records that wait to be sent, with their bytes and memory permits. Dropped, the permits are returned.
    queues: SerialQueues,
    /// Held index and groups being released, with their own offset trackers; empty until it was rebuilt.
    hold: Hold,
    /// Offset at which the source's next message will be written at the earliest, where that is known.
    source_end: Option<i64>,
    /// Whether the held index was rebuilt (`set_hold`).
    holding: bool,
    /// Serials that failed, and when they are sent again (Q1).
    isolation: Isolation,
    /// Committed offset of the source in this life of its log: nothing below is read again after a crash.
    committed: i64,
    /// End offset of the log when it was last checked; nothing at or behind it was in the log then.
    end: Option<i64>,
    /// What was read of the partition itself and what became of it (O2); released records are counted by `hold`.
    account: Account,
    /// Letters given to the worker that the broker has not confirmed.
    letters: u64,
    /// Requests packed and neither completed nor given back.
    requests: usize,
    /// Sentinel: records packed although their message was settled; must stay 0.
    resent: u64,
    /// Whether the partition was revoked: nothing is packed any more (O3).
    revoked: bool,
    /// Whether records of a device that may not send wait behind a batch in flight.
    closing: bool,
    /// Whether that batch may be completed, or unwanted records are still queued: nothing is packed before they are withdrawn
    /// (G1).
    recheck: bool,
    /// Bytes of letters that may be made at once when records are withdrawn; set by the worker (M1).
    letter_room: u64,
}

impl Partition {
    #[must_use]
    pub fn new(topic: &str, number: i32, gate: Gate) -> Self {
        Self {
            topic: topic.to_owned(),
            held_topic: String::new(),
            number,
            gate,
            tracker: OffsetTracker::live(),
            replays: Replays::default(),
            queues: SerialQueues::new(),
            hold: Hold::default(),
            source_end: None,
            holding: false,
            isolation: Isolation::new(super::upload::Config::default().pauses()),
            committed: 0,
            end: None,
            account: Account::default(),
            letters: 0,
            requests: 0,
            resent: 0,
            revoked: false,
            closing: false,
            recheck: false,
            letter_room: u64::MAX,
        }
    }

    /// Keeps emptied buffers of at most `bytes` bytes, for which the partition has no permit.
    #[must_use]
    pub fn keeping(mut self, bytes: u64) -> Self {
        self.queues.keep_at_most(bytes);
        self
    }

    fn source(&self, offset: i64, timestamp_ms: Option<i64>, record: Option<u32>) -> Source {
        Source {
            topic: self.topic.clone(),
            partition: self.number,
            offset,
            timestamp_ms,
            replays: self.replays.of(offset),
            record,
        }
    }

    /// The place of a held record.
    fn held_source(&self, offset: i64, timestamp_ms: Option<i64>) -> Source {
        Source {
            topic: self.held_topic.clone(),
            partition: self.number,
            offset,
            timestamp_ms,
            replays: 0,
            record: None,
        }
    }

    /// Notes that the message at this offset, which is admitted next, was replayed so often.
    pub fn note_replay(&mut self, offset: i64, replays: u32) {
        self.replays.note(offset, replays, self.tracker.watermark());
    }

    /// Settles an offset that could not be read and that a person skipped; a letter reports the range already.
    pub fn skip(&mut self, offset: i64) {
        self.source_end = self.source_end.map(|end| end.max(offset + 1));
        self.tracker.read(offset, 0);
    }

    /// Packs the next request, unless the partition was revoked (O3) or nothing is ready.
    pub fn pack(&mut self, limits: Limits) -> Option<(Request, PackedRequest)> {
        if self.revoked || self.recheck {
            return None;
        }
        let packed = self.queues.pack(limits)?;
        self.requests += 1;
        self.count_resent(&packed.1);
        Some(packed)
    }

    fn count_resent(&mut self, ticket: &PackedRequest) {
        let settled = |&&seq: &&MessageSeq| self.offset(seq).is_none();
        self.resent += ticket.seqs.iter().filter(settled).count() as u64;
    }

    /// Identity and offset of each accepted record of a request that is about to be completed.
    pub fn origins(
        &self,
        ticket: &PackedRequest,
        verdicts: &Verdicts,
    ) -> impl Iterator<Item = (u64, i64)> {
        verdicts.accepted(ticket.seqs.len()).filter_map(|index| {
            let seq = ticket.seqs[index];
            // A released record has an offset of the held topic, which is not remembered.
            let offset = match seq.as_released() {
                Some(_) => None,
                None => self.tracker.offset(seq),
            };
            Some((ticket.identities[index], offset?))
        })
    }

    /// Sentinel: records packed although their message was settled already; must stay 0.
    #[must_use]
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Takes the verdicts on a request: settles accepted records, and gives refused ones as letters.
    pub fn complete(
        &mut self,
        request: &Request,
        ticket: &PackedRequest,
        verdicts: &Verdicts,
    ) -> Vec<Letter> {
        debug_assert!(verdicts.failed.is_none(), "what failed is given back");
        let letters = self.settle(request, ticket, verdicts);
        self.end_request(ticket);
        self.passed(ticket);
        letters
    }

    fn end_request(&mut self, ticket: &PackedRequest) {
        self.requests -= 1;
        self.queues.complete(ticket);
        self.recheck = self.closing;
    }

    /// Settles the records that have a verdict; refused ones are given as letters.
    fn settle(
        &mut self,
        request: &Request,
        ticket: &PackedRequest,
        verdicts: &Verdicts,
    ) -> Vec<Letter> {
        let judged = verdicts.failed.as_ref().map(|failed| failed.from as usize);
        let mut letters = Vec::new();
        let mut refused = verdicts.refused.iter().peekable();
        let seqs = &ticket.seqs[..judged.unwrap_or(ticket.seqs.len())];
        for (index, &seq) in seqs.iter().enumerate() {
            match refused.next_if(|refusal| refusal.record as usize == index) {
                None if seq.as_released().is_some() => {
                    self.settle_released(seq, |released| &mut released.accepted);
                }
                None => {
                    self.account.accepted += 1;
                    self.tracker.settle(seq);
                }
                Some(refusal) => {
                    let span = request.records[index];
                    let value = request.body[span.start as usize..span.end as usize].to_vec();
                    let serial = serial_of(&value);
                    let source = self.source_of(seq, ticket.places[index]);
                    letters.push(Letter {
                        destination: Destination::DeadLetter,
                        key: serial.clone().map(String::into_bytes),
                        value,
                        reason: Reason {
                            code: "gateway.refused".to_owned(),
                            detail: format!(
                                "the gateway answered {} to this record alone",
                                refusal.status
                            ),
                            stage: Stage::Upload.name().to_owned(),
                            http_status: Some(refusal.status),
                            server_text: Some(refusal.text.clone()),
                            serial,
                            attempts: refusal.attempts,
                        },
                        source,
                        seq,
                        records: 1,
                    });
                }
            }
        }
        self.letters += letters.len() as u64;
        letters
    }

    /// The place of the original of a record in flight: the message of the input, or of the held topic if that does not name
    /// one.
    fn source_of(&self, seq: MessageSeq, place: u32) -> Source {
        let written_ms = self.timestamp_ms(seq);
        let named = seq
            .as_released()
            .map(|(group, place)| self.hold.source_of(group, place));
        match named {
            None => self.source(
                self.tracker.offset(seq).unwrap_or(-1),
                written_ms,
                Some(place),
            ),
            Some(Some((offset, record))) => self.source(offset, written_ms, record),
            Some(None) => Source {
                topic: self.held_topic.clone(),
                ..self.source(self.offset(seq).unwrap_or(-1), written_ms, Some(place))
            },
        }
    }

    /// Takes a completed request's body back for a later one.
    pub fn recycle(&mut self, request: Request) {
        self.queues.recycle(request.body);
    }

    /// Settles the records of a letter that the broker has confirmed, at this offset of its topic.
    pub fn letter_written(&mut self, letter: &Letter, offset: i64) {
        self.letters -= 1;
        if letter.destination == Destination::Held {
            let name = letter.key.as_deref().unwrap_or_default();
            self.hold.arrived(name, offset);
        }
        if letter.seq.as_released().is_some() {
            for _ in 0..letter.records {
                self.settle_released(letter.seq, |released| match letter.destination {
                    Destination::DeadLetter => &mut released.dead_lettered,
                    Destination::Held => &mut released.held_again,
                });
            }
            return;
        }
        let records = u64::from(letter.records);
        match letter.destination {
            Destination::DeadLetter => self.account.dead_lettered += records,
            Destination::Held => self.account.held += records,
        }
        self.tracker.settle_many(letter.seq, letter.records);
    }

    fn offset(&self, seq: MessageSeq) -> Option<i64> {
        match seq.as_released() {
            Some((group, place)) => self.hold.offset(group, place),
            None => self.tracker.offset(seq),
        }
    }

    /// No request is packed after this (O3).
    pub fn revoke(&mut self) {
        self.revoked = true;
    }

    #[must_use]
    pub fn watermark(&self) -> Option<i64> {
        self.tracker.watermark()
    }

    /// Messages between the watermark and the newest one read.
    #[must_use]
    pub fn window(&self) -> usize {
        self.tracker.window()
    }

    #[must_use]
    pub fn account(&self) -> Account {
        self.account
    }

    #[must_use]
    pub fn queues(&self) -> &SerialQueues {
        &self.queues
    }

    /// Requests packed and neither completed nor given back.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// Letters given to the worker and not confirmed.
    #[must_use]
    pub fn letters(&self) -> u64 {
        self.letters
    }
}

/// A letter without source and sequence.
struct Draft {
    destination: Destination,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    reason: Reason,
}

impl Draft {
    fn addressed(self, source: Source, seq: MessageSeq, records: u32) -> Letter {
        Letter {
            destination: self.destination,
            key: self.key,
            value: self.value,
            reason: self.reason,
            source,
            seq,
            records,
        }
    }
}

fn by_gate(decision: Decision) -> (Destination, &'static str) {
    match decision {
        Decision::Hold(code) => (Destination::Held, code),
        Decision::DeadLetter(code) => (Destination::DeadLetter, code),
        // The callers handle these two; should one come here, the record is dead-lettered instead of lost.
        Decision::Send | Decision::Discard => (Destination::DeadLetter, "device.unknown"),
    }
}

fn dead(key: Option<Vec<u8>>, value: Vec<u8>, reason: Reason) -> Draft {
    Draft {
        destination: Destination::DeadLetter,
        key,
        value,
        reason,
    }
}

fn gate_reason(code: &str, detail: String, serial: Option<String>) -> Reason {
    Reason {
        code: code.to_owned(),
        detail,
        stage: Stage::Gate.name().to_owned(),
        http_status: None,
        server_text: None,
        serial,
        attempts: 0,
    }
}

/// The letter of a record that the gate does not pass; its key is the device id if that is known, otherwise the serial.
fn gated(decision: Decision, device: Option<Known<'_>>, serial: &[u8], record: &[u8]) -> Draft {
    let (destination, code) = by_gate(decision);
    let key = device.map_or(serial, |device| device.device_id().as_bytes());
    let serial = String::from_utf8_lossy(serial).into_owned();
    Draft {
        destination,
        key: Some(key.to_vec()),
        value: record.to_vec(),
        reason: gate_reason(code, why(code, &serial), Some(serial)),
    }
}

fn why(code: &str, serial: &str) -> String {
    match code {
        FAILING => format!("the gateway fails on the records of serial {serial}"),
        _ => format!("serial {serial} may not send"),
    }
}

fn rejected(reject: &Reject, read: &Read<'_>) -> Draft {
    dead(
        reject
            .subject
            .clone()
            .map(String::into_bytes)
            .or_else(|| read.key.map(<[u8]>::to_vec)),
        slice(read.payload.unwrap_or_default(), &reject.original),
        Reason {
            code: reject.rule.to_owned(),
            detail: reject.to_string(),
            stage: reject.stage.name().to_owned(),
            http_status: None,
            server_text: None,
            serial: reject.subject.clone(),
            attempts: 0,
        },
    )
}

fn slice(payload: &[u8], range: &std::ops::Range<usize>) -> Vec<u8> {
    payload.get(range.clone()).unwrap_or(payload).to_vec()
}

/// The serial of a record as it was sent. Refused records are rare, so the record is parsed again instead of keeping its
/// serial.
fn serial_of(record: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        #[serde(rename = "SerialNo")]
        serial: String,
    }
    serde_json::from_slice::<Named>(record)
        .ok()
        .map(|named| named.serial)
}
