//! AWS MSK IAM: a bearer token that is a signed request for `kafka-cluster:Connect`, made of AWS credentials.
//!
//! Signature Version 4 in its form for addresses (AWS: "Authenticating requests: using query parameters"). Pure but for the file of
//! credentials, which is read for every token, so that whatever rotates them need tell nobody.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::secret::Secret;

/// How long a token is valid: the most that brokers take.
pub const LIFE: Duration = Duration::from_secs(900);
/// Characters that stand for themselves in an address (RFC 3986, section 2.3).
const UNRESERVED: &[u8] = b"-_.~";

/// Settings (`[kafka.aws]`), for `kafka.sasl_mechanism = "AWS_MSK_IAM"`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Region of the cluster, such as `eu-central-1`.
    pub region: String,
    /// File of AWS credentials in the form of `~/.aws/credentials`, read for every token, so that the credentials can change while the
    /// job runs.
    pub credentials_file: String,
    /// Section of the file. Empty: `default`.
    pub profile: String,
}

/// Credentials of an AWS user or role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub key_id: String,
    pub secret: Secret,
    /// Of temporary credentials.
    pub session: Option<Secret>,
}

impl Credentials {
    /// Reads a profile of a file of credentials.
    ///
    /// # Errors
    /// The profile is not there, or a key of it is missing.
    pub fn of(text: &str, profile: &str) -> anyhow::Result<Self> {
        let heading = format!("[{profile}]");
        let mut lines = text.lines().map(str::trim);
        ensure!(
            lines.any(|line| line == heading),
            "there is no profile {profile}"
        );
        let (mut key_id, mut secret, mut session) = (None, None, None);
        for line in lines.take_while(|line| !line.starts_with('[')) {
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim();
            match name.trim() {
                "aws_access_key_id" => key_id = Some(value.to_owned()),
                "aws_secret_access_key" => secret = Some(Secret::new(value)),
                "aws_session_token" => session = Some(Secret::new(value)),
                _ => {}
            }
        }
        Ok(Self {
            key_id: key_id
                .filter(|key| !key.is_empty())
                .context("aws_access_key_id is missing")?,
            secret: secret
                .filter(|secret| !secret.is_empty())
                .context("aws_secret_access_key is missing")?,
            session: session.filter(|session| !session.is_empty()),
        })
    }
}

impl Config {
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), String> {
        let named = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !named(&self.region) {
            return Err("aws.region: name the cluster's region, such as eu-central-1".to_owned());
        }
        if self.credentials_file.is_empty() {
            return Err(
                "aws.credentials_file: name a file in the form of ~/.aws/credentials".to_owned(),
            );
        }
        Ok(())
    }

    /// A token for now.
    ///
    /// # Errors
    /// The credentials cannot be read.
    pub fn token(&self, now: Timestamp) -> anyhow::Result<Secret> {
        let file = &self.credentials_file;
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("kafka.aws.credentials_file: cannot read {file}"))?;
        let profile = match self.profile.as_str() {
            "" => "default",
            profile => profile,
        };
        let credentials = Credentials::of(&text, profile)
            .with_context(|| format!("kafka.aws.credentials_file: {file}"))?;
        Ok(token(&credentials, &self.region, now))
    }
}

/// The token: the signed address, and who made it, in Base64 for addresses.
fn token(credentials: &Credentials, region: &str, now: Timestamp) -> Secret {
    let request = Request {
        host: &format!("kafka.{region}.amazonaws.com"),
        path: "/",
        query: vec![("Action".to_owned(), "kafka-cluster:Connect".to_owned())],
        payload: &hex(&Sha256::digest(b"")),
        region,
        service: "kafka",
        life: LIFE,
    };
    let address = request.signed(credentials, now);
    let agent = concat!("dig-ingest/", env!("CARGO_PKG_VERSION"));
    let address = format!("{address}&User-Agent={}", escaped(agent));
    Secret::token(URL_SAFE_NO_PAD.encode(address))
}

/// A GET request that is signed by parameters of its address; `host` is the one signed header.
struct Request<'a> {
    host: &'a str,
    path: &'a str,
    query: Vec<(String, String)>,
    /// SHA-256 of the body, or what the service takes in its place.
    payload: &'a str,
    region: &'a str,
    service: &'a str,
    life: Duration,
}

