//! The mapping file as typed: what may be written, before anything is resolved. Format: `config/mappings/README.md`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use super::path::Dots;
use crate::record::diagnostics::Key;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub paths: Dots,
    /// Path of an array: records are made once per element.
    pub each: Option<Spanned<String>>,
    pub device: Device,
    /// The time of every record that has none of its own.
    pub time: Option<Spanned<Time>>,
    pub switch: Option<Switch>,
    /// What becomes of a message no record applies to.
    #[serde(default)]
    pub unmatched: Unmatched,
    #[serde(default)]
    pub record: Vec<Spanned<Record>>,
}

/// Whose message it is: paths from the message.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The Geotab serial.
    pub serial: Option<Spanned<Paths>>,
    /// The integrator's device id, resolved through the device registry.
    pub id: Option<Spanned<Paths>>,
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
}

/// A time: a path, or a table.
#[derive(Debug)]
pub struct Time {
    pub path: Paths,
    pub format: Option<Spanned<String>>,
    pub zone: Option<Spanned<String>>,
}

/// Where a value comes from: a path (text), a constant (number or boolean), or a table.
#[derive(Debug, Default)]
pub struct Source {
    pub path: Option<Paths>,
    pub constant: Option<Literal>,
    pub default: Option<Literal>,
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

/// One path, or several that all count.
#[derive(Debug, Clone)]
pub struct AllPaths(pub Vec<String>);

#[derive(Debug, Clone)]
pub struct OneOrMore(pub Vec<Literal>);

#[derive(Debug)]
pub struct DiagnosticKey(pub Key);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            path: Paths,
            format: Option<Spanned<String>>,
            zone: Option<Spanned<String>>,
        }
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a table { path, format, zone }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                Ok(Time {
                    path: Paths(vec![text.to_owned()]),
                    format: None,
                    zone: None,
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Time, A::Error> {
                let Table { path, format, zone } =
                    Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Time { path, format, zone })
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            path: Option<Paths>,
            #[serde(rename = "const")]
            constant: Option<Literal>,
            default: Option<Literal>,
            map: Option<BTreeMap<String, Literal>>,
            otherwise: Option<Literal>,
            factor: Option<f64>,
            offset: Option<f64>,
            #[serde(rename = "as")]
            form: Option<Form>,
        }
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Source;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, a constant number or boolean, or a table { path | const, default, map, otherwise, factor, offset, as }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Source, E> {
                Ok(Source {
                    path: Some(Paths(vec![text.to_owned()])),
                    ..Source::default()
                })
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Source, E> {
                Ok(Source {
                    constant: Some(Literal::Boolean(value)),
                    ..Source::default()
                })
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Source, E> {
                Ok(Source {
                    constant: Some(Literal::Integer(value)),
                    ..Source::default()
                })
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Source, E> {
                Ok(Source {
                    constant: Some(Literal::Number(value)),
                    ..Source::default()
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                let Table {
                    path,
                    constant,
                    default,
                    map,
                    otherwise,
                    factor,
                    offset,
                    form,
                } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Source {
                    path,
                    constant,
                    default,
                    map,
                    otherwise,
                    factor,
                    offset,
                    form,
                })
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
