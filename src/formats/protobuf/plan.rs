//! How a message of a Protobuf schema is written as JSON: message types, fields and enums, looked up once per schema.

use std::collections::HashMap;

use protox::prost_reflect::{
    self, DescriptorPool, EnumDescriptor, FieldDescriptor, MessageDescriptor,
};

use crate::formats::fault::{Checked, Fault};
use crate::formats::json::key;

/// Most fields and enum values of one schema, its imports included.
const PARTS: usize = 50_000;

/// All message types of a schema, and which of them is meant by which place.
#[derive(Debug)]
pub struct Plan {
    pub(super) messages: Vec<Message>,
    pub(super) enums: Vec<Enum>,
    /// The schema's own message types by their place: indexes from outer to nested types.
    places: HashMap<Box<[u32]>, usize>,
    names: HashMap<Box<str>, usize>,
}

#[derive(Debug)]
pub(super) struct Message {
    pub name: Box<str>,
    /// By number.
    pub fields: Box<[Field]>,
    /// How many `oneof`s it has.
    pub oneofs: usize,
    /// What its values mean, for types that everybody knows.
    pub known: Option<Known>,
}

/// Types whose JSON is not an object of their fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Timestamp,
    Duration,
    /// A scalar that may be absent.
    Wrapper,
    Struct,
    Value,
    List,
    /// A decimal of many digits (`confluent.type.Decimal`).
    Decimal,
}

#[derive(Debug)]
pub(super) struct Field {
    pub number: u32,
    /// The name in quotes with its colon.
    pub key: Box<[u8]>,
    pub kind: Kind,
    pub many: Many,
    /// Which `oneof` of the message it belongs to.
    pub oneof: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Many {
    /// Absent or there.
    Optional,
    /// Absent means zero, empty or false.
    Implicit,
    Repeated,
    Map,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Boolean,
    Text,
    Bytes,
    Enum(usize),
    Message(usize),
}

/// Names of an enum by number, in quotes.
#[derive(Debug)]
pub(super) struct Enum {
    pub names: HashMap<i32, Box<[u8]>>,
}

impl Message {
    /// The place of a field by its number.
    #[inline]
    pub fn field(&self, number: u32) -> Option<usize> {
        // Most messages number their fields from 1 on.
        let guess = (number as usize).wrapping_sub(1);
        if self
            .fields
            .get(guess)
            .is_some_and(|field| field.number == number)
        {
            return Some(guess);
        }
        self.fields
            .binary_search_by_key(&number, |field| field.number)
            .ok()
    }
}

impl Plan {
    /// Plans all message types of a pool; the places are those of the file of this name.
    ///
    /// # Errors
    /// The schema is too large.
    pub fn new(pool: &DescriptorPool, file: &str) -> Checked<Self> {
        let all: Vec<MessageDescriptor> = pool.all_messages().collect();
        let enums: Vec<EnumDescriptor> = pool.all_enums().collect();
        let fields: usize = all.iter().map(|message| message.fields().len()).sum();
        let values: usize = enums.iter().map(|one| one.values().len()).sum();
        if all.len() + fields + values > PARTS {
            return Err(Fault::schema(
                format!("more than {PARTS} message types, fields and enum values"),
                "a smaller schema",
            ));
        }
        let numbers: HashMap<&str, usize> = all
            .iter()
            .enumerate()
            .map(|(at, message)| (message.full_name(), at))
            .collect();
        let enum_numbers: HashMap<&str, usize> = enums
            .iter()
            .enumerate()
            .map(|(at, one)| (one.full_name(), at))
            .collect();
        let messages = all
            .iter()
            .map(|message| {
                let mut fields: Vec<Field> = message
                    .fields()
                    .map(|field| field_of(&field, &numbers, &enum_numbers))
                    .collect::<Checked<_>>()?;
                fields.sort_by_key(|field| field.number);
                let oneofs = message.oneofs().filter(|oneof| !oneof.is_synthetic());
                let mut count = 0;
                for oneof in oneofs {
                    let inner: Vec<u32> = oneof.fields().map(|field| field.number()).collect();
                    let inner = fields
                        .iter_mut()
                        .filter(|field| inner.contains(&field.number));
                    inner.for_each(|field| field.oneof = Some(count));
                    count += 1;
                }
                Ok(Message {
                    name: message.full_name().into(),
                    fields: fields.into(),
                    oneofs: count,
                    known: known(message),
                })
            })
            .collect::<Checked<Vec<Message>>>()?;
        let mut places = HashMap::new();
        if let Some(file) = pool.get_file_by_name(file) {
            for (at, message) in file.messages().enumerate() {
                place(&message, &mut vec![at as u32], &numbers, &mut places);
            }
        }
        let names = numbers.iter().map(|(name, at)| ((*name).into(), *at));
        Ok(Self {
            messages,
            places,
            names: names.collect(),
            enums: enums.iter().map(enum_of).collect(),
        })
    }

