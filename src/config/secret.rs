//! Values that must never be shown (C1): passwords, keys, tokens, and client properties that may hold some.
//!
//! Their `Debug`, `Display` and `Serialize` say only whether something is set. The one way to the text is
//! [`Secret::reveal`], so a search for that word finds every use. Whoever makes one makes it known to [`super::redact`], which
//! removes it from texts of others.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::redact;

/// What is shown in place of a secret that is set.
pub const REDACTED: &str = "[redacted]";

/// A text that is never shown. Empty means not set.
// The name of this type is what tells the settings' schema that a key is secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text, which is known to [`redact`] from now on.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        redact::learn(&text);
        Self(text)
    }

    /// Wraps a token of a session: known to [`redact`] until many newer ones are.
    pub fn token(text: impl Into<String>) -> Self {
        let text = text.into();
        redact::learn_token(&text);
        Self(text)
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
        Ok(Self::new(text))
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

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As a newtype of this name, which the settings' schema knows.
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Secret, D::Error> {
                String::deserialize(deserializer).map(Secret::new)
            }
            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }
        }
        deserializer.deserialize_newtype_struct("Secret", Text)
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
        self.iter().map(|(name, value)| {
            (
                name,
                if is_secret(name, value) {
                    REDACTED
                } else {
                    value
                },
            )
        })
    }
}

fn is_secret(name: &str, value: &str) -> bool {
    names_secret(name) || looks_secret(value)
}

/// Whether a property or setting of this name may hold a secret.
pub fn names_secret(name: &str) -> bool {
    let name: String = name
        .chars()
        .map(|c| match c {
            '.' | '-' => '_',
            c => c.to_ascii_lowercase(),
        })
        .collect();
    let parts = [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "token",
        "key_pem",
        "private_key",
        "api_key",
        "apikey",
        "access_key",
        "session_key",
        "oauthbearer_config",
        "oauthbearer_extensions",
        "jaas",
        "credential",
        "authorization",
        "bearer",
        "signature",
    ];
    parts.iter().any(|part| name.contains(part))
}

/// Whether a value holds a secret whatever its name: a private key, an address with a password.
fn looks_secret(value: &str) -> bool {
    let address = value.split_once("://").is_some_and(|(_, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        rest[..end]
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    });
    address || value.contains("PRIVATE KEY-----")
}

impl FromIterator<(String, String)> for Properties {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let pairs: BTreeMap<String, String> = pairs.into_iter().collect();
        pairs
            .iter()
            .filter(|(name, value)| is_secret(name, value))
            .for_each(|(_, value)| redact::learn(value));
        Self(pairs)
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
                Ok(pairs.into_iter().collect())
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
    fn every_property_that_may_hold_a_secret_is_hidden() {
        let hidden = [
            ("ssl.key.password", "S3CRET1"),
            ("ssl.key.pem", "S3CRET1"),
            ("ssl.keystore.password", "S3CRET1"),
            (
                "sasl.oauthbearer.assertion.private.key.passphrase",
                "S3CRET1",
            ),
            ("sasl.oauthbearer.assertion.private.key.pem", "S3CRET1"),
            ("sasl.oauthbearer.client.secret", "S3CRET1"),
            ("sasl.oauthbearer.config", "S3CRET1"),
            (
                "sasl.oauthbearer.token.endpoint.url",
                "https://S3CRET1.example",
            ),
            ("sasl.jaas.config", "S3CRET1"),
            ("Some.API-Key", "S3CRET1"),
            ("some.proxy", "http://ann:S3CRET1@proxy.example/"),
            ("some.pem", "-----BEGIN EC PRIVATE KEY-----S3CRET1"),
        ];
        for (name, value) in hidden {
            let properties: Properties =
                [(name.to_owned(), value.to_owned())].into_iter().collect();
            let shown = format!("{properties:?}");
            assert!(!shown.contains("S3CRET1"), "{shown}");
        }
        let open = [
            ("ssl.certificate.pem", "certificate"),
            ("ssl.ca.location", "/etc/ca.pem"),
            ("sasl.username", "ann"),
            ("client.rack", "http://rack@7"),
        ];
        for (name, value) in open {
            let properties: Properties =
                [(name.to_owned(), value.to_owned())].into_iter().collect();
            assert!(format!("{properties:?}").contains(value), "{name}");
        }
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
