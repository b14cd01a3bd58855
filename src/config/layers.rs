//! Layering: defaults, then the file, then the environment, then flags; each value keeps its place.
//!
//! Works on a plain table before anything is deserialised, so that all layers are checked alike against the
//! [`Schema`] and every problem can name where the value was given.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::de::DeTable;
use toml::{Spanned, Table, Value};

use super::problem::{Error, Problem, SettingSource, nearest};
use super::schema::{Kind, Schema};
use super::secret::names_secret;

/// What every variable that is a setting begins with; the parts of the key follow, `__` between them.
pub const PREFIX: &str = "DIG_INGEST__";

/// Where each given value was given, by dotted key.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<String, SettingSource>);

impl Places {
    /// The place of a setting's value.
    pub fn of(&self, key: &str) -> SettingSource {
        self.0.get(key).cloned().unwrap_or(SettingSource::Default)
    }
}

/// The values given so far and everything that is wrong with them.
pub struct Layers<'a> {
    schema: &'a Schema,
    table: Table,
    places: Places,
    problems: Vec<Problem>,
}

impl<'a> Layers<'a> {
    pub fn new(schema: &'a Schema) -> Self {
        Self {
            schema,
            table: Table::new(),
            places: Places::default(),
            problems: Vec::new(),
        }
    }

    /// Adds a settings file.
    pub fn add_file(&mut self, path: &Path, text: &str) {
        // Parsed twice: once for the lines, once for the values.
        let parsed =
            DeTable::parse(text).and_then(|lines| Ok((lines, toml::from_str::<Table>(text)?)));
        match parsed {
            Ok((lines, values)) => self.walk(path, text, "", lines.get_ref(), values),
            Err(error) => {
                // The parser's full text quotes the line, which may hold a secret; its message does not.
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                self.report(
                    SettingSource::File(path.to_owned(), line),
                    "",
                    format!("not valid TOML: {}", error.message()),
                    "correct the line; texts need quotes, and each section and key may appear once",
                );
            }
        }
    }

    /// Notes that the settings file could not be read.
    pub fn add_unreadable(&mut self, path: &Path, error: &std::io::Error) {
        let what = format!("cannot read the settings file: {error}");
        self.report(
            SettingSource::File(path.to_owned(), 1),
            "",
            what,
            "give --config a file that exists and is readable",
        );
    }

    fn walk(&mut self, path: &Path, text: &str, prefix: &str, lines: &DeTable<'_>, values: Table) {
        // Both come from the same text and keep the same order.
        for ((name, line), (_, value)) in lines.iter().zip(values) {
            let key = joined(prefix, name.get_ref());
            let place = SettingSource::File(path.to_owned(), line_of(text, name.span().start));
            match (self.schema.get(&key), value) {
                (None, _) => self.report_unknown(place, &key),
                (Some(Kind::Section(_)), Value::Table(values)) => {
                    let empty = DeTable::new();
                    let lines = Spanned::get_ref(line).as_table().unwrap_or(&empty);
                    self.walk(path, text, &key, lines, values);
                }
                (Some(Kind::Section(_)), _) => self.report_section(place, &key),
                (Some(kind), value) => match mismatch(kind, &value) {
                    None => self.put(&key, value, place),
                    Some(what) => self.report(place, &key, what, format!("give {kind}")),
                },
            }
        }
    }

    /// Adds the variables that begin with [`PREFIX`]; others are ignored.
    pub fn add_variables(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (variable, raw) in variables {
            let Some(rest) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            let key = rest.replace("__", ".").to_ascii_lowercase();
            let place = SettingSource::Variable(variable);
            match self.map_of(&key) {
                Some((map, _)) if map != key => self.report(
                    place,
                    &key,
                    "a variable's name cannot spell the names in this table",
                    format!(
                        "set {PREFIX}{}='{{ \"some.name\" = \"value\" }}'",
                        map.to_ascii_uppercase().replace('.', "__")
                    ),
                ),
                _ => self.add_text(&key, &raw, place),
            }
        }
    }

