//! The settings: one struct per section, owned by the module that applies it, composed here.
//!
//! Layers, each over the one before: defaults in the code, the file, the environment
//! (`DIG_INGEST__SECTION__KEY=value`), flags (`--set section.key=value`). Unknown keys are refused in every layer,
//! and a problem names its place, the key, what is wrong and the remedy. This file is the only one that reads the
//! environment.

mod cautions;
pub mod cgroup;
pub mod fit;
mod layers;
pub mod memory;
pub mod printable;
pub mod private;
mod problem;
pub mod redact;
mod rules;
mod schema;
pub mod secret;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{dig, formats, http, myadmin, ops, orders, pipeline, record, registry};

pub use layers::{PREFIX, Places};
pub use problem::{Error, Problem, SettingSource, nearest};
pub use schema::{Kind, Schema};

/// All settings. Each section's meaning is with its own type and in `config/dig-ingest.toml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub kafka: pipeline::kafka::Config,
    pub input: pipeline::settings::Input,
    pub topics: pipeline::settings::Topics,
    pub mapping: record::mapping::Config,
    pub schema_registry: formats::Config,
    pub validate: record::validate::Config,
    pub gate: pipeline::gate::Config,
    pub registry: registry::Config,
    pub batch: pipeline::dispatch::Config,
    pub memory: pipeline::settings::Memory,
    pub guard: pipeline::settings::Guard,
    pub dig: dig::Config,
    pub myadmin: myadmin::Config,
    pub upload: pipeline::upload::Config,
    pub pacing: http::pacing::Config,
    pub feedback: pipeline::feedback::Config,
    pub orders: orders::Config,
    pub ops: ops::Config,
    pub log: ops::log::Config,
}

/// The flags by which every command that uses settings takes them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// Settings file; without it the defaults hold.
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "DIG_INGEST_CONFIG",
        global = true
    )]
    pub config: Option<PathBuf>,
    /// One setting, over file and environment; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", global = true)]
    pub sets: Vec<String>,
}

impl ConfigArgs {
    /// Loads what the flags name.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load(&self) -> Result<Settings, Error> {
        Settings::load(self.config.as_deref(), &self.sets)
    }

    /// Loads what the flags name, and requires all that a job cannot do without.
    ///
    /// # Errors
    /// As [`Settings::load_complete`].
    pub fn load_complete(&self) -> Result<Settings, Error> {
        Settings::load_complete(self.config.as_deref(), &self.sets)
    }

    /// As [`Self::load_complete`], but values that break a rule are given too, with what is wrong: for people who look at them.
    ///
    /// # Errors
    /// What makes no settings at all: a file that cannot be read, unknown keys, values of another kind.
    pub fn load_doubtful(&self) -> Result<(Settings, Option<Error>), Error> {
        let (settings, problems) =
            Settings::judged(self.config.as_deref(), variables(), &self.sets, true)?;
        Ok((settings, (!problems.is_empty()).then_some(Error(problems))))
    }
}

impl Settings {
    /// Loads the settings from all layers and checks them.
    ///
    /// # Errors
    /// All problems found, each with its place.
    pub fn load(path: Option<&Path>, sets: &[String]) -> Result<Self, Error> {
        Self::load_from(path, variables(), sets)
    }

    /// As [`Settings::load`], and what has no default (the gateway's credentials) must be given: for `run` and `check`.
    ///
    /// # Errors
    /// All problems found, each with its place.
    pub fn load_complete(path: Option<&Path>, sets: &[String]) -> Result<Self, Error> {
        Self::layered(path, variables(), sets, true)
    }

