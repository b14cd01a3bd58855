//! One vendor message evaluated: which records it makes, and with which values.

use simd_json::{Buffers, INPUT_PADDING, Node, Tape};

use super::file::Unmatched;
use super::here::{Here, kind_of};
use super::maker::{Call, Maker, reject};
use super::path::{Slots, after};
use super::plan::Case;
use super::value::Scalar;
use super::{Fault, Mapping, shorten};
use crate::record::decode::{Checker, NODES};
use crate::record::{Decoded, SerialOf};

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
            let before = (out.bytes.len(), out.outcomes.len());
            let mut call = Call {
                devices,
                now,
                original: 0..payload.len(),
                checker,
                out,
                before,
            };
            self.payload(&tape.0, payload, &mut scratch.slots, &mut call);
            if call.is_full() {
                call.out.take_back(before);
                let fault = Fault {
                    rule: "map.size",
                    field: String::new(),
                    value: format!("a message of {} bytes", payload.len()),
                    bound: "fewer records of one message".to_owned(),
                };
                call.out
                    .reject(fault.rule, || reject(fault, None, &(0..payload.len())));
            }
        } else {
            checker.refuse_unreadable(payload, out);
        }
        scratch.nodes = tape.reset().0;
        if scratch.nodes.capacity() <= NODES {
            checker.scratch = Some(scratch);
        }
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
            if call.is_full() {
                return;
            }
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
            let original = &call.original;
            call.out
                .reject(fault.rule, || reject(fault, subject, original));
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
        message.clear(&self.message);
        if !matches!(nodes[at], Node::Object { .. }) {
            return Err(Fault {
                rule: "map.shape",
                field: String::new(),
                value: kind_of(&nodes[at]).to_owned(),
                bound: "a JSON object".to_owned(),
            });
        }
        self.message
            .walk(nodes, at, message)
            .map_err(|name| Fault::twice(shorten(name)))?;
        let here = Here {
            mapping: self,
            nodes,
            message,
            element: None,
        };
        let Some(case) = self.case(&here, call.out)? else {
            return Ok(());
        };
        let mut maker = Maker::new(self, call, case);
        let Some(each) = self.each else {
            maker.records(&here, |_| true)?;
            return maker.unmatched(String::new());
        };
        let mut empty = false;
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
            let per_element = self.records.iter().any(|record| !record.once);
            let mut at = message.get(each.slot).map_or(0, |at| at + 1);
            for index in 0..len {
                let name = || format!("{}[{index}]", here.name(each));
                match self.element.walk(nodes, at, element) {
                    // V2: the other elements go on.
                    Err(member) => maker.fault(
                        &here,
                        Fault::twice(format!("{}.{}", name(), shorten(member))),
                    )?,
                    Ok(()) if per_element => {
                        let here = Here {
                            mapping: self,
                            nodes,
                            message,
                            element: Some((element, index)),
                        };
                        maker.records(&here, |record| !record.once)?;
                        match maker.unmatched(name()) {
                            Err(fault) => maker.fault(&here, fault)?,
                            other => other?,
                        }
                    }
                    Ok(()) => {}
                }
                if maker.call.is_full() {
                    return Ok(());
                }
                at = after(nodes, at);
            }
        }
        let elements = maker.ended;
        maker.records(&here, |record| record.once)?;
        if empty {
            maker.call.out.note("map.empty");
            return Ok(());
        }
        maker.made |= elements;
        maker.unmatched(String::new())
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
