//! An Avro schema as the specification describes it: parsed from its JSON text, names resolved, nothing decided.
//!
//! Bounds: the text (by the caller), the nesting of its JSON (by the parser of JSON), and [`NODES`].

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::formats::fault::{Checked, Fault};
use crate::formats::json::Unit;

/// Most types of one schema, its references included.
const NODES: usize = 20_000;
/// Most digits of a decimal: those that 128 bits hold.
const DIGITS: u64 = 38;

pub(super) type Id = usize;

/// A parsed schema.
#[derive(Debug)]
pub struct Schema {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
}

/// A type, and what its values mean.
#[derive(Debug)]
pub(super) struct Node {
    pub ty: Type,
    pub logical: Option<Logical>,
}

#[derive(Debug)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(Name, usize),
    Enum(Name, Vec<String>, Option<String>),
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    Record(Name, Vec<Field>),
}

impl Type {
    pub fn name(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::Text => "string",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Fixed(name, _) | Self::Enum(name, ..) | Self::Record(name, _) => &name.full,
        }
    }
}

/// The name of a record, enum or fixed type.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub full: String,
    pub aliases: Vec<String>,
}

impl Name {
    /// Whether a reader's type of this name reads a writer's of the other: names match without their namespaces.
    pub fn reads(&self, writer: &Self) -> bool {
        let short = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        let wanted = short(&writer.full);
        short(&self.full) == wanted
            || self
                .aliases
                .iter()
                .any(|alias| *alias == writer.full || short(alias) == wanted)
    }
}

#[derive(Debug)]
pub(super) struct Field {
    pub name: String,
    pub aliases: Vec<String>,
    pub ty: Id,
    pub default: Option<Value>,
}

/// What the values of a type mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logical {
    Date,
    TimeOfDay(Unit),
    Instant(Unit),
    Local(Unit),
    /// Digits behind the point.
    Decimal(usize),
    Uuid,
    Duration,
}

impl Schema {
    /// Parses a schema whose references are given, those that others refer to first.
    ///
    /// # Errors
    /// The text is no schema, or too large a one.
    pub fn parse(text: &str, references: &[String]) -> Checked<Self> {
        let mut parser = Parser::default();
        for reference in references {
            parser.root(reference)?;
        }
        let root = parser.root(text)?;
        Ok(Self {
            nodes: parser.nodes,
            root,
        })
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }
}

#[derive(Default)]
struct Parser {
    nodes: Vec<Node>,
    names: HashMap<String, Id>,
}

fn wrong(what: impl Into<String>) -> Box<Fault> {
    Fault::schema(what, "a valid Avro schema")
}

