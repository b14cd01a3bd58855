//! Bytes of one Protobuf message into JSON, by a [`Plan`].
//!
//! A message is read twice: once to find its fields, which may come in any order and several times, and once to write them in
//! the order of their numbers. Of a field that comes several times the last value counts, and of a `oneof` the last field; messages
//! are merged. Fields that the schema does not have are skipped. A field of another wire type than the schema says refuses the message: read with the wrong
//! schema, a message would otherwise lose its fields in silence.
//!
//! M1: fields found and the parts of messages that are merged are counted against the message limit, and every value costs a step.

use super::plan::{Field, Kind, Known, Many, Message, Plan};
use crate::formats::fault::{Checked, Fault, SIZE};
use crate::formats::json::{Json, Limits, Unit, integer, name_of};
use crate::formats::wire::{unzigzag, varint};

const VARINT: u32 = 0;
const EIGHT: u32 = 1;
const COUNTED: u32 = 2;
const GROUP: u32 = 3;
const GROUP_END: u32 = 4;
const FOUR: u32 = 5;

/// Most digits behind the point of a decimal.
const DIGITS: usize = 38;
/// A message has at most one field per so many bytes of `validate.max_message_bytes`, besides packed ones.
const BYTES_PER_FIELD: usize = 16;

/// A field found in a message, reused from message to message.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Its place in the plan's message.
    field: u32,
    /// Where its value begins, behind a length.
    from: u32,
    to: u32,
    /// A value with a length: a text, bytes, a message, or packed numbers.
    counted: bool,
}

impl Plan {
    /// Writes the message of the type `message` as JSON.
    pub(in crate::formats) fn decode(
        &self,
        message: usize,
        bytes: &[u8],
        seen: &mut Vec<Seen>,
        limits: Limits,
        json: &mut Json<'_>,
    ) -> Checked {
        seen.clear();
        let mut reading = Reading {
            plan: self,
            seen,
            most: limits.bytes.div_ceil(BYTES_PER_FIELD),
            merging: limits.bytes,
            json,
        };
        reading.message(message, bytes, 0)
    }
}

struct Reading<'p, 'j, 't> {
    plan: &'p Plan,
    seen: &'j mut Vec<Seen>,
    most: usize,
    /// Bytes that may still be copied to merge messages: copies of outer messages are kept while inner ones are made.
    merging: usize,
    json: &'j mut Json<'t>,
}

#[cold]
fn early() -> Box<Fault> {
    Fault::payload(
        "the message ends early, or a number of it is none",
        "a message of this schema",
    )
}

fn wire_type(found: u32, field: &Field) -> Box<Fault> {
    let name = |wire| match wire {
        VARINT => "a number of variable length",
        EIGHT => "eight bytes",
        COUNTED => "bytes with a length",
        FOUR => "four bytes",
        _ => "a group",
    };
    Fault::payload(
        format!("field {} is {}", field.number, name(found)),
        format!(
            "{}: another schema wrote the message",
            name(wire_of(field.kind))
        ),
    )
}

const fn wire_of(kind: Kind) -> u32 {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => EIGHT,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => FOUR,
        Kind::Text | Kind::Bytes | Kind::Message(_) => COUNTED,
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Boolean
        | Kind::Enum(_) => VARINT,
    }
}

/// A tag: number of the field and wire type.
fn tag(bytes: &[u8], at: &mut usize) -> Checked<(u32, u32)> {
    let tag = varint(bytes, at).and_then(|tag| u32::try_from(tag).ok());
    match tag {
        Some(tag) if tag >> 3 > 0 => Ok((tag >> 3, tag & 7)),
        _ => Err(early()),
    }
}

