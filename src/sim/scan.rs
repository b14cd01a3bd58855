//! From a request's bytes to checked records: one pass over the body, no tree, no allocation per record.
//!
//! All or nothing: the first record that does not fit the specification refuses the whole body (dig/API.md 5.6, 5.7).
//! What fits but means nonsense comes out as a [`Fate`] other than `Valid`, to be shown later as an invalid record.

use super::cursor::{Bad, Class, Cursor, TextRange, Value};
use super::kinds::{self, KINDS, MEMBERS, Member};
use super::{escapes, instants};

/// What the scan needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_records: usize,
    /// Instants outside are invalid records; ticks of 100 ns since the epoch.
    pub oldest: i64,
    pub newest: i64,
    pub now: i64,
    pub zoneless_is_utc: bool,
    /// Members the record type does not have are a schema error; otherwise they are ignored.
    pub refuse_extra_members: bool,
    /// Base64 limits count encoded characters (the OpenAPI's `maxLength`) instead of decoded bytes.
    pub strict_base64: bool,
}

/// What becomes of a record that fits the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Valid,
    /// Accepted by HTTP and silently discarded (dig/API.md 5.8).
    Dropped,
    /// Accepted by HTTP and shown by `GET /invalidrecords` with this cause.
    Invalid(&'static str),
}

/// A record that fits the specification.
#[derive(Debug, Clone, Copy)]
pub struct Scanned {
    pub whole: TextRange,
    pub serial: TextRange,
    pub date_time: TextRange,
    pub ticks: i64,
    /// Index into [`KINDS`].
    pub kind: u8,
    pub fate: Fate,
    /// Member names were written in their own case, without white space between tokens that would break a line.
    pub canonical: bool,
    /// It starts, or resumes, the billing of its device.
    pub bills: bool,
}

/// Why a body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the body is not JSON: {reason} at byte {at}")]
    Malformed { at: usize, reason: &'static str },
    /// The body has escapes that hide what it says; [`scan`] takes them out first.
    #[error("the body has needless escapes")]
    Escaped,
    #[error("the body is not an array")]
    NotArray,
    #[error("the array is empty")]
    Empty,
    #[error("the array has more than {0} records")]
    TooMany(usize),
    #[error("record {record}: {member}: {reason}")]
    Record {
        record: usize,
        member: &'static str,
        reason: &'static str,
    },
}

struct Slots {
    seen: u64,
    texts: u64,
    integers: u64,
    numbers: u64,
    flags: u64,
    nulls: u64,
    extra: bool,
    canonical: bool,
    values: [Value; MEMBERS],
}

impl Slots {
    fn text<'a>(&self, member: Member, body: &'a [u8]) -> &'a [u8] {
        match self.values[member as usize] {
            Value::Text(place) => place.of(body),
            _ => b"",
        }
    }

    fn place(&self, member: Member) -> TextRange {
        match self.values[member as usize] {
            Value::Text(place) => place,
            _ => TextRange::default(),
        }
    }

    fn integer(&self, member: Member) -> i64 {
        match self.values[member as usize] {
            Value::Integer(value) => value,
            Value::Huge => i64::MAX,
            _ => 0,
        }
    }

    fn number(&self, member: Member) -> f64 {
        match self.values[member as usize] {
            Value::Integer(value) => value as f64,
            Value::Number(value) => value,
            Value::Huge => f64::INFINITY,
            _ => 0.0,
        }
    }
}

/// Scans a body into `out`, which is cleared first. A body with needless escapes is rewritten without them.
///
/// # Errors
/// The first thing that keeps the body from being accepted.
pub fn scan(body: &mut Vec<u8>, limits: &Limits, out: &mut Vec<Scanned>) -> Result<(), Refusal> {
    match pass(body, false, limits, out) {
        Err(Refusal::Escaped) => {
            *body = escapes::reduce(body)?;
            pass(body, true, limits, out)
        }
        other => other,
    }
}

