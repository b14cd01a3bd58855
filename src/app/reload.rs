//! Reloading (SIGHUP): what a running job takes over from changed settings, and what it names as needing a restart.
//!
//! Owns the settings in force and the sender of the snapshot that the pipeline follows (`live`).
//!
//! * All or nothing: whatever can fail (reading, checking, compiling mappings and rules) is done before anything is replaced. After
//!   a failure the old settings stay in force as a whole.
//! * Taken over: `log.level`, `[mapping]`, `input.mappings`, `[validate]` (but for `max_message_bytes`), `[guard]`, and `[pacing]`
//!   (but for `concurrency_*`). Files that these name are read again even if no setting changed. Everything that sizes memory,
//!   queues or connections needs a restart, and is named in the log; `[input.formats]` with its schema files, and
//!   `[schema_registry]`, are among it (what they need is a term of the memory formula).
//!
//! One request at a time; requests that come meanwhile are one. Cancelled, it leaves the old settings or the new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;

use super::Chosen;
use crate::config::Settings;
use crate::formats::Formats;
use crate::ops::log;
use crate::ops::metrics::process as metrics;
use crate::pipeline::live::{Live, LiveWatch};
use crate::record::decode::Shape;
use crate::record::diagnostics::Diagnostics;
use crate::record::mapping::{Mapping, Mappings};
use crate::record::validate::{self, Rules};

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Settings that have a new value.
    pub changed: BTreeSet<String>,
    /// Mapping files, their jq programs and the file of diagnostics that have another content, or are used newly.
    pub files: BTreeSet<String>,
    /// Settings whose new value counts after a restart.
    pub restart: BTreeSet<String>,
}

/// See the module's documentation.
pub struct Reloader {
    /// Settings in force, as they were loaded: before sizes were fitted to the memory.
    in_force: Settings,
    /// Fingerprints of the files that the snapshot was made of, by name.
    files: BTreeMap<String, String>,
    /// The snapshot that the pipeline follows; none where no pipeline runs.
    live: Option<watch::Sender<Arc<Live>>>,
}

impl Reloader {
    /// # Errors
    /// Mappings or rules that cannot be used.
    pub fn new(settings: &Settings, chosen: Chosen) -> anyhow::Result<(Self, Option<LiveWatch>)> {
        let first = chosen.pipeline.then(|| read(settings)).transpose()?;
        let (live, files, feed) = match first {
            Some((first, files)) => {
                let (sender, feed) = watch::channel(Arc::new(first));
                (Some(sender), files, Some(feed))
            }
            None => (None, BTreeMap::new(), None),
        };
        let reloader = Self {
            in_force: settings.clone(),
            files,
            live,
        };
        Ok((reloader, feed))
    }

    /// Takes over what can be taken over of newly loaded settings.
    ///
    /// # Errors
    /// Something of it cannot be used; then nothing has changed.
    pub fn apply(&mut self, new: &Settings) -> anyhow::Result<Applied> {
        let merged = merged(&self.in_force, new);
        let live = match self.live {
            Some(_) => Some(read(&merged)?),
            None => None,
        };
        // The last step that can fail.
        log::set_level(&merged.log).context("log.level")?;
        let mut files = BTreeSet::new();
        if let (Some(sender), Some((live, read))) = (&self.live, live) {
            sender.send_replace(Arc::new(live));
            let other = |(name, mark): &(&String, &String)| self.files.get(*name) != Some(*mark);
            files = read
                .iter()
                .filter(other)
                .map(|(name, _)| name.clone())
                .collect();
            self.files = read;
        }
        let applied = Applied {
            changed: merged.differences(&self.in_force),
            files,
            restart: merged.differences(new),
        };
        self.in_force = merged;
        Ok(applied)
    }

