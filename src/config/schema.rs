//! What settings exist and of which kind: asked of the types themselves, so that it cannot drift from them.
//!
//! A probe deserialiser is sent down one path of names. At its end it notes which kind of value the type asks
//! for and gives up; what the deserialisation made of that is thrown away. No value is ever invented.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::secret::names_secret;

/// What a setting takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A table of the named settings.
    Section(&'static [&'static str]),
    Bool,
    /// A whole number between two bounds, inclusive.
    Integer(i64, i64),
    Float,
    Text,
    /// Text that is never shown.
    Secret,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// An array.
    List,
    /// A table whose names are free.
    Map,
    /// A type that decides by looking at the value.
    Any,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Section(_) => f.write_str("a section"),
            Self::Bool => f.write_str("true or false"),
            Self::Integer(low, i64::MAX) => write!(f, "a whole number, at least {low}"),
            Self::Integer(low, high) => write!(f, "a whole number from {low} to {high}"),
            Self::Float => f.write_str("a number"),
            Self::Text | Self::Secret => f.write_str("text in quotes"),
            Self::Choice(words) => write!(f, "one of \"{}\"", words.join("\", \"")),
            Self::List => f.write_str("an array, such as [\"a\", \"b\"]"),
            Self::Map => f.write_str("a table, such as { name = \"value\" }"),
            Self::Any => f.write_str("a value"),
        }
    }
}

/// Every setting and section by its dotted key.
pub type Schema = BTreeMap<String, Kind>;

/// The schema of a settings type.
pub fn of<T: DeserializeOwned>() -> Schema {
    let mut schema = Schema::new();
    collect::<T>(&mut Vec::new(), &mut schema);
    schema
}

fn collect<T: DeserializeOwned>(path: &mut Vec<&'static str>, schema: &mut Schema) {
    let Some(mut kind) = kind_at::<T>(path) else {
        return;
    };
    // By name as well, so that a secret kept in another type is not shown in an error either.
    if kind == Kind::Text
        && path
            .last()
            .is_some_and(|name| names_secret(name) && !name.ends_with("_file"))
    {
        kind = Kind::Secret;
    }
    if let Kind::Section(names) = &kind {
        for name in *names {
            path.push(name);
            collect::<T>(path, schema);
            path.pop();
        }
    }
    if !path.is_empty() {
        schema.insert(path.join("."), kind);
    }
}

fn kind_at<T: DeserializeOwned>(path: &[&'static str]) -> Option<Kind> {
    let found = RefCell::new(None);
    // The probe always ends in an error; what it found on the way is the answer.
    let _ = T::deserialize(Probe {
        path,
        found: &found,
    });
    found.into_inner()
}

#[derive(Clone, Copy)]
struct Probe<'a> {
    path: &'a [&'static str],
    found: &'a RefCell<Option<Kind>>,
}

impl Probe<'_> {
    fn note<V>(self, kind: Kind) -> Result<V, Done> {
        if self.path.is_empty() {
            *self.found.borrow_mut() = Some(kind);
        }
        Err(Done)
    }
}

/// The probe's way out.
#[derive(Debug)]
struct Done;

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("probe done")
    }
}

impl std::error::Error for Done {}

impl de::Error for Done {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

macro_rules! leaves {
    ($($method:ident => $kind:expr,)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Done> {
            self.note($kind)
        })*
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Done;

    leaves! {
        deserialize_any => Kind::Any,
        deserialize_ignored_any => Kind::Any,
        deserialize_unit => Kind::Any,
        deserialize_bool => Kind::Bool,
        deserialize_i8 => Kind::Integer(i8::MIN.into(), i8::MAX.into()),
        deserialize_i16 => Kind::Integer(i16::MIN.into(), i16::MAX.into()),
        deserialize_i32 => Kind::Integer(i32::MIN.into(), i32::MAX.into()),
        deserialize_i64 => Kind::Integer(i64::MIN, i64::MAX),
        deserialize_u8 => Kind::Integer(0, u8::MAX.into()),
        deserialize_u16 => Kind::Integer(0, u16::MAX.into()),
        deserialize_u32 => Kind::Integer(0, u32::MAX.into()),
        deserialize_u64 => Kind::Integer(0, i64::MAX),
        deserialize_f32 => Kind::Float,
        deserialize_f64 => Kind::Float,
        deserialize_char => Kind::Text,
        deserialize_str => Kind::Text,
        deserialize_string => Kind::Text,
        deserialize_bytes => Kind::Text,
        deserialize_byte_buf => Kind::Text,
        deserialize_identifier => Kind::Text,
        deserialize_seq => Kind::List,
        deserialize_map => Kind::Map,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Done> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Done> {
        if name == "Secret" {
            self.note(Kind::Secret)
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Done> {
        match self.path {
            [] => self.note(Kind::Section(names)),
            [name, rest @ ..] => visitor.visit_map(Step {
                name: Some(name),
                probe: Probe { path: rest, ..self },
            }),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Done> {
        self.note(Kind::Choice(words))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: V,
    ) -> Result<V::Value, Done> {
        self.note(Kind::Any)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Done> {
        self.note(Kind::List)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, Done> {
        self.note(Kind::List)
    }
}

/// A map of one name, whose value is the probe itself.
struct Step<'a> {
    name: Option<&'static str>,
    probe: Probe<'a>,
}

impl<'de> MapAccess<'de> for Step<'_> {
    type Error = Done;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Done> {
        self.name
            .take()
            .map(|name| seed.deserialize(StrDeserializer::new(name)))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Done> {
        seed.deserialize(self.probe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::{Properties, Secret};

    #[derive(Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    #[allow(dead_code, reason = "only its shape is asked")]
    struct Top {
        inner: Inner,
        list: Vec<u8>,
    }

    #[derive(Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    #[allow(dead_code, reason = "only its shape is asked")]
    struct Inner {
        count: u16,
        maybe: Option<f64>,
        at: Option<std::net::SocketAddr>,
        path: std::path::PathBuf,
        password: Secret,
        properties: Properties,
        word: Word,
        plain_token: String,
        token_file: std::path::PathBuf,
        floor: Option<std::num::NonZeroU32>,
    }

    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        #[default]
        Off,
        On,
    }

    #[test]
    fn every_field_is_found_with_its_kind() {
        let schema = of::<Top>();
        let of = |key: &str| schema.get(key).cloned();
        assert_eq!(of("inner.count"), Some(Kind::Integer(0, 65_535)));
        assert_eq!(of("inner.maybe"), Some(Kind::Float));
        assert_eq!(of("inner.at"), Some(Kind::Text));
        assert_eq!(of("inner.path"), Some(Kind::Text));
        assert_eq!(of("inner.password"), Some(Kind::Secret));
        assert_eq!(of("inner.plain_token"), Some(Kind::Secret));
        assert_eq!(of("inner.token_file"), Some(Kind::Text));
        assert_eq!(of("inner.properties"), Some(Kind::Map));
        assert_eq!(of("inner.word"), Some(Kind::Choice(&["off", "on"])));
        assert_eq!(of("inner.floor"), Some(Kind::Integer(0, u32::MAX.into())));
        assert_eq!(of("list"), Some(Kind::List));
        assert!(matches!(of("inner"), Some(Kind::Section(names)) if names.len() == 10));
        assert_eq!(schema.len(), 12);
    }
}
