//! Settings of formats: the format of a topic (`[input.formats]`), and the schema registry (`[schema_registry]`).

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;
use crate::http::transport;

/// What the bytes of a message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Format {
    /// JSON.
    #[default]
    Json,
    /// JSON behind the header of a schema registry; the schema is not asked for.
    JsonWithHeader,
    /// Avro: behind the header of a schema registry, or without one and with a schema file.
    Avro,
    /// Protobuf: as Avro.
    Protobuf,
}

impl Format {
    /// Its name in settings and errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::JsonWithHeader => "json_with_header",
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
        }
    }
}

/// The format of a topic: its name, or a table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Topic {
    /// Format of the messages.
    pub format: Format,
    /// Schema of all messages, which then have no header of a schema registry: `.avsc`, `.proto`, or a set of file descriptors.
    pub schema: Option<PathBuf>,
    /// Reader schema (Avro): messages of any schema are read as one of this schema.
    pub reader_schema: Option<PathBuf>,
    /// Message type (Protobuf with `schema`), by its full name; not needed if the file has only one.
    pub message: Option<String>,
}

impl Topic {
    /// Whether messages name their schema by its id in a schema registry.
    #[must_use]
    pub fn asks_registry(&self) -> bool {
        matches!(self.format, Format::Avro | Format::Protobuf) && self.schema.is_none()
    }

