//! The mapping file as typed: what may be written, before anything is resolved. Format: `config/mappings/README.md`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use super::cut::{Coding, Read};
use super::path::Dots;
use super::time::Doubled;
use crate::record::diagnostics::Key;

/// The keys of the whole file that are no tables: TOML reads them as keys of the table before them if there is one.
pub const OF_THE_FILE: [&str; 7] = [
    "description",
    "unmatched",
    "paths",
    "each",
    "switch",
    "jq",
    "time",
];

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub paths: Dots,
    /// What records are made of that name no `each` of their own: the elements of an array.
    pub each: Option<Spanned<Each>>,
    /// A jq program that messages go through first: the program, or the name of a file `*.jq` beside the mapping.
    pub jq: Option<Spanned<String>>,
    /// May be left out where a program makes the records.
    pub device: Option<Device>,
    /// The time of every record that has none of its own.
    pub time: Option<Spanned<Time>>,
    pub switch: Option<Switch>,
    /// What becomes of a message no record applies to.
    #[serde(default)]
    pub unmatched: Unmatched,
    #[serde(default)]
    pub record: Vec<Spanned<Record>>,
}

impl File {
    /// The first member that says something to tables only.
    pub fn without_tables(&self) -> Option<&'static str> {
        [
            ("each", self.each.is_some()),
            ("device", self.device.is_some()),
            ("time", self.time.is_some()),
            ("switch", self.switch.is_some()),
        ]
        .into_iter()
        .find_map(|(member, given)| given.then_some(member))
    }
}

/// Whose message it is.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The Geotab serial.
    pub serial: Option<Spanned<Names>>,
    /// The integrator's device id, resolved through the device registry.
    pub id: Option<Spanned<Names>>,
    /// Where the paths start.
    #[serde(default)]
    pub from: From,
}

/// Where the paths of `[device]` start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    #[default]
    Message,
    /// Each element of `each` is of a device of its own.
    Element,
}

/// The elements that records are made of: a path, or a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Each {
    pub path: String,
    /// What parts a text into elements.
    pub split: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    #[default]
    Reject,
    Skip,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    pub path: Spanned<Paths>,
    /// Types that make no record on purpose.
    #[serde(default)]
    pub ignore: Vec<Literal>,
    /// Types that neither a record nor `ignore` names.
    #[serde(default)]
    pub otherwise: Unmatched,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    #[serde(rename = "type")]
    pub kind: Option<Spanned<String>>,
    /// Types of the `switch` this record is for; none: all.
    #[serde(default)]
    pub case: Option<OneOrMore>,
    #[serde(default)]
    pub when: Option<When>,
    /// With `each`: made once per message instead of once per element.
    #[serde(default)]
    pub once: bool,
    /// What it is made of in place of the file's `each`.
    pub each: Option<Spanned<Each>>,
    pub time: Option<Spanned<Time>>,
    #[serde(default)]
    pub fields: BTreeMap<Spanned<String>, Spanned<Source>>,
    pub diagnostic: Option<Spanned<DiagnosticKey>>,
    pub value: Option<Spanned<Source>>,
    /// The vendor sends the raw integer: no multiplier, no offset.
    #[serde(default)]
    pub raw: bool,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    pub present: Option<Spanned<AllPaths>>,
    pub absent: Option<Spanned<AllPaths>>,
    pub equals: BTreeMap<Spanned<String>, OneOrMore>,
    pub differs: BTreeMap<Spanned<String>, OneOrMore>,
    /// Arrays and what must be among their elements.
    pub contains: BTreeMap<Spanned<String>, OneOrMore>,
}

/// A time: a path, or a table.
#[derive(Debug)]
pub struct Time {
    pub source: Source,
    pub format: Option<Spanned<String>>,
    pub zone: Option<Spanned<String>>,
    pub doubled: Doubled,
    /// What is added to it.
    pub add: Option<Span>,
    /// What lies between an element and the next one.
    pub step: Option<Span>,
}

/// A length of time: a value and its unit.
#[derive(Debug)]
pub struct Span {
    pub source: Source,
    pub unit: Unit,
}

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    S,
    Ms,
    Us,
}

