//! Held records of the partition: fed for release, withdrawn, expired, and counted.
//!
//! [`Hold`](super::super::hold::Hold) has the rules; this file connects them to the gate, the serial queues and the letters.
//! Pure.
//!
//! * S1, for copies that a crash leaves in the held topic: a copy may repeat a record, but never put it behind younger ones
//!   after the first copy became a letter. Whether a record has expired depends on its source alone, stays true, and is asked
//!   whenever the record is taken up, even if its device may send by now. It is never true before the source's commit is
//!   confirmed, so a live record is never a copy of a letter.

use std::collections::BTreeMap;
use std::time::Instant;

use super::intake::{many_rejected, unresolved};
use super::log::may_come_back;
use super::{Draft, FAILING, Partition, dead, gate_reason, gated, rejected};
use crate::pipeline::gate::Decision;
use crate::pipeline::hold::{Hold, Purpose, Standing, Stay};
use crate::pipeline::letter::{Destination, Letter, Reason, Source};
use crate::pipeline::offsets::MessageSeq;
use crate::pipeline::partition::Read;
use crate::pipeline::permits::Permit;
use crate::pipeline::queues::{Left, Tag};
use crate::record::decode::Decoder;
use crate::record::{Decoded, Outcome};
use crate::registry::Snapshot;

/// How far the clock of a source's producer may be ahead of ours.
const SKEW_MS: i64 = 24 * 60 * 60 * 1_000;

/// A message of the held topic as it was read.
#[derive(Debug, Clone)]
pub struct HeldMessage {
    pub offset: i64,
    /// The key: a device id or a serial.
    pub name: Vec<u8>,
    pub value: Vec<u8>,
    /// Reason and source from its headers; `None` when they cannot be read.
    pub letter: Option<(Reason, Source)>,
    pub timestamp_ms: Option<i64>,
}

impl HeldMessage {
    /// Timestamp of the held record's source, in milliseconds since the epoch. Whole seconds, because withdrawn records keep no
    /// more, and every copy must give the same.
    #[must_use]
    pub fn since_ms(&self) -> Option<i64> {
        let claimed = self
            .letter
            .as_ref()
            .and_then(|(_, source)| source.timestamp_ms);
        // The header may be forged: a source timestamp much later than that of the held message is not believed.
        let latest = self
            .timestamp_ms
            .map_or(i64::MAX, |held| held.saturating_add(SKEW_MS));
        let since = claimed
            .filter(|since| (0..=latest).contains(since))
            .or(self.timestamp_ms)?;
        Some(since - since.rem_euclid(1_000))
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.name.len() + self.value.len()) as u64
    }
}

/// A message taken up, its group, and the number of its outcomes; `None` for an expired one.
struct Taken<'m> {
    message: &'m HeldMessage,
    group: u32,
    records: Option<u32>,
}

impl Partition {
    #[must_use]
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    pub fn hold_mut(&mut self) -> &mut Hold {
        &mut self.hold
    }

    /// Takes over the held index that was rebuilt from the held topic.
    pub fn set_hold(&mut self, hold: Hold, held_topic: &str) {
        self.hold = hold;
        self.holding = true;
        self.set_held_topic(held_topic);
    }

    /// Sets the name of the held topic.
    pub fn set_held_topic(&mut self, held_topic: &str) {
        held_topic.clone_into(&mut self.held_topic);
    }

    /// Sets the offset at which the source's next message will be written at the earliest: no held record can come from there
    /// or beyond, whatever its headers claim.
    pub fn set_source_end(&mut self, end: i64) {
        self.source_end = Some(end);
    }

    /// Turns a letter that can never be written to the held topic into a dead letter; `code` and `detail` say why.
    pub fn cannot_hold(&mut self, letter: &mut Letter, code: &str, detail: String) {
        if letter.destination != Destination::Held {
            return;
        }
        let name = letter.key.as_deref().unwrap_or_default();
        let size = (name.len() + letter.value.len()) as u64;
        self.hold.given_up(name, size);
        letter.destination = Destination::DeadLetter;
        letter.reason.detail = format!("{detail}; was to be held as {}", letter.reason.code);
        code.clone_into(&mut letter.reason.code);
    }

