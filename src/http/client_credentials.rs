//! OAuth 2.0 client credentials (RFC 6749, section 4.4): one request for a bearer token.
//!
//! Owns an HTTP client for one token endpoint. It keeps no token and repeats nothing: the caller decides when to ask again. A call has
//! no effect but that the server issues a token. Answers are read up to a bound, and no error quotes one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Url;
use reqwest::header::{self, HeaderMap};
use serde_json::Value;

use super::transport::{self, Options};
use crate::config::secret::Secret;

/// Largest answer that is read.
const ANSWER: usize = 64 * 1024;
/// How long the whole request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// Lifetime that is assumed if neither the answer nor the token states one.
const ASSUMED: Duration = Duration::from_secs(300);

/// A token, and how long it lives from now on.
#[derive(Debug, Clone)]
pub struct Grant {
    pub token: Secret,
    pub life: Duration,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub client_id: &'a str,
    pub secret: &'a Secret,
    /// Scopes, with blanks between; empty: those that the server gives by itself.
    pub scope: &'a str,
    /// Parameter `audience`, which some servers want; empty: none.
    pub audience: &'a str,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Issuer {
    client: reqwest::Client,
    url: Url,
}

impl Issuer {
    /// # Errors
    /// A file of authorities that cannot be used.
    pub fn new(options: Options<'_>, url: Url) -> anyhow::Result<Self> {
        let plain = url.scheme() == "http";
        let client = transport::client(Options { plain, ..options }, HeaderMap::new())?;
        Ok(Self { client, url })
    }

    /// Asks for a token.
    ///
    /// # Errors
    /// No answer, a refusal, or an answer without a token.
    pub async fn fetch(&self, ask: Ask<'_>) -> anyhow::Result<Grant> {
        let mut form = vec![("grant_type", "client_credentials")];
        let more = [("scope", ask.scope), ("audience", ask.audience)];
        form.extend(more.into_iter().filter(|(_, value)| !value.is_empty()));
        // RFC 6749, section 2.3.1: name and secret are encoded as in a form before they are joined.
        let basic = STANDARD.encode(format!(
            "{}:{}",
            encoded(&[(ask.client_id, "")]).trim_end_matches('='),
            encoded(&[(ask.secret.reveal(), "")]).trim_end_matches('=')
        ));
        let request = self
            .client
            .post(self.url.clone())
            .timeout(REQUEST)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::AUTHORIZATION, format!("Basic {basic}"))
            .body(encoded(&form));
        let mut answer = request
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .context("the token endpoint does not answer")?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(part) = answer
            .chunk()
            .await
            .map_err(reqwest::Error::without_url)
            .context("the token endpoint broke its answer off")?
        {
            ensure!(
                body.len() + part.len() <= ANSWER,
                "the token endpoint's answer is larger than {ANSWER} bytes"
            );
            body.extend_from_slice(&part);
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            // A word of RFC 6749, section 5.2; the description may say anything.
            let code = body["error"].as_str().unwrap_or_default();
            let code: String = code
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
                .take(64)
                .collect();
            anyhow::bail!("the token endpoint answered {} {code}", status.as_u16());
        }
        let token = body["access_token"].as_str().unwrap_or_default();
        ensure!(
            !token.is_empty(),
            "the token endpoint answered without an access_token"
        );
        let told = match &body["expires_in"] {
            Value::String(text) => text.parse().ok(),
            number => number.as_u64(),
        };
        let life = told
            .map(Duration::from_secs)
            .or_else(|| life_of(token))
            .unwrap_or(ASSUMED);
        ensure!(
            !life.is_zero(),
            "the token endpoint gave a token that has expired"
        );
        Ok(Grant {
            token: Secret::token(token),
            life,
        })
    }
}

/// Pairs as in the body of a form.
fn encoded(pairs: &[(&str, &str)]) -> String {
    let Ok(mut url) = Url::parse("http://form/") else {
        return String::new();
    };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// How long a JSON web token lives from now on, by its claim `exp`.
fn life_of(token: &str) -> Option<Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(claims["exp"].as_u64()?).saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        let form = encoded(&[("scope", "a b"), ("audience", "x&y=z")]);
        assert_eq!(form, "scope=a+b&audience=x%26y%3Dz");
        assert_eq!(encoded(&[("p:w%", "")]).trim_end_matches('='), "p%3Aw%25");
    }

    #[test]
    fn a_token_that_states_its_end_lives_as_long() {
        let claims = |exp: u64| URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}"));
        let life = life_of(&format!("x.{}.y", claims(u64::from(u32::MAX)))).expect("a life");
        assert!(life > Duration::from_secs(1_000_000));
        assert_eq!(life_of(&format!("x.{}.y", claims(1))), Some(Duration::ZERO));
        assert_eq!(life_of("opaque"), None);
    }
}
