//! One vendor message evaluated: which records it makes, and with which values.

use std::borrow::Cow;
use std::ops::Range;

use simd_json::{Buffers, INPUT_PADDING, Node, StaticNode, Tape};

use super::compile::{Case, Place, Record, Source, Time};
use super::file::Unmatched;
use super::path::{Scope, Slots, after};
use super::value::{Scalar, Value};
use super::{Fault, Mapping, shorten};
use crate::record::decode::Checker;
use crate::record::draft::{self, Draft, Whose};
use crate::record::members::Member;
use crate::record::{Decoded, Outcome, Reject, SerialOf, Stage, Unknown};

/// Buffers of the evaluation, reused from message to message; one per decoder.
pub struct Scratch {
    /// The message's copy: the parser unescapes in place.
    text: Vec<u8>,
    buffers: Buffers,
    nodes: Vec<Node<'static>>,
    slots: BothSlots,
}

#[derive(Default)]
struct BothSlots {
    message: Slots,
    element: Slots,
}

impl Scratch {
    fn new(max_depth: usize) -> Self {
        Self {
            text: Vec::new(),
            buffers: Buffers::with_max_depth(4096, max_depth),
            nodes: Vec::new(),
            slots: BothSlots::default(),
        }
    }
}

/// Where paths are looked up.
struct Here<'a, 'n> {
    mapping: &'a Mapping,
    nodes: &'a [Node<'n>],
    message: &'a Slots,
    element: Option<(&'a Slots, usize)>,
}

/// What the device's paths gave.
enum Subject<'a> {
    Serial(Cow<'a, str>),
    Unknown(String),
}

impl<'a, 'n> Here<'a, 'n> {
    /// The node of a path; `None` when it is absent or null.
    fn node(&self, place: Place) -> Option<&'a Node<'n>> {
        let at = match place.scope {
            Scope::Message => self.message.get(place.slot),
            Scope::Element => self.element.and_then(|(slots, _)| slots.get(place.slot)),
        };
        at.map(|at| &self.nodes[at])
    }

    fn first(&self, places: &[Place]) -> Option<(Place, &'a Node<'n>)> {
        places
            .iter()
            .find_map(|&place| self.node(place).map(|node| (place, node)))
    }

    /// The path as a person would write it from the message.
    fn name(&self, place: Place) -> String {
        match (place.scope, self.element, self.mapping.each) {
            (Scope::Element, Some((_, index)), Some(each)) => {
                let name = self.mapping.element.name(place.slot);
                let dot = if name.starts_with('[') { "" } else { "." };
                format!(
                    "{}[{index}]{dot}{name}",
                    self.mapping.message.name(each.slot)
                )
            }
            _ => self.mapping.message.name(place.slot).to_owned(),
        }
    }