/// Where a value comes from: a path (text), a constant (number or boolean), or a table.
#[derive(Debug, Default)]
pub struct Source {
    pub path: Option<Paths>,
    pub join: Option<Paths>,
    pub separator: Option<String>,
    pub constant: Option<Literal>,
    pub default: Option<Literal>,
    pub split: Option<String>,
    pub item: Option<i32>,
    pub matching: Option<String>,
    pub chars: Option<(i32, i32)>,
    pub binary: Option<Coding>,
    pub at: Option<u16>,
    pub read: Option<Read>,
    pub bits: Option<(u8, u8)>,
    pub bit: Option<u8>,
    pub decimal: Option<String>,
    pub units: Option<BTreeMap<String, f64>>,
    pub map: Option<BTreeMap<String, Literal>>,
    pub otherwise: Option<Literal>,
    pub factor: Option<f64>,
    pub offset: Option<f64>,
    pub form: Option<Form>,
}

/// What a value is turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    Number,
    /// Rounded to the nearest.
    Integer,
    Text,
    Boolean,
    /// The Base64 of a text's bytes.
    Base64,
    /// The Base64 of the bytes that a hexadecimal text stands for.
    HexBase64,
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

/// One path, or several of which the first present counts.
#[derive(Debug, Clone)]
pub struct Paths(pub Vec<String>);

/// Where a name comes from: one value, or several of which the first that is there counts.
#[derive(Debug)]
pub struct Names(pub Vec<Source>);

/// One path, or several that all count.
#[derive(Debug, Clone)]
pub struct AllPaths(pub Vec<String>);

#[derive(Debug, Clone)]
pub struct OneOrMore(pub Vec<Literal>);

#[derive(Debug)]
pub struct DiagnosticKey(pub Key);

/// The keys of a value's table, those of a time's included.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    path: Option<Paths>,
    join: Option<Paths>,
    separator: Option<String>,
    #[serde(rename = "const")]
    constant: Option<Literal>,
    default: Option<Literal>,
    split: Option<String>,
    item: Option<i32>,
    #[serde(rename = "match")]
    matching: Option<String>,
    chars: Option<(i32, i32)>,
    binary: Option<Coding>,
    at: Option<u16>,
    read: Option<Read>,
    bits: Option<(u8, u8)>,
    bit: Option<u8>,
    decimal: Option<String>,
    units: Option<BTreeMap<String, f64>>,
    map: Option<BTreeMap<String, Literal>>,
    otherwise: Option<Literal>,
    factor: Option<f64>,
    offset: Option<f64>,
    #[serde(rename = "as")]
    form: Option<Form>,
    format: Option<Spanned<String>>,
    zone: Option<Spanned<String>>,
    doubled: Option<Doubled>,
    add: Option<Box<Span>>,
    step: Option<Box<Span>>,
    unit: Option<Unit>,
}

impl Table {
    fn read<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Deserialize::deserialize(MapAccessDeserializer::new(map))
    }

    /// Refuses the keys of a time.
    fn without_time<E: de::Error>(self) -> Result<Self, E> {
        let time = self.format.is_some()
            || self.zone.is_some()
            || self.doubled.is_some()
            || self.add.is_some()
            || self.step.is_some();
        if time {
            return Err(E::custom(
                "format, zone, doubled, add and step belong to a `time`; leave them out here",
            ));
        }
        Ok(self)
    }

    fn without_unit<E: de::Error>(self) -> Result<Self, E> {
        if self.unit.is_some() {
            return Err(E::custom(
                "unit belongs to `add` and `step` of a time; for a number with its unit write units = { \"m/s\" = 3.6 }",
            ));
        }
        Ok(self)
    }

    fn source(self) -> Source {
        Source {
            path: self.path,
            join: self.join,
            separator: self.separator,
            constant: self.constant,
            default: self.default,
            split: self.split,
            item: self.item,
            matching: self.matching,
            chars: self.chars,
            binary: self.binary,
            at: self.at,
            read: self.read,
            bits: self.bits,
            bit: self.bit,
            decimal: self.decimal,
            units: self.units,
            map: self.map,
            otherwise: self.otherwise,
            factor: self.factor,
            offset: self.offset,
            form: self.form,
        }
    }
}

