//! Bytes of one message into records.
//!
//! A plain message (see `flat`) is read where it is and copied once it is accepted. Any other is copied to the end of
//! `Decoded::bytes` and parsed there; a record that is already in the gateway's shape stays where it is. Both are sent as they were
//! written. Everything else is written anew into a buffer of the decoder and moved behind the message.
//! Unescaping happens in place, so the copy of a message with a backslash is made again once its records are judged; texts for rejects
//! are taken from the payload itself. Numbers that the parser cannot hold are taken out of its way (`repair`).
//!
//! Outcomes for a whole message: a tombstone and an empty array append nothing; a message that cannot be read appends one reject;
//! the rejects of one message beyond a bound are one outcome ([`super::tally`]).
//! Owns the parse buffers; steady state allocates nothing for accepted records.

use std::sync::Arc;

use simd_json::{Buffers, INPUT_PADDING, Node, Tape};

use super::flat::{self, Expected};
use super::mapping::Mapping;
use super::origin::Origin;
use super::validate::Rules;
use super::view::{Marks, MemberSlot, Slots, Text, View};
use super::work::{Message, Sink, Work, has_backslash};
use super::{Decoded, SerialOf, members, refuse, repair};

/// Nodes of a parsed message whose buffers are kept for the next one: a message of a mebibyte can have half a million.
pub(super) const NODES: usize = 64 * 1024;

/// Parses a padded text; gives the nodes' buffer back when it is no JSON.
pub(super) fn parse<'t>(
    text: &'t mut [u8],
    len: usize,
    buffers: &mut Buffers,
    nodes: Vec<Node<'static>>,
) -> Result<Tape<'t>, Vec<Node<'static>>> {
    let mut tape = Tape(nodes);
    match simd_json::fill_tape_padded(text, len, buffers, &mut tape) {
        Ok(()) => Ok(tape),
        Err(_) => Err(tape.reset().0),
    }
}

/// The shape of a topic's messages.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A JSON object or array of objects in the gateway's own shape.
    Native,
    /// A vendor's shape, turned into records by a mapping file.
    Mapped(Arc<Mapping>),
}

/// Turns messages into records; owns the parse buffers, one per partition worker.
pub struct Decoder {
    shape: Shape,
    checker: Checker,
}

/// Checks records, native or drafted, and writes them; owns the buffers for it.
pub struct Checker {
    pub(super) rules: Arc<Rules>,
    pub(super) tape: Tape<'static>,
    pub(super) slots: Slots,
    pub(super) work: Work,
    /// The buffers of a mapping; none until the first vendor message.
    pub(super) scratch: Option<Box<super::mapping::Scratch>>,
    /// What a mapping says about the message in hand; `None` unless somebody asked for it.
    pub(super) trace: Option<Vec<String>>,
    buffers: Buffers,
    expected: Expected,
}

impl Decoder {
    #[must_use]
    pub fn new(shape: Shape, rules: Arc<Rules>) -> Self {
        Self {
            shape,
            checker: Checker::new(rules),
        }
    }

    /// Decodes, validates and appends one message's records to `out`, one outcome per record, in message order.
    ///
    /// `payload` is `None` for a tombstone. A tombstone and an empty array append nothing. `now` is microseconds since the epoch.
    pub fn decode(
        &mut self,
        payload: Option<&[u8]>,
        devices: &impl SerialOf,
        now: i64,
        out: &mut Decoded,
    ) {
        self.decode_from(payload, &Origin::NONE, devices, now, out);
    }

    /// As [`decode`](Self::decode), of a message that came from Kafka: a mapping may read what Kafka says of it.
    pub fn decode_from(
        &mut self,
        payload: Option<&[u8]>,
        origin: &Origin<'_>,
        devices: &impl SerialOf,
        now: i64,
        out: &mut Decoded,
    ) {
        let Some(payload) = payload else { return };
        out.tally.begin();
        self.checker.work.twins.begin();
        match &self.shape {
            Shape::Native => self.checker.native(payload, devices, now, out),
            Shape::Mapped(mapping) => {
                let call = (devices, now);
                mapping.decode(payload, origin, call, &mut self.checker, out);
            }
        }
        self.checker.work.twins.end(out);
    }

    /// From now on keeps, for each message of a mapping, what made each record and why others were not made.
    pub fn explain(&mut self) {
        self.checker.trace = Some(Vec::new());
    }

    /// What was kept of the last message, in the order of its evaluation; see [`explain`](Self::explain).
    #[must_use]
    pub fn explained(&self) -> &[String] {
        self.checker.trace.as_deref().unwrap_or_default()
    }
}

