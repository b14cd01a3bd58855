//! Tests of the settings: the annotated example states every one of them, and states the defaults.

mod dashboards;
mod readme;
mod ship;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dig_ingest::config::{Kind, Settings};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn example() -> String {
    std::fs::read_to_string(root("config/dig-ingest.toml")).unwrap()
}

fn table_of(settings: &Settings) -> toml::Table {
    toml::Table::try_from(settings).unwrap()
}

/// A setting as the example states it.
struct Stated {
    active: bool,
    explained: bool,
}

/// Every `key = value` of the example, commented out or not, by dotted key.
fn stated(text: &str) -> BTreeMap<String, Stated> {
    let mut section = String::new();
    let mut found = BTreeMap::new();
    let mut explained = false;
    for line in text.lines() {
        let active = !line.starts_with('#');
        let line = line.trim_start_matches('#').trim();
        if line.starts_with('[') && line.ends_with(']') && !line.contains('=') {
            section = line.trim_matches(['[', ']']).to_owned();
            explained = false;
        } else if let Some((key, _)) = line
            .split_once(" = ")
            .filter(|(key, _)| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        {
            let stated = Stated { active, explained };
            let before = found.insert(format!("{section}.{key}"), stated);
            assert!(before.is_none(), "{section}.{key} is stated twice");
        } else {
            explained = !active && !line.is_empty();
        }
    }
    found
}

#[test]
fn the_example_states_every_setting_with_its_default() {
    let path = root("config/dig-ingest.toml");
    let settings =
        Settings::load_from(Some(&path), [], &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        table_of(&settings),
        table_of(&Settings::default()),
        "the example states a value that is not the default"
    );

    let stated = stated(&example());
    let defaults = table_of(&Settings::default());
    let schema = Settings::schema();
    for (key, kind) in &schema {
        if matches!(kind, Kind::Section(_)) {
            continue;
        }
        let Some(line) = stated.get(key) else {
            // A table with free names is stated by its header.
            let header = format!("[{key}]");
            assert!(
                *kind == Kind::Map && example().contains(&header),
                "{key} ({kind}) is missing from config/dig-ingest.toml"
            );
            continue;
        };
        assert!(
            line.explained,
            "{key} has no comment before it in config/dig-ingest.toml"
        );
        let (section, name) = key.rsplit_once('.').unwrap();
        let default = section
            .split('.')
            .try_fold(&defaults, |table, part| table.get(part)?.as_table());
        let has_default = default.is_some_and(|table| table.contains_key(name));
        assert_eq!(
            line.active, has_default,
            "{key}: commented out exactly if it has no default"
        );
    }
    for key in stated.keys() {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let free = schema.get(section) == Some(&Kind::Map);
        assert!(
            free || schema.contains_key(key),
            "config/dig-ingest.toml states {key}, which does not exist"
        );
    }
}

#[test]
fn every_line_of_the_example_is_read_by_its_own_section() {
    // The whole example again, given as flags: what a file may say, a flag may say.
    let table: toml::Table = example().parse().unwrap();
    let mut sets = Vec::new();
    flatten("", &table, &mut sets);
    assert!(!sets.is_empty());
    let settings = Settings::load_from(None, [], &sets).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(table_of(&settings), table_of(&Settings::default()));
    let variables = sets.iter().map(|set| {
        let (key, value) = set.split_once('=').unwrap();
        (
            format!("DIG_INGEST__{}", key.replace('.', "__").to_uppercase()),
            value.to_owned(),
        )
    });
    let settings =
        Settings::load_from(None, variables, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(table_of(&settings), table_of(&Settings::default()));
}

fn flatten(prefix: &str, table: &toml::Table, sets: &mut Vec<String>) {
    let schema = Settings::schema();
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) if matches!(schema.get(&key), Some(Kind::Section(_))) => {
                flatten(&key, inner, sets);
            }
            toml::Value::String(text) => sets.push(format!("{key}={text}")),
            other => sets.push(format!("{key}={other}")),
        }
    }
}

#[test]
fn settings_shown_in_the_log_can_be_read_back() {
    let shown = Settings::default().redacted();
    let table: toml::Table = shown.parse().unwrap();
    assert_eq!(table["ops"]["listen"].as_str(), Some("127.0.0.1:9464"));
}
