//! The tree's own rules, checked on the source text: who may import whom, which file owns which crate, sizes, names,
//! module docs, help texts, and the links of the READMEs.
//!
//! A rule that is broken is reported with file and line, all of them at once.

mod circles;
mod links;
mod source;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use source::{code_only, imported_from_ours, imports, line_of, occurrences, without_tests};

/// Lines a file may have; files that hold only tests may be a little longer.
const MAX_LINES: usize = 700;
const MAX_TEST_LINES: usize = 700;

/// Names that say nothing: one noun per thing instead.
const EMPTY_NAMES: [&str; 10] = [
    "manager",
    "service",
    "handler",
    "processor",
    "helper",
    "helpers",
    "util",
    "utils",
    "common",
    "types",
];

/// A module and the modules of this crate that it never imports.
const NEVER_IMPORTS: [(&str, &[&str]); 11] = [
    // The simulator has its own wire types: a mistake in ours must not be mirrored by what judges it.
    (
        "sim",
        &[
            "dig", "pipeline", "record", "registry", "orders", "commands",
        ],
    ),
    (
        "pipeline",
        &["sim", "orders", "myadmin", "letters", "commands"],
    ),
    (
        "letters",
        &["sim", "orders", "myadmin", "dig", "app", "commands"],
    ),
    ("orders", &["sim", "pipeline", "dig", "commands"]),
    ("dig", &["sim", "pipeline", "orders", "myadmin", "commands"]),
    (
        "myadmin",
        &[
            "sim", "pipeline", "orders", "dig", "record", "registry", "commands",
        ],
    ),
    (
        "http",
        &["sim", "pipeline", "orders", "dig", "record", "commands"],
    ),
    (
        "record",
        &[
            "sim", "pipeline", "orders", "dig", "formats", "http", "commands",
        ],
    ),
    (
        "registry",
        &["sim", "pipeline", "orders", "dig", "commands"],
    ),
    (
        "formats",
        &[
            "sim", "pipeline", "orders", "dig", "myadmin", "registry", "commands",
        ],
    ),
    ("ops", &["sim", "dig", "orders", "commands"]),
];

/// What only a few files may name, and those files (or folders, ending in a slash).
const OWNED: [(&str, &[&str]); 12] = [
    ("hyper", &["http/server.rs", "http/server/"]),
    (
        "rustix",
        &[
            "http/descriptors.rs",
            "commands/leave.rs",
            "commands/read_mail.rs",
        ],
    ),
    ("lopdf", &["orders/mail/pdf.rs", "orders/mail/pdf/"]),
    (
        "mail_parser",
        &["orders/mail/opened.rs", "orders/mail/text.rs"],
    ),
    (
        "rdkafka",
        &[
            "access.rs",
            "pipeline/",
            "letters/",
            "log_life/",
            "poll.rs",
            "rights.rs",
            "headers.rs",
            "registry.rs",
            "registry/",
            "load/produce.rs",
            "verify/letters.rs",
            "commands/demo.rs",
            "commands/demo/",
            "commands/check.rs",
            "commands/check/",
        ],
    ),
    (
        "reqwest",
        &[
            "dig/",
            "formats/client.rs",
            "http/",
            "myadmin/",
            "verify/ledger.rs",
            "orders/terminations/fetch.rs",
        ],
    ),
    ("simd_json", &["record/"]),
    ("protox", &["formats/protobuf/"]),
    ("governor", &["http/"]),
    ("sqlx", &["orders/store/"]),
    ("metrics", &["ops/"]),
    ("env", &["config.rs", "config/"]),
];

/// The macros of the `metrics` crate, and the only folder that may use them.
const METRIC_MACROS: [&str; 6] = [
    "counter!",
    "gauge!",
    "histogram!",
    "describe_counter!",
    "describe_gauge!",
    "describe_histogram!",
];
const METRIC_FOLDER: &str = "ops/metrics/";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with one of the `endings`, as (path relative to the root, text), sorted.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, into);
            } else {
                into.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter(|path| {
            endings
                .iter()
                .any(|ending| path.to_string_lossy().ends_with(ending))
        })
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (
                path.strip_prefix(root())
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
                text,
            )
        })
        .collect()
}