fn pass(
    body: &[u8],
    reduced: bool,
    limits: &Limits,
    out: &mut Vec<Scanned>,
) -> Result<(), Refusal> {
    out.clear();
    if let Err(error) = std::str::from_utf8(body) {
        return Err(Refusal::Malformed {
            at: error.valid_up_to(),
            reason: "not UTF-8",
        });
    }
    let mut slots = Slots {
        seen: 0,
        texts: 0,
        integers: 0,
        numbers: 0,
        flags: 0,
        nulls: 0,
        extra: false,
        canonical: true,
        values: [Value::Other; MEMBERS],
    };
    let mut cursor = Cursor {
        body,
        at: 0,
        reduced,
    };
    cursor.space();
    match cursor.peek() {
        b'[' => cursor.at += 1,
        b'{' | b'"' | b't' | b'f' | b'n' | b'-' | b'0'..=b'9' => return Err(Refusal::NotArray),
        _ => return Err(cursor.bad("expected an array")),
    }
    cursor.space();
    if cursor.peek() == b']' {
        cursor.at += 1;
        return cursor.end().and(Err(Refusal::Empty));
    }
    loop {
        if out.len() == limits.max_records {
            return Err(Refusal::TooMany(limits.max_records));
        }
        cursor.space();
        if cursor.peek() != b'{' {
            return Err(Refusal::Record {
                record: out.len(),
                member: "",
                reason: "not an object",
            });
        }
        let start = cursor.at as u32;
        object(&mut cursor, &mut slots, out.len())?;
        let whole = TextRange {
            start,
            end: cursor.at as u32,
        };
        let record =
            judge(body, limits, &slots, whole).map_err(|(member, reason)| Refusal::Record {
                record: out.len(),
                member,
                reason,
            })?;
        out.push(record);
        cursor.space();
        match cursor.peek() {
            b',' => cursor.at += 1,
            b']' => {
                cursor.at += 1;
                return cursor.end();
            }
            _ => return Err(cursor.bad("expected , or ]")),
        }
    }
}

/// Calls `each` with the name and the raw value of every member of an object that [`scan`] has accepted.
pub fn members<'a>(record: &'a [u8], mut each: impl FnMut(&'a [u8], &'a [u8])) {
    let mut cursor = Cursor {
        body: record,
        at: 1,
        reduced: true,
    };
    loop {
        cursor.space();
        let Ok(name) = cursor.text() else { return };
        cursor.space();
        cursor.at += 1;
        cursor.space();
        let start = cursor.at;
        if cursor.value().is_err() {
            return;
        }
        each(name.of(record), &record[start..cursor.at]);
        cursor.space();
        if cursor.peek() != b',' {
            return;
        }
        cursor.at += 1;
    }
}

fn object(cursor: &mut Cursor<'_>, slots: &mut Slots, record: usize) -> Result<(), Refusal> {
    slots.seen = 0;
    slots.texts = 0;
    slots.integers = 0;
    slots.numbers = 0;
    slots.flags = 0;
    slots.nulls = 0;
    slots.extra = false;
    slots.canonical = true;
    cursor.at += 1;
    let from = cursor.at;
    cursor.space();
    if cursor.peek() == b'}' {
        cursor.at += 1;
        return Ok(());
    }
    let mut spaced = cursor.at != from;
    loop {
        if cursor.peek() != b'"' {
            return Err(cursor.bad("expected a member name"));
        }
        let name = cursor.text()?;
        let from = cursor.at;
        cursor.space();
        if cursor.peek() != b':' {
            return Err(cursor.bad("expected :"));
        }
        cursor.at += 1;
        cursor.space();
        spaced |= cursor.at != from + 1;
        let found = kinds::find(name.of(cursor.body));
        let (value, class) = match cursor.value() {
            Ok(value) => value,
            Err(Bad::Nested) => {
                let member = found.map_or("", |(at, _)| kinds::NAMES[at as usize]);
                return Err(Refusal::Record {
                    record,
                    member,
                    reason: "an object or array where a plain value belongs",
                });
            }
            Err(Bad::Malformed(reason)) => return Err(cursor.bad(reason)),
            Err(Bad::Refused(refusal)) => return Err(refusal),
        };
        match found {
            Some((at, canonical)) => {
                let bit = 1u64 << at;
                if slots.seen & bit != 0 {
                    return Err(Refusal::Record {
                        record,
                        member: kinds::NAMES[at as usize],
                        reason: "given twice",
                    });
                }
                slots.seen |= bit;
                slots.canonical &= canonical;
                slots.values[at as usize] = value;
                match class {
                    Class::Text => slots.texts |= bit,
                    Class::Integer => slots.integers |= bit,
                    Class::Number => slots.numbers |= bit,
                    Class::Flag => slots.flags |= bit,
                    Class::Null => slots.nulls |= bit,
                }
            }
            None => slots.extra = true,
        }
        let from = cursor.at;
        cursor.space();
        match cursor.peek() {
            b',' => {
                cursor.at += 1;
                cursor.space();
                spaced |= cursor.at != from + 1;
            }
            b'}' => {
                spaced |= cursor.at != from;
                cursor.at += 1;
                slots.canonical &= !spaced;
                return Ok(());
            }
            _ => return Err(cursor.bad("expected , or }")),
        }
    }
}

