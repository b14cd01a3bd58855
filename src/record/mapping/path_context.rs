//! Looking a mapping's paths up in one message, or one element of it: conditions, times, values.

use std::fmt::{self, Write as _};

use simd_json::{Node, StaticNode};

use super::path::{About, Slots, follow};
use super::plan::{Device, List, Record, Source, Time, ValuePath};
use super::value::{Scalar, Value, numeric};
use super::{Fault, Mapping, shorten};
use crate::record::members::Member;
use crate::record::origin::Origin;
use crate::record::repair::HALF_PAIR;

/// Where paths are looked up.
#[derive(Clone, Copy)]
pub(super) struct Here<'a, 'n> {
    pub mapping: &'a Mapping,
    pub nodes: &'a [Node<'n>],
    /// What was found, by tree.
    pub slots: &'a [Slots],
    /// Where the peers' values begin, by peer.
    pub peers: &'a [Option<u32>],
    pub origin: &'n Origin<'n>,
    pub element: Option<Element<'a, 'n>>,
    /// The message had escapes of half a surrogate pair.
    pub repaired: bool,
}

/// The element in hand.
#[derive(Clone, Copy)]
pub(super) struct Element<'a, 'n> {
    pub list: &'a List,
    /// The list's place among the mapping's.
    pub number: usize,
    /// Its index at each level, from the outermost on.
    pub indexes: &'a [usize],
    /// Its name, in an object.
    pub name: Option<&'n str>,
}

impl<'a> Element<'a, '_> {
    /// The element with these indexes; `None` above the first level.
    pub fn of(mapping: &'a Mapping, number: usize, indexes: &'a [usize]) -> Option<Self> {
        (!indexes.is_empty()).then(|| Self {
            list: &mapping.lists[number],
            number,
            indexes,
            name: None,
        })
    }
}

/// What is at a place.
#[derive(Clone, Copy)]
enum Found<'a, 'n> {
    Node(&'a Node<'n>),
    Scalar(Scalar<'n>),
    /// Bytes that are no UTF-8.
    Bytes,
}

/// The longest text that parts are joined to.
const JOINED: usize = 256;

/// Parts of a text joined, without an allocation.
struct Joined {
    text: [u8; JOINED],
    len: usize,
}

impl fmt::Write for Joined {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = self.text.get_mut(self.len..self.len + part.len());
        room.ok_or(fmt::Error)?.copy_from_slice(part.as_bytes());
        self.len += part.len();
        Ok(())
    }
}