    /// Loads and applies, and says in the log and in the metrics what came of it; false if nothing has changed. Blocks the calling
    /// thread.
    pub fn reload(&mut self, load: impl FnOnce() -> anyhow::Result<Settings>) -> bool {
        let applied = load().and_then(|new| self.apply(&new));
        metrics::reloaded(applied.is_ok());
        let applied = match applied {
            Ok(applied) => applied,
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the settings were not reloaded; the old ones stay in force as a whole: correct them and send SIGHUP again"
                );
                return false;
            }
        };
        let keys = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
        tracing::info!(
            changed = keys(&applied.changed),
            files = keys(&applied.files),
            "settings, mappings and rules were reloaded"
        );
        if !applied.restart.is_empty() {
            tracing::warn!(
                settings = keys(&applied.restart),
                "these settings have new values that count after a restart"
            );
        }
        true
    }
}

/// The settings in force, with what can be replaced while the job runs taken from `new`.
fn merged(in_force: &Settings, new: &Settings) -> Settings {
    let mut merged = in_force.clone();
    merged.log.level.clone_from(&new.log.level);
    merged.mapping.clone_from(&new.mapping);
    merged.input.mappings.clone_from(&new.input.mappings);
    merged.validate = validate::Config {
        // A term of the memory formula.
        max_message_bytes: in_force.validate.max_message_bytes,
        ..new.validate.clone()
    };
    merged.guard.clone_from(&new.guard);
    merged.pacing = new.pacing.clone().with_concurrency_of(&in_force.pacing);
    merged
}

/// The snapshot of these settings, with all files read.
///
/// # Errors
/// Mappings or rules that cannot be used.
pub fn snapshot(settings: &Settings) -> anyhow::Result<Live> {
    Ok(read(settings)?.0)
}

/// The snapshot, and the fingerprints of the files that it was made of.
fn read(settings: &Settings) -> anyhow::Result<(Live, BTreeMap<String, String>)> {
    let mappings = load_mappings(settings)?;
    let used = mappings.iter().flat_map(|(_, mapping)| mapping.files());
    let mut files: BTreeMap<_, _> = used.map(|(file, mark)| (file, mark.to_string())).collect();
    if let Some(file) = &settings.mapping.diagnostics {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        files.insert(file.display().to_string(), text);
    }
    let live = Live {
        rules: Arc::new(rules(settings)?),
        shape: Arc::new(shape_of(mappings)),
        guard: settings.guard.clone(),
        pacing: settings.pacing.clone(),
    };
    Ok((live, files))
}

/// The shape of a topic's messages, as `[input.mappings]` says.
///
/// # Errors
/// A mapping that does not exist or is wrong.
pub fn shapes(settings: &Settings) -> anyhow::Result<impl Fn(&str) -> Shape + Send + Sync + use<>> {
    Ok(shape_of(load_mappings(settings)?))
}

fn shape_of(mappings: Vec<(String, Arc<Mapping>)>) -> impl Fn(&str) -> Shape + Send + Sync {
    move |topic: &str| match mappings.iter().find(|(name, _)| name == topic) {
        Some((_, mapping)) => Shape::Mapped(Arc::clone(mapping)),
        None => Shape::Native,
    }
}

/// The formats of topics, as `[input.formats]` says. Schema files are read; nobody is asked.
///
/// # Errors
/// A schema file that cannot be used.
pub fn formats(settings: &Settings) -> anyhow::Result<Formats> {
    Formats::open(&settings.input.formats, &settings.schema_registry)
}

/// The rules, with the user's own diagnostics known.
///
/// # Errors
/// The file of diagnostics cannot be read.
pub fn rules(settings: &Settings) -> anyhow::Result<Rules> {
    let rules = Rules::new(&settings.validate);
    Ok(match &settings.mapping.diagnostics {
        Some(file) => rules.with_diagnostics(&Diagnostics::with_file(file)?),
        None => rules,
    })
}

