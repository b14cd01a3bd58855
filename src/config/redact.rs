//! Redaction: the secrets this process knows, and their removal from texts of others (C1).
//!
//! Owns the list of known secrets: every [`super::secret::Secret`] enters it when it is made, settings and tokens of sessions alike.
//! A gateway, a proxy or a firewall may answer with what it was sent, so each text of others passes [`text`] or [`foreign`] before
//! it is logged, written into a letter, shown or served. Known forms of a secret: as it is, as JSON, HTML and Rust write it within
//! quotes, percent-encoded, and in base64 wherever it begins (Basic authentication).
//!
//! * A secret of [`SHORT`] to [`LONG`] - 1 characters is removed where it stands alone: it may be a common word.
//! * Shorter ones are not removed; [`is_too_short`] tells who gives one.
//! * Tokens of sessions: the last `TOKENS` are known.
//!
//! It does not look for what merely looks like a secret.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::printable;
use super::secret::{REDACTED, names_secret};

/// Characters from which on a secret is removed where it stands alone.
pub const SHORT: usize = 4;
/// Characters from which on a secret is removed wherever it is found.
pub const LONG: usize = 6;
/// Tokens of sessions that are known.
const TOKENS: usize = 32;
/// Characters of a form at the end of a text that was cut, from which on they are taken for its beginning.
const BEGINNING: usize = 4;

/// What is known.
#[derive(Default)]
struct Known {
    /// Passwords and keys of the settings: they stay.
    lasting: BTreeSet<String>,
    /// Tokens, oldest first.
    tokens: VecDeque<String>,
    search: Option<Arc<Search>>,
}

/// Finds every form of every known secret in one pass.
struct Search {
    automaton: AhoCorasick,
    /// By pattern: the form, and whether it must stand alone.
    forms: Vec<(String, bool)>,
}

// A lock, as every thread writes texts: written when a secret is learnt, read for the time it takes to clone a pointer.
static KNOWN: RwLock<Known> = RwLock::new(Known {
    lasting: BTreeSet::new(),
    tokens: VecDeque::new(),
    search: None,
});

