//! The READMEs of the tree: the first one is short, and each relative link leads to a file and a heading that exist.

use std::fs;
use std::path::Path;

use super::{none, readmes, root};

/// Lines of the README at the top; what is longer has a README beside what it describes.
const MOST_LINES: usize = 200;

/// Lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of the links in a line; code spans have none.
fn targets(line: &str) -> Vec<String> {
    let outside: String = line.split('`').step_by(2).collect();
    outside
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// The name under which a page shows a heading: lower case, words joined by hyphens.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    prose(text).any(|(_, line)| line.starts_with('#') && anchor(line) == wanted)
}

#[test]
fn the_first_readme_is_short() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let lines = text.lines().count();
    assert!(
        lines <= MOST_LINES,
        "README.md: {lines} lines, at most {MOST_LINES}: move a part to the README beside what it describes"
    );
}

#[test]
fn every_relative_link_of_a_readme_leads_to_a_file() {
    let mut broken = Vec::new();
    let mut checked = 0;
    for (path, text) in readmes() {
        let folder = root().join(Path::new(&path).parent().unwrap());
        for (number, line) in prose(&text) {
            for target in targets(line) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                checked += 1;
                let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
                let file = if file.is_empty() {
                    root().join(&path)
                } else {
                    folder.join(file)
                };
                let place = format!("{path}:{}: {target}", number + 1);
                if !file.exists() {
                    broken.push(format!("{place}: there is no such file"));
                } else if !heading.is_empty()
                    && !has_anchor(&fs::read_to_string(&file).unwrap(), heading)
                {
                    broken.push(format!("{place}: the file has no such heading"));
                }
            }
        }
    }
    assert!(checked >= 40, "only {checked} links were found");
    none(&broken);
}