fn rust_files() -> Vec<(String, String)> {
    ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| files(folder, &[".rs"]))
        .collect()
}

/// Every README of the tree, as (path relative to the root, text).
pub fn readmes() -> Vec<(String, String)> {
    let first = fs::read_to_string(root().join("README.md")).unwrap();
    ["src", "tests", "benches", "config", "scripts"]
        .iter()
        .flat_map(|folder| files(folder, &["/README.md"]))
        .chain([("README.md".to_owned(), first)])
        .collect()
}

/// The module a source file belongs to: its folder, or its name, under `src/`.
fn module_of(path: &str) -> &str {
    let path = path.strip_prefix("src/").unwrap_or(path);
    path.split('/')
        .next()
        .unwrap_or(path)
        .trim_end_matches(".rs")
}

fn only_tests(path: &str) -> bool {
    path.starts_with("tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || path.contains("/tests/")
}

#[track_caller]
fn none(broken: &[String]) {
    let mut list = String::new();
    for line in broken {
        let _ = writeln!(list, "  {line}");
    }
    assert!(broken.is_empty(), "{} broken:\n{list}", broken.len());
}

#[test]
fn modules_import_only_what_they_may() {
    let mut broken = Vec::new();
    for (path, text) in files("src", &[".rs"]) {
        if only_tests(&path) {
            continue;
        }
        let code = code_only(&text);
        let Some((_, never)) = NEVER_IMPORTS
            .iter()
            .find(|(module, _)| *module == module_of(&path))
        else {
            continue;
        };
        for (line, module) in imports(without_tests(&code)) {
            if never.contains(&module.as_str()) {
                broken.push(format!(
                    "{path}:{line}: {} imports {module}",
                    module_of(&path)
                ));
            }
        }
    }
    none(&broken);
}

#[test]
fn a_crate_is_named_only_by_the_files_that_own_it() {
    let mut broken = Vec::new();
    for (path, text) in files("src", &[".rs"]) {
        if only_tests(&path) {
            continue;
        }
        let code = code_only(&text);
        let code = without_tests(&code);
        let inside = path.trim_start_matches("src/");
        for (name, owners) in OWNED {
            let owned = owners.iter().any(|owner| {
                inside == *owner || (owner.ends_with('/') && inside.starts_with(owner))
            });
            for at in occurrences(code, name) {
                let (before, after) = (code[..at].trim_end(), code[at + name.len()..].trim_start());
                // A path of the crate itself, not a field, a macro or a module of ours with the same name.
                let ours = before.ends_with("ops::")
                    || before.ends_with("crate::")
                    || before.ends_with("super::");
                let foreign = after.starts_with("::") && !ours
                    || before.ends_with("use") && after.starts_with(';')
                    || name == "env" && before.ends_with("std::");
                if foreign && !owned && !imported_from_ours(code, name) {
                    broken.push(format!(
                        "{path}:{}: {name} belongs to {owners:?}",
                        line_of(code, at)
                    ));
                }
            }
        }
        for name in METRIC_MACROS {
            let word = name.trim_end_matches('!');
            for at in occurrences(code, word) {
                if code[at + word.len()..].starts_with('!') && !inside.starts_with(METRIC_FOLDER) {
                    broken.push(format!(
                        "{path}:{}: {name} belongs to src/{METRIC_FOLDER}",
                        line_of(code, at)
                    ));
                }
            }
        }
    }
    none(&broken);
}

/// They panic when their output cannot be written, and wait for its reader (N1): `commands/console.rs` and the log have others.
const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

#[test]
fn nothing_prints_with_a_macro_that_panics() {
    let mut broken = Vec::new();
    for (path, text) in files("src", &[".rs"]) {
        let code = code_only(&text);
        for word in PRINTING {
            for at in occurrences(&code, word) {
                if code[at + word.len()..].starts_with('!') {
                    broken.push(format!("{path}:{}: {word}!", line_of(&code, at)));
                }
            }
        }
    }
    none(&broken);
}

#[test]
fn files_are_short() {
    let mut broken = Vec::new();
    for (path, text) in rust_files() {
        let most = if only_tests(&path) {
            MAX_TEST_LINES
        } else {
            MAX_LINES
        };
        let lines = text.lines().count();
        if lines > most {
            broken.push(format!("{path}: {lines} lines, at most {most}"));
        }
    }
    none(&broken);
}

#[test]
fn every_module_says_what_it_is() {
    let mut broken = Vec::new();
    // A file of tests beside its module is told by that.
    for (path, text) in rust_files()
        .into_iter()
        .filter(|(path, _)| !path.starts_with("src/") || !only_tests(path))
    {
        let first = text
            .lines()
            .find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
        let doc = first
            .and_then(|line| line.strip_prefix("//!"))
            .map(str::trim)
            .unwrap_or_default();
        // The crate's documentation may come from the README.
        if doc.len() < 10 && !text.contains("#![doc = include_str!") {
            broken.push(format!("{path}: does not begin with a `//!` sentence"));
        }
    }
    none(&broken);
}

#[test]
fn no_file_has_an_empty_name() {
    let broken: Vec<_> = rust_files()
        .into_iter()
        .filter(|(path, _)| {
            path.trim_end_matches(".rs")
                .split(['/', '_'])
                .any(|part| EMPTY_NAMES.contains(&part))
        })
        .map(|(path, _)| path)
        .collect();
    none(&broken);
}

#[test]
fn no_test_is_ignored_and_none_sleeps() {
    let mut broken = Vec::new();
    for (path, text) in rust_files() {
        let code = code_only(&text);
        for at in code.match_indices("#[ignore").map(|(at, _)| at) {
            broken.push(format!(
                "{path}:{}: an ignored test proves nothing",
                line_of(&code, at)
            ));
        }
        // The one loop that waits for a condition.
        if path == "tests/it/support.rs" || path.starts_with("tests/it/support/") {
            continue;
        }
        let tests_from = if only_tests(&path) {
            0
        } else {
            without_tests(&code).len()
        };
        for at in occurrences(&code, "sleep")
            .into_iter()
            .filter(|at| *at >= tests_from)
        {
            broken.push(format!(
                "{path}:{}: wait for a condition instead of sleeping",
                line_of(&code, at)
            ));
        }
    }
    none(&broken);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // Put together here, so that this file does not name them either.
    let marks = [
        concat!("/wo", "rk/"),
        concat!("/tmp/", "bash"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    let endings = [
        ".rs",
        ".toml",
        ".md",
        ".sh",
        ".json",
        ".ndjson",
        ".csv",
        ".xml",
        ".properties",
        ".html",
        "/run",
        "/test",
    ];
    let mut broken = Vec::new();
    let top = [
        "README.md",
        "CHANGELOG.md",
        "Cargo.toml",
        "deny.toml",
        "clippy.toml",
        ".gitignore",
    ]
    .into_iter()
    .filter_map(|name| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?)));
    let below = ["src", "tests", "benches", "config", ".ci"]
        .iter()
        .flat_map(|folder| files(folder, &endings));
    let scripts = files("scripts", &[""]);
    for (path, text) in top.chain(below).chain(scripts) {
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                broken.push(format!("{path}:{}: names {mark}", number + 1));
            }
        }
    }
    none(&broken);
}

fn help_of(program: &Path, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .arg("--help")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{} {args:?} --help: {}",
        program.display(),
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_prints_help_with_examples() {
    let program = Path::new(env!("CARGO_BIN_EXE_dig-ingest"));
    let top = help_of(program, &[]);
    let commands: Vec<_> = top
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(commands.len() >= 10, "commands in the help: {commands:?}");
    let mut broken = Vec::new();
    for command in commands {
        if !help_of(program, &[command]).contains("Examples:") {
            broken.push(format!("dig-ingest {command} --help has no examples"));
        }
    }
    none(&broken);
}

#[test]
fn every_script_prints_help_with_examples() {
    let mut broken = Vec::new();
    let scripts = files("scripts", &[""]).into_iter().filter(|(path, text)| {
        path.matches('/').count() == 1 && text.starts_with("#!") && !path.ends_with(".sh")
    });
    for (path, _) in scripts.chain(files(".ci", &["/run"])) {
        if !help_of(&root().join(&path), &[]).contains("Examples:") {
            broken.push(format!("{path} --help has no examples"));
        }
    }
    none(&broken);
}