/// Mapping by topic name, as `[input.mappings]` says.
fn load_mappings(settings: &Settings) -> anyhow::Result<Vec<(String, Arc<Mapping>)>> {
    let known = Mappings::open(&settings.mapping)?;
    settings
        .input
        .mappings
        .iter()
        .map(|(topic, name)| {
            let mapping = known
                .load(name)
                .with_context(|| format!("input.mappings.\"{topic}\""))?;
            Ok((topic.clone(), mapping))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        toml::from_str(text).expect("settings")
    }

    fn keys(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn what_sizes_the_job_waits_for_a_restart_and_is_named() {
        let old = settings("");
        let new = settings(
            "[pacing]\nrecords_per_s = 100.0\nconcurrency_cap = 64\n[validate]\nmax_message_bytes = 2048\npast_days = 9\n\
             [kafka]\ngroup = \"other\"\nsasl_password = \"hunter22\"\n[input.mappings]\ntelemetry = \"flespi\"\n\
             [input.formats]\ntelemetry = \"avro\"\n[schema_registry]\nurls = [\"https://schemas.example\"]",
        );
        let merged = merged(&old, &new);
        assert_eq!(
            keys(&merged.differences(&old)),
            [
                "input.mappings.telemetry",
                "pacing.records_per_s",
                "validate.past_days"
            ]
        );
        assert_eq!(
            keys(&merged.differences(&new)),
            [
                "input.formats.telemetry.format",
                "kafka.group",
                "kafka.sasl_password",
                "pacing.concurrency_cap",
                "schema_registry.urls",
                "validate.max_message_bytes"
            ]
        );
    }

    #[test]
    fn files_with_another_content_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(place(name), text).expect("a file");
        write("mine.toml", "jq = \"mine.jq\"\n");
        write("mine.jq", "empty");
        write("more.toml", "");
        let text = format!(
            "[mapping]\ndiagnostics = {:?}\n[input.mappings]\ntelemetry = {:?}\nother = \"flespi\"",
            place("more.toml"),
            place("mine.toml"),
        );
        let chosen = Chosen {
            pipeline: true,
            orders: false,
        };
        let (mut reloader, _feed) = Reloader::new(&settings(&text), chosen).expect("mappings");
        let mut named = || -> Vec<String> {
            let applied = reloader.apply(&settings(&text)).expect("settings");
            assert!(applied.changed.is_empty());
            let short = |name: &String| name.rsplit('/').next().unwrap_or_default().to_owned();
            applied.files.iter().map(short).collect()
        };
        assert!(named().is_empty());
        write("mine.jq", ".records[]");
        assert_eq!(named(), ["mine.jq"]);
        write("mine.toml", "jq = \"mine.jq\"\nunmatched = \"skip\"\n");
        write(
            "more.toml",
            "[[diagnostic]]\ncode = 50000\nname = \"Hopper door\"\n",
        );
        assert_eq!(named(), ["mine.toml", "more.toml"]);
        assert!(named().is_empty());
    }

    #[test]
    fn a_mapping_that_cannot_be_read_changes_nothing() {
        let mappings = tempfile::tempdir().expect("a folder");
        let file = mappings.path().join("mine.toml");
        std::fs::write(&file, "no mapping at all").expect("a file");
        let chosen = Chosen {
            pipeline: true,
            orders: false,
        };
        let (mut reloader, feed) = Reloader::new(&settings(""), chosen).expect("defaults");
        let mut feed = feed.expect("a pipeline");
        feed.mark_unchanged();
        let broken = format!(
            "[mapping]\ndir = {:?}\n[input.mappings]\ntelemetry = \"mine\"\n[guard]\nshare = 0.9",
            mappings.path()
        );
        let error = reloader.apply(&settings(&broken)).expect_err("no mapping");
        assert!(format!("{error:#}").contains("telemetry"), "{error:#}");
        assert!(!feed.has_changed().expect("a sender"));
        assert_eq!(reloader.in_force.guard, Settings::default().guard);
    }
}