impl Parser {
    fn root(&mut self, text: &str) -> Checked<Id> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| wrong(format!("no JSON: {error}")))?;
        self.parse(&value, "")
    }

    fn push(&mut self, ty: Type, logical: Option<Logical>) -> Checked<Id> {
        if self.nodes.len() >= NODES {
            return Err(wrong(format!("more than {NODES} types")));
        }
        self.nodes.push(Node { ty, logical });
        Ok(self.nodes.len() - 1)
    }

    fn parse(&mut self, value: &Value, space: &str) -> Checked<Id> {
        match value {
            Value::String(name) => self.named(name, space),
            Value::Array(branches) => {
                let branches = branches
                    .iter()
                    .map(|branch| {
                        if branch.is_array() {
                            return Err(wrong("a union directly in a union"));
                        }
                        self.parse(branch, space)
                    })
                    .collect::<Checked<Vec<Id>>>()?;
                self.push(Type::Union(branches), None)
            }
            Value::Object(object) => self.object(object, space),
            other => Err(wrong(format!("{other} is no type"))),
        }
    }

    /// A primitive type, or one that was defined before.
    fn named(&mut self, name: &str, space: &str) -> Checked<Id> {
        if let Some(ty) = primitive(name) {
            return self.push(ty, None);
        }
        let within = qualified(name, space);
        let known = self.names.get(&within).or_else(|| self.names.get(name));
        known
            .copied()
            .ok_or_else(|| wrong(format!("the type {within:?} is not defined")))
    }

    fn object(&mut self, object: &Map<String, Value>, space: &str) -> Checked<Id> {
        let ty = match object.get("type") {
            Some(Value::String(ty)) => ty.as_str(),
            // A type in brackets of its own.
            Some(inner @ (Value::Object(_) | Value::Array(_))) => return self.parse(inner, space),
            _ => return Err(wrong("an object without \"type\"")),
        };
        match ty {
            "array" => {
                let items = object
                    .get("items")
                    .ok_or_else(|| wrong("an array without \"items\""))?;
                let items = self.parse(items, space)?;
                self.push(Type::Array(items), None)
            }
            "map" => {
                let values = object
                    .get("values")
                    .ok_or_else(|| wrong("a map without \"values\""))?;
                let values = self.parse(values, space)?;
                self.push(Type::Map(values), None)
            }
            "record" | "error" => self.record(object, space),
            "enum" => {
                let name = name_of(object, space)?;
                let symbols = texts(object.get("symbols"))
                    .ok_or_else(|| wrong(format!("{}: an enum without \"symbols\"", name.full)))?;
                let default = object
                    .get("default")
                    .and_then(Value::as_str)
                    .map(str::to_owned);
                self.define(name, |name| Type::Enum(name, symbols, default), None)
            }
            "fixed" => {
                let name = name_of(object, space)?;
                let size = object.get("size").and_then(Value::as_u64);
                let size = size
                    .and_then(|size| usize::try_from(size).ok())
                    .ok_or_else(|| {
                        wrong(format!("{}: a fixed type without \"size\"", name.full))
                    })?;
                let logical = match object.get("logicalType").and_then(Value::as_str) {
                    Some("decimal") => decimal(object),
                    Some("uuid") if size == 16 => Some(Logical::Uuid),
                    Some("duration") if size == 12 => Some(Logical::Duration),
                    _ => None,
                };
                self.define(name, |name| Type::Fixed(name, size), logical)
            }
            name => match primitive(name) {
                Some(ty) => {
                    let logical = logical(&ty, object);
                    self.push(ty, logical)
                }
                None => self.named(name, space),
            },
        }
    }

    fn define(
        &mut self,
        name: Name,
        make: impl FnOnce(Name) -> Type,
        logical: Option<Logical>,
    ) -> Checked<Id> {
        let full = name.full.clone();
        let id = self.push(make(name), logical)?;
        match self.names.insert(full.clone(), id) {
            None => Ok(id),
            Some(_) => Err(wrong(format!("the type {full:?} is defined twice"))),
        }
    }

    fn record(&mut self, object: &Map<String, Value>, space: &str) -> Checked<Id> {
        let name = name_of(object, space)?;
        let within = match name.full.rsplit_once('.') {
            Some((space, _)) => space.to_owned(),
            None => String::new(),
        };
        let shown = name.full.clone();
        // Known before its fields: they may refer to it.
        let id = self.define(name.clone(), |name| Type::Record(name, Vec::new()), None)?;
        let given = object
            .get("fields")
            .and_then(Value::as_array)
            .ok_or_else(|| wrong(format!("{shown}: a record without \"fields\"")))?;
        let mut fields: Vec<Field> = Vec::with_capacity(given.len());
        let mut known = std::collections::HashSet::new();
        for field in given {
            let Some(field) = field.as_object() else {
                return Err(wrong(format!("{shown}: a field that is no object")));
            };
            let name = field
                .get("name")
                .and_then(Value::as_str)
                .ok_or_else(|| wrong(format!("{shown}: a field without \"name\"")))?;
            if !known.insert(name) {
                return Err(wrong(format!("{shown}: two fields are named {name:?}")));
            }
            let ty = field
                .get("type")
                .ok_or_else(|| wrong(format!("{shown}.{name}: a field without \"type\"")))?;
            // The logical type may stand beside the name of the type.
            let ty = match (ty, field.get("logicalType")) {
                (Value::String(text), Some(_)) if primitive(text).is_some() => {
                    self.object(field, &within)?
                }
                _ => self.parse(ty, &within)?,
            };
            fields.push(Field {
                name: name.to_owned(),
                aliases: texts(field.get("aliases")).unwrap_or_default(),
                ty,
                default: field.get("default").cloned(),
            });
        }
        self.nodes[id].ty = Type::Record(name, fields);
        Ok(id)
    }
}

fn primitive(name: &str) -> Option<Type> {
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "string" => Type::Text,
        _ => return None,
    })
}

/// What a primitive type means; a logical type that does not fit its type is ignored, as the specification asks.
fn logical(ty: &Type, object: &Map<String, Value>) -> Option<Logical> {
    let name = object.get("logicalType")?.as_str()?;
    Some(match (ty, name) {
        (Type::Int, "date") => Logical::Date,
        (Type::Int, "time-millis") => Logical::TimeOfDay(Unit::Millis),
        (Type::Long, "time-micros") => Logical::TimeOfDay(Unit::Micros),
        (Type::Long, "timestamp-millis") => Logical::Instant(Unit::Millis),
        (Type::Long, "timestamp-micros") => Logical::Instant(Unit::Micros),
        (Type::Long, "timestamp-nanos") => Logical::Instant(Unit::Nanos),
        (Type::Long, "local-timestamp-millis") => Logical::Local(Unit::Millis),
        (Type::Long, "local-timestamp-micros") => Logical::Local(Unit::Micros),
        (Type::Long, "local-timestamp-nanos") => Logical::Local(Unit::Nanos),
        (Type::Bytes, "decimal") => return decimal(object),
        _ => return None,
    })
}

fn decimal(object: &Map<String, Value>) -> Option<Logical> {
    let precision = object.get("precision")?.as_u64()?;
    let scale = match object.get("scale") {
        None => 0,
        Some(scale) => scale.as_u64()?,
    };
    (1..=DIGITS).contains(&precision).then_some(())?;
    (scale <= precision).then_some(Logical::Decimal(scale as usize))
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    value?
        .as_array()?
        .iter()
        .map(|text| text.as_str().map(str::to_owned))
        .collect()
}

fn qualified(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() {
        name.trim_start_matches('.').to_owned()
    } else {
        format!("{space}.{name}")
    }
}

fn name_of(object: &Map<String, Value>, space: &str) -> Checked<Name> {
    let name = object
        .get("name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| wrong("a named type without \"name\""))?;
    let space = object
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or(space);
    let full = qualified(name, space);
    let within = full.rsplit_once('.').map_or("", |(space, _)| space);
    let aliases = texts(object.get("aliases")).unwrap_or_default();
    let aliases = aliases
        .iter()
        .map(|alias| qualified(alias, within))
        .collect();
    Ok(Name { full, aliases })
}