impl Checker {
    #[must_use]
    pub fn new(rules: Arc<Rules>) -> Self {
        let buffers = Buffers::with_max_depth(4096, rules.max_depth());
        Self {
            rules,
            tape: Tape(Vec::new()),
            slots: [MemberSlot::default(); members::COUNT],
            work: Work::default(),
            scratch: None,
            trace: None,
            buffers,
            expected: Expected::default(),
        }
    }

    pub(super) fn native(
        &mut self,
        payload: &[u8],
        devices: &impl SerialOf,
        now: i64,
        out: &mut Decoded,
    ) {
        if payload.len() > self.rules.max_message_bytes() {
            return self.refuse_oversized(payload, out);
        }
        let start = out.bytes.len();
        assert!(
            start <= u32::MAX as usize / 2,
            "a run of messages is cleared before it outgrows 32-bit offsets"
        );
        if self.plain(payload, devices, now, out) {
            return;
        }
        out.bytes.extend_from_slice(payload);
        out.bytes.extend_from_slice(&[b' '; INPUT_PADDING]);
        let nodes = std::mem::replace(&mut self.tape, Tape(Vec::new()))
            .reset()
            .0;
        let len = payload.len();
        let mut repaired = false;
        let parsed = match parse(&mut out.bytes[start..], len, &mut self.buffers, nodes) {
            Err(nodes) => {
                // The parser may have unescaped some strings before it stopped.
                out.bytes[start..start + len].copy_from_slice(payload);
                repaired = repair::in_place(&mut out.bytes[start..start + len]);
                if repaired {
                    parse(&mut out.bytes[start..], len, &mut self.buffers, nodes)
                } else {
                    Err(nodes)
                }
            }
            parsed => parsed,
        };
        let (mut kept, mut escapes) = (false, false);
        let nodes = match parsed {
            Ok(tape) => {
                let text = Text {
                    payload,
                    marks: Marks::Structural(self.buffers.structural_indexes()),
                };
                let rules = &*self.rules;
                escapes = has_backslash(payload);
                let message = Message {
                    nodes: &tape.0,
                    text,
                    escapes,
                    start,
                    rules,
                    devices,
                    now,
                };
                let mut sink = Sink {
                    outcomes: &mut out.outcomes,
                    notes: &mut out.notes,
                    tally: &mut out.tally,
                };
                kept = self.work.message(&message, &mut self.slots, &mut sink);
                tape.reset().0
            }
            Err(nodes) => {
                let reject = refuse::unreadable(&self.rules, payload);
                out.tally.reject(&mut out.outcomes, reject.rule, || reject);
                nodes
            }
        };
        self.tape = Tape(nodes).reset();
        if kept && (escapes || repaired) {
            out.bytes[start..start + len].copy_from_slice(payload);
        }
        if self.tape.0.capacity() > NODES {
            self.tape = Tape(Vec::new());
            self.buffers = Buffers::with_max_depth(4096, self.rules.max_depth());
        }
        out.bytes
            .truncate(if kept { start + payload.len() } else { start });
        self.work.move_written(out);
    }

    /// Takes a plain message; false, and nothing done, when it is not one.
    #[inline]
    fn plain(
        &mut self,
        payload: &[u8],
        devices: &impl SerialOf,
        now: i64,
        out: &mut Decoded,
    ) -> bool {
        let Ok(text) = std::str::from_utf8(payload) else {
            return false;
        };
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let seen = flat::read(text, &mut tape.0, &mut self.slots, &mut self.expected);
        if let Some(seen) = seen {
            let text = Text {
                payload,
                marks: Marks::Bytes,
            };
            let (nodes, start, rules) = (&tape.0[..], out.bytes.len(), &*self.rules);
            let message = Message {
                nodes,
                text,
                escapes: false,
                start,
                rules,
                devices,
                now,
            };
            let view = View {
                nodes,
                slots: &self.slots,
                seen,
                text: Some(text),
            };
            self.work.desk.begin(false, 0);
            let checked = self.work.desk.check(rules, view, devices, now);
            let mut sink = Sink {
                outcomes: &mut out.outcomes,
                notes: &mut out.notes,
                tally: &mut out.tally,
            };
            if self
                .work
                .settle(&message, checked, view, 0..payload.len(), None, &mut sink)
            {
                out.bytes.extend_from_slice(payload);
            }
            self.work.move_written(out);
        }
        self.tape = tape.reset();
        seen.is_some()
    }
}