/// Learns a secret of the settings: a password, a key, an address that holds one.
pub fn learn(secret: &str) {
    if is_too_short(secret) {
        return;
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if known.lasting.insert(secret.to_owned()) {
        known.rebuild();
    }
}

/// Learns a token of a session; after `TOKENS` newer ones it is forgotten.
pub fn learn_token(token: &str) {
    if is_too_short(token) {
        return;
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if known.tokens.iter().any(|held| held == token) {
        return;
    }
    if known.tokens.len() == TOKENS {
        known.tokens.pop_front();
    }
    known.tokens.push_back(token.to_owned());
    known.rebuild();
}

/// Whether a secret is so short that it cannot be removed from texts.
#[must_use]
pub fn is_too_short(secret: &str) -> bool {
    secret.chars().count() < SHORT
}

impl Known {
    fn rebuild(&mut self) {
        let mut forms: BTreeSet<(String, bool)> = BTreeSet::new();
        for secret in self.lasting.iter().chain(&self.tokens) {
            for part in parts(secret) {
                let alone = part.chars().count() < LONG;
                forms.extend(forms_of(&part).into_iter().map(|form| {
                    let alone = alone && form == part;
                    (form, alone)
                }));
            }
        }
        let forms: Vec<_> = forms.into_iter().collect();
        // Fails only for more patterns than memory could hold.
        self.search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(forms.iter().map(|(form, _)| form))
            .ok()
            .map(|automaton| Arc::new(Search { automaton, forms }));
    }
}

/// A secret, and of an address also what in it is secret by itself: the password, a query's keys, a path that nobody can guess.
fn parts(secret: &str) -> Vec<String> {
    let mut parts = vec![secret.to_owned()];
    let Some((_, rest)) = secret.split_once("://") else {
        return parts;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if let Some((user, _)) = authority.rsplit_once('@') {
        let plain = |text: &str| unescaped(text);
        parts.push(STANDARD.encode(plain(user)));
        if let Some((_, password)) = user.split_once(':') {
            parts.extend([password.to_owned(), plain(password)]);
        }
    }
    if path.len() >= 16 {
        parts.push(path.to_owned());
    }
    let query = path.split_once('?').map_or("", |(_, query)| query);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let named = names_secret(name) || ["sig", "code", "key", "auth"].contains(&name);
        if named || value.len() >= 16 {
            parts.extend([value.to_owned(), unescaped(value)]);
        }
    }
    parts.retain(|part| !is_too_short(part));
    parts
}

/// Without percent-encoding.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let coded = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match coded {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How a secret may be written by whoever sends it back: as it is, within JSON, and within JSON that is itself a text in JSON; each of
/// these percent-encoded, within HTML, and as Rust shows a text; and in base64.
fn forms_of(secret: &str) -> BTreeSet<String> {
    let within_json = |text: &str| {
        let quoted = serde_json::to_string(text).unwrap_or_default();
        let inner = quoted
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        inner.unwrap_or_default().to_owned()
    };
    let json = within_json(secret);
    let plain = BTreeSet::from([secret.to_owned(), within_json(&json), json]);
    let mut forms = BTreeSet::new();
    for text in &plain {
        for unreserved in [&b"-._~"[..], b"-._~*", b"-._~!$&'()*+,;=:@/"] {
            for lower in [false, true] {
                let coded = percent(text, unreserved, lower);
                forms.insert(coded.replace("%20", "+"));
                forms.insert(coded);
            }
        }
        let html = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;");
        forms.extend([
            html.replace('\'', "&#39;"),
            html.replace('\'', "&#x27;"),
            html,
        ]);
        forms.insert(text.replace('/', "\\/"));
        let shown = format!("{text:?}");
        forms.insert(shown[1..shown.len() - 1].to_owned());
        // On one line, as texts of servers are kept.
        forms.insert(text.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    forms.extend(plain);
    forms.extend(in_base64(secret));
    forms.retain(|form| !is_too_short(form));
    forms
}

fn percent(text: &str, unreserved: &[u8], lower: bool) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || unreserved.contains(&byte) {
            out.push(char::from(byte));
        } else if lower {
            out.push_str(&format!("%{byte:02x}"));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The characters of base64 that the secret alone determines, for each of the three places where it may begin.
fn in_base64(secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for before in 0..3_usize {
        let padded = [vec![0; before], secret.as_bytes().to_vec()].concat();
        // Six bits a character: those before the secret and the last, which the next byte takes part in, say other things too.
        let (first, last) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let coded = engine.encode(&padded);
            if let Some(core) = coded.get(first..last).filter(|core| core.len() >= LONG) {
                found.push(core.to_owned());
            }
        }
    }
    found
}

fn search() -> Option<Arc<Search>> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    known.search.clone()
}

impl Search {
    fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut out = String::new();
        let mut from = 0;
        for found in self.automaton.find_iter(text) {
            let (_, alone) = &self.forms[found.pattern().as_usize()];
            if *alone && !stands_alone(text, found.start(), found.end()) {
                continue;
            }
            out.push_str(&text[from..found.start()]);
            out.push_str(REDACTED);
            from = found.end();
        }
        if from == 0 {
            return Cow::Borrowed(text);
        }
        out.push_str(&text[from..]);
        Cow::Owned(out)
    }

    /// The place where a form begins that the end of the text cuts.
    fn cut_form(&self, text: &str) -> Option<usize> {
        let begins = |at: usize| {
            let rest = &text[at..];
            rest.len() >= BEGINNING && self.forms.iter().any(|(form, _)| form.starts_with(rest))
        };
        let longest = self.forms.iter().map(|(form, _)| form.len()).max()?;
        let first = text.len().saturating_sub(longest);
        (first..text.len()).find(|at| text.is_char_boundary(*at) && begins(*at))
    }
}

fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    !text[..start].ends_with(char::is_alphanumeric)
        && !text[end..].starts_with(char::is_alphanumeric)
}

/// The text without the secrets that this process knows.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    match search() {
        Some(search) => search.text(text),
        None => Cow::Borrowed(text),
    }
}

