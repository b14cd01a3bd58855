//! The records of one parsed message: each checked, and left where it is, written anew, or refused.
//!
//! Owns the buffers for records written anew and their way into [`Decoded`]. Allocates only for rejects and unknown devices, and to grow.

use std::ops::Range;

use simd_json::Node;

use super::judge::{Passed, RecordValidator, device_id};
use super::members::{self, Member};
use super::refuse::{self, RejectPlace};
use super::render::render;
use super::rules::RuleNo;
use super::tally::Tally;
use super::twins::Twins;
use super::validate::Rules;
use super::view::{MemberSlot, Slots, Text, View, Violation, scan};
use super::{Decoded, Outcome, Reject, SerialOf, Unknown, ValidRecord, serial_hash};

/// Where the outcomes of the message in hand go.
pub(super) struct Sink<'o> {
    pub outcomes: &'o mut Vec<Outcome>,
    pub notes: &'o mut Vec<(&'static str, u64)>,
    pub tally: &'o mut Tally,
}

impl Sink<'_> {
    fn reject(&mut self, rule: &'static str, make: impl FnOnce() -> Reject) {
        self.tally.reject(self.outcomes, rule, make);
    }
}

/// A native message, parsed, and what its records are judged by.
pub(super) struct Message<'v, 'a, D> {
    pub nodes: &'v [Node<'a>],
    pub text: Text<'v>,
    /// Whether there is a backslash anywhere.
    pub escapes: bool,
    /// Where the message's copy begins in `Decoded::bytes`.
    pub start: usize,
    pub rules: &'v Rules,
    pub devices: &'v D,
    pub now: i64,
}

/// An element of a message: its first node and structural character, and its index when the message is an array.
#[derive(Debug, Clone, Copy)]
struct Element {
    node: usize,
    at: usize,
    index: Option<usize>,
}

/// The records of the message in hand.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub desk: RecordValidator,
    /// Records of the message in hand that may have a twin.
    pub twins: Twins,
    /// Records written anew.
    written: Vec<u8>,
    /// Their places in `Decoded::outcomes`.
    moved: Vec<usize>,
}

impl Work {
    /// Appends the outcomes of a parsed message; true when a record was left where it is.
    #[inline]
    pub fn message<D: SerialOf>(
        &mut self,
        message: &Message<'_, '_, D>,
        slots: &mut Slots,
        sink: &mut Sink<'_>,
    ) -> bool {
        match message.nodes.first() {
            Some(Node::Object { .. }) => self.element(
                message,
                &mut Element {
                    node: 0,
                    at: 0,
                    index: None,
                },
                slots,
                sink,
            ),
            Some(&Node::Array { len, .. }) => self.array(message, len, slots, sink),
            _ => {
                let payload = message.text.payload;
                let value = refuse::excerpt(payload);
                sink.reject(RuleNo::MessageScalar.id(), || {
                    refuse::message(message.rules, RuleNo::MessageScalar, value, payload)
                });
                false
            }
        }
    }

    fn array<D: SerialOf>(
        &mut self,
        message: &Message<'_, '_, D>,
        len: usize,
        slots: &mut Slots,
        sink: &mut Sink<'_>,
    ) -> bool {
        let mut element = Element {
            node: 1,
            at: 1,
            index: None,
        };
        let mut kept = false;
        for index in 0..len {
            element.index = Some(index);
            match message.nodes.get(element.node) {
                Some(Node::Object { .. }) => {
                    kept |= self.element(message, &mut element, slots, sink)
                }
                Some(_) => {
                    let reject = message.no_object(&mut element);
                    sink.reject(reject.rule, || reject);
                }
                None => break,
            }
            // The comma or closing bracket.
            element.at += 1;
        }
        kept
    }

    /// Checks an object and appends its outcome; true when it was left where it is. Moves `element` behind the object.
    #[inline]
    fn element<D: SerialOf>(
        &mut self,
        message: &Message<'_, '_, D>,
        element: &mut Element,
        slots: &mut Slots,
        sink: &mut Sink<'_>,
    ) -> bool {
        let (text, rules) = (message.text, message.rules);
        let scan = scan(
            message.nodes,
            text,
            element.node,
            element.at,
            rules.config.unknown_members,
            slots,
        );
        let record = text.position(element.at)..text.position(scan.next_at - 1) + 1;
        (element.node, element.at) = (scan.next_node, scan.next_at);
        let view = View {
            nodes: message.nodes,
            slots,
            seen: scan.seen,
            text: Some(text),
        };
        let rewrite = scan.rewrite || (message.escapes && has_escaped_serial(view));
        self.desk.begin(rewrite, scan.notes);
        let checked = match scan.violation {
            Some(violation) => Err(violation),
            None => self.desk.check(rules, view, message.devices, message.now),
        };
        self.settle(message, checked, view, record, element.index, sink)
    }