/// Passes a value; gives where it lies, without its length or the tag that ends a group.
fn pass(
    bytes: &[u8],
    at: &mut usize,
    (number, wire): (u32, u32),
    depth: usize,
    json: &Json<'_>,
) -> Checked<(usize, usize)> {
    let start = *at;
    let skip = |at: &mut usize, count: usize| match at.checked_add(count) {
        Some(end) if end <= bytes.len() => {
            *at = end;
            Ok(())
        }
        _ => Err(early()),
    };
    match wire {
        VARINT => {
            varint(bytes, at).ok_or_else(early)?;
        }
        EIGHT => skip(at, 8)?,
        FOUR => skip(at, 4)?,
        COUNTED => {
            let length = varint(bytes, at).ok_or_else(early)?;
            let start = *at;
            skip(at, usize::try_from(length).map_err(|_| early())?)?;
            return Ok((start, *at));
        }
        GROUP => {
            json.enter(depth)?;
            loop {
                let end = *at;
                let (inner, wire) = tag(bytes, at)?;
                if wire == GROUP_END {
                    return if inner == number {
                        Ok((start, end))
                    } else {
                        Err(early())
                    };
                }
                pass(bytes, at, (inner, wire), depth + 1, json)?;
            }
        }
        _ => return Err(early()),
    }
    Ok((start, *at))
}