/// A text of others as it may be kept: on one line, without secrets, without control characters, of at most `most` characters.
/// Only a beginning of it may have been read, so that its end may hold the beginning of a secret: that is removed too.
#[must_use]
pub fn foreign(given: &str, most: usize) -> String {
    let line = given.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = match search() {
        None => line,
        Some(search) => {
            let mut clean = search.text(&line).into_owned();
            if let Some(at) = search.cut_form(&clean) {
                clean.truncate(at);
                clean.push_str(REDACTED);
            }
            clean
        }
    };
    line = printable::text(&line).into_owned();
    match line.char_indices().nth(most) {
        Some((at, _)) => line[..at].to_owned(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_known_secret_is_removed() {
        let secret = "K&n\"a r/y+9\u{e4}\\7";
        learn(secret);
        let basic = |user: &str| STANDARD.encode(format!("{user}:{secret}!"));
        let echoes = [
            format!("you sent {secret}."),
            format!("{}", serde_json::json!({ "Password": secret })),
            format!("{:?}", format!("a{secret}b")),
            serde_json::json!({ "p": secret })
                .to_string()
                .replace('/', "\\/"),
            format!("Password={}&x=1", percent(secret, b"-._~", false)),
            format!(
                "Password={}&x=1",
                percent(secret, b"-._~", true).replace("%20", "+")
            ),
            format!(
                "<b>{}</b>",
                secret.replace('&', "&amp;").replace('"', "&quot;")
            ),
            format!("Authorization: Basic {}", basic("a")),
            format!("Authorization: Basic {}", basic("ab")),
            format!("Authorization: Basic {}", basic("abc")),
        ];
        for echo in echoes {
            let shown = text(&echo);
            assert!(shown.contains(REDACTED), "{echo} became {shown}");
            // Nothing of five characters or more of the middle is left.
            assert!(
                !shown.contains("y+9") && !shown.contains("y%2B9"),
                "{shown}"
            );
        }
    }

    #[test]
    fn short_secrets_are_removed_where_they_stand_alone_and_very_short_ones_stay() {
        learn("kiwi7");
        learn("q9");
        assert_eq!(text("a kiwi7, xkiwi7x q9"), "a [redacted], xkiwi7x q9");
        assert!(is_too_short("q9") && !is_too_short("kiwi7"));
    }

    #[test]
    fn what_is_secret_in_an_address_is_known_by_itself() {
        learn("postgres://ann:pl%75mtree@host.example/db?sslmode=require&token=peartree");
        let shown = text("plumtree pl%75mtree peartree require");
        assert_eq!(shown, "[redacted] [redacted] [redacted] require");
        let basic = STANDARD.encode("ann:plumtree");
        assert_eq!(text(&basic), REDACTED);
    }

    #[test]
    fn a_text_that_was_cut_within_a_secret_shows_nothing_of_it() {
        learn("cherry-blossom-44");
        assert_eq!(foreign("bad cherry-blo", 100), "bad [redacted]");
        assert_eq!(foreign("bad cherry-blo.", 100), "bad cherry-blo.");
        // Redacted before it is shortened.
        assert_eq!(foreign("bad cherry-blossom-44", 10), "bad [redac");
        assert_eq!(
            foreign("a\n\u{1b}[31m b\u{202e}", 100),
            "a \\u{1b}[31m b\\u{202e}"
        );
    }

    #[test]
    fn tokens_are_forgotten_after_many_newer_ones() {
        for number in 0..=TOKENS {
            learn_token(&format!("token-number-{number}-of-a-session"));
        }
        assert!(text("token-number-0-of-a-session").starts_with("token-number"));
        let newest = format!("token-number-{TOKENS}-of-a-session");
        assert_eq!(text(&newest), REDACTED);
    }
}
