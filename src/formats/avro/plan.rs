//! How a message of a writer's schema is written as JSON, with or without a reader's schema: decided once per schema.
//!
//! With a reader's schema the rules of schema resolution hold: fields by name or alias, defaults for those that are absent,
//! fields that nobody reads skipped, wider numbers. What cannot be resolved at the top refuses the schema; in a branch of a union
//! it refuses the message that takes that branch.

use std::collections::HashMap;

use serde_json::Value;

use super::schema::{Field, Id, Logical, Node, Schema, Type};
use crate::formats::fault::{Checked, Fault};
use crate::formats::json::{Unit, key};

/// Most steps of a plan; every pair of a writer's and a reader's type is one.
const STEPS: usize = 50_000;
/// Types in each other that are planned by recursion.
const DEEPEST: usize = 500;
/// Most bytes of one default.
const DEFAULT_BYTES: usize = 64 * 1024;

/// A plan; `steps[root]` is the message.
#[derive(Debug)]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) root: Id,
}

/// What lies in the message, and as what it is written.
#[derive(Debug)]
pub(super) enum Step {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    /// A text, or bytes that the reader takes as a text.
    Text,
    Fixed(usize),
    /// By the writer's number: the symbol in quotes; `None` when the reader has no such symbol.
    Enum(Box<[Option<Box<[u8]>>]>),
    Array(Id),
    Map(Id),
    Union(Box<[Id]>),
    Record(Box<[Member]>, Box<[u8]>),
    Date,
    TimeOfDay(Unit),
    Instant(Unit),
    Local(Unit),
    /// Digits behind the point, and the length of a fixed type.
    Decimal(usize, Option<usize>),
    Uuid,
    Duration,
    /// The reader's schema takes no such value.
    Unreadable(Box<str>),
}

/// A field as it lies in the message.
#[derive(Debug)]
pub(super) struct Member {
    /// The name in quotes with its colon; `None` when nobody reads the field.
    pub key: Option<Box<[u8]>>,
    pub step: Id,
}

impl Plan {
    /// Plans how messages of `writer` are read, by `reader` if there is one.
    ///
    /// # Errors
    /// The schemas are too large, or the reader's cannot read the writer's.
    pub fn new(writer: &Schema, reader: Option<&Schema>) -> Checked<Self> {
        let mut planner = Planner {
            writer,
            reader,
            steps: Vec::new(),
            known: HashMap::new(),
        };
        let root = planner.plan(writer.root, reader.map(|reader| reader.root), 0)?;
        if let Step::Unreadable(why) = &planner.steps[root] {
            return Err(Fault::schema(
                why.to_string(),
                "a schema that the topic's reader schema reads",
            ));
        }
        Ok(Self {
            steps: planner.steps,
            root,
        })
    }
}

struct Planner<'a> {
    writer: &'a Schema,
    reader: Option<&'a Schema>,
    steps: Vec<Step>,
    known: HashMap<(Id, Option<Id>), Id>,
}