impl Joined {
    fn new() -> Self {
        Self {
            text: [0; JOINED],
            len: 0,
        }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

impl<'a, 'n> Here<'a, 'n> {
    /// What is at a place; `None` when there is nothing, or null.
    fn find(&self, place: ValuePath) -> Option<Found<'a, 'n>> {
        match place {
            ValuePath::Slot { .. } => self.node(place).map(Found::Node),
            ValuePath::Peer(number) => {
                let from = self.peers[usize::from(number)]?;
                let tail = &self.mapping.peers[usize::from(number)].tail;
                let node = &self.nodes[follow(self.nodes, from as usize, tail)?];
                (!matches!(node, Node::Static(StaticNode::Null))).then_some(Found::Node(node))
            }
            ValuePath::About(number) => {
                let whole = |number: i64| Found::Scalar(Scalar::Int(number));
                let from_kafka = !self.origin.topic.is_empty();
                match &self.mapping.abouts[usize::from(number)] {
                    About::Timestamp => self.origin.timestamp_ms.map(whole),
                    About::Key => self.origin.key.map(bytes),
                    About::Topic => {
                        from_kafka.then_some(Found::Scalar(Scalar::Text(self.origin.topic)))
                    }
                    About::Partition => from_kafka.then(|| whole(self.origin.partition.into())),
                    About::Offset => from_kafka.then(|| whole(self.origin.offset)),
                    About::Header(name) => self.origin.headers.header(name).map(bytes),
                    About::Index => {
                        let index = *self.element?.indexes.last()?;
                        Some(whole(index as i64))
                    }
                    About::Name => self
                        .element?
                        .name
                        .map(|name| Found::Scalar(Scalar::Text(name))),
                }
            }
        }
    }

    /// The node of a path in the message; `None` when it is absent or null.
    pub fn node(&self, place: ValuePath) -> Option<&'a Node<'n>> {
        self.position(place).map(|at| &self.nodes[at])
    }

    pub fn position(&self, place: ValuePath) -> Option<usize> {
        match place {
            ValuePath::Slot { tree, slot } => self.slots[usize::from(tree)].get(slot),
            ValuePath::Peer(_) | ValuePath::About(_) => None,
        }
    }

    fn first(&self, places: &[ValuePath]) -> Option<(ValuePath, Found<'a, 'n>)> {
        places
            .iter()
            .find_map(|&place| self.find(place).map(|found| (place, found)))
    }

    pub fn is_there(&self, place: ValuePath) -> bool {
        self.find(place).is_some()
    }

    /// Whether a source has a value, before anything is cut out of it.
    pub fn has(&self, source: &Source) -> bool {
        source.constant.is_some()
            || source.default.is_some()
            || if source.join.is_some() {
                source.places.iter().all(|&place| self.is_there(place))
            } else {
                self.first(&source.places).is_some()
            }
    }

    /// The path as a person would write it from the message.
    pub fn name(&self, place: ValuePath) -> String {
        match place {
            ValuePath::Slot { tree: 0, slot } => self.mapping.trees[0].name(slot).to_owned(),
            ValuePath::Slot { tree, slot } => {
                let name = self.mapping.trees[usize::from(tree)].name(slot);
                let Some(element) = self.element else {
                    return name.to_owned();
                };
                let levels = &element.list.levels;
                let level = levels.iter().position(|level| level.tree == tree);
                let above = level.map_or_else(String::new, |level| self.element_name(level));
                match name {
                    "@" => above,
                    name if name.starts_with('[') => above + name,
                    name => format!("{above}.{name}"),
                }
            }
            ValuePath::Peer(number) => {
                let peer = &self.mapping.peers[usize::from(number)];
                let index = self.element.and_then(|element| element.indexes.last());
                let index = index.map_or_else(|| "@".to_owned(), usize::to_string);
                peer.name.replace("[@]", &format!("[{index}]"))
            }
            ValuePath::About(number) => match &self.mapping.abouts[usize::from(number)] {
                About::Timestamp => "@kafka.timestamp".to_owned(),
                About::Key => "@kafka.key".to_owned(),
                About::Topic => "@kafka.topic".to_owned(),
                About::Partition => "@kafka.partition".to_owned(),
                About::Offset => "@kafka.offset".to_owned(),
                About::Header(name) => format!("@kafka.headers.{name}"),
                About::Index => "@index".to_owned(),
                About::Name => "@name".to_owned(),
            },
        }
    }

    /// The element in hand at a level, as a person would write it from the message.
    pub fn element_name(&self, level: usize) -> String {
        let Some(element) = self.element else {
            return String::new();
        };
        let Some((of, index)) = element
            .list
            .levels
            .get(level)
            .zip(element.indexes.get(level))
        else {
            return String::new();
        };
        format!("{}[{index}]", self.name(of.place))
    }

    fn scalar(&self, place: ValuePath, found: Found<'a, 'n>) -> Result<Scalar<'n>, Fault> {
        let fault = |value: &str, bound: &str| Fault {
            rule: "map.value.kind",
            field: self.name(place),
            value: value.to_owned(),
            bound: bound.to_owned(),
        };
        let scalar = match found {
            Found::Scalar(scalar) => scalar,
            Found::Bytes => return Err(fault("bytes", "UTF-8 text")),
            Found::Node(node) => Scalar::of(node).ok_or_else(|| {
                let an = if matches!(node, Node::Array { .. }) {
                    "an array"
                } else {
                    "an object"
                };
                fault(an, "a text, a number or a boolean")
            })?,
        };
        match scalar {
            Scalar::Text(text) if self.repaired && text.contains(HALF_PAIR) => Err(fault(
                &shorten(text),
                "a text without half of a surrogate pair",
            )),
            scalar => Ok(scalar),
        }
    }

    /// The first of the paths that is there, as a scalar.
    pub fn pick(&self, places: &[ValuePath]) -> Result<Option<(ValuePath, Scalar<'n>)>, Fault> {
        match self.first(places) {
            None => Ok(None),
            Some((place, found)) => Ok(Some((place, self.scalar(place, found)?))),
        }
    }

    pub fn names(&self, places: &[ValuePath]) -> String {
        let names: Vec<String> = places.iter().map(|&place| self.name(place)).collect();
        names.join(" or ")
    }

    /// Of what a source is made, for faults.
    fn source_name(&self, source: &Source) -> String {
        if source.places.is_empty() {
            return "const".to_owned();
        }
        if source.join.is_some() {
            let names: Vec<String> = source
                .places
                .iter()
                .map(|&place| self.name(place))
                .collect();
            return names.join(" and ");
        }
        match self.first(&source.places) {
            Some((place, _)) => self.name(place),
            None => self.names(&source.places),
        }
    }

    /// Gives `read` a source's value once it is cut out, if it is there; not its constant and default.
    fn with<T>(
        &self,
        source: &Source,
        read: impl FnOnce(Scalar<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let Some(separator) = &source.join else {
            return match self.pick(&source.places)? {
                None => Ok(None),
                Some((_, scalar)) => match self.cut(source, scalar)? {
                    None => Ok(None),
                    Some(scalar) => read(scalar).map(Some),
                },
            };
        };
        let mut joined = Joined::new();
        if !self.join(source, separator, &mut joined)? {
            return Ok(None);
        }
        match self.cut(source, Scalar::Text(joined.text()))? {
            None => Ok(None),
            Some(scalar) => read(scalar).map(Some),
        }
    }

    /// Joins the values of all places; false when one is not there.
    fn join(&self, source: &Source, separator: &str, joined: &mut Joined) -> Result<bool, Fault> {
        for (n, &place) in source.places.iter().enumerate() {
            let Some(found) = self.find(place) else {
                return Ok(false);
            };
            let part = self.scalar(place, found)?;
            let separator = if n == 0 { "" } else { separator };
            let written = joined.write_str(separator).and_then(|()| match part {
                Scalar::Text(text) => joined.write_str(text),
                Scalar::Bool(flag) => write!(joined, "{flag}"),
                Scalar::Int(number) => write!(joined, "{number}"),
                Scalar::Unsigned(number) => write!(joined, "{number}"),
                Scalar::Float(number) => write!(joined, "{number}"),
            });
            written.map_err(|_| {
                let bound = format!("at most {JOINED} bytes once joined");
                Fault::new("map.value.cut", &self.name(place), part, bound)
            })?;
        }
        Ok(true)
    }

    fn cut<'s>(&self, source: &Source, scalar: Scalar<'s>) -> Result<Option<Scalar<'s>>, Fault> {
        let Some(cut) = &source.cut else {
            return Ok(Some(scalar));
        };
        cut.apply(scalar)
            .map_err(|bound| Fault::new("map.value.cut", &self.source_name(source), scalar, bound))
    }