    /// Adds `section.key=value` assignments.
    pub fn add_flags(&mut self, sets: &[String]) {
        for set in sets {
            match set.split_once('=') {
                Some((key, raw)) => self.add_text(key.trim(), raw, SettingSource::Flag),
                None => self.report(
                    SettingSource::Flag,
                    // Without "=" the whole may be a value by mistake, so it is not repeated.
                    "",
                    "an assignment has no \"=\"",
                    "write --set section.key=value",
                ),
            }
        }
    }

    fn add_text(&mut self, key: &str, raw: &str, place: SettingSource) {
        if let Some((map, name)) = self.map_of(key).filter(|(map, _)| *map != key) {
            let (map, name) = (map.to_owned(), name.trim_matches('"').to_owned());
            let mut entries = self.entries(&map);
            // An array or table is written as in a file; anything else is text, which every map of ours takes.
            let value = match raw.trim_start().starts_with(['[', '{']) {
                true => read(&Kind::Any, raw),
                false => None,
            };
            entries.insert(name, value.unwrap_or_else(|| Value::String(raw.to_owned())));
            return self.put(&map, Value::Table(entries), place);
        }
        let Some(kind) = self.schema.get(key) else {
            return self.report_unknown(place, key);
        };
        if let Kind::Section(_) = kind {
            return self.report_section(place, key);
        }
        let value = match read(kind, raw) {
            Some(value) => value,
            None => {
                // A table or array may hold a secret anywhere: nothing of it is shown.
                let found = match kind {
                    Kind::Map | Kind::List | Kind::Any => {
                        "text that is not valid TOML (value not shown)".to_owned()
                    }
                    _ => shown(kind, &Value::String(raw.to_owned())),
                };
                let what = format!("expected {kind}, found {found}");
                return self.report(place, key, what, format!("give {kind}"));
            }
        };
        if let Some(what) = mismatch(kind, &value) {
            return self.report(place, key, what, format!("give {kind}"));
        }
        match (kind, value) {
            (Kind::Map, Value::Table(given)) => {
                let mut entries = self.entries(key);
                entries.extend(given);
                self.put(key, Value::Table(entries), place);
            }
            (_, value) => self.put(key, value, place),
        }
    }

    /// The table with free names that a key leads into, and the name within it.
    fn map_of<'k>(&self, key: &'k str) -> Option<(&'k str, &'k str)> {
        if self.schema.get(key) == Some(&Kind::Map) {
            return Some((key, ""));
        }
        key.match_indices('.')
            .map(|(dot, _)| (&key[..dot], &key[dot + 1..]))
            .find(|(map, name)| !name.is_empty() && self.schema.get(*map) == Some(&Kind::Map))
    }

    fn entries(&self, map: &str) -> Table {
        match get(&self.table, map) {
            Some(Value::Table(entries)) => entries.clone(),
            _ => Table::new(),
        }
    }

    fn put(&mut self, key: &str, value: Value, place: SettingSource) {
        insert(&mut self.table, key, value);
        self.places.0.insert(key.to_owned(), place);
    }

    fn report(
        &mut self,
        place: SettingSource,
        key: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem {
            place,
            key: key.to_owned(),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    fn report_section(&mut self, place: SettingSource, key: &str) {
        let inside = self
            .schema
            .range(format!("{key}.")..)
            .next()
            .map_or("", |(key, _)| key.as_str());
        let remedy = format!("set what is in it, such as {inside}");
        self.report(place, key, "a section cannot be given one value", remedy);
    }

    fn report_unknown(&mut self, place: SettingSource, key: &str) {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let siblings = self
            .schema
            .keys()
            .filter(|known| known.rsplit_once('.').map_or("", |(s, _)| s) == section);
        let near = nearest(key, siblings.map(String::as_str))
            .or_else(|| {
                self.schema
                    .keys()
                    .map(String::as_str)
                    .find(|known| known.rsplit('.').next() == Some(name))
            })
            .or_else(|| nearest(key, self.schema.keys().map(String::as_str)));
        let remedy = match (near, self.schema.get(section)) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, Some(Kind::Section(names))) => format!("[{section}] has: {}", names.join(", ")),
            (None, _) => {
                let sections = self.schema.keys().filter(|known| !known.contains('.'));
                format!(
                    "the sections are: {}",
                    sections.map(String::as_str).collect::<Vec<_>>().join(", ")
                )
            }
        };
        self.report(place, key, "unknown setting", remedy);
    }

    /// The settings, if nothing was wrong on the way.
    ///
    /// # Errors
    /// All problems found.
    pub fn finish<T: DeserializeOwned>(mut self) -> Result<(T, Places), Error> {
        if !self.problems.is_empty() {
            return Err(Error(self.problems));
        }
        match self.table.clone().try_into::<T>() {
            Ok(settings) => Ok((settings, self.places)),
            Err(error) => {
                self.blame::<T>();
                if self.problems.is_empty() {
                    self.report(
                        SettingSource::Default,
                        "",
                        error.message().to_owned(),
                        "correct the settings named",
                    );
                }
                Err(Error(self.problems))
            }
        }
    }

    /// Finds the values that are refused each by itself: everything else has a default.
    fn blame<T: DeserializeOwned>(&mut self) {
        for (key, place) in &self.places.0 {
            let mut alone = Table::new();
            if let Some(value) = get(&self.table, key) {
                insert(&mut alone, key, value.clone());
            }
            if let Err(error) = alone.try_into::<T>() {
                let (what, remedy) = match self.schema.get(key) {
                    Some(Kind::Secret) => {
                        ("not usable".to_owned(), "give text in quotes".to_owned())
                    }
                    _ => (
                        error.message().to_owned(),
                        "see this setting in config/dig-ingest.toml".to_owned(),
                    ),
                };
                self.problems.push(Problem {
                    place: place.clone(),
                    key: key.clone(),
                    what,
                    remedy,
                });
            }
        }
    }
}