/// Characters of a string as written: an escape is one.
fn characters(text: &[u8]) -> usize {
    let (mut count, mut at) = (0, 0);
    while let Some(&byte) = text.get(at) {
        at += match byte {
            b'\\' if text.get(at + 1) == Some(&b'u') => 6,
            b'\\' => 2,
            _ => 1,
        };
        // Bytes that continue a character of UTF-8 begin with 10.
        count += usize::from(byte & 0xc0 != 0x80);
    }
    count
}

type Wrong = (&'static str, &'static str);

fn first_name(mask: u64) -> &'static str {
    kinds::NAMES
        .get(mask.trailing_zeros() as usize)
        .copied()
        .unwrap_or("")
}

fn judge(body: &[u8], limits: &Limits, slots: &Slots, whole: TextRange) -> Result<Scanned, Wrong> {
    let Some(at) = kinds::kind_of(slots.text(Member::Type, body)) else {
        return Err(("Type", "missing or not one of the twelve record types"));
    };
    let kind = &KINDS[at as usize];
    let missing = kind.required & !slots.seen;
    if missing != 0 {
        return Err((first_name(missing), "missing"));
    }
    let allowed = kind.allowed();
    if limits.refuse_extra_members && (slots.extra || slots.seen & !allowed != 0) {
        return Err((
            first_name(slots.seen & !allowed),
            "not a member of this record type",
        ));
    }
    let fits = (kind.texts & slots.texts)
        | (kind.integers & slots.integers)
        | (kind.numbers & (slots.integers | slots.numbers))
        | (kind.flags & slots.flags)
        | (kind.nullable & slots.nulls);
    let wrong = slots.seen & allowed & !fits;
    if wrong != 0 {
        return Err((first_name(wrong), "a value of the wrong type"));
    }
    for &(member, low, high) in kind.bounds {
        if slots.integers & member.bit() != 0 && !(low..=high).contains(&slots.integer(member)) {
            return Err((member.name(), "out of range"));
        }
    }
    let mut numbers = kind.numbers & slots.seen;
    while numbers != 0 {
        let at = numbers.trailing_zeros() as usize;
        let fits = match slots.values[at] {
            Value::Number(value) => (value as f32).is_finite(),
            Value::Huge => false,
            Value::Integer(_) | Value::Text(_) | Value::Other => true,
        };
        if !fits {
            return Err((kinds::NAMES[at], "not a 32-bit float"));
        }
        numbers &= numbers - 1;
    }
    let date_time = slots.place(Member::DateTime);
    let Some(ticks) = instants::parse(date_time.of(body), limits.zoneless_is_utc) else {
        return Err((
            "DateTime",
            "not an RFC 3339 date-time with a zone and at most seven fractional digits",
        ));
    };
    let serial = slots.place(Member::SerialNo);
    if !(1..=50).contains(&characters(serial.of(body))) {
        return Err(("SerialNo", "not 1 to 50 characters"));
    }
    let fate = type_rules::judge(body, limits, slots, at, kind, ticks)?;
    let fate = match fate {
        Fate::Valid if ticks < limits.oldest => Fate::Invalid("sim: DateTime is too old"),
        Fate::Valid if ticks > limits.newest => Fate::Invalid("sim: DateTime is in the future"),
        fate => fate,
    };
    Ok(Scanned {
        whole,
        serial,
        date_time,
        ticks,
        kind: at,
        fate,
        canonical: slots.canonical,
        bills: false,
    })
}

#[cfg(test)]
mod tests;
mod type_rules;