    /// The message type at a place of the schema.
    pub fn at_place(&self, place: &[u32]) -> Option<usize> {
        self.places.get(place).copied()
    }

    /// The message type of a full name.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.names.get(name.trim_start_matches('.')).copied()
    }

    /// The schema's only message type that is nested in no other one.
    pub fn only(&self) -> Option<usize> {
        let mut outer = self.places.iter().filter(|(place, _)| place.len() == 1);
        let (_, first) = outer.next()?;
        outer.next().is_none().then_some(*first)
    }

    /// Names of the schema's own message types, for errors.
    pub fn own_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .places
            .values()
            .filter_map(|at| self.messages.get(*at))
            .map(|message| &*message.name)
            .collect();
        names.sort_unstable();
        names
    }
}

fn place(
    message: &MessageDescriptor,
    at: &mut Vec<u32>,
    numbers: &HashMap<&str, usize>,
    places: &mut HashMap<Box<[u32]>, usize>,
) {
    if let Some(number) = numbers.get(message.full_name()) {
        places.insert(at.as_slice().into(), *number);
    }
    for (nested, child) in message.child_messages().enumerate() {
        at.push(nested as u32);
        place(&child, at, numbers, places);
        at.pop();
    }
}

fn field_of(
    field: &FieldDescriptor,
    messages: &HashMap<&str, usize>,
    enums: &HashMap<&str, usize>,
) -> Checked<Field> {
    let missing = || Fault::schema(field.full_name(), "a field of a type that is defined");
    let kind = match field.kind() {
        prost_reflect::Kind::Double => Kind::Double,
        prost_reflect::Kind::Float => Kind::Float,
        prost_reflect::Kind::Int32 => Kind::Int32,
        prost_reflect::Kind::Int64 => Kind::Int64,
        prost_reflect::Kind::Uint32 => Kind::Uint32,
        prost_reflect::Kind::Uint64 => Kind::Uint64,
        prost_reflect::Kind::Sint32 => Kind::Sint32,
        prost_reflect::Kind::Sint64 => Kind::Sint64,
        prost_reflect::Kind::Fixed32 => Kind::Fixed32,
        prost_reflect::Kind::Fixed64 => Kind::Fixed64,
        prost_reflect::Kind::Sfixed32 => Kind::Sfixed32,
        prost_reflect::Kind::Sfixed64 => Kind::Sfixed64,
        prost_reflect::Kind::Bool => Kind::Boolean,
        prost_reflect::Kind::String => Kind::Text,
        prost_reflect::Kind::Bytes => Kind::Bytes,
        prost_reflect::Kind::Enum(one) => {
            Kind::Enum(*enums.get(one.full_name()).ok_or_else(missing)?)
        }
        prost_reflect::Kind::Message(message) => {
            Kind::Message(*messages.get(message.full_name()).ok_or_else(missing)?)
        }
    };
    let many = if field.is_map() {
        Many::Map
    } else if field.is_list() {
        Many::Repeated
    } else if field.supports_presence() {
        Many::Optional
    } else {
        Many::Implicit
    };
    Ok(Field {
        number: field.number(),
        key: key(field.name()),
        kind,
        many,
        oneof: None,
    })
}

fn enum_of(one: &EnumDescriptor) -> Enum {
    let mut names = HashMap::new();
    for value in one.values() {
        // Of several names for a number the first one counts.
        names
            .entry(value.number())
            .or_insert_with(|| serde_json::to_vec(value.name()).unwrap_or_default().into());
    }
    Enum { names }
}

fn known(message: &MessageDescriptor) -> Option<Known> {
    Some(match message.full_name() {
        "google.protobuf.Timestamp" => Known::Timestamp,
        "google.protobuf.Duration" => Known::Duration,
        "google.protobuf.DoubleValue"
        | "google.protobuf.FloatValue"
        | "google.protobuf.Int64Value"
        | "google.protobuf.UInt64Value"
        | "google.protobuf.Int32Value"
        | "google.protobuf.UInt32Value"
        | "google.protobuf.BoolValue"
        | "google.protobuf.StringValue"
        | "google.protobuf.BytesValue" => Known::Wrapper,
        "google.protobuf.Struct" => Known::Struct,
        "google.protobuf.Value" => Known::Value,
        "google.protobuf.ListValue" => Known::List,
        "confluent.type.Decimal" => Known::Decimal,
        _ => return None,
    })
}
