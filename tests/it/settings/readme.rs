//! Tests of the READMEs: their tables agree with the sources, their commands take the flags given to them, their tests exist.
//!
//! `DIG_README=write cargo test --test it settings::readme` writes the generated tables anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use dig_ingest::config::{Kind, Settings};

use super::{example, root};
use crate::tree::readmes;

fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap()
}

/// Compares what stands between two markers of a file with what should, or writes it.
fn generated(path: &str, name: &str, wanted: &str) {
    let text = read(path);
    let (begin, end) = (
        format!("<!-- {name}: begin -->\n"),
        format!("<!-- {name}: end -->"),
    );
    let from = text.find(&begin).unwrap_or_else(|| panic!("no {begin}")) + begin.len();
    let to = text.find(&end).unwrap_or_else(|| panic!("no {end}"));
    if std::env::var_os("DIG_README").is_some_and(|word| word == "write") {
        let written = format!("{}\n{wanted}\n{}", &text[..from], &text[to..]);
        std::fs::write(root(path), written).unwrap();
        return;
    }
    assert_eq!(
        text[from..to].trim(),
        wanted.trim(),
        "{path}, {name}: out of date; DIG_README=write cargo test --test it settings::readme writes it anew"
    );
}

/// The settings by section, from the annotated example.
fn settings_tables() -> String {
    let mut out = String::new();
    let schema = Settings::schema();
    let mut comment: Vec<&str> = Vec::new();
    let mut section = "";
    for line in example().lines() {
        let text = line.trim_start_matches('#').trim();
        let (key, value) = text.split_once(" = ").unwrap_or(("", ""));
        let plain = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let quoted = key.starts_with('"') && key.ends_with('"');
        if line.is_empty() || line.starts_with("# ---") {
            comment.clear();
        } else if line.starts_with('[') {
            section = text.trim_matches(['[', ']']);
            let about = if comment.is_empty() {
                String::new()
            } else {
                format!("{}\n\n", escaped(&comment.join(" ")))
            };
            write!(
                out,
                "\n### {section}\n\n{about}| setting | default | meaning |\n|---|---|---|\n"
            )
            .unwrap();
            comment.clear();
        } else if !key.is_empty() && (plain(key) || quoted) && !section.is_empty() {
            // A bar would end the cell, in code too.
            let value = value.replace('|', "\\|");
            // A table whose names are free; a section within a section has names of its own.
            let free = quoted || schema.get(section) == Some(&Kind::Map);
            let default = match (line.starts_with('#'), free) {
                (false, _) => format!("`{value}`"),
                (true, false) => format!("none; such as `{value}`"),
                (true, true) => format!("none; such as `{key} = {value}`"),
            };
            let name = if free && line.starts_with('#') || quoted {
                "(any name)".to_owned()
            } else {
                format!("`{key}`")
            };
            let meaning = if comment.is_empty() {
                "as above".to_owned()
            } else {
                escaped(&comment.join(" "))
            };
            writeln!(out, "| {name} | {default} | {meaning} |").unwrap();
            comment.clear();
        } else {
            comment.push(text);
        }
    }
    // A section without a row needs no head.
    out.replace("| setting | default | meaning |\n|---|---|---|\n\n", "\n")
}

/// Text that shows as itself: brackets would be links, bars would end a cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('[', "\\[")
        .replace(']', "\\]")
        .replace('<', "\\<")
        .replace("http://", "http:\\//")
}

/// One metric of the sources: its kind, labels and what its function says.
#[derive(Default)]
pub struct Metric {
    pub kind: String,
    pub labels: BTreeSet<String>,
    meaning: String,
}

