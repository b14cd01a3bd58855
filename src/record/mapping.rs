//! Vendor shapes: a mapping file turns one vendor message into records.
//!
//! Owns the file format (`config/mappings/README.md`), its compilation, and the evaluation of a message. Every record made here goes
//! through the same validation and rendering as a native one.
//!
//! V1: nothing is lost silently. A vendor message ends as records, as one [`Unknown`](super::Unknown) for all of it, as a reject, or -
//! only where the mapping file says `skip` or `ignore` - as a note.
//! V2: one record's fault does not touch the message's other records.
//!
//! Does not read files while decoding, and keeps no state between messages but its buffers ([`Scratch`]).

mod compile;
mod cut;
mod explain;
mod file;
mod guess;
mod path;
mod path_context;
mod plan;
mod program;
mod record_builder;
mod run;
mod spans;
mod time;
mod value;

#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};

use self::file::Unmatched;
use self::path::{About, Tree};
use self::plan::{Device, List, Peer, Record, Switch};
use self::program::Program;
use self::value::Scalar;
use super::diagnostics::{Diagnostics, nearest};

pub use self::guess::guess;
pub use self::run::Scratch;

/// Settings of mappings (`[mapping]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directory of mapping files. A file takes precedence over a shipped mapping of the same name.
    pub dir: Option<PathBuf>,
    /// File of additional diagnostics (`[[diagnostic]]` tables), added to the published ones. An entry with the code of a published
    /// diagnostic replaces that diagnostic.
    pub diagnostics: Option<PathBuf>,
}

/// The shipped mappings: name and text.
pub const SHIPPED: [(&str, &str); 8] = [
    ("flespi", include_str!("../../config/mappings/flespi.toml")),
    (
        "generic",
        include_str!("../../config/mappings/generic.toml"),
    ),
    (
        "geojson",
        include_str!("../../config/mappings/geojson.toml"),
    ),
    (
        "owntracks",
        include_str!("../../config/mappings/owntracks.toml"),
    ),
    (
        "samsara",
        include_str!("../../config/mappings/samsara.toml"),
    ),
    (
        "teltonika",
        include_str!("../../config/mappings/teltonika.toml"),
    ),
    (
        "traccar",
        include_str!("../../config/mappings/traccar.toml"),
    ),
    ("wialon", include_str!("../../config/mappings/wialon.toml")),
];

/// The rules mapping can break, with what each means; for `dig-ingest explain`.
pub const RULES: [(&str, &str); 14] = [
    (
        "map.json",
        "The message is not JSON, or nested too deeply. A vendor message is a JSON object or an array of them.",
    ),
    (
        "map.size",
        "The records of the message would take more than 16 times `validate.max_message_bytes`.",
    ),
    (
        "map.shape",
        "The message (or an element of the message's array) is not a JSON object.",
    ),
    (
        "map.duplicate",
        "A member the mapping reads occurs twice in one object, so it is not clear which one counts.",
    ),
    (
        "map.device",
        "Neither the serial nor the device id that [device] names is in the message.",
    ),
    (
        "map.time",
        "The time is absent or not in the form the mapping's `format` and `zone` describe, or a local time that the clocks skipped or showed twice.",
    ),
    (
        "map.value.kind",
        "A value is not of the kind its use needs: an object or array where a scalar is expected, or no number where one is computed.",
    ),
    (
        "map.value.cut",
        "A value has not the part that the mapping cuts out of it: no such item or character, no match of the pattern, no such byte, no number in one of the units.",
    ),
    (
        "map.value.enum",
        "A value is not in the mapping's `map`, and there is no `otherwise`.",
    ),
    (
        "map.status.length",
        "A status value's raw integer does not fit the data length of its diagnostic, read as signed or as unsigned.",
    ),
    (
        "map.switch",
        "The message's type is absent or named by no record and not by `ignore`, and the switch says `otherwise = \"reject\"`.",
    ),
    (
        "map.jq",
        "The mapping's jq program failed at this message, or an output of it is no record, no draft of one, or nested too deeply.",
    ),
    (
        "map.each",
        "The path `each` names something that is not an array (with `{}` an object, with `split` a text).",
    ),
    (
        "map.unmatched",
        "No record of the mapping applies to the message, and the mapping says `unmatched = \"reject\"`.",
    ),
];

/// A compiled mapping file.
#[derive(Debug)]
pub struct Mapping {
    name: String,
    description: String,
    /// Paths by where they start: the message first, then the elements of each level of each list.
    trees: Vec<Tree>,
    abouts: Vec<About>,
    peers: Vec<Peer>,
    lists: Vec<List>,
    device: Device,
    switch: Option<Switch>,
    unmatched: Unmatched,
    records: Vec<Record>,
    /// What messages go through before the tables; without tables its outputs are records.
    program: Option<Program>,
    /// Fingerprint of the mapping file's text.
    fingerprint: u64,
}