    /// Appends the outcome of a native record that lies at `record` in the payload; true when it was left where it is.
    #[inline]
    pub fn settle<D: SerialOf>(
        &mut self,
        message: &Message<'_, '_, D>,
        checked: Result<Passed, Violation>,
        view: View<'_, '_>,
        record: Range<usize>,
        index: Option<usize>,
        sink: &mut Sink<'_>,
    ) -> bool {
        match (checked, view.node(Member::SerialNo)) {
            (Ok(passed), Some(Node::String(serial))) if !self.desk.rewrite => {
                let serial_value = view.slots[Member::SerialNo as usize].at as usize;
                let hash = serial_hash(serial.as_bytes());
                // A message of one record has no two.
                if index.is_some() {
                    let at = sink.outcomes.len();
                    self.twins
                        .add((hash, passed.kind), self.desk.ticks(), view, at);
                }
                sink.outcomes.push(Outcome::Valid(ValidRecord {
                    start: place(message.start + record.start),
                    len: place(record.len()),
                    serial_at: place(message.text.position(serial_value) + 1 - record.start),
                    serial_len: serial.len() as u8,
                    kind: passed.kind,
                    hash,
                    micros: self.desk.micros,
                }));
                self.count_notes(sink);
                true
            }
            _ => {
                let original = if index.is_some() {
                    record
                } else {
                    0..message.text.payload.len()
                };
                self.conclude(
                    message.rules,
                    checked,
                    view,
                    RejectPlace { index, original },
                    sink,
                );
                false
            }
        }
    }

    /// Appends the outcome of a record that is not left where it is: written anew, of an unknown device, or rejected.
    pub(super) fn conclude(
        &mut self,
        rules: &Rules,
        checked: Result<Passed, Violation>,
        view: View<'_, '_>,
        at: RejectPlace,
        sink: &mut Sink<'_>,
    ) {
        let outcome = match checked {
            Err(violation) => {
                let rule = violation.rule.id();
                return sink.reject(rule, || refuse::record(rules, violation, view, at));
            }
            Ok(Passed {
                unknown_device: true,
                kind,
            }) => {
                self.count_notes(sink);
                let device_id = device_id(view).unwrap_or_default().to_owned();
                let record = view.text.is_none().then(|| {
                    let mut record = Vec::new();
                    render(kind, view, &self.desk, Member::DeviceId, &mut record);
                    record.into_boxed_slice()
                });
                Outcome::Unknown(Box::new(Unknown {
                    device_id,
                    original: at.original,
                    record,
                }))
            }
            Ok(Passed { kind, .. }) => {
                self.count_notes(sink);
                let start = self.written.len();
                let serial = render(kind, view, &self.desk, Member::SerialNo, &mut self.written);
                self.moved.push(sink.outcomes.len());
                let hash = serial_hash(&self.written[start + serial.start..start + serial.end]);
                let outcome = sink.outcomes.len();
                self.twins
                    .add((hash, kind), self.desk.ticks(), view, outcome);
                Outcome::Valid(ValidRecord {
                    start: place(start),
                    len: place(self.written.len() - start),
                    serial_at: place(serial.start),
                    serial_len: serial.len() as u8,
                    kind,
                    hash,
                    micros: self.desk.micros,
                })
            }
        };
        sink.outcomes.push(outcome);
    }

    /// Puts the records that were written anew at the end of `out.bytes`.
    #[inline]
    pub(super) fn move_written(&mut self, out: &mut Decoded) {
        if self.moved.is_empty() {
            return;
        }
        let base = place(out.bytes.len());
        out.bytes.extend_from_slice(&self.written);
        for at in self.moved.drain(..) {
            if let Some(Outcome::Valid(record)) = out.outcomes.get_mut(at) {
                record.start += base;
            }
        }
        self.written.clear();
    }

    #[inline]
    fn count_notes(&self, sink: &mut Sink<'_>) {
        if self.desk.notes != 0 {
            self.desk.count(sink.notes);
        }
    }
}

impl<D> Message<'_, '_, D> {
    /// The reject of an element that is no object. Moves `element` behind it.
    #[cold]
    fn no_object(&self, element: &mut Element) -> Reject {
        let begin = self.text.position(element.at);
        let mut slots = [MemberSlot::default(); members::COUNT];
        slots[0] = MemberSlot {
            node: element.node as u32,
            at: element.at as u32,
        };
        let view = View {
            nodes: self.nodes,
            slots: &slots,
            seen: 0,
            text: Some(self.text),
        };
        let value = view.shown(slots[0]);
        match self.nodes.get(element.node) {
            Some(Node::Array { count, .. }) => {
                element.node += count + 1;
                element.at = self.text.after_nested(element.at);
            }
            _ => {
                element.node += 1;
                element.at += 1;
            }
        }
        let separator = self.text.position(element.at);
        let original = &self.text.payload[begin..separator];
        let place = RejectPlace {
            index: element.index,
            original: begin..begin + original.trim_ascii_end().len(),
        };
        refuse::element(self.rules, value, place)
    }
}

/// Whether the serial is written with an escape, so that its bytes are not found in the message.
#[cold]
fn has_escaped_serial(view: View<'_, '_>) -> bool {
    let Some((Node::String(serial), text)) = view.node(Member::SerialNo).zip(view.text) else {
        return false;
    };
    let from = text.position(view.slots[Member::SerialNo as usize].at as usize) + 1;
    text.payload.get(from..from + serial.len()) != Some(serial.as_bytes())
}

/// An offset within a run of messages; the decoder keeps these within 32 bits.
#[inline]
fn place(offset: usize) -> u32 {
    offset as u32
}

/// Whether there is a backslash. Written as a fold so that it is vectorised.
#[inline]
pub(super) fn has_backslash(text: &[u8]) -> bool {
    text.iter()
        .fold(false, |found, &byte| found | (byte == b'\\'))
}