    pub fn applies(&self, record: &Record, case: Option<u32>) -> bool {
        if let (Some(cases), Some(case)) = (&record.cases, case)
            && !cases.contains(&case)
        {
            return false;
        }
        record.present.iter().all(|&place| self.is_there(place))
            && record.absent.iter().all(|&place| !self.is_there(place))
            && record
                .equals
                .iter()
                .all(|(place, wanted)| self.equals(*place, wanted))
            && record
                .differs
                .iter()
                .all(|(place, unwanted)| !self.equals(*place, unwanted))
            && record
                .contains
                .iter()
                .all(|(place, wanted)| self.contains(*place, wanted))
            && record
                .status
                .as_ref()
                .is_none_or(|status| self.has(&status.source))
    }

    pub fn equals(&self, place: ValuePath, wanted: &[super::file::Literal]) -> bool {
        let value = match self.find(place) {
            Some(Found::Node(node)) => Scalar::of(node),
            Some(Found::Scalar(scalar)) => Some(scalar),
            Some(Found::Bytes) | None => None,
        };
        value.is_some_and(|value| wanted.iter().any(|literal| literal.equals(value)))
    }

    /// Whether an array has one of these among its elements.
    pub fn contains(&self, place: ValuePath, wanted: &[super::file::Literal]) -> bool {
        let Some(Found::Node(&Node::Array { len, .. })) = self.find(place) else {
            return false;
        };
        let Some(mut at) = self.position(place).map(|at| at + 1) else {
            return false;
        };
        for _ in 0..len {
            let value = self.nodes.get(at).and_then(Scalar::of);
            if value.is_some_and(|value| wanted.iter().any(|literal| literal.equals(value))) {
                return true;
            }
            at = super::path::after(self.nodes, at);
        }
        false
    }

