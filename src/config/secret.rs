//! Values that must never be shown (C1): passwords, keys, tokens, and client properties that may hold some.
//!
//! Their `Debug`, `Display` and `Serialize` say only whether something is set. The one way to the text is
//! [`Secret::reveal`], so a search for that word finds every use.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// What is shown in place of a secret that is set.
pub const REDACTED: &str = "[redacted]";

/// A text that is never shown. Empty means not set.
// The name of this type is what tells the settings' schema that a key is secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a secret from a file, without the line ends that editors leave behind it.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8, or holds nothing.
    pub fn from_file(path: &Path) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "the file is empty",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn shown(&self) -> &'static str {
        if self.is_empty() { "" } else { REDACTED }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() {
            "[not set]"
        } else {
            REDACTED
        })
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

/// Properties handed to a client library as they are; the values of those named like secrets are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Name and value of every property, by name. The values are not redacted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one property, not redacted.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter()
            .map(|(name, value)| (name, if names_secret(name) { REDACTED } else { value }))
    }
}

/// Whether a property of this name may hold a secret.
pub fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "password",
        "secret",
        "token",
        "key.pem",
        "oauthbearer.config",
        "jaas",
        "credential",
    ]
    .iter()
    .any(|part| name.contains(part))
}

impl FromIterator<(String, String)> for Properties {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.shown())
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Properties;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of property names and their values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    value.spread(name, &mut pairs);
                }
                Ok(Properties(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A property's value: text, or a number or boolean written without quotes; or, of a dotted name written without
/// quotes (which TOML reads as nested tables), what follows its first dot.
enum Value {
    Plain(String),
    Under(BTreeMap<String, Value>),
}

impl Value {
    fn spread(self, name: String, pairs: &mut BTreeMap<String, String>) {
        match self {
            Self::Plain(text) => {
                pairs.insert(name, text);
            }
            Self::Under(inner) => {
                inner
                    .into_iter()
                    .for_each(|(rest, value)| value.spread(format!("{name}.{rest}"), pairs));
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number or a boolean")
            }
            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Plain(value.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Plain(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Plain(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Plain(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Plain(value.to_string()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut inner = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    inner.insert(name, value);
                }
                Ok(Value::Under(inner))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_only_whether_it_is_set() {
        let secret = Secret::new("hunter2");
        let shown = format!(
            "{secret:?} {secret} {}",
            serde_json::to_string(&secret).unwrap()
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(format!("{}", Secret::default()), "[not set]");
        assert_eq!(serde_json::to_string(&Secret::default()).unwrap(), "\"\"");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn properties_show_values_except_those_named_like_secrets() {
        let given = r#"{"ssl.key.password":"hunter2","fetch.wait.max.ms":50,"enable.x":true,"q":{"r":{"s":1}}}"#;
        let properties: Properties = serde_json::from_str(given).unwrap();
        assert_eq!(properties.get("ssl.key.password"), Some("hunter2"));
        assert_eq!(properties.get("fetch.wait.max.ms"), Some("50"));
        let shown = format!(
            "{properties:?} {}",
            serde_json::to_string(&properties).unwrap()
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("50") && shown.contains("true"), "{shown}");
    }

    #[test]
    fn a_secret_file_loses_its_line_end_and_must_not_be_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, " s p \r\n").unwrap();
        assert_eq!(Secret::from_file(&path).unwrap().reveal(), " s p ");
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::from_file(&path).is_err());
        assert!(Secret::from_file(&directory.path().join("absent")).is_err());
    }
}