pub fn metrics() -> BTreeMap<String, Metric> {
    let mut found: BTreeMap<String, Metric> = BTreeMap::new();
    let mut files: Vec<_> = std::fs::read_dir(root("src/ops/metrics"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect();
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        // What a function says stands before it; what is described in place says it itself.
        for part in text
            .split("\npub fn ")
            .flat_map(|part| part.split("\npub(super) fn "))
        {
            for kind in ["counter", "gauge", "histogram"] {
                let opening = format!("{kind}!(");
                for (at, _) in part.match_indices(&opening) {
                    let described = part[..at].ends_with("describe_");
                    let arguments = part[at + opening.len()..]
                        .split(';')
                        .next()
                        .unwrap_or_default();
                    let Some(name) = arguments
                        .split('"')
                        .nth(1)
                        .filter(|name| name.starts_with("dig_ingest_"))
                    else {
                        continue;
                    };
                    let metric = found.entry(name.to_owned()).or_default();
                    kind.clone_into(&mut metric.kind);
                    if described {
                        let meaning = arguments.rsplit('"').nth(1).unwrap_or_default();
                        meaning.clone_into(&mut metric.meaning);
                        continue;
                    }
                    let scope = if arguments.contains("&labels") {
                        part
                    } else {
                        arguments
                    };
                    for (arrow, _) in scope.match_indices("\" =>") {
                        metric.labels.insert(
                            scope[..arrow]
                                .rsplit('"')
                                .next()
                                .unwrap_or_default()
                                .to_owned(),
                        );
                    }
                    if scope.contains("let labels = ") || arguments.contains("&labels") {
                        for (open, _) in scope.match_indices("(\"") {
                            let label = scope[open + 2..].split('"').next().unwrap_or_default();
                            if !label.starts_with("dig_ingest_") {
                                metric.labels.insert(label.to_owned());
                            }
                        }
                    }
                    if metric.meaning.is_empty() {
                        metric.meaning = meaning(&said_before(text, part), name);
                    }
                }
            }
        }
    }
    found
}

/// The doc comment that stands before a part of a text.
fn said_before(text: &str, part: &str) -> String {
    let at = part.as_ptr() as usize - text.as_ptr() as usize;
    let before = text[..at].trim_end_matches(|c| c != '\n');
    let mut lines: Vec<_> = before
        .lines()
        .rev()
        .skip_while(|line| line.is_empty() || line.starts_with("pub"))
        .take_while(|line| line.starts_with("///") || line.starts_with("#["))
        .filter_map(|line| line.strip_prefix("///"))
        .map(str::trim)
        .collect();
    lines.reverse();
    lines.join("\n")
}

/// What a doc comment says of one metric: its own item of the list if there is one, else what stands before the list.
fn meaning(said: &str, name: &str) -> String {
    let own = format!("* `{name}`: ");
    let item = said.lines().find_map(|line| line.strip_prefix(&own));
    let before = said.lines().take_while(|line| !line.is_empty());
    item.map_or_else(|| before.collect::<Vec<_>>().join(" "), str::to_owned)
}

/// The table from which `/metrics` has its HELP lines: the same sentences as in `src/ops/README.md`.
#[test]
fn every_metric_has_its_help_as_it_is_in_the_sources() {
    let mut table = String::new();
    for (name, Metric { kind, meaning, .. }) in metrics() {
        writeln!(table, "    ({kind:?}, {name:?}, {meaning:?}),").unwrap();
    }
    let path = root("src/ops/metrics/help.rs");
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("    // begin: generated\n", "    // end: generated\n");
    let from = text.find(begin).expect("the begin") + begin.len();
    let to = text.find(end).expect("the end");
    if std::env::var_os("DIG_README").is_some_and(|word| word == "write") {
        let written = format!("{}{table}{}", &text[..from], &text[to..]);
        std::fs::write(path, written).unwrap();
        return;
    }
    assert_eq!(
        text[from..to],
        table,
        "src/ops/metrics/help.rs: out of date; DIG_README=write cargo test --test it settings::readme writes it anew"
    );
}

#[test]
fn every_setting_is_in_the_readme_as_it_is_in_the_example() {
    generated("config/README.md", "settings", &settings_tables());
}

#[test]
fn every_metric_is_in_the_readme_as_it_is_in_the_sources() {
    let mut table = "| metric | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
    let metrics = metrics();
    assert!(
        metrics.len() > 20,
        "the sources name only {} metrics",
        metrics.len()
    );
    for (
        name,
        Metric {
            kind,
            labels,
            meaning,
        },
    ) in metrics
    {
        assert!(
            !meaning.is_empty(),
            "{name}: the function that counts it does not say what it is"
        );
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            table,
            "| `{name}` | {kind} | {} | {} |",
            labels.join(", "),
            escaped(&meaning)
        )
        .unwrap();
    }
    generated("src/ops/README.md", "metrics", &table);
}

fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// The rows of the tables in the section on guarantees.
fn guarantees(path: &str) -> Vec<String> {
    let text = read(path);
    let section = text.split("\n## Guarantees\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| event"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_guarantee_names_a_test_that_exists() {
    let mut all = String::new();
    sources(&root("src"), &mut all);
    sources(&root("tests"), &mut all);
    let rows = guarantees("tests/README.md");
    assert!(rows.len() >= 80, "{} rows", rows.len());
    for row in &rows {
        let tests = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test is named: {row}");
        for name in names {
            assert!(
                all.contains(&format!("fn {name}(")),
                "there is no test {name}: {row}"
            );
        }
    }
}

#[test]
fn the_readme_has_guarantees_as_they_are_in_the_whole_table() {
    let (few, all) = (guarantees("README.md"), guarantees("tests/README.md"));
    assert_eq!(few.len(), 8);
    for row in few {
        assert!(all.contains(&row), "not in tests/README.md: {row}");
    }
}

/// The commands of the console blocks in all READMEs, a line each.
fn commands() -> Vec<String> {
    let texts = readmes();
    let blocks = texts.iter().flat_map(|(_, text)| {
        text.split("```console\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
    });
    let joined: Vec<String> = blocks.map(|block| block.replace("\\\n", " ")).collect();
    joined
        .iter()
        .flat_map(|block| block.lines())
        .filter_map(|line| line.strip_prefix("$ "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_of_a_readme_exists_and_takes_its_flags() {
    let program = env!("CARGO_BIN_EXE_dig-ingest");
    let mut checked = 0;
    for line in commands() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = words.iter().position(|word| {
            word.ends_with("dig-ingest") || word.contains("scripts/") || *word == "--"
        });
        let Some(place) = place.filter(|_| !line.starts_with("export")) else {
            continue;
        };
        let (mut tool, rest) = if words[place].contains("scripts/") {
            let script = words[place].trim_start_matches("\"$(");
            (Command::new(root(script)), &words[place + 1..])
        } else {
            let mut tool = Command::new(program);
            tool.arg(
                words
                    .get(place + 1)
                    .unwrap_or_else(|| panic!("no command: {line}")),
            );
            let rest = &words[place + 2..];
            // The flags of these belong to what comes after them.
            if ["orders", "devices", "offsets"].contains(&words[place + 1])
                && !rest[0].starts_with('-')
            {
                tool.arg(rest[0]);
            }
            (tool, rest)
        };
        let output = tool
            .arg("--help")
            .output()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        for flag in rest.iter().filter(|word| word.starts_with("--")) {
            let flag = flag.split('=').next().unwrap();
            assert!(help.contains(flag), "{line}: there is no {flag}");
        }
        for (at, word) in rest.iter().enumerate() {
            if *word == "--set" && !line.contains(" sim ") {
                let key = rest[at + 1].split('=').next().unwrap();
                assert!(
                    dig_ingest::config::Settings::schema().contains_key(key),
                    "{line}: there is no setting {key}"
                );
            }
        }
        checked += 1;
    }
    assert!(checked >= 50, "only {checked} commands were found");
}