impl Request<'_> {
    fn signed(mut self, credentials: &Credentials, now: Timestamp) -> String {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = &time[..8];
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let more = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            (
                "X-Amz-Credential",
                format!("{}/{scope}", credentials.key_id),
            ),
            ("X-Amz-Date", time.clone()),
            ("X-Amz-Expires", self.life.as_secs().to_string()),
            ("X-Amz-SignedHeaders", "host".to_owned()),
        ];
        self.query
            .extend(more.map(|(name, value)| (name.to_owned(), value)));
        if let Some(session) = &credentials.session {
            let name = "X-Amz-Security-Token".to_owned();
            self.query.push((name, session.reveal().to_owned()));
        }
        self.query.sort();
        let pair =
            |(name, value): &(String, String)| format!("{}={}", escaped(name), escaped(value));
        let query = self.query.iter().map(pair).collect::<Vec<_>>().join("&");
        let canonical = format!(
            "GET\n{}\n{query}\nhost:{}\n\nhost\n{}",
            self.path, self.host, self.payload
        );
        let digest = hex(&Sha256::digest(canonical));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
        let secret = format!("AWS4{}", credentials.secret.reveal());
        let steps = [date, self.region, self.service, "aws4_request"];
        let key = steps
            .iter()
            .fold(secret.into_bytes(), |key, step| mac(&key, step));
        let signature = hex(&mac(&key, &to_sign));
        format!(
            "https://{}{}?{query}&X-Amz-Signature={signature}",
            self.host, self.path
        )
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || UNRESERVED.contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Credentials {
        let text = "[other]\naws_access_key_id = no\n\n[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n\
                    aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n[last]\naws_access_key_id = no\n";
        Credentials::of(text, "default").expect("a profile")
    }

    /// The worked example of AWS's documentation (Amazon S3, "Authenticating Requests: Using Query Parameters").
    #[test]
    fn the_signature_is_that_of_the_published_example() {
        let request = Request {
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: Vec::new(),
            payload: "UNSIGNED-PAYLOAD",
            region: "us-east-1",
            service: "s3",
            life: Duration::from_secs(86_400),
        };
        let now = "2013-05-24T00:00:00Z".parse().expect("a time");
        let signed = request.signed(&example(), now);
        let signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(
            signed.ends_with(&format!("&X-Amz-Signature={signature}")),
            "{signed}"
        );
    }

    #[test]
    fn the_token_is_an_address_that_brokers_can_call() {
        let temporary = Credentials {
            session: Some(Secret::new("temporary/token==")),
            ..example()
        };
        let now = "2026-07-01T06:00:00Z".parse().expect("a time");
        let token = token(&temporary, "eu-central-1", now);
        let text = URL_SAFE_NO_PAD.decode(token.reveal()).expect("Base64");
        let address = String::from_utf8(text).expect("text");
        let (host, query) = address.split_once("/?").expect("a query");
        assert_eq!(host, "https://kafka.eu-central-1.amazonaws.com");
        let names: Vec<&str> = query
            .split('&')
            .filter_map(|pair| pair.split('=').next())
            .collect();
        assert_eq!(
            names,
            [
                "Action",
                "X-Amz-Algorithm",
                "X-Amz-Credential",
                "X-Amz-Date",
                "X-Amz-Expires",
                "X-Amz-Security-Token",
                "X-Amz-SignedHeaders",
                "X-Amz-Signature",
                "User-Agent"
            ]
        );
        assert!(
            query.starts_with("Action=kafka-cluster%3AConnect&"),
            "{query}"
        );
        assert!(query.contains("X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260701%2Feu-central-1%2Fkafka%2Faws4_request&"));
        assert!(query.contains("X-Amz-Expires=900&X-Amz-Security-Token=temporary%2Ftoken%3D%3D&"));
        assert!(!format!("{temporary:?}{token:?}").contains("wJalr"));
    }

    #[test]
    fn a_file_without_the_profile_or_a_key_is_refused_by_name() {
        let error = |text: &str| Credentials::of(text, "default").unwrap_err().to_string();
        assert_eq!(error("[other]\n"), "there is no profile default");
        assert_eq!(
            error("[default]\naws_access_key_id = a\n"),
            "aws_secret_access_key is missing"
        );
    }
}