    /// As [`Settings::load`], with the environment as an argument.
    ///
    /// # Errors
    /// All problems found, each with its place.
    pub fn load_from(
        path: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, Error> {
        Self::layered(path, variables, sets, false)
    }

    fn layered(
        path: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        sets: &[String],
        complete: bool,
    ) -> Result<Self, Error> {
        let (settings, problems) = Self::judged(path, variables, sets, complete)?;
        if problems.is_empty() {
            Ok(settings)
        } else {
            Err(Error(problems))
        }
    }

    /// The settings of all layers, and the rules that their values break.
    fn judged(
        path: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        sets: &[String],
        complete: bool,
    ) -> Result<(Self, Vec<Problem>), Error> {
        let schema = Self::schema();
        let mut layers = layers::Layers::new(&schema);
        if let Some(path) = path {
            match std::fs::read_to_string(path) {
                Ok(text) => layers.add_file(path, &text),
                Err(error) => layers.add_unreadable(path, &error),
            }
        }
        layers.add_variables(variables);
        layers.add_flags(sets);
        let (settings, places) = layers.finish::<Self>()?;
        let problems = rules::broken(&settings, &schema, &places, complete);
        Ok((settings, problems))
    }

    /// The sections the pipeline applies.
    pub fn pipeline(&self) -> pipeline::Config {
        pipeline::Config {
            kafka: self.kafka.clone(),
            input: self.input.clone(),
            topics: self.topics.clone(),
            gate: self.gate.clone(),
            batch: self.batch.clone(),
            memory: self.memory.clone(),
            guard: self.guard.clone(),
            feedback: self.feedback.clone(),
        }
    }

    /// Every key there is, with its kind.
    pub fn schema() -> Schema {
        schema::of::<Self>()
    }

    /// The settings that differ from their defaults, by key, as TOML values with secrets hidden.
    #[must_use]
    pub fn differing(&self) -> Vec<(String, String)> {
        self.beside(&Self::default())
    }

    /// The keys of the settings that two of them do not have in common.
    #[must_use]
    pub fn differences(&self, other: &Self) -> BTreeSet<String> {
        let mut keys: BTreeSet<String> = self
            .beside(other)
            .into_iter()
            .chain(other.beside(self))
            .map(|(key, _)| key)
            .collect();
        // Secrets look alike in a table.
        let secrets = [
            (
                "kafka.sasl_password",
                self.kafka.sasl_password != other.kafka.sasl_password,
            ),
            (
                "kafka.oauth.client_secret",
                self.kafka.oauth.client_secret != other.kafka.oauth.client_secret,
            ),
            (
                "kafka.properties",
                self.kafka.properties != other.kafka.properties,
            ),
            ("dig.password", self.dig.password != other.dig.password),
            ("dig.proxy", self.dig.proxy != other.dig.proxy),
            (
                "myadmin.password",
                self.myadmin.password != other.myadmin.password,
            ),
        ];
        let changed = secrets.into_iter().filter(|(_, changed)| *changed);
        keys.extend(changed.map(|(key, _)| key.to_owned()));
        keys
    }

    /// The settings that differ from others, by key, as TOML values with secrets hidden.
    fn beside(&self, other: &Self) -> Vec<(String, String)> {
        fn collect(
            prefix: &str,
            ours: &toml::Table,
            defaults: Option<&toml::Table>,
            into: &mut Vec<(String, String)>,
        ) {
            for (name, value) in ours {
                let key = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                let default = defaults.and_then(|table| table.get(name));
                match value {
                    toml::Value::Table(inner) => {
                        let default = default.and_then(toml::Value::as_table);
                        collect(&key, inner, default, into);
                    }
                    value if default != Some(value) => into.push((key, value.to_string())),
                    _ => {}
                }
            }
        }
        let table = |settings: &Self| {
            settings
                .redacted()
                .parse::<toml::Table>()
                .unwrap_or_default()
        };
        let mut differing = Vec::new();
        collect("", &table(self), Some(&table(other)), &mut differing);
        differing
    }

    /// All settings as TOML with secrets hidden, for the log at start and for `check`.
    pub fn redacted(&self) -> String {
        // Secrets hide themselves when serialised; the second sweep is for a section that kept one as plain text.
        let hidden = toml::Table::try_from(self).map(|mut table| {
            layers::redact(&mut table);
            toml::to_string(&table)
        });
        match hidden {
            Ok(Ok(text)) => text,
            Ok(Err(error)) | Err(error) => format!("# settings cannot be shown: {error}\n"),
        }
    }
}

/// The manager that started the process and asked to be told how it is (sd_notify(3)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceManager {
    /// Its socket: a path, or `@` and the name of an abstract one.
    pub socket: String,
    /// How long it waits for a sign of life.
    pub watchdog: Option<Duration>,
}

/// The service manager, as systemd names it in the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the environment"
)]
#[must_use]
pub fn service_manager() -> Option<ServiceManager> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let socket = std::env::var("NOTIFY_SOCKET").ok()?;
    // A sign of life is asked for from another process, if it is named.
    let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    Some(ServiceManager {
        socket,
        watchdog: number("WATCHDOG_USEC")
            .filter(|_| ours)
            .map(Duration::from_micros),
    })
}

/// The environment's settings. A name or value that is not UTF-8 is kept in part, so that it is refused by name and not
/// overlooked.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the environment"
)]
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_string_lossy().into_owned();
        name.starts_with(PREFIX)
            .then(|| (name, value.to_string_lossy().into_owned()))
    })
}