impl Planner<'_> {
    fn plan(&mut self, writer: Id, reader: Option<Id>, depth: usize) -> Checked<Id> {
        if let Some(known) = self.known.get(&(writer, reader)) {
            return Ok(*known);
        }
        if self.steps.len() >= STEPS || depth >= DEEPEST {
            return Err(Fault::schema(
                format!("more than {STEPS} types, or more than {DEEPEST} in each other"),
                "a smaller schema",
            ));
        }
        let place = self.steps.len();
        // A record may hold itself: its place is known before its fields are.
        self.steps.push(Step::Null);
        self.known.insert((writer, reader), place);
        self.steps[place] = self.step(writer, reader, depth)?;
        Ok(place)
    }

    fn step(&mut self, writer: Id, reader: Option<Id>, depth: usize) -> Checked<Step> {
        let schema = self.writer;
        let node = schema.node(writer);
        if let Type::Union(branches) = &node.ty {
            let branches = branches
                .iter()
                .map(|branch| self.plan(*branch, reader, depth + 1))
                .collect::<Checked<_>>()?;
            return Ok(Step::Union(branches));
        }
        let Some((schema, id)) = self.reader.zip(reader) else {
            return self.alone(node, depth);
        };
        let wanted = schema.node(id);
        let Type::Union(branches) = &wanted.ty else {
            return self.pair(node, wanted, depth);
        };
        let same = |id: &&Id| {
            let other = &schema.node(**id).ty;
            std::mem::discriminant(other) == std::mem::discriminant(&node.ty)
                && matches(&node.ty, other)
        };
        let wider = |id: &&Id| matches(&node.ty, &schema.node(**id).ty);
        let found = branches.iter().find(same);
        match found.or_else(|| branches.iter().find(wider)) {
            Some(id) => self.pair(node, schema.node(*id), depth),
            None => Ok(unreadable(&node.ty, "a branch of its union")),
        }
    }

    /// Without a reader.
    fn alone(&mut self, node: &Node, depth: usize) -> Checked<Step> {
        Ok(match &node.ty {
            Type::Array(items) => Step::Array(self.plan(*items, None, depth + 1)?),
            Type::Map(values) => Step::Map(self.plan(*values, None, depth + 1)?),
            Type::Enum(_, symbols, _) => {
                Step::Enum(symbols.iter().map(|name| Some(quoted(name))).collect())
            }
            Type::Record(_, fields) => {
                let members = fields.iter().map(|field| {
                    Ok(Member {
                        key: Some(key(&field.name)),
                        step: self.plan(field.ty, None, depth + 1)?,
                    })
                });
                Step::Record(members.collect::<Checked<_>>()?, Box::default())
            }
            leaf => of_leaf(leaf, node.logical),
        })
    }

    /// A writer's type as a reader's; neither is a union.
    fn pair(&mut self, node: &Node, wanted: &Node, depth: usize) -> Checked<Step> {
        if !matches(&node.ty, &wanted.ty) {
            return Ok(unreadable(&node.ty, wanted.ty.name()));
        }
        Ok(match (&node.ty, &wanted.ty) {
            (Type::Array(items), Type::Array(wanted)) => {
                Step::Array(self.plan(*items, Some(*wanted), depth + 1)?)
            }
            (Type::Map(values), Type::Map(wanted)) => {
                Step::Map(self.plan(*values, Some(*wanted), depth + 1)?)
            }
            (Type::Enum(_, symbols, _), Type::Enum(_, wanted, default)) => {
                let read = |name: &String| {
                    let known = wanted.iter().any(|other| other == name);
                    let name = if known { Some(name) } else { default.as_ref() };
                    name.map(|name| quoted(name))
                };
                Step::Enum(symbols.iter().map(read).collect())
            }
            (Type::Record(name, fields), Type::Record(_, wanted)) => {
                self.record((&name.full, fields), wanted, depth)?
            }
            (Type::Bytes, Type::Text) => Step::Text,
            (Type::Text, Type::Bytes) => Step::Bytes,
            (leaf, _) => of_leaf(leaf, wanted.logical.or(node.logical)),
        })
    }

    fn record(
        &mut self,
        (name, fields): (&str, &[Field]),
        wanted: &[Field],
        depth: usize,
    ) -> Checked<Step> {
        let aliases = wanted.iter().enumerate().flat_map(|(place, field)| {
            let aliases = field.aliases.iter();
            aliases.map(move |alias| (alias.as_str(), place))
        });
        // A field's own name counts more than another's alias.
        let names = wanted.iter().enumerate();
        let names = names.map(|(place, field)| (field.name.as_str(), place));
        let by_name: HashMap<&str, usize> = aliases.chain(names).collect();
        let mut read = vec![false; wanted.len()];
        let mut members = Vec::with_capacity(fields.len());
        for field in fields {
            let place = by_name
                .get(field.name.as_str())
                .copied()
                .filter(|place| !read[*place]);
            let member = match place {
                Some(place) => {
                    read[place] = true;
                    Member {
                        key: Some(key(&wanted[place].name)),
                        step: self.plan(field.ty, Some(wanted[place].ty), depth + 1)?,
                    }
                }
                None => Member {
                    key: None,
                    step: self.plan(field.ty, None, depth + 1)?,
                },
            };
            members.push(member);
        }
        let mut defaults = Vec::new();
        for (field, _) in wanted.iter().zip(&read).filter(|(_, read)| !**read) {
            let Some((schema, default)) = self.reader.zip(field.default.as_ref()) else {
                let why = format!(
                    "{name} has no field {:?}, and the reader has no default",
                    field.name
                );
                return Ok(Step::Unreadable(why.into()));
            };
            defaults.extend_from_slice(&key(&field.name));
            if default_json(schema, field.ty, default, &mut defaults, 0).is_none() {
                let what = format!("the default of {:?} does not fit its type", field.name);
                return Err(Fault::schema(what, "a valid reader schema"));
            }
            if defaults.len() > DEFAULT_BYTES {
                return Err(Fault::schema("large defaults", "smaller defaults"));
            }
            defaults.push(b',');
        }
        Ok(Step::Record(members.into(), defaults.into()))
    }
}

fn unreadable(writer: &Type, wanted: &str) -> Step {
    Step::Unreadable(format!("{} cannot be read as {wanted}", writer.name()).into())
}

fn quoted(text: &str) -> Box<[u8]> {
    serde_json::to_vec(text).unwrap_or_default().into()
}

/// Whether a reader's type may read a writer's; of arrays, maps and records what is inside is not asked.
fn matches(writer: &Type, reader: &Type) -> bool {
    match (writer, reader) {
        (Type::Int, Type::Int | Type::Long | Type::Float | Type::Double)
        | (Type::Long, Type::Long | Type::Float | Type::Double)
        | (Type::Float, Type::Float | Type::Double)
        | (Type::Double, Type::Double)
        | (Type::Text | Type::Bytes, Type::Text | Type::Bytes)
        | (Type::Null, Type::Null)
        | (Type::Boolean, Type::Boolean)
        | (Type::Array(_), Type::Array(_))
        | (Type::Map(_), Type::Map(_)) => true,
        (Type::Fixed(name, size), Type::Fixed(wanted, other)) => {
            size == other && wanted.reads(name)
        }
        (Type::Enum(name, ..), Type::Enum(wanted, ..))
        | (Type::Record(name, _), Type::Record(wanted, _)) => wanted.reads(name),
        _ => false,
    }
}