impl Reading<'_, '_, '_> {
    /// Finds the fields of a message: `seen[from..]`, in the order of the plan.
    fn scan(&mut self, message: &Message, bytes: &[u8], depth: usize) -> Checked<usize> {
        let from = self.seen.len();
        let (mut at, mut sorted, mut newest) = (0, true, 0);
        // The last field of each `oneof`; most messages have none, and then nothing is allocated.
        let (mut chosen, mut several) = (vec![None; message.oneofs], false);
        while at < bytes.len() {
            let (number, wire) = tag(bytes, &mut at)?;
            let (start, end) = pass(bytes, &mut at, (number, wire), depth, self.json)?;
            let Some(place) = message.field(number) else {
                continue;
            };
            let field = &message.fields[place];
            let wanted = wire_of(field.kind);
            let packed = wire == COUNTED && field.many == Many::Repeated;
            let group = wire == GROUP && matches!(field.kind, Kind::Message(_));
            if wire != wanted && !packed && !group {
                return Err(wire_type(wire, field).of_member(name_of(&field.key)));
            }
            if self.seen.len() >= self.most {
                return Err(Fault::new(
                    SIZE,
                    format!("more than {} fields", self.most),
                    format!("one field in {BYTES_PER_FIELD} bytes of validate.max_message_bytes"),
                ));
            }
            if let Some(oneof) = field.oneof {
                let before = chosen[oneof].replace(place as u32);
                several |= before.is_some_and(|before| before as usize != place);
            }
            sorted &= place >= newest;
            newest = place;
            self.seen.push(Seen {
                field: place as u32,
                from: start as u32,
                to: end as u32,
                counted: wire == COUNTED,
            });
        }
        if several {
            self.keep_chosen(message, from, &chosen);
        }
        if !sorted {
            // Stable: what came last of a field stays last.
            self.seen[from..].sort_by_key(|seen| seen.field);
        }
        Ok(from)
    }

    /// Of each `oneof` keeps the last field.
    #[cold]
    fn keep_chosen(&mut self, message: &Message, from: usize, chosen: &[Option<u32>]) {
        let mut kept = from;
        for at in from..self.seen.len() {
            let seen = self.seen[at];
            let oneof = message.fields[seen.field as usize].oneof;
            if oneof.is_none_or(|oneof| chosen[oneof] == Some(seen.field)) {
                self.seen[kept] = seen;
                kept += 1;
            }
        }
        self.seen.truncate(kept);
    }

    fn message(&mut self, number: usize, bytes: &[u8], depth: usize) -> Checked {
        let plan = self.plan;
        let message = &plan.messages[number];
        if let Some(known) = message.known {
            return self.known(known, message, bytes, depth);
        }
        self.json.enter(depth)?;
        self.json.step()?;
        self.json.mark(b'{');
        let from = self.scan(message, bytes, depth)?;
        let (mut at, mut first) = (from, true);
        for (place, field) in message.fields.iter().enumerate() {
            let begin = at;
            while self
                .seen
                .get(at)
                .is_some_and(|seen| seen.field as usize == place)
            {
                at += 1;
            }
            if begin == at && field.many == Many::Optional {
                continue;
            }
            if !std::mem::take(&mut first) {
                self.json.mark(b',');
            }
            self.json.raw(&field.key)?;
            if let Err(fault) = self.field(field, bytes, begin..at, depth + 1) {
                return Err(fault.of_member(name_of(&field.key)));
            }
        }
        self.seen.truncate(from);
        self.json.mark(b'}');
        Ok(())
    }

    /// Writes a field that was found at `seen[found]`, or its zero value.
    fn field(
        &mut self,
        field: &Field,
        bytes: &[u8],
        found: std::ops::Range<usize>,
        depth: usize,
    ) -> Checked {
        let newest = found.clone().next_back().map(|at| self.seen[at]);
        match field.many {
            Many::Repeated => self.repeated(field, bytes, found, depth),
            Many::Map => self.map(field, bytes, found, depth),
            Many::Optional | Many::Implicit => {
                let Some(newest) = newest else {
                    return self.zero(field.kind, depth);
                };
                if let Kind::Message(number) = field.kind
                    && found.len() > 1
                {
                    return self.merged(number, bytes, found, depth);
                }
                let mut at = newest.from as usize;
                let value = &bytes[..newest.to as usize];
                self.value(field.kind, value, &mut at, depth)
            }
        }
    }

    /// Writes a message that came in several parts.
    fn merged(
        &mut self,
        number: usize,
        bytes: &[u8],
        found: std::ops::Range<usize>,
        depth: usize,
    ) -> Checked {
        let parts = &self.seen[found];
        let length: usize = parts
            .iter()
            .map(|part| (part.to - part.from) as usize)
            .sum();
        let Some(left) = self.merging.checked_sub(length) else {
            return Err(Fault::new(
                SIZE,
                "messages that came in several parts are larger than a message may be",
                "each message in one part, or a larger validate.max_message_bytes",
            ));
        };
        let mut whole = Vec::with_capacity(length);
        for part in parts {
            whole.extend_from_slice(&bytes[part.from as usize..part.to as usize]);
        }
        self.merging = left;
        self.message(number, &whole, depth)?;
        self.merging += length;
        Ok(())
    }

    fn repeated(
        &mut self,
        field: &Field,
        bytes: &[u8],
        found: std::ops::Range<usize>,
        depth: usize,
    ) -> Checked {
        self.json.enter(depth)?;
        self.json.mark(b'[');
        let packable = wire_of(field.kind) != COUNTED;
        let mut index = 0;
        for seen in found {
            let seen = self.seen[seen];
            let (mut at, value) = (seen.from as usize, &bytes[..seen.to as usize]);
            let packed = packable && seen.counted;
            // Packed numbers may be none at all.
            while !packed || at < value.len() {
                if index > 0 {
                    self.json.mark(b',');
                }
                if let Err(fault) = self.value(field.kind, value, &mut at, depth + 1) {
                    return Err(fault.of_element(index));
                }
                index += 1;
                if !packed {
                    break;
                }
            }
        }
        self.json.mark(b']');
        Ok(())
    }

    fn map(
        &mut self,
        field: &Field,
        bytes: &[u8],
        found: std::ops::Range<usize>,
        depth: usize,
    ) -> Checked {
        self.json.enter(depth)?;
        self.json.mark(b'{');
        let plan = self.plan;
        let Kind::Message(entry) = field.kind else {
            return Err(Fault::schema("a map without entries", "a valid schema"));
        };
        let entry = &plan.messages[entry];
        let (Some(name), Some(value)) = (entry.field(1), entry.field(2)) else {
            return Err(Fault::schema(
                "a map without key or value",
                "a valid schema",
            ));
        };
        for (index, seen) in found.enumerate() {
            let seen = self.seen[seen];
            let bytes = &bytes[seen.from as usize..seen.to as usize];
            if index > 0 {
                self.json.mark(b',');
            }
            let from = self.scan(entry, bytes, depth)?;
            let newest = |place: usize, all: &[Seen]| {
                let found = all.iter().rfind(|seen| seen.field as usize == place);
                found.copied()
            };
            let (key, inner) = (
                newest(name, &self.seen[from..]),
                newest(value, &self.seen[from..]),
            );
            self.seen.truncate(from);
            self.name(entry.fields[name].kind, bytes, key)?;
            self.json.mark(b':');
            let kind = entry.fields[value].kind;
            let result = match inner {
                None => self.zero(kind, depth + 1),
                Some(inner) => {
                    let mut at = inner.from as usize;
                    self.value(kind, &bytes[..inner.to as usize], &mut at, depth + 1)
                }
            };
            result.map_err(|fault| fault.of_element(index))?;
        }
        self.json.mark(b'}');
        Ok(())
    }

    /// The key of a map's entry: a text, whatever type it has.
    fn name(&mut self, kind: Kind, bytes: &[u8], seen: Option<Seen>) -> Checked {
        self.json.step()?;
        if kind == Kind::Text {
            return match seen {
                None => self.json.string(""),
                Some(seen) => self.json.text(&bytes[seen.from as usize..seen.to as usize]),
            };
        }
        self.json.mark(b'"');
        match seen {
            None => self.zero(kind, 0)?,
            Some(seen) => {
                let mut at = seen.from as usize;
                self.value(kind, &bytes[..seen.to as usize], &mut at, 0)?;
            }
        }
        self.json.mark(b'"');
        Ok(())
    }

    /// The value of a field that is absent.
    fn zero(&mut self, kind: Kind, depth: usize) -> Checked {
        self.json.step()?;
        match kind {
            Kind::Boolean => self.json.boolean(false),
            Kind::Text | Kind::Bytes => self.json.string("")?,
            Kind::Enum(number) => self.enumeration(number, 0)?,
            Kind::Message(number) => self.message(number, &[], depth)?,
            Kind::Double | Kind::Float => self.json.double(0.0),
            _ => self.json.int(0),
        }
        Ok(())
    }

    fn enumeration(&mut self, number: usize, value: i32) -> Checked {
        match self.plan.enums[number].names.get(&value) {
            Some(name) => self.json.raw(name),
            None => {
                self.json.int(i64::from(value));
                Ok(())
            }
        }
    }

    /// Writes the value that begins at `at`; one with a length reaches to the end of `bytes`.
    #[inline]
    fn value(&mut self, kind: Kind, bytes: &[u8], at: &mut usize, depth: usize) -> Checked {
        self.json.step()?;
        match kind {
            Kind::Text => self.json.text(&bytes[*at..])?,
            Kind::Bytes => self.json.bytes(&bytes[*at..])?,
            Kind::Message(number) => self.message(number, &bytes[*at..], depth)?,
            Kind::Double => self.json.double(f64::from_le_bytes(fixed(bytes, at)?)),
            Kind::Float => self.json.float(f32::from_le_bytes(fixed(bytes, at)?)),
            Kind::Fixed32 => self.json.uint(u32::from_le_bytes(fixed(bytes, at)?).into()),
            Kind::Fixed64 => self.json.uint(u64::from_le_bytes(fixed(bytes, at)?)),
            Kind::Sfixed32 => self.json.int(i32::from_le_bytes(fixed(bytes, at)?).into()),
            Kind::Sfixed64 => self.json.int(i64::from_le_bytes(fixed(bytes, at)?)),
            _ => {
                let value = varint(bytes, at).ok_or_else(early)?;
                match kind {
                    // Numbers of 32 bits are cut to them, as every reader of Protobuf does.
                    Kind::Int32 => self.json.int((value as i32).into()),
                    Kind::Uint32 => self.json.uint((value as u32).into()),
                    Kind::Sint32 => self.json.int((unzigzag(value) as i32).into()),
                    Kind::Sint64 => self.json.int(unzigzag(value)),
                    Kind::Uint64 => self.json.uint(value),
                    Kind::Boolean => self.json.boolean(value != 0),
                    Kind::Enum(number) => self.enumeration(number, value as i32)?,
                    _ => self.json.int(value as i64),
                }
            }
        }
        Ok(())
    }

    fn known(&mut self, known: Known, message: &Message, bytes: &[u8], depth: usize) -> Checked {
        self.json.step()?;
        let from = self.scan(message, bytes, depth)?;
        let newest = |number: u32, all: &[Seen]| {
            let place = message.field(number)?;
            let found = all.iter().rfind(|seen| seen.field as usize == place);
            found.copied()
        };
        match known {
            Known::Timestamp | Known::Duration => {
                let mut numbers = [0i64; 2];
                for (number, value) in (1..).zip(&mut numbers) {
                    if let Some(seen) = newest(number, &self.seen[from..]) {
                        let mut at = seen.from as usize;
                        *value = varint(bytes, &mut at).ok_or_else(early)? as i64;
                    }
                }
                let [seconds, nanos] = numbers;
                if known == Known::Duration {
                    self.json.seconds(seconds, nanos as i32);
                } else {
                    self.timestamp(seconds, nanos);
                }
            }
            Known::Wrapper => {
                let field = message.fields.first();
                let (kind, seen) = match field {
                    Some(field) => (field.kind, newest(field.number, &self.seen[from..])),
                    None => return Err(Fault::schema(&*message.name, "a field `value`")),
                };
                match seen {
                    None => self.zero(kind, depth)?,
                    Some(seen) => {
                        let mut at = seen.from as usize;
                        self.value(kind, &bytes[..seen.to as usize], &mut at, depth)?;
                    }
                }
            }
            Known::Struct | Known::List => {
                let found = from..self.seen.len();
                match message.fields.first() {
                    Some(field) if field.many == Many::Map => {
                        self.map(field, bytes, found, depth)?;
                    }
                    Some(field) => self.repeated(field, bytes, found, depth)?,
                    None => return Err(Fault::schema(&*message.name, "a field")),
                }
            }
            Known::Decimal => {
                let value = newest(1, &self.seen[from..]);
                let value =
                    value.map_or(&[][..], |seen| &bytes[seen.from as usize..seen.to as usize]);
                let scale = match newest(3, &self.seen[from..]) {
                    None => 0,
                    Some(seen) => {
                        let mut at = seen.from as usize;
                        varint(bytes, &mut at).ok_or_else(early)?
                    }
                };
                match (integer(value), usize::try_from(scale)) {
                    (Some(unscaled), Ok(scale)) if scale <= DIGITS => {
                        self.json.decimal(unscaled, scale);
                    }
                    _ => self.json.bytes(value)?,
                }
            }
            Known::Value => {
                // One of its fields is there: the one that came last.
                let newest = self.seen[from..].iter().max_by_key(|seen| seen.from);
                match newest.copied() {
                    None => self.json.null(),
                    Some(seen) => {
                        let field = &message.fields[seen.field as usize];
                        if field.number == 1 {
                            self.json.null();
                        } else {
                            let mut at = seen.from as usize;
                            self.value(field.kind, &bytes[..seen.to as usize], &mut at, depth)?;
                        }
                    }
                }
            }
        }
        self.seen.truncate(from);
        Ok(())
    }

    /// Seconds and nanoseconds since the epoch.
    fn timestamp(&mut self, seconds: i64, nanos: i64) {
        let whole = seconds
            .checked_mul(1_000_000_000)
            .and_then(|whole| whole.checked_add(nanos));
        match whole {
            Some(whole) => self.json.instant(whole, Unit::Nanos),
            // Beyond the years that 64 bits of nanoseconds hold, to the second.
            None => match seconds.checked_mul(1000) {
                Some(millis) => self.json.instant(millis, Unit::Millis),
                None => self.json.int(seconds),
            },
        }
    }
}

fn fixed<const N: usize>(bytes: &[u8], at: &mut usize) -> Checked<[u8; N]> {
    let end = at.checked_add(N).ok_or_else(early)?;
    let mut value = [0; N];
    value.copy_from_slice(bytes.get(*at..end).ok_or_else(early)?);
    *at = end;
    Ok(value)
}
