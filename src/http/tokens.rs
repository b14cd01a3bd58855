//! The bearer tokens of a server, and whose they are.
//!
//! Tokens come from a setting, or from a file of `NAME TOKEN` lines. They are read once, at the start, and compared in constant time.

use std::path::Path;

use anyhow::Context as _;
use axum::http::{HeaderMap, header};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::config::secret::Secret;

/// Characters of a token at least: shorter ones can be guessed.
const SHORTEST: usize = 16;
/// The name of a token that has none.
pub const NAMELESS: &str = "api";

/// Tokens with their names; never shown.
#[derive(Debug)]
pub struct Tokens(Vec<(Box<str>, Secret)>);

/// Who asks, as the server in front of a router has found out; an extension of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(pub Box<str>);

impl Tokens {
    /// The token of the setting `SECTION.token`, or those of the file that `SECTION.token_file` names.
    ///
    /// # Errors
    /// A file that cannot be read, a line that is none, a token that is too short or given twice.
    pub fn load(section: &str, token: &Secret, file: &Path) -> anyhow::Result<Self> {
        if file.as_os_str().is_empty() {
            anyhow::ensure!(
                token.reveal().len() >= SHORTEST,
                "{section}.token: must have at least {SHORTEST} characters; `openssl rand -hex 32` makes one"
            );
            return Ok(Self(vec![(NAMELESS.into(), token.clone())]));
        }
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{section}.token_file: cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{section}.token_file: {}", file.display()))
    }

    /// The first of the tokens: for a client of this program's own.
    #[must_use]
    pub fn first(&self) -> Option<&Secret> {
        self.0.first().map(|(_, token)| token)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut tokens: Vec<(Box<str>, Secret)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, token) = match words.as_slice() {
                [] => continue,
                [word, ..] if word.starts_with('#') => continue,
                [token] => (NAMELESS, *token),
                [name, token] => (*name, *token),
                _ => anyhow::bail!("line {number} has more than a name and a token"),
            };
            anyhow::ensure!(
                token.len() >= SHORTEST,
                "line {number}: a token must have at least {SHORTEST} characters; `openssl rand -hex 32` makes one"
            );
            anyhow::ensure!(
                tokens.iter().all(|(_, other)| other.reveal() != token),
                "line {number}: the token is given twice; each name needs its own"
            );
            tokens.push((name.into(), Secret::new(token)));
        }
        anyhow::ensure!(
            !tokens.is_empty(),
            "holds no token; write `NAME TOKEN` per line"
        );
        Ok(Self(tokens))
    }

    /// Whose token a request bears.
    #[must_use]
    pub fn bearer(&self, headers: &HeaderMap) -> Option<Box<str>> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (value, None) = (given.next()?, given.next()) else {
            return None;
        };
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        self.owner(token.trim())
    }

    /// Whose token this is. All tokens are compared, whichever fits.
    #[must_use]
    pub fn owner(&self, token: &str) -> Option<Box<str>> {
        let token = token.as_bytes();
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (at, (_, secret)) in (0_u64..).zip(&self.0) {
            let same = secret.reveal().as_bytes().ct_eq(token);
            place.conditional_assign(&at, same);
            found |= same;
        }
        let (name, _) = self.0.get(usize::try_from(place).ok()?)?;
        bool::from(found).then(|| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn bearer(tokens: &Tokens, value: &str) -> Option<Box<str>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        tokens.bearer(&headers)
    }

    #[test]
    fn a_token_tells_who_asks() {
        let text = "# people\nann  aaaaaaaaaaaaaaaa\n\nbob bbbbbbbbbbbbbbbb\ncccccccccccccccc\n";
        let tokens = Tokens::parse(text).unwrap();
        for (value, who) in [
            ("Bearer aaaaaaaaaaaaaaaa", Some("ann")),
            ("bearer bbbbbbbbbbbbbbbb", Some("bob")),
            ("Bearer cccccccccccccccc", Some("api")),
            ("Bearer cccccccccccccccd", None),
            ("Bearer aaaaaaaaaaaaaaa", None),
            ("Bearer ", None),
            ("Basic aaaaaaaaaaaaaaaa", None),
            ("aaaaaaaaaaaaaaaa", None),
        ] {
            assert_eq!(bearer(&tokens, value).as_deref(), who, "{value}");
        }
        assert_eq!(tokens.bearer(&HeaderMap::new()), None);
        let mut twice = HeaderMap::new();
        for _ in 0..2 {
            let value = HeaderValue::from_static("Bearer aaaaaaaaaaaaaaaa");
            twice.append(header::AUTHORIZATION, value);
        }
        assert_eq!(tokens.bearer(&twice), None);
    }

    #[test]
    fn a_file_that_is_wrong_is_told_by_line_and_without_the_token() {
        for (text, says) in [
            ("", "holds no token"),
            ("ann short", "line 1: a token must have at least 16"),
            ("ann a b", "line 1 has more"),
            (
                "ann aaaaaaaaaaaaaaaa\nbob aaaaaaaaaaaaaaaa",
                "line 2: the token is given twice",
            ),
        ] {
            let Err(error) = Tokens::parse(text) else {
                panic!("{text}")
            };
            let said = format!("{error:#}");
            assert!(said.contains(says) && !said.contains("aaaa"), "{said}");
        }
    }
}