    /// Units of 100 ns since the epoch.
    pub fn time(&self, time: &Time) -> Result<i64, Fault> {
        let read = |scalar: Scalar<'_>| {
            time.form.ticks(scalar).map_err(|bound| {
                Fault::new("map.time", &self.source_name(&time.source), scalar, bound)
            })
        };
        let mut ticks = match self.with(&time.source, read)? {
            Some(ticks) => ticks,
            None => match &time.source.default {
                Some(default) => read(default.scalar())?,
                None => {
                    let names = self.names(&time.source.places);
                    return Err(Fault::absent("map.time", names, time.form.bound()));
                }
            },
        };
        if let Some((add, unit)) = &time.add {
            ticks = ticks.saturating_add((self.number(add)?.unwrap_or(0.0) * unit).round() as i64);
        }
        if let Some((step, unit)) = &time.step {
            let index = self.element.and_then(|element| element.indexes.last());
            let steps = index.map_or(0.0, |&index| index as f64);
            let step = self.number(step)?.unwrap_or(0.0);
            ticks = ticks.saturating_add((steps * step * unit).round() as i64);
        }
        Ok(ticks)
    }

    /// A source as a number, its constant and default included.
    pub fn number(&self, source: &Source) -> Result<Option<f64>, Fault> {
        let named = |fault: Fault| Fault {
            field: self.source_name(source),
            ..fault
        };
        let read = |scalar: Scalar<'_>| source.change.number(scalar, "").map_err(named);
        match self.with(source, read)? {
            Some(number) => Ok(Some(number)),
            None => match source.constant.as_ref().or(source.default.as_ref()) {
                Some(literal) => read(literal.scalar()).map(Some),
                None => Ok(None),
            },
        }
    }

    pub fn value<'v>(&self, source: &'v Source) -> Result<Option<Value<'v>>, Fault>
    where
        'n: 'v,
    {
        let named = |fault: Fault| Fault {
            field: self.source_name(source),
            ..fault
        };
        let found = if source.join.is_some() {
            self.with(source, |scalar| {
                let value = source.change.apply(scalar, "").map_err(named)?;
                Ok(value.into_owned())
            })?
        } else {
            match self.pick(&source.places)? {
                None => None,
                Some((_, scalar)) => match self.cut(source, scalar)? {
                    None => None,
                    Some(scalar) => Some(source.change.apply(scalar, "").map_err(named)?),
                },
            }
        };
        let value = match (found, &source.constant, &source.default) {
            (Some(value), ..) => value,
            (None, Some(constant), _) => source.change.apply(constant.scalar(), "const")?,
            (None, None, Some(default)) => default.scalar().into(),
            (None, None, None) => return Ok(None),
        };
        let value = match value {
            Value::Text(text) if source.number => match numeric(&text) {
                Some(number) => number.into(),
                None => Value::Text(text),
            },
            value => value,
        };
        Ok(Some(match value {
            Value::Float(number)
                if source.whole && number.fract() == 0.0 && number.abs() < 9e15 =>
            {
                Value::Int(number as i64)
            }
            // 27 knots are 50.004 km/h, not 50.004000000000005: nine decimals are far below what the gateway's 32-bit floats keep.
            Value::Float(number) if source.is_computed() && number.abs() < 4e6 => {
                Value::Float((number * 1e9).round() / 1e9)
            }
            value => value,
        }))
    }

    /// Appends the members of a record; false when its status has no value.
    pub fn members<'v>(
        &self,
        record: &'v Record,
        members: &mut Vec<(Member, Value<'v>)>,
    ) -> Result<bool, Fault>
    where
        'n: 'v,
    {
        for (member, source) in &record.members {
            if let Some(value) = self.value(source)? {
                members.push((*member, value));
            }
        }
        let Some(status) = &record.status else {
            return Ok(true);
        };
        let Some(number) = self.number(&status.source)? else {
            return Ok(false);
        };
        let raw = status
            .diagnostic
            .raw_of(number, status.raw)
            .map_err(|(raw, bound)| {
                let field = self.source_name(&status.source);
                let given = self.pick(&status.source.places).ok().flatten();
                let given =
                    given.map_or_else(|| number.to_string(), |(_, given)| shorten(&given.text()));
                Fault {
                    rule: "map.status.length",
                    field,
                    value: format!("{given} (raw {raw})"),
                    bound,
                }
            })?;
        members.push((Member::Code, Value::Int(i64::from(status.diagnostic.code))));
        members.push((Member::Value, Value::Int(raw)));
        Ok(true)
    }

    /// The index of the element in hand.
    pub fn index(&self) -> Option<usize> {
        self.element?.indexes.last().copied()
    }

    /// The device of the element in hand, or of the message. The mapping is this one, borrowed for longer.
    pub fn device_of<'m>(&self, mapping: &'m Mapping) -> &'m Device {
        match self.element {
            Some(element) if element.list.own_device => &mapping.lists[element.number].device,
            _ => &mapping.device,
        }
    }
}

fn bytes<'a>(bytes: &[u8]) -> Found<'a, '_> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Found::Scalar(Scalar::Text(text)),
        Err(_) => Found::Bytes,
    }
}

pub(super) fn kind_of(node: &Node<'_>) -> &'static str {
    match node {
        Node::Object { .. } => "an object",
        Node::Array { .. } => "an array",
        Node::String(_) => "a text",
        Node::Static(StaticNode::Bool(_)) => "a boolean",
        Node::Static(StaticNode::Null) => "null",
        Node::Static(_) => "a number",
    }
}