    fn scalar(&self, place: Place, node: &'a Node<'n>) -> Result<Scalar<'n>, Fault> {
        Scalar::of(node).ok_or_else(|| Fault {
            rule: "map.value.kind",
            field: self.name(place),
            value: if matches!(node, Node::Array { .. }) {
                "an array".to_owned()
            } else {
                "an object".to_owned()
            },
            bound: "a text, a number or a boolean".to_owned(),
        })
    }

    /// The first of the paths that is there, as a scalar.
    fn pick(&self, places: &[Place]) -> Result<Option<(Place, Scalar<'n>)>, Fault> {
        match self.first(places) {
            None => Ok(None),
            Some((place, node)) => Ok(Some((place, self.scalar(place, node)?))),
        }
    }

    fn names(&self, places: &[Place]) -> String {
        let names: Vec<String> = places.iter().map(|&place| self.name(place)).collect();
        names.join(" or ")
    }

    fn applies(&self, record: &Record, case: Option<u32>) -> bool {
        if let (Some(cases), Some(case)) = (&record.cases, case)
            && !cases.contains(&case)
        {
            return false;
        }
        record
            .present
            .iter()
            .all(|&place| self.node(place).is_some())
            && record
                .absent
                .iter()
                .all(|&place| self.node(place).is_none())
            && record.equals.iter().all(|(place, wanted)| {
                let value = self.node(*place).and_then(Scalar::of);
                value.is_some_and(|value| wanted.iter().any(|literal| literal.equals(value)))
            })
            && record.status.as_ref().is_none_or(|status| {
                let source = &status.source;
                source.constant.is_some()
                    || source.default.is_some()
                    || self.first(&source.places).is_some()
            })
    }

    fn time(&self, time: &Time) -> Result<i64, Fault> {
        let Some((place, node)) = self.first(&time.places) else {
            return Err(Fault::absent(
                "map.time",
                self.names(&time.places),
                time.form.bound(),
            ));
        };
        let scalar = self.scalar(place, node)?;
        time.form
            .micros(scalar)
            .ok_or_else(|| Fault::new("map.time", &self.name(place), scalar, time.form.bound()))
    }

    fn value<'v>(&self, source: &'v Source) -> Result<Option<Value<'v>>, Fault>
    where
        'n: 'v,
    {
        let value = match self.pick(&source.places)? {
            Some((place, scalar)) => source.change.apply(scalar, "").map_err(|fault| Fault {
                field: self.name(place),
                ..fault
            })?,
            None => match (&source.constant, &source.default) {
                (Some(constant), _) => source.change.apply(constant.scalar(), "const")?,
                (None, Some(default)) => default.scalar().into(),
                (None, None) => return Ok(None),
            },
        };
        Ok(Some(match value {
            Value::Float(number)
                if source.whole && number.fract() == 0.0 && number.abs() < 9e15 =>
            {
                Value::Int(number as i64)
            }
            // 27 knots are 50.004 km/h, not 50.004000000000005: nine decimals are far below what the gateway's 32-bit floats keep.
            Value::Float(number) if source.change.line.is_some() && number.abs() < 4e6 => {
                Value::Float((number * 1e9).round() / 1e9)
            }
            value => value,
        }))
    }

    /// Appends the members of a record.
    fn members<'v>(
        &self,
        record: &'v Record,
        members: &mut Vec<(Member, Value<'v>)>,
    ) -> Result<(), Fault>
    where
        'n: 'v,
    {
        for (member, source) in &record.members {
            if let Some(value) = self.value(source)? {
                members.push((*member, value));
            }
        }
        let Some(status) = &record.status else {
            return Ok(());
        };
        let (scalar, field) = match self.pick(&status.source.places)? {
            Some((place, scalar)) => (scalar, Some(place)),
            // `applies` has seen a constant or a default.
            None => match status
                .source
                .constant
                .as_ref()
                .or(status.source.default.as_ref())
            {
                Some(literal) => (literal.scalar(), None),
                None => return Ok(()),
            },
        };
        let name = || field.map_or_else(|| "const".to_owned(), |place| self.name(place));
        let number = status
            .source
            .change
            .number(scalar, "")
            .map_err(|fault| Fault {
                field: name(),
                ..fault
            })?;
        let diagnostic = &status.diagnostic;
        let raw = if status.raw {
            diagnostic.fit(number.round())
        } else {
            diagnostic.raw(number)
        };
        let raw = raw.map_err(|out| {
            let length = diagnostic
                .bytes
                .map_or_else(|| "32-bit".to_owned(), |bytes| format!("{bytes}-byte"));
            let bound = format!(
                "{length} raw value {}..{} of {} \"{}\"",
                out.low, out.high, diagnostic.code, diagnostic.name
            );
            let value = format!("{} (raw {})", shorten(&scalar.text()), out.raw);
            Fault {
                rule: "map.status.length",
                field: name(),
                value,
                bound,
            }
        })?;
        members.push((Member::Code, Value::Int(i64::from(diagnostic.code))));
        members.push((Member::Value, Value::Int(raw)));
        Ok(())
    }
}

/// What the records of one vendor message are made with and go into.
struct Call<'a, D: SerialOf> {
    devices: &'a D,
    /// Microseconds since the epoch.
    now: i64,
    /// The vendor message's bytes within the payload.
    original: Range<usize>,
    checker: &'a mut Checker,
    out: &'a mut Decoded,
}

impl Mapping {
    /// Decodes one payload, a vendor message or an array of them, and appends what its records came to.
    pub(in crate::record) fn decode(
        &self,
        payload: &[u8],
        devices: &impl SerialOf,
        now: i64,
        checker: &mut Checker,
        out: &mut Decoded,
    ) {
        if payload.len() > checker.rules().max_message_bytes() {
            return checker.refuse_oversized(payload, out);
        }
        let max_depth = checker.rules().max_depth();
        let mut scratch = checker
            .scratch
            .take()
            .unwrap_or_else(|| Box::new(Scratch::new(max_depth)));
        scratch.text.clear();
        scratch.text.extend_from_slice(payload);
        scratch.text.extend_from_slice(&[b' '; INPUT_PADDING]);
        let mut tape: Tape<'_> = Tape(std::mem::take(&mut scratch.nodes));
        if simd_json::fill_tape_padded(
            &mut scratch.text,
            payload.len(),
            &mut scratch.buffers,
            &mut tape,
        )
        .is_ok()
        {
            let mut call = Call {
                devices,
                now,
                original: 0..payload.len(),
                checker,
                out,
            };
            self.payload(&tape.0, payload, &mut scratch.slots, &mut call);
        } else {
            checker.refuse_unreadable(payload, out);
        }
        scratch.nodes = tape.reset().0;
        checker.scratch = Some(scratch);
    }