fn of_leaf(ty: &Type, logical: Option<Logical>) -> Step {
    match (ty, logical) {
        (Type::Int, Some(Logical::Date)) => Step::Date,
        (Type::Int | Type::Long, Some(Logical::TimeOfDay(unit))) => Step::TimeOfDay(unit),
        (Type::Int | Type::Long, Some(Logical::Instant(unit))) => Step::Instant(unit),
        (Type::Int | Type::Long, Some(Logical::Local(unit))) => Step::Local(unit),
        (Type::Bytes, Some(Logical::Decimal(scale))) => Step::Decimal(scale, None),
        (Type::Fixed(_, size), Some(Logical::Decimal(scale))) => Step::Decimal(scale, Some(*size)),
        (Type::Fixed(_, 16), Some(Logical::Uuid)) => Step::Uuid,
        (Type::Fixed(_, 12), Some(Logical::Duration)) => Step::Duration,
        (Type::Boolean, _) => Step::Boolean,
        (Type::Int, _) => Step::Int,
        (Type::Long, _) => Step::Long,
        (Type::Float, _) => Step::Float,
        (Type::Double, _) => Step::Double,
        (Type::Bytes, _) => Step::Bytes,
        (Type::Text, _) => Step::Text,
        (Type::Fixed(_, size), _) => Step::Fixed(*size),
        _ => Step::Null,
    }
}

/// Writes a field's default as its values are written.
fn default_json(
    schema: &Schema,
    id: Id,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Option<()> {
    if depth > 64 || out.len() > DEFAULT_BYTES {
        return None;
    }
    let node = schema.node(id);
    match (&node.ty, value) {
        (Type::Union(branches), _) => {
            let start = out.len();
            branches.iter().find_map(|branch| {
                out.truncate(start);
                default_json(schema, *branch, value, out, depth + 1)
            })
        }
        (Type::Null, Value::Null)
        | (Type::Boolean, Value::Bool(_))
        | (Type::Float | Type::Double, Value::Number(_))
        | (Type::Text, Value::String(_)) => serde_json::to_writer(out, value).ok(),
        (Type::Enum(_, symbols, _), Value::String(name)) if symbols.contains(name) => {
            serde_json::to_writer(out, value).ok()
        }
        (Type::Int | Type::Long, Value::Number(number)) => {
            let number = number.as_i64()?;
            with_json(out, |json| match of_leaf(&node.ty, node.logical) {
                Step::Date => json.date(i32::try_from(number).unwrap_or(i32::MAX)),
                Step::TimeOfDay(unit) => json.time_of_day(number, unit),
                Step::Instant(unit) => json.instant(number, unit),
                Step::Local(unit) => json.local(number, unit),
                _ => json.int(number),
            })
        }
        // Bytes are given as a text whose characters are the bytes.
        (Type::Bytes | Type::Fixed(..), Value::String(text)) => {
            let bytes: Vec<u8> = text
                .chars()
                .map(|c| u8::try_from(u32::from(c)).ok())
                .collect::<Option<_>>()?;
            if matches!(&node.ty, Type::Fixed(_, size) if *size != bytes.len()) {
                return None;
            }
            let step = of_leaf(&node.ty, node.logical);
            with_json(out, |json| {
                // Checked against the limit of a default afterwards.
                let _ = super::decode::leaf_bytes(json, &step, &bytes);
            })
        }
        (Type::Array(items), Value::Array(values)) => {
            out.push(b'[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                default_json(schema, *items, value, out, depth + 1)?;
            }
            out.push(b']');
            Some(())
        }
        (Type::Map(values), Value::Object(object)) => {
            out.push(b'{');
            for (at, (name, value)) in object.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&key(name));
                default_json(schema, *values, value, out, depth + 1)?;
            }
            out.push(b'}');
            Some(())
        }
        (Type::Record(_, fields), Value::Object(object)) => {
            out.push(b'{');
            for (at, field) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&key(&field.name));
                let value = object.get(&field.name).or(field.default.as_ref())?;
                default_json(schema, field.ty, value, out, depth + 1)?;
            }
            out.push(b'}');
            Some(())
        }
        _ => None,
    }
}

fn with_json(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut crate::formats::json::Json<'_>),
) -> Option<()> {
    let mut text = Vec::new();
    let limits = crate::formats::json::Limits::new(DEFAULT_BYTES, 64);
    write(&mut crate::formats::json::Json::new(&mut text, limits));
    out.extend_from_slice(&text);
    Some(())
}
