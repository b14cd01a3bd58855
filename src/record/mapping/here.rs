//! Looking a mapping's paths up in one message, or one element of it: conditions, times, values.

use simd_json::{Node, StaticNode};

use super::path::{Scope, Slots};
use super::plan::{Place, Record, Source, Time};
use super::value::{Scalar, Value};
use super::{Fault, Mapping, shorten};
use crate::record::members::Member;

/// Where paths are looked up.
pub(super) struct Here<'a, 'n> {
    pub(super) mapping: &'a Mapping,
    pub(super) nodes: &'a [Node<'n>],
    pub(super) message: &'a Slots,
    pub(super) element: Option<(&'a Slots, usize)>,
}

impl<'a, 'n> Here<'a, 'n> {
    /// The node of a path; `None` when it is absent or null.
    pub(super) fn node(&self, place: Place) -> Option<&'a Node<'n>> {
        let at = match place.scope {
            Scope::Message => self.message.get(place.slot),
            Scope::Element => self.element.and_then(|(slots, _)| slots.get(place.slot)),
        };
        at.map(|at| &self.nodes[at])
    }

    pub(super) fn first(&self, places: &[Place]) -> Option<(Place, &'a Node<'n>)> {
        places
            .iter()
            .find_map(|&place| self.node(place).map(|node| (place, node)))
    }

    /// The path as a person would write it from the message.
    pub(super) fn name(&self, place: Place) -> String {
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
    pub(super) fn pick(&self, places: &[Place]) -> Result<Option<(Place, Scalar<'n>)>, Fault> {
        match self.first(places) {
            None => Ok(None),
            Some((place, node)) => Ok(Some((place, self.scalar(place, node)?))),
        }
    }

    pub(super) fn names(&self, places: &[Place]) -> String {
        let names: Vec<String> = places.iter().map(|&place| self.name(place)).collect();
        names.join(" or ")
    }

    pub(super) fn applies(&self, record: &Record, case: Option<u32>) -> bool {
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

    pub(super) fn time(&self, time: &Time) -> Result<i64, Fault> {
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
    pub(super) fn members<'v>(
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