/// What is wrong with a value of that kind, if anything.
fn mismatch(kind: &Kind, value: &Value) -> Option<String> {
    let fits = match (kind, value) {
        (Kind::Bool, Value::Boolean(_))
        | (Kind::Float, Value::Float(_) | Value::Integer(_))
        | (Kind::Text | Kind::Secret, Value::String(_))
        | (Kind::List, Value::Array(_))
        | (Kind::Map, Value::Table(_))
        | (Kind::Any, _) => true,
        (Kind::Integer(low, high), Value::Integer(number)) => (low..=high).contains(&number),
        (Kind::Choice(words), Value::String(word)) => words.contains(&word.as_str()),
        _ => false,
    };
    (!fits).then(|| format!("expected {kind}, found {}", shown(kind, value)))
}

/// A value as an error may show it.
fn shown(kind: &Kind, value: &Value) -> String {
    match value {
        _ if *kind == Kind::Secret => format!("{} (value not shown)", value.type_str()),
        Value::String(text) if text.chars().count() > 60 => {
            format!("\"{}...\"", text.chars().take(57).collect::<String>())
        }
        Value::String(text) => format!("\"{text}\""),
        Value::Table(_) | Value::Array(_) => value.type_str().to_owned(),
        value => format!("{} {value}", value.type_str()),
    }
}

/// A value from the text of a variable or flag, where quotes are not needed.
fn read(kind: &Kind, raw: &str) -> Option<Value> {
    let toml = |raw: &str| {
        toml::from_str::<Table>(&format!("value = {raw}"))
            .ok()?
            .remove("value")
    };
    match kind {
        Kind::Text | Kind::Secret | Kind::Choice(_) => Some(Value::String(raw.to_owned())),
        Kind::List if raw.trim_start().starts_with('[') => toml(raw.trim()),
        Kind::List => {
            let parts = raw
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            Some(Value::Array(
                parts.map(|part| Value::String(part.to_owned())).collect(),
            ))
        }
        Kind::Any => toml(raw.trim()).or_else(|| Some(Value::String(raw.to_owned()))),
        Kind::Section(_) => None,
        Kind::Bool | Kind::Integer(..) | Kind::Float | Kind::Map => toml(raw.trim()),
    }
}

fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(at)
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

fn get<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, rest)) => get(table.get(section)?.as_table()?, rest),
    }
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Hides what may be secret in a table that came from somewhere else than the typed settings.
pub fn redact(table: &mut Table) {
    for (name, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => redact(inner),
            value if names_secret(name) && !name.ends_with("_file") => {
                *value = Value::String(super::secret::REDACTED.to_owned());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