    /// Notes the confirmed committed offset of the source.
    pub fn set_committed(&mut self, offset: i64) {
        self.committed = self.committed.max(offset);
    }

    /// Whether records are held and released at all.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.gate.holds() || self.holding
    }

    /// Takes in messages of the held topic, read up to `next`: records of devices being released are queued or become letters,
    /// all others are skipped. `now` is the clock twice: for lingering, and in microseconds since the epoch.
    pub fn feed(
        &mut self,
        messages: &[HeldMessage],
        next: i64,
        (decoder, decoded): (&mut Decoder, &mut Decoded),
        permit: Option<Permit>,
        devices: &Snapshot,
        now: (Instant, i64),
    ) -> Vec<Letter> {
        decoded.clear_outcomes();
        let expired = self.expired_ms(now.1 / 1_000);
        let mut taken = Vec::new();
        // Groups whose oldest record may not expire: that record and later ones stay held, earlier ones are taken up.
        let mut kept: Vec<(u32, Stay)> = Vec::new();
        // Groups of which only a part is released, and how many messages of them were taken up.
        let mut parts: BTreeMap<u32, u32> = BTreeMap::new();
        for message in messages {
            let Some((group, purpose)) = self.hold.takes(&message.name, message.offset) else {
                continue;
            };
            if kept.iter().any(|(id, _)| *id == group) {
                continue;
            }
            if let Purpose::Part(most) = purpose {
                let part = parts.entry(group).or_default();
                if *part >= most {
                    continue;
                }
                *part += 1;
            }
            let records = match purpose {
                Purpose::Release(Decision::Send) | Purpose::Part(_)
                    if self.expires(message, expired).is_ok() =>
                {
                    None
                }
                Purpose::Release(_) | Purpose::Part(_) => {
                    let before = decoded.records();
                    decoder.decode(Some(&message.value), devices, now.1, decoded);
                    Some((decoded.records() - before) as u32)
                }
                Purpose::Expire => match self.expires(message, expired) {
                    Ok(()) => None,
                    Err(stay) => {
                        kept.push((group, stay));
                        continue;
                    }
                },
            };
            taken.push(Taken {
                message,
                group,
                records,
            });
        }
        let letters = self.take_up(&taken, decoded, permit, devices, now.0);
        for (group, stay) in kept {
            self.hold.keep(group, stay);
        }
        for group in parts.into_keys() {
            self.hold.close(group);
        }
        self.hold.read_to(next);
        letters
    }

    fn take_up(
        &mut self,
        taken: &[Taken<'_>],
        decoded: &mut Decoded,
        permit: Option<Permit>,
        devices: &Snapshot,
        now: Instant,
    ) -> Vec<Letter> {
        let mut letters = Vec::new();
        let spare = self.queues.spare();
        let bytes = std::mem::replace(&mut decoded.bytes, spare);
        let chunk = self.queues.open_chunk(bytes, permit, now);
        let mut outcomes = decoded.outcomes.drain(..);
        for Taken {
            message,
            group,
            records,
        } in taken
        {
            let count = records.unwrap_or(1);
            let source = self.claimed(message);
            let source = source.map(|source| (source.offset, source.record));
            let seq = self.hold.fed(*group, message, source, count);
            if records.is_none() {
                let draft = expired(message);
                letters.push(draft.addressed(self.origin(message), seq, 1));
                continue;
            }
            let mut left = count;
            while let Some(outcome) = (left > 0).then(|| outcomes.next()).flatten() {
                let records = outcome.records();
                let place = count - left;
                left -= records;
                let read = Read {
                    offset: message.offset,
                    timestamp_ms: message.timestamp_ms,
                    key: Some(&message.name),
                    payload: Some(&message.value),
                    records,
                };
                let (decision, draft) = match outcome {
                    Outcome::Valid(record) => {
                        let bytes = self.queues.chunk_bytes(chunk);
                        let serial = record.serial(bytes);
                        let (decision, device) = self.decide_queued(record.hash(), serial, devices);
                        if decision == Decision::Send {
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
                            continue;
                        }
                        let draft = gated(decision, device, serial, record.bytes(bytes));
                        (decision, draft)
                    }
                    Outcome::Unknown(unknown) => {
                        let decision = self.gate.decide_unknown(&unknown.device_id, devices);
                        let draft = unresolved(decision, &unknown, &message.value);
                        (decision, draft)
                    }
                    Outcome::Reject(reject) => {
                        let decision = Decision::DeadLetter(reject.rule);
                        (decision, rejected(&reject, &read))
                    }
                    Outcome::Excess(excess) => {
                        let decision = Decision::DeadLetter(excess.main_rule());
                        (decision, many_rejected(&excess, &read))
                    }
                };
                if decision == Decision::Discard {
                    self.settle_released(seq, |released| &mut released.discarded);
                    continue;
                }
                let letter = draft.addressed(self.origin(message), seq, records);
                // The registry gives the record another name by now: it is held under that name.
                if letter.destination == Destination::Held {
                    self.note_coming(&letter);
                }
                letters.push(letter);
            }
        }
        drop(outcomes);
        self.queues.seal(chunk);
        self.letters += letters.len() as u64;
        letters
    }

    /// The source of a held record by its headers, if they are plausible; otherwise its place in the held topic.
    fn origin(&self, message: &HeldMessage) -> Source {
        match self.claimed(message) {
            Some(source) => source.clone(),
            None => self.held_source(message.offset, message.timestamp_ms),
        }
    }

    /// The source by a held record's headers, if it can be a message of this partition.
    fn claimed<'m>(&self, message: &'m HeldMessage) -> Option<&'m Source> {
        let (_, source) = message.letter.as_ref()?;
        let end = self.source_end.unwrap_or(i64::MAX);
        source
            .is_of(&self.topic, self.number, end)
            .then_some(source)
    }

    /// Timestamp of an open message: milliseconds since the epoch, in whole seconds.
    pub(super) fn timestamp_ms(&self, seq: MessageSeq) -> Option<i64> {
        match seq.as_released() {
            Some((group, place)) => self.hold.timestamp_ms(group, place),
            None => self.tracker.timestamp_ms(seq),
        }
    }

    pub(super) fn note_coming(&mut self, letter: &Letter) {
        let name = letter.key.as_deref().unwrap_or_default();
        let size = (name.len() + letter.value.len()) as u64;
        self.hold
            .coming(name, size, letter.source.timestamp_ms, &letter.reason.code);
    }

    /// Whether a record has expired: `expired` (milliseconds since the epoch) is the oldest timestamp that has not. Otherwise
    /// the reason why it stays.
    fn expires(&self, message: &HeldMessage, expired: Option<i64>) -> Result<(), Stay> {
        let since = message.since_ms();
        if let Some(since) = since
            && expired.is_none_or(|expired| since >= expired)
        {
            return Err(Stay::Until(since));
        }
        match self.claimed(message) {
            Some(source) if may_come_back(source.offset, self.committed, self.end()) => {
                Err(Stay::Uncommitted(source.offset))
            }
            _ => Ok(()),
        }
    }

    fn expired_ms(&self, now_ms: i64) -> Option<i64> {
        self.gate.longest_ms().map(|longest| now_ms - longest)
    }

    /// Settles one released record and counts it.
    pub(super) fn settle_released(
        &mut self,
        seq: MessageSeq,
        outcome: impl FnOnce(&mut crate::pipeline::hold::Released) -> &mut u64,
    ) {
        if let Some((group, place)) = seq.as_released() {
            *outcome(&mut self.hold.released) += 1;
            self.hold.settled(group, place);
        }
    }

    /// Reacts to a changed registry or an ended release: withdraws records that may not be sent any more (G1) and begins
    /// releases that may. `now_ms`: milliseconds since the epoch.
    pub fn review(&mut self, devices: &Snapshot, now_ms: i64) -> Vec<Letter> {
        if !self.holds() {
            return Vec::new();
        }
        let letters = match self.gate.holds() || self.isolation.holds_any() {
            true => self.withdraw(devices),
            false => Vec::new(),
        };
        self.end_quarantines(devices);
        let expired = self.expired_ms(now_ms);
        let (gate, isolation) = (&self.gate, &self.isolation);
        let (committed, end) = (self.committed, self.end());
        let comes_back = |offset| may_come_back(offset, committed, end);
        self.hold.review(
            |name| {
                let name = String::from_utf8_lossy(name);
                let (decision, device) = gate.decide_held(&name, devices);
                let serial = device.and_then(|device| device.serial()).unwrap_or(&name);
                let part = match decision {
                    Decision::Send => isolation.part(serial.as_bytes()),
                    _ => None,
                };
                Standing {
                    decision: match part {
                        Some(0) => Decision::Hold(FAILING),
                        _ => decision,
                    },
                    part: part.filter(|part| *part > 0),
                    owner: device.map(|device| device.device_id().as_bytes().into()),
                }
            },
            expired,
            comes_back,
        );
        letters
    }

    /// Whether a request was completed behind which records wait that may not be sent any more; nothing is packed until they
    /// are withdrawn.
    #[must_use]
    pub fn withdraws(&self) -> bool {
        self.recheck
    }

    /// Sets about how many bytes of letters [`review`](Self::review) and [`withdraw`](Self::withdraw) may make at once.
    pub fn set_letter_room(&mut self, bytes: u64) {
        self.letter_room = bytes;
    }

    /// Withdraws the queued records of devices that may not send (G1), as far as there is room for their letters. A serial with
    /// older records in flight waits for their verdict: a held record must not overtake one that a crash would re-deliver (S1).
    pub fn withdraw(&mut self, devices: &Snapshot) -> Vec<Letter> {
        let (gate, isolation) = (&self.gate, &self.isolation);
        let unwanted = |hash, serial: &[u8]| {
            gate.decide(hash, serial, devices).0 != Decision::Send
                || isolation.part(serial) == Some(0)
        };
        let (withdrawn, left) = self.queues.withdraw(unwanted, self.letter_room);
        let mut letters = Vec::new();
        for record in withdrawn {
            if !self.isolation.is_empty() {
                self.isolation.withdrawn(&record.serial);
            }
            if let Some((group, _)) = record.seq.as_released() {
                self.hold.put_back(group, record.bytes.len() as u64);
                continue;
            }
            let (decision, device) = self.decide_queued(record.hash, &record.serial, devices);
            if decision == Decision::Discard {
                self.account.discarded += 1;
                self.tracker.settle(record.seq);
                continue;
            }
            let offset = self.tracker.offset(record.seq).unwrap_or(-1);
            let read_at = self.tracker.timestamp_ms(record.seq);
            let letter = gated(decision, device, &record.serial, &record.bytes).addressed(
                self.source(offset, read_at, Some(record.place)),
                record.seq,
                1,
            );
            if letter.destination == Destination::Held {
                self.note_coming(&letter);
            }
            letters.push(letter);
        }
        self.letters += letters.len() as u64;
        self.closing = left == Left::InFlight;
        // Nothing is packed before the rest is withdrawn (G1).
        self.recheck = left == Left::NoRoom;
        letters
    }

    /// Whether a live record that may be sent has to be held behind older held ones.
    pub(super) fn waits_behind(
        &self,
        serial: &[u8],
        device: Option<crate::registry::Known<'_>>,
    ) -> bool {
        !self.hold.is_empty()
            && (self.hold.blocks(serial)
                || device.is_some_and(|device| self.hold.blocks(device.device_id().as_bytes())))
    }
}

fn expired(message: &HeldMessage) -> Draft {
    let why = message
        .letter
        .as_ref()
        .map(|(reason, _)| reason.code.as_str());
    let detail = format!(
        "held as {} for longer than gate.hold_max_days",
        why.unwrap_or("of unknown reason")
    );
    let serial = message
        .letter
        .as_ref()
        .and_then(|(reason, _)| reason.serial.clone());
    let reason = gate_reason("held.expired", detail, serial);
    dead(Some(message.name.clone()), message.value.clone(), reason)
}
