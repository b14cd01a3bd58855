//! Rust source as far as the rules need it: code without comments and literals, words, imports.

/// Rust text with comments and literals blanked out, line by line as before.
pub fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |out: &mut String, from: usize, to: usize| {
        out.extend(
            text[from..to]
                .chars()
                .map(|c| if c == '\n' { '\n' } else { ' ' }),
        );
    };
    while at < bytes.len() {
        let rest = &text[at..];
        let end = if rest.starts_with("//") {
            at + rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            let mut depth = 0;
            let mut end = at;
            while end < bytes.len() {
                if text[end..].starts_with("/*") {
                    (depth, end) = (depth + 1, end + 2);
                } else if text[end..].starts_with("*/") {
                    (depth, end) = (depth - 1, end + 2);
                    if depth == 0 {
                        break;
                    }
                } else {
                    end += text[end..].chars().next().map_or(1, char::len_utf8);
                }
            }
            end
        } else if let Some(hashes) = raw_string(rest)
            && !out.ends_with(|c: char| c.is_alphanumeric() || c == '_')
        {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = at + 2 + hashes;
            text[body..]
                .find(&close)
                .map_or(text.len(), |found| body + found + close.len())
        } else if rest.starts_with('"') {
            let mut end = at + 1;
            while end < bytes.len() && bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            (end + 1).min(text.len())
        } else if let Some(length) = char_literal(rest) {
            at + length
        } else {
            let c = rest.chars().next().unwrap();
            out.push(c);
            at += c.len_utf8();
            continue;
        };
        blank(&mut out, at, end);
        at = end;
    }
    out
}

/// The number of `#` if a raw string starts here.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The length of the character literal that starts here; a lifetime is none.
fn char_literal(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('\'')?;
    let mut chars = after.char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        return after[2..].find('\'').map(|found| 1 + 2 + found + 1);
    }
    let (next, quote) = chars.next()?;
    (quote == '\'').then_some(1 + next + 1)
}

/// The part of a file before its `#[cfg(test)] mod tests {`; nothing of a file that is tests only.
pub fn without_tests(code: &str) -> &str {
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let after = code[from + found..]["#[cfg(test)]".len()..].trim_start();
        if after.starts_with("mod ")
            && after.find('{') < after.find(';').or(Some(usize::MAX))
            && after.contains('{')
        {
            return &code[..from + found];
        }
        from += found + 1;
    }
    code
}

/// Where a word stands alone: (line, column in bytes).
pub fn occurrences(code: &str, word: &str) -> Vec<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .filter(|(at, _)| {
            !code[..*at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
        })
        .map(|(at, _)| at)
        .collect()
}

pub fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The top modules of this crate that a text imports: `crate::a::..` and the first level of `crate::{a::.., b}`.
pub fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in occurrences(code, "crate") {
        let Some(rest) = code[at + "crate".len()..].trim_start().strip_prefix("::") else {
            continue;
        };
        let rest = rest.trim_start();
        let word = |text: &str| {
            text.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        };
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut expects) = (0_u32, true);
            for (index, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => expects = true,
                    c if expects && depth == 0 && !c.is_whitespace() => {
                        found.push((line_of(code, at), word(&group[index..])));
                        expects = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.push((line_of(code, at), word(rest)));
        }
    }
    found
}

/// Whether a file brings in a module of this crate under that name: `use crate::ops::metrics`, `ops::{metrics, ..}`.
pub fn imported_from_ours(code: &str, name: &str) -> bool {
    occurrences(code, name).into_iter().any(|at| {
        let statement = code[..at].rfind("use ").map_or("", |from| &code[from..at]);
        !statement.contains(';') && (statement.contains("crate::") || statement.contains("super::"))
    })
}

#[test]
fn the_checks_see_code_and_not_text() {
    let text = "use rdkafka::x; // rdkafka::y\nlet s = \"rdkafka::z\"; let c = '\"'; r#\"rdkafka::q\"#; fn f<'a>() {}\n";
    let code = code_only(text);
    assert_eq!(occurrences(&code, "rdkafka").len(), 1, "{code}");
    assert_eq!(line_of(&code, code.find("fn f<'a>").unwrap()), 2);
    let names: Vec<_> = imports("use crate::{a::{b, c}, d,\n e::*}; crate::f::g()")
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(names, ["a", "d", "e", "f"]);
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\n b }"), "a\n");
    assert_eq!(
        without_tests("a\n#[cfg(test)]\nmod tests;\nb"),
        "a\n#[cfg(test)]\nmod tests;\nb"
    );
    assert!(imported_from_ours("use crate::ops::metrics;", "metrics"));
    assert!(imported_from_ours(
        "use crate::{ops::{metrics, x}};",
        "metrics"
    ));
    assert!(!imported_from_ours("use metrics::counter;", "metrics"));
}