    fn payload<D: SerialOf>(
        &self,
        nodes: &[Node<'_>],
        payload: &[u8],
        slots: &mut BothSlots,
        call: &mut Call<'_, D>,
    ) {
        let Some(Node::Array { len, .. }) = nodes.first() else {
            return self.message(nodes, 0, slots, call);
        };
        let spans = super::spans::of_elements(payload);
        let mut at = 1;
        for index in 0..*len {
            call.original = spans.get(index).cloned().unwrap_or(0..payload.len());
            self.message(nodes, at, slots, call);
            at = after(nodes, at);
        }
    }

    /// Evaluates the vendor message at `nodes[at]`.
    fn message<D: SerialOf>(
        &self,
        nodes: &[Node<'_>],
        at: usize,
        slots: &mut BothSlots,
        call: &mut Call<'_, D>,
    ) {
        if let Err(fault) = self.evaluate(nodes, at, slots, call) {
            let subject = self.subject_text(nodes, &slots.message);
            call.out
                .outcomes
                .push(reject(fault, subject, &call.original));
        }
    }

    fn evaluate<D: SerialOf>(
        &self,
        nodes: &[Node<'_>],
        at: usize,
        slots: &mut BothSlots,
        call: &mut Call<'_, D>,
    ) -> Result<(), Fault> {
        let BothSlots { message, element } = slots;
        let twice = |name: &str| Fault {
            rule: "map.duplicate",
            field: shorten(name),
            value: "twice".to_owned(),
            bound: "each member once".to_owned(),
        };
        message.clear(&self.message);
        if !matches!(nodes[at], Node::Object { .. }) {
            return Err(Fault {
                rule: "map.shape",
                field: String::new(),
                value: kind_of(&nodes[at]).to_owned(),
                bound: "a JSON object".to_owned(),
            });
        }
        self.message.walk(nodes, at, message).map_err(twice)?;
        let here = Here {
            mapping: self,
            nodes,
            message,
            element: None,
        };

        let Some(case) = self.case(&here, call.out)? else {
            return Ok(());
        };
        let mut maker = Maker {
            mapping: self,
            call,
            case,
            subject: None,
            members: Vec::new(),
            made: false,
        };
        let mut empty = false;
        match self.each {
            None => {
                if maker.records(&here, |_| true)?.is_none() {
                    return Ok(());
                }
            }
            Some(each) => {
                if let Some(node) = here.node(each) {
                    let Node::Array { len, .. } = *node else {
                        return Err(Fault {
                            rule: "map.each",
                            field: here.name(each),
                            value: kind_of(node).to_owned(),
                            bound: "an array".to_owned(),
                        });
                    };
                    empty = len == 0;
                    let mut at = message.get(each.slot).map_or(0, |at| at + 1);
                    for index in 0..len {
                        self.element.walk(nodes, at, element).map_err(twice)?;
                        let here = Here {
                            mapping: self,
                            nodes,
                            message,
                            element: Some((element, index)),
                        };
                        if maker.records(&here, |record| !record.once)?.is_none() {
                            return Ok(());
                        }
                        at = after(nodes, at);
                    }
                }
                let here = Here {
                    mapping: self,
                    nodes,
                    message,
                    element: None,
                };
                if maker.records(&here, |record| record.once)?.is_none() {
                    return Ok(());
                }
            }
        }
        match (maker.made, empty, self.unmatched) {
            (true, ..) => Ok(()),
            (false, true, _) => {
                maker.call.out.note("map.empty");
                Ok(())
            }
            (false, false, Unmatched::Skip) => {
                maker.call.out.note("map.unmatched");
                Ok(())
            }
            (false, false, Unmatched::Reject) => Err(Fault {
                rule: "map.unmatched",
                field: String::new(),
                value: "no record applies".to_owned(),
                bound: "a message that fulfils a record's `when`".to_owned(),
            }),
        }
    }

    /// The case of the switch: `None` when the message makes no record on purpose.
    fn case(&self, here: &Here<'_, '_>, out: &mut Decoded) -> Result<Option<Option<u32>>, Fault> {
        let Some(switch) = &self.switch else {
            return Ok(Some(None));
        };
        let picked = here.pick(&switch.places)?;
        let case = picked.and_then(|(_, scalar)| switch.cases.get(scalar.text().as_ref()));
        match (case, switch.otherwise) {
            (Some(Case::Number(case)), _) => Ok(Some(Some(*case))),
            (Some(Case::Ignore), _) => {
                out.note("map.ignored");
                Ok(None)
            }
            (None, Unmatched::Skip) => {
                out.note("map.switch");
                Ok(None)
            }
            (None, Unmatched::Reject) => {
                let mut known: Vec<&str> = switch.cases.keys().map(String::as_str).collect();
                known.sort_unstable();
                let bound = format!("one of {}", known.join(", "));
                Err(match picked {
                    Some((place, scalar)) => {
                        Fault::new("map.switch", &here.name(place), scalar, bound)
                    }
                    None => Fault::absent("map.switch", here.names(&switch.places), bound),
                })
            }
        }
    }

    /// The serial or device id as the message has it, for rejects.
    fn subject_text(&self, nodes: &[Node<'_>], message: &Slots) -> Option<String> {
        let here = Here {
            mapping: self,
            nodes,
            message,
            element: None,
        };
        [&self.serial, &self.id].into_iter().find_map(|places| {
            let scalar = Scalar::of(here.first(places)?.1)?;
            Some(shorten(&scalar.text()))
        })
    }
}

/// Makes the records of one vendor message; the device is looked up when the first record applies.
struct Maker<'a, 'c, D: SerialOf> {
    mapping: &'a Mapping,
    call: &'a mut Call<'c, D>,
    case: Option<u32>,
    subject: Option<Cow<'a, str>>,
    /// The members of the record in hand.
    members: Vec<(Member, Value<'a>)>,
    made: bool,
}

/// The most members a record type has, status codes included.
const MOST: usize = 16;

impl<'a, 'c: 'a, D: SerialOf> Maker<'a, 'c, D> {
    /// `Ok(None)`: the device is unknown, and the whole message is one outcome now.
    fn records<'n: 'a>(
        &mut self,
        here: &Here<'_, 'n>,
        concerned: impl Fn(&Record) -> bool,
    ) -> Result<Option<()>, Fault> {
        for record in &self.mapping.records {
            if !concerned(record) || !here.applies(record, self.case) {
                continue;
            }
            self.made = true;
            if self.subject.is_none() {
                match self.look_up(here)? {
                    Subject::Serial(serial) => self.subject = Some(serial),
                    Subject::Unknown(device_id) => {
                        let unknown = Unknown {
                            device_id,
                            original: self.call.original.clone(),
                        };
                        self.call
                            .out
                            .outcomes
                            .push(Outcome::Unknown(Box::new(unknown)));
                        return Ok(None);
                    }
                }
            }
            let serial = self.subject.as_deref().unwrap_or_default();
            self.members.clear();
            let made = here.time(&record.time).and_then(|micros| {
                here.members(record, &mut self.members)?;
                Ok(micros)
            });
            let original = self.call.original.clone();
            match made {
                Ok(datetime_us) => {
                    let mut members = [(Member::Type, draft::Value::Null); MOST];
                    for (slot, (member, value)) in members.iter_mut().zip(&self.members) {
                        *slot = (*member, value.as_draft());
                    }
                    let members = &members[..self.members.len().min(MOST)];
                    let index = here.element.map(|(_, index)| index);
                    let draft = Draft {
                        kind: record.kind,
                        whose: Whose::Serial(serial),
                        datetime_us,
                        members,
                        index,
                        original,
                    };
                    self.call
                        .checker
                        .push(&draft, self.call.devices, self.call.now, self.call.out);
                }
                // V2
                Err(fault) => {
                    self.call
                        .out
                        .outcomes
                        .push(reject(fault, Some(serial.to_owned()), &original))
                }
            }
        }
        Ok(Some(()))
    }

    fn look_up<'n: 'a>(&self, here: &Here<'_, 'n>) -> Result<Subject<'a>, Fault> {
        let filled = |picked: &(Place, Scalar<'n>)| !picked.1.text().trim().is_empty();
        if let Some((_, serial)) = here.pick(&self.mapping.serial)?.filter(filled) {
            return Ok(Subject::Serial(serial.text()));
        }
        if let Some((_, id)) = here.pick(&self.mapping.id)?.filter(filled) {
            let id = id.text();
            let id = id.trim();
            return Ok(match self.call.devices.serial_of(id) {
                Some(serial) => Subject::Serial(Cow::Borrowed(serial)),
                None => Subject::Unknown(id.to_owned()),
            });
        }
        let places = [&self.mapping.serial[..], &self.mapping.id[..]].concat();
        Err(Fault::absent(
            "map.device",
            here.names(&places),
            "a serial or a device id".to_owned(),
        ))
    }
}

fn reject(fault: Fault, subject: Option<String>, original: &Range<usize>) -> Outcome {
    let Fault {
        rule,
        field,
        value,
        bound,
    } = fault;
    Outcome::Reject(Box::new(Reject {
        rule,
        field,
        value,
        bound,
        stage: Stage::Map,
        subject,
        original: original.clone(),
    }))
}

fn kind_of(node: &Node<'_>) -> &'static str {
    match node {
        Node::Object { .. } => "an object",
        Node::Array { .. } => "an array",
        Node::String(_) => "a text",
        Node::Static(StaticNode::Bool(_)) => "a boolean",
        Node::Static(StaticNode::Null) => "null",
        Node::Static(_) => "a number",
    }
}
