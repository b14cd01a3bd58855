//! One vendor message evaluated: which records it makes, and with which values.

use std::ops::Range;

use simd_json::{Buffers, INPUT_PADDING, Node};

use super::file::Unmatched;
use super::path::{Slots, after};
use super::path_context::{Element, Here, kind_of};
use super::plan::{Case, Over, ValuePath};
use super::record_builder::{Call, Maker, reject};
use super::{Fault, Mapping, shorten};
use crate::record::decode::{Checker, NODES, parse};
use crate::record::origin::Origin;
use crate::record::{Decoded, SerialOf, refuse, repair};

/// Buffers of the evaluation, reused from message to message; one per decoder.
pub struct Scratch {
    /// The message's copy: the parser unescapes in place.
    text: Vec<u8>,
    buffers: Buffers,
    nodes: Vec<Node<'static>>,
    state: State,
}

/// What was found in the message in hand.
#[derive(Default)]
struct State {
    /// By tree.
    slots: Vec<Slots>,
    /// Where the value of each peer begins for the element in hand.
    peers: Vec<Option<u32>>,
    /// The index of the element in hand at each level.
    indexes: Vec<usize>,
}

impl Scratch {
    fn new(max_depth: usize) -> Self {
        Self {
            text: Vec::new(),
            buffers: Buffers::with_max_depth(4096, max_depth),
            nodes: Vec::new(),
            state: State::default(),
        }
    }
}

/// The message in hand.
#[derive(Clone, Copy)]
struct Message<'n> {
    origin: &'n Origin<'n>,
    /// It had escapes of half a surrogate pair.
    repaired: bool,
}

impl Mapping {
    /// Decodes one payload, a vendor message or an array of them, and appends what its records came to.
    pub(in crate::record) fn decode(
        &self,
        payload: &[u8],
        origin: &Origin<'_>,
        call: (&impl SerialOf, i64),
        checker: &mut Checker,
        out: &mut Decoded,
    ) {
        if let Some(trace) = &mut checker.trace {
            trace.clear();
        }
        if payload.len() > checker.rules().max_message_bytes() {
            return checker.refuse_oversized(payload, out);
        }
        match &self.program {
            None => self.text(payload, None, origin, call, checker, out),
            Some(_) if refuse::depth(payload) > checker.rules().max_depth() => {
                checker.refuse_unreadable(payload, out);
            }
            Some(program) => program.decode(self, payload, origin, call, checker, out),
        }
    }

    /// Decodes a text. Of a program's output `whole` is the payload that it was made of.
    pub(super) fn text(
        &self,
        payload: &[u8],
        whole: Option<&Range<usize>>,
        origin: &Origin<'_>,
        (devices, now): (&impl SerialOf, i64),
        checker: &mut Checker,
        out: &mut Decoded,
    ) {
        let max_depth = checker.rules().max_depth();
        let mut scratch = checker
            .scratch
            .take()
            .unwrap_or_else(|| Box::new(Scratch::new(max_depth)));
        let Scratch {
            text,
            buffers,
            nodes,
            state,
        } = &mut *scratch;
        text.clear();
        text.extend_from_slice(payload);
        text.extend_from_slice(&[b' '; INPUT_PADDING]);
        let mut repaired = false;
        let parsed = match parse(text, payload.len(), buffers, std::mem::take(nodes)) {
            Err(nodes) => {
                text.clear();
                repaired = repair::quoted(payload, text);
                let len = text.len();
                text.extend_from_slice(&[b' '; INPUT_PADDING]);
                if repaired {
                    parse(text, len, buffers, nodes)
                } else {
                    Err(nodes)
                }
            }
            parsed => parsed,
        };
        match parsed {
            Ok(mut tape) => {
                let before = (out.bytes.len(), out.outcomes.len());
                let mut call = Call {
                    devices,
                    now,
                    original: whole.cloned().unwrap_or(0..payload.len()),
                    checker,
                    out,
                    before,
                };
                let message = Message { origin, repaired };
                let elements = whole.is_none().then_some(payload);
                self.payload(&mut tape.0, elements, message, state, &mut call);
                if call.is_full() {
                    call.out.take_back(before);
                    let fault = Fault {
                        rule: "map.size",
                        field: String::new(),
                        value: format!("a message of {} bytes", payload.len()),
                        bound: "fewer records of one message".to_owned(),
                    };
                    let original = whole.cloned().unwrap_or(0..payload.len());
                    call.out
                        .reject(fault.rule, || reject(fault, None, &original));
                }
                *nodes = tape.reset().0;
            }
            Err(unused) => {
                match whole {
                    None => checker.refuse_unreadable(payload, out),
                    Some(whole) => {
                        let fault = Fault {
                            rule: "map.jq",
                            field: String::new(),
                            value: shorten(&String::from_utf8_lossy(payload)),
                            bound: "outputs that are JSON".to_owned(),
                        };
                        out.reject(fault.rule, || reject(fault, None, whole));
                    }
                }
                *nodes = unused;
            }
        }
        if scratch.nodes.capacity() <= NODES {
            checker.scratch = Some(scratch);
        }
    }