    /// # Errors
    /// Members that do not fit each other.
    pub fn check(&self) -> Result<(), String> {
        let binary = matches!(self.format, Format::Avro | Format::Protobuf);
        let name = self.format.name();
        if self.schema.is_some() && !binary {
            return Err(format!("`schema` says nothing about the format {name}"));
        }
        if self.reader_schema.is_some() && self.format != Format::Avro {
            return Err(format!("`reader_schema` is for avro, not for {name}"));
        }
        if self.message.is_some() && (self.format != Format::Protobuf || self.schema.is_none()) {
            return Err(
                "`message` is for protobuf with a `schema`: otherwise the message names its type"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            format: Format,
            schema: Option<PathBuf>,
            reader_schema: Option<PathBuf>,
            message: Option<String>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Topic;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a format, such as \"avro\", or a table, such as { format = \"avro\", schema = \"FILE\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Topic, E> {
                let format = Format::deserialize(de::value::StrDeserializer::<E>::new(text))?;
                Ok(Topic {
                    format,
                    ..Topic::default()
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Topic, A::Error> {
                let Table {
                    format,
                    schema,
                    reader_schema,
                    message,
                } = Table::deserialize(MapAccessDeserializer::new(map))?;
                let topic = Topic {
                    format,
                    schema,
                    reader_schema,
                    message,
                };
                topic.check().map_err(de::Error::custom)?;
                Ok(topic)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Settings of the schema registry's client (`[schema_registry]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Base URLs of the schema registry (the Confluent API), asked in this order until one answers; for Apicurio with the path
    /// `/apis/ccompat/v7`.
    pub urls: Vec<String>,
    /// User of the schema registry (basic authentication).
    pub username: String,
    /// Password of `schema_registry.username`; better given by the environment or by `schema_registry.password_file`.
    pub password: Secret,
    /// File with the password; read again at every request, so that the password can change while the job runs.
    pub password_file: Option<PathBuf>,
    /// Bearer token, instead of a user.
    pub token: Secret,
    /// File with the bearer token; read again at every request.
    pub token_file: Option<PathBuf>,
    /// Whether `http://` is permitted to hosts other than this machine; passwords and schemas then travel unencrypted.
    pub allow_plain_http: bool,
    /// PEM file of certificate authorities trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether only the authorities in `schema_registry.ca_file` are trusted.
    pub ca_file_only: bool,
    /// URL of an HTTP proxy; may hold a password.
    pub proxy: Option<Secret>,
    /// Connect timeout in seconds (1 or more).
    pub connect_timeout_s: u64,
    /// Request timeout in seconds (1 or more).
    pub request_timeout_s: u64,
    /// Maximum age of connections in seconds; new connections resolve the host name again. 0: unlimited.
    pub connection_max_age_s: u64,
    /// Initial backoff in milliseconds (1 or more) before a schema registry that is away is asked again; doubles from attempt to attempt.
    pub retry_ms: u64,
    /// Maximum backoff in milliseconds.
    pub retry_max_ms: u64,
    /// Time in seconds (1 or more) for which an id that the registry does not know, or a schema that cannot be used, is not asked for
    /// again; its messages become letters meanwhile.
    pub unknown_s: u64,
    /// Maximum size in bytes of a schema with its references.
    pub max_schema_bytes: usize,
    /// Maximum size in bytes of all schemas kept (at least `schema_registry.max_schema_bytes`); beyond it the oldest is asked for again
    /// when it is needed.
    pub cache_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            username: String::new(),
            password: Secret::default(),
            password_file: None,
            token: Secret::default(),
            token_file: None,
            allow_plain_http: false,
            ca_file: None,
            ca_file_only: false,
            proxy: None,
            connect_timeout_s: 5,
            request_timeout_s: 10,
            connection_max_age_s: 300,
            retry_ms: 500,
            retry_max_ms: 30_000,
            unknown_s: 30,
            max_schema_bytes: 256 * 1024,
            cache_bytes: 4 * 1024 * 1024,
        }
    }
}

impl Config {
    /// # Errors
    /// The first setting that cannot be used, with the remedy.
    pub fn check(&self) -> anyhow::Result<()> {
        for url in &self.urls {
            transport::address("schema_registry", "urls", url, self.allow_plain_http)?;
        }
        anyhow::ensure!(
            self.password.is_empty() || self.password_file.is_none(),
            "[schema_registry] password and password_file are both set: keep one"
        );
        anyhow::ensure!(
            self.token.is_empty() || self.token_file.is_none(),
            "[schema_registry] token and token_file are both set: keep one"
        );
        let (basic, bearer) = (
            !self.username.is_empty(),
            !self.token.is_empty() || self.token_file.is_some(),
        );
        anyhow::ensure!(
            !(basic && bearer),
            "[schema_registry] username and a token are both set: keep one"
        );
        anyhow::ensure!(
            basic || self.password.is_empty() && self.password_file.is_none(),
            "[schema_registry] username is empty and a password is set: set the user"
        );
        anyhow::ensure!(
            self.ca_file.is_some() || !self.ca_file_only,
            "[schema_registry] ca_file_only needs ca_file"
        );
        for (key, value) in [
            ("connect_timeout_s", self.connect_timeout_s),
            ("request_timeout_s", self.request_timeout_s),
            ("retry_ms", self.retry_ms),
            ("unknown_s", self.unknown_s),
        ] {
            anyhow::ensure!(value >= 1, "[schema_registry] {key} = 0: use 1 or more");
        }
        anyhow::ensure!(
            self.retry_max_ms >= self.retry_ms,
            "[schema_registry] retry_max_ms is below retry_ms: use at least {}",
            self.retry_ms
        );
        anyhow::ensure!(
            self.cache_bytes >= self.max_schema_bytes,
            "[schema_registry] cache_bytes is below max_schema_bytes: use at least {}",
            self.max_schema_bytes
        );
        Ok(())
    }

    /// The password as it is now.
    ///
    /// # Errors
    /// The file cannot be read or is empty.
    pub(super) fn current_password(&self) -> anyhow::Result<Secret> {
        match &self.password_file {
            None => Ok(self.password.clone()),
            Some(path) => Secret::from_file(path).with_context(|| {
                format!(
                    "schema_registry.password_file: cannot use {}",
                    path.display()
                )
            }),
        }
    }

    /// The bearer token as it is now; `None` without one.
    ///
    /// # Errors
    /// The file cannot be read or is empty.
    pub(super) fn current_token(&self) -> anyhow::Result<Option<Secret>> {
        match &self.token_file {
            None => Ok((!self.token.is_empty()).then(|| self.token.clone())),
            Some(path) => Secret::from_file(path).map(Some).with_context(|| {
                format!("schema_registry.token_file: cannot use {}", path.display())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Result<Topic, String> {
        #[derive(Deserialize)]
        struct One {
            topic: Topic,
        }
        toml::from_str::<One>(&format!("topic = {text}"))
            .map(|one| one.topic)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_topics_format_is_a_word_or_a_table() {
        assert_eq!(topic("\"avro\"").unwrap().format, Format::Avro);
        let raw = topic(r#"{ format = "protobuf", schema = "a.proto", message = "a.B" }"#).unwrap();
        assert!(!raw.asks_registry() && raw.message.as_deref() == Some("a.B"));
        for (text, word) in [
            ("\"xml\"", "json_with_header"),
            (r#"{ format = "json", schema = "a" }"#, "schema"),
            (r#"{ format = "avro", shema = "a" }"#, "shema"),
            (r#"{ format = "protobuf", message = "a.B" }"#, "message"),
            (
                r#"{ format = "protobuf", reader_schema = "a" }"#,
                "reader_schema",
            ),
        ] {
            let error = topic(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let good = Config {
            urls: vec!["https://schemas.example/".to_owned()],
            ..Config::default()
        };
        good.check().unwrap();
        type Spoil = fn(&mut Config);
        let wrong: [(&str, Spoil); 5] = [
            ("urls", |it| {
                it.urls = vec!["http://schemas.example".to_owned()]
            }),
            ("token", |it| {
                it.username = "u".to_owned();
                it.token = Secret::new("a-token-for-tests");
            }),
            ("username", |it| {
                it.password = Secret::new("a-password-for-tests")
            }),
            ("cache_bytes", |it| it.cache_bytes = 1),
            ("ca_file_only", |it| it.ca_file_only = true),
        ];
        for (key, change) in wrong {
            let mut config = good.clone();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