impl Source {
    fn at(path: &str) -> Self {
        Self {
            path: Some(Paths(vec![path.to_owned()])),
            ..Self::default()
        }
    }

    fn constant(literal: Literal) -> Self {
        Self {
            constant: Some(literal),
            ..Self::default()
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a table { path | join, format, zone, doubled, add, step }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                Ok(Time {
                    source: Source::at(text),
                    format: None,
                    zone: None,
                    doubled: Doubled::default(),
                    add: None,
                    step: None,
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Time, A::Error> {
                let mut table = Table::read(map)?.without_unit::<A::Error>()?;
                Ok(Time {
                    format: table.format.take(),
                    zone: table.zone.take(),
                    doubled: table.doubled.take().unwrap_or_default(),
                    add: table.add.take().map(|span| *span),
                    step: table.step.take().map(|span| *span),
                    source: table.source(),
                })
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table { path | const, unit = \"s\" | \"ms\" | \"us\" }")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Span, A::Error> {
                let mut table = Table::read(map)?.without_time::<A::Error>()?;
                let unit = table.unit.take().ok_or_else(|| {
                    de::Error::custom("no unit; give unit = \"s\", \"ms\" or \"us\"")
                })?;
                Ok(Span {
                    unit,
                    source: table.source(),
                })
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Source;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, a constant number or boolean, or a table { path | join | const, default, split, item, match, chars, binary, at, read, units, decimal, bits, bit, map, otherwise, factor, offset, as }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Source, E> {
                Ok(Source::at(text))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Source, E> {
                Ok(Source::constant(Literal::Boolean(value)))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Source, E> {
                Ok(Source::constant(Literal::Integer(value)))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Source, E> {
                Ok(Source::constant(Literal::Number(value)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                let table = Table::read(map)?.without_time::<A::Error>()?;
                Ok(table.without_unit::<A::Error>()?.source())
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, a list of paths, or a table { path | join, split, item, match, chars }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Names, E> {
                Ok(Names(vec![Source::at(text)]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Names, A::Error> {
                let list: Vec<Source> = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
                if list.is_empty() {
                    return Err(de::Error::custom("the list of paths is empty"));
                }
                Ok(Names(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Names, A::Error> {
                Source::deserialize(MapAccessDeserializer::new(map))
                    .map(|source| Names(vec![source]))
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Each {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            path: String,
            split: Option<String>,
        }
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Each;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of an array, or a table { path, split }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Each, E> {
                Ok(Each {
                    path: text.to_owned(),
                    split: None,
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Each, A::Error> {
                let Table { path, split } =
                    Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Each { path, split })
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Literal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a text, a number or a boolean (a path with dots as a key needs quotes)",
                )
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Literal, E> {
                Ok(Literal::Text(text.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Literal, E> {
                Ok(Literal::Boolean(value))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Literal, E> {
                Ok(Literal::Integer(value))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Literal, E> {
                if value.is_finite() {
                    Ok(Literal::Number(value))
                } else {
                    Err(E::custom("JSON has no infinity and no NaN"))
                }
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// Text or a list of texts.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct V;
    impl<'de> Visitor<'de> for V {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a path or a list of paths")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<String>, A::Error> {
            let list = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
            if list.is_empty() {
                Err(de::Error::custom("the list of paths is empty"))
            } else {
                Ok(list)
            }
        }
    }
    deserializer.deserialize_any(V)
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        texts(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for AllPaths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        texts(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = OneOrMore;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, a boolean, or a list of them (a path with dots as a key needs quotes)")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![Literal::Text(text.to_owned())]))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![Literal::Boolean(value)]))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![Literal::Integer(value)]))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![Literal::Number(value)]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneOrMore, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMore)
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for DiagnosticKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Literal::deserialize(deserializer)? {
            Literal::Integer(code) => Ok(Self(Key::Code(code))),
            Literal::Text(name) => Ok(Self(Key::Name(name))),
            _ => Err(de::Error::custom(
                "a diagnostic is a code (a whole number) or a name (a text)",
            )),
        }
    }
}