    /// `payload` is given when the elements of an array are parts of it.
    fn payload<'n, D: SerialOf>(
        &self,
        nodes: &mut Vec<Node<'n>>,
        payload: Option<&[u8]>,
        message: Message<'n>,
        state: &mut State,
        call: &mut Call<'_, D>,
    ) {
        let Some(&Node::Array { len, .. }) = nodes.first() else {
            return self.message(nodes, 0, message, state, call);
        };
        let spans = payload.map(super::spans::of_elements).unwrap_or_default();
        let whole = call.original.clone();
        let mut at = 1;
        for index in 0..len {
            call.original = spans.get(index).unwrap_or(&whole).clone();
            self.message(nodes, at, message, state, call);
            if call.is_full() {
                return;
            }
            at = after(nodes, at);
        }
    }

    /// Evaluates the vendor message at `nodes[at]`.
    fn message<'n, D: SerialOf>(
        &self,
        nodes: &mut Vec<Node<'n>>,
        at: usize,
        message: Message<'n>,
        state: &mut State,
        call: &mut Call<'_, D>,
    ) {
        let parsed = nodes.len();
        if let Err(fault) = self.evaluate(nodes, at, message, state, call) {
            let subject = self.subject_text(&self.here(nodes, message, state));
            if let Some(trace) = &mut call.checker.trace {
                trace.push(format!("the message is rejected: {fault}"));
            }
            let original = &call.original;
            call.out
                .reject(fault.rule, || reject(fault, subject, original));
        }
        // Parts of texts were taken for elements.
        nodes.truncate(parsed);
    }

    fn here<'a, 'n>(
        &'a self,
        nodes: &'a [Node<'n>],
        message: Message<'n>,
        state: &'a State,
    ) -> Here<'a, 'n> {
        Here {
            mapping: self,
            nodes,
            slots: &state.slots,
            peers: &state.peers,
            origin: message.origin,
            element: None,
            repaired: message.repaired,
        }
    }

    fn evaluate<'n, D: SerialOf>(
        &self,
        nodes: &mut Vec<Node<'n>>,
        at: usize,
        message: Message<'n>,
        state: &mut State,
        call: &mut Call<'_, D>,
    ) -> Result<(), Fault> {
        state.slots.resize_with(self.trees.len(), Slots::default);
        for (slots, tree) in state.slots.iter_mut().zip(&self.trees) {
            slots.clear(tree);
        }
        state.peers.clear();
        state.peers.resize(self.peers.len(), None);
        state.indexes.clear();
        if !matches!(nodes[at], Node::Object { .. }) {
            return Err(Fault {
                rule: "map.shape",
                field: String::new(),
                value: kind_of(&nodes[at]).to_owned(),
                bound: "a JSON object".to_owned(),
            });
        }
        self.trees[0]
            .walk(nodes, at, &mut state.slots[0])
            .map_err(|name| Fault::twice(shorten(&name)))?;
        let Some(case) = self.case(&self.here(nodes, message, state), call)? else {
            return Ok(());
        };
        let mut maker = Maker::new(self, call, case);
        let mut empty = false;
        for number in 0..self.lists.len() {
            if self
                .records
                .iter()
                .any(|record| record.list == Some(number))
            {
                self.list(number, 0, nodes, message, state, &mut maker, &mut empty)?;
                if maker.call.is_full() {
                    return Ok(());
                }
            }
        }
        let elements = maker.ended;
        maker.records(&self.here(nodes, message, state), None)?;
        if empty {
            maker.call.out.note("map.empty");
            return Ok(());
        }
        maker.made |= elements;
        maker.unmatched(String::new())
    }

    /// Goes over one level of a list.
    #[allow(
        clippy::too_many_arguments,
        reason = "the state of one evaluation, handed down its levels"
    )]
    fn list<'a, 'n: 'a, D: SerialOf>(
        &'a self,
        number: usize,
        level_no: usize,
        nodes: &mut Vec<Node<'n>>,
        message: Message<'n>,
        state: &mut State,
        maker: &mut Maker<'a, '_, D>,
        empty: &mut bool,
    ) -> Result<(), Fault> {
        let list = &self.lists[number];
        let level = &list.levels[level_no];
        let Some(at) = self.here(nodes, message, state).position(level.place) else {
            return Ok(());
        };
        let (len, mut at) = match (level.over, nodes[at]) {
            (Over::Elements, Node::Array { len, .. }) => (len, at + 1),
            (Over::Members, Node::Object { len, .. }) => (len, at + 2),
            (Over::Parts, Node::String(text)) => {
                let from = nodes.len();
                nodes.extend(text.split(list.split.as_str()).map(Node::String));
                (nodes.len() - from, from)
            }
            (over, node) => {
                let mut here = self.here(nodes, message, state);
                here.element = Element::of(
                    self,
                    number,
                    &state.indexes[..level_no.min(state.indexes.len())],
                );
                let bound = match over {
                    Over::Elements => "an array",
                    Over::Members => "an object",
                    Over::Parts => "a text",
                };
                return Err(Fault {
                    rule: "map.each",
                    field: here.name(level.place),
                    value: kind_of(&node).to_owned(),
                    bound: bound.to_owned(),
                });
            }
        };
        *empty |= len == 0;
        let last = level_no + 1 == list.levels.len();
        for index in 0..len {
            state.indexes.truncate(level_no);
            state.indexes.push(index);
            if last {
                self.advance(number, index, nodes, state);
            }
            let blank = matches!((level.over, nodes[at]), (Over::Parts, Node::String(part)) if part.trim().is_empty());
            if !blank {
                if list.own_device {
                    maker.forget_device();
                }
                let walked = {
                    let tree = usize::from(level.tree);
                    self.trees[tree].walk(nodes, at, &mut state.slots[tree])
                };
                let made = match walked {
                    Err(member) => {
                        let here = self.within(number, nodes, message, state);
                        let name = here.element_name(level_no);
                        let fault = Fault::twice(format!("{name}.{}", shorten(&member)));
                        maker.fault(&here, fault)
                    }
                    Ok(()) if last => {
                        let name = match (level.over, nodes[at - 1]) {
                            (Over::Members, Node::String(name)) => Some(name),
                            _ => None,
                        };
                        let mut here = self.within(number, nodes, message, state);
                        here.element = here.element.map(|element| Element { name, ..element });
                        maker.element(&here, number)
                    }
                    Ok(()) => self.list(number, level_no + 1, nodes, message, state, maker, empty),
                };
                if let Err(fault) = made {
                    // Without its device nothing of the message can be made.
                    if !list.own_device && fault.rule != "map.each" {
                        return Err(fault);
                    }
                    // V2: the other elements go on.
                    let here = self.within(number, nodes, message, state);
                    maker.fault(&here, fault)?;
                }
                if maker.call.is_full() {
                    return Ok(());
                }
            }
            at = match level.over {
                Over::Members => after(nodes, at) + 1,
                Over::Elements => after(nodes, at),
                Over::Parts => at + 1,
            };
        }
        Ok(())
    }

    fn within<'a, 'n>(
        &'a self,
        number: usize,
        nodes: &'a [Node<'n>],
        message: Message<'n>,
        state: &'a State,
    ) -> Here<'a, 'n> {
        let mut here = self.here(nodes, message, state);
        here.element = Element::of(self, number, &state.indexes);
        here
    }

    /// Moves the peers of a list on to the element with this index.
    fn advance(&self, list: usize, index: usize, nodes: &[Node<'_>], state: &mut State) {
        for (number, peer) in self.peers.iter().enumerate() {
            if peer.list != list {
                continue;
            }
            let ValuePath::Slot { tree, slot } = peer.array else {
                continue;
            };
            let array = state.slots[usize::from(tree)].get(slot);
            let len = match array.map(|at| nodes[at]) {
                Some(Node::Array { len, .. }) => len,
                _ => 0,
            };
            state.peers[number] = match (array, state.peers[number]) {
                _ if index >= len => None,
                (Some(array), _) if index == 0 => Some(array as u32 + 1),
                (_, Some(before)) => Some(after(nodes, before as usize) as u32),
                (_, None) => None,
            };
        }
    }

    /// The case of the switch: `None` when the message makes no record on purpose.
    fn case<D: SerialOf>(
        &self,
        here: &Here<'_, '_>,
        call: &mut Call<'_, D>,
    ) -> Result<Option<Option<u32>>, Fault> {
        let Some(switch) = &self.switch else {
            return Ok(Some(None));
        };
        let picked = here.pick(&switch.places)?;
        let case = picked.and_then(|(_, scalar)| switch.cases.get(scalar.text().as_ref()));
        match (case, switch.otherwise) {
            (Some(Case::Number(case)), _) => Ok(Some(Some(*case))),
            (Some(Case::Ignore), _) => {
                call.note("map.ignored", "the switch ignores its type");
                Ok(None)
            }
            (None, Unmatched::Skip) => {
                call.note("map.switch", "the switch knows no such type");
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
    fn subject_text(&self, here: &Here<'_, '_>) -> Option<String> {
        let device = here.device_of(self);
        device.serial.iter().chain(&device.id).find_map(|source| {
            let value = here.value(source).ok().flatten()?;
            Some(shorten(&value.text()))
        })
    }
}