impl Mapping {
    /// Compiles a mapping file's text; `name` is the file's name in errors.
    ///
    /// # Errors
    /// What is wrong: file, line, field, remedy.
    pub fn compile(name: &str, text: &str, diagnostics: &Diagnostics) -> anyhow::Result<Self> {
        compile::compile(name, text, diagnostics)
    }

    /// The file or shipped name it was compiled from.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files that it was compiled from, each with the fingerprint of its text; a shipped mapping has the shipped name.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        let program = self.program.as_ref().and_then(Program::file);
        std::iter::once((self.name.clone(), self.fingerprint))
            .chain(program)
            .collect()
    }

    /// The file's own words about itself.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }
}

/// Finds mappings by name or path, and compiles them with one table of diagnostics.
#[derive(Debug)]
pub struct Mappings {
    dir: Option<PathBuf>,
    diagnostics: Diagnostics,
}

impl Mappings {
    /// Reads the diagnostics that the settings name.
    ///
    /// # Errors
    /// As [`Diagnostics::with_file`].
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let diagnostics = match &config.diagnostics {
            Some(file) => Diagnostics::with_file(file)?,
            None => Diagnostics::shipped()?,
        };
        Ok(Self {
            dir: config.dir.clone(),
            diagnostics,
        })
    }

    /// The diagnostics that mappings name.
    #[must_use]
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.diagnostics
    }

    /// Loads a mapping: a path (it has a `/` or ends with `.toml`), else `NAME.toml` in the directory, else a shipped one.
    ///
    /// # Errors
    /// There is none of that name (with those there are), or its file is wrong: file, line, field, remedy.
    pub fn load(&self, name: &str) -> anyhow::Result<Arc<Mapping>> {
        if name.contains(['/', '\\']) || name.ends_with(".toml") {
            return self.read(FilePath::new(name));
        }
        if let Some(dir) = &self.dir {
            let file = dir.join(format!("{name}.toml"));
            if file.exists() {
                return self.read(&file);
            }
        }
        match SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            Some((name, text)) => Ok(Arc::new(Mapping::compile(name, text, &self.diagnostics)?)),
            None => {
                let near = nearest(
                    name,
                    SHIPPED.iter().map(|(shipped, _)| *shipped),
                    SHIPPED.len(),
                );
                let dir = match &self.dir {
                    Some(dir) => format!(", and {} has no {name}.toml", dir.display()),
                    None => String::new(),
                };
                Err(anyhow!(
                    "no mapping is named \"{name}\": shipped are {near}{dir}; give a shipped name, a file in [mapping] dir, or a path"
                ))
            }
        }
    }

    fn read(&self, file: &FilePath) -> anyhow::Result<Arc<Mapping>> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{}: cannot read the mapping file", file.display()))?;
        Ok(Arc::new(Mapping::compile(
            &file.display().to_string(),
            &text,
            &self.diagnostics,
        )?))
    }
}

/// A broken mapping rule on its way to a [`Reject`](super::Reject).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    rule: &'static str,
    field: String,
    value: String,
    bound: String,
}

impl Fault {
    fn new(rule: &'static str, field: &str, value: Scalar<'_>, bound: String) -> Self {
        let value = match value {
            Scalar::Text(text) => shorten(text),
            other => other.text().into_owned(),
        };
        Self {
            rule,
            field: field.to_owned(),
            value,
            bound,
        }
    }

    /// A member occurs twice.
    fn twice(field: String) -> Self {
        Self {
            rule: "map.duplicate",
            field,
            value: "twice".to_owned(),
            bound: "each member once".to_owned(),
        }
    }

    fn absent(rule: &'static str, field: String, bound: String) -> Self {
        Self {
            rule,
            field,
            value: "absent".to_owned(),
            bound,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            rule,
            field,
            value,
            bound,
        } = self;
        write!(f, "{rule}: {field} = {value} (expected {bound})")
    }
}

/// The first 120 characters.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(120) {
        None => text.to_owned(),
        Some((end, _)) => text[..end].to_owned(),
    }
}

/// What tells one text from another, within this process.
fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The line (from 1) of a byte offset.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|&&b| b == b'\n')
        .count()
}

/// A TOML error as `file:line: problem, in `the line``.
pub(super) fn toml_error(file: &str, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let line = error.span().map_or(1, |span| line_of(text, span.start));
    let source = text.lines().nth(line - 1).unwrap_or_default().trim();
    anyhow!(
        "{file}:{line}: {} in `{source}`; see config/mappings/README.md",
        error.message().trim_end()
    )
}

/// What a TOML error says of a mapping file, with the remedy for a key of the whole file that is behind a table.
fn file_error(file: &str, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let told = toml_error(file, text, error);
    let unknown = |key: &&&str| error.message().contains(&format!("unknown field `{key}`"));
    match file::OF_THE_FILE.iter().find(unknown) {
        Some(key) => anyhow!(
            "{told}; `{key}` is a key of the whole file: write it at the top, before the first [table]"
        ),
        None => told,
    }
}
