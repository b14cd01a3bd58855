//! Every command that a remedy prints is one that this program has: all texts of the source are looked through.

use std::path::Path;

use clap::Parser as _;

use super::Cli;

/// Placeholders whose value is not one word of any kind.
fn filled(command: &str) -> String {
    let mut text = String::new();
    let mut rest = command;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').expect("a placeholder ends");
        text.push_str(before);
        text.push_str(match name {
            "flags" => " --imei 350000000000014",
            "units" => " --unit 7.1",
            _ => "7.1",
        });
        rest = behind;
    }
    text.push_str(rest);
    // The flags that a unit lacks.
    text.replace(
        "orders assign 7.1 7.1",
        "orders assign 7.1 --imei 350000000000014",
    )
}

/// Commands between backticks in the code's texts, with their places; those that a line break divides are put together.
fn commands() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|ending| ending != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let mut code = String::new();
            for line in text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
            {
                match line.strip_suffix('\\') {
                    Some(begun) => code.push_str(begun.trim_start()),
                    None => {
                        code.push_str(line.trim_start());
                        code.push('\n');
                    }
                }
            }
            for line in code.lines() {
                for quoted in line.split('`').skip(1).step_by(2) {
                    let command = quoted.strip_prefix("dig-ingest ").unwrap_or(quoted);
                    if command.starts_with("orders ") || command.starts_with("devices ") {
                        found.push((path.display().to_string(), command.to_owned()));
                    }
                }
            }
        }
    }
    found
}

#[test]
fn every_command_that_a_text_prints_is_one_of_ours() {
    let all = commands();
    assert!(all.len() > 50, "they are found: {}", all.len());
    let wrong: Vec<String> = all
        .iter()
        .filter_map(|(path, command)| {
            let text = format!("dig-ingest {}", filled(command));
            let error = Cli::try_parse_from(text.split(' ')).err()?;
            Some(format!("{path}: `{command}`: {error}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
