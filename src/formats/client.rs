//! The client of a schema registry: schemas by id with what they refer to (Confluent's API, which others speak as well).
//!
//! One call asks one server after the other, beginning with the one that answered last. Two questions decide what an answer
//! means: does the registry say that it does not know the schema ([`Refusal::Unknown`], [`Refusal::Unfit`]: the messages become
//! letters), or does it not say anything that counts ([`Refusal::Away`]: the partition waits)? A page of a proxy, a refused
//! password or a redirect are the latter. It repeats nothing: that is `schemas`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value;

use super::settings::Config;
use crate::config::redact;
use crate::http::transport::{self, Connections, End, failure, read_within};

/// What the registry's answers are asked to be.
const JSON: &str = "application/vnd.schemaregistry.v1+json, application/json";
/// What a JSON text may be longer than the schema in it.
const ESCAPED: usize = 2;
/// Bytes of an answer beside its schema.
const AROUND: usize = 64 * 1024;
/// Most references of a schema, those of its references included.
const REFERENCES: usize = 128;
/// Characters of a server's text that are kept.
const TEXT_CHARS: usize = 300;

/// A schema with everything it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `AVRO`, `PROTOBUF` or `JSON`.
    pub kind: String,
    pub text: String,
    /// Names and texts of what it refers to; what others refer to comes first.
    pub references: Vec<(String, String)>,
}

impl Source {
    /// Bytes of all texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let all = self.references.iter().map(|(_, text)| text.len());
        self.text.len() + all.sum::<usize>()
    }
}

/// Why there is no schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The registry answers, and does not know it.
    Unknown(String),
    /// The registry has it, and it cannot be used.
    Unfit(String),
    /// Nobody could say; to be asked again.
    Away(Trouble),
}

/// Why nobody could say, and what a person can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub cause: String,
    pub remedy: &'static str,
}

const REMEDY_AWAY: &str = "wait, if the schema registry is being restarted; check schema_registry.urls and the network, if not; \
     `dig-ingest check --connect` asks it, and nothing is lost meanwhile";
const REMEDY_ADDRESS: &str = "check schema_registry.urls: the path of the Confluent API belongs to it, for Apicurio /apis/ccompat/v7";
const REMEDY_RIGHTS: &str =
    "check schema_registry.username and its password, or the token, and that they may read schemas";

/// An answer's body, with the fields of any call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    id: Option<u32>,
    schema: Option<String>,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    references: Vec<Reference>,
    error_code: Option<u32>,
    message: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: Arc<Connections>,
    config: Arc<Config>,
    bases: Arc<[Url]>,
    /// The server that answered last.
    first: Arc<AtomicUsize>,
}

impl Client {
    /// # Errors
    /// An address that may not be used, or a CA file or proxy that cannot be.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let address = |url: &String| {
            transport::address("schema_registry", "urls", url, config.allow_plain_http)
        };
        let bases = config
            .urls
            .iter()
            .map(address)
            .collect::<anyhow::Result<Vec<Url>>>()?;
        let plain = bases.iter().all(|url| url.scheme() == "http");
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(JSON));
        let config = Arc::new(config.clone());
        let settings = Arc::clone(&config);
        let max_age = Duration::from_secs(config.connection_max_age_s);
        let http = Connections::new(max_age, move || {
            let options = transport::Options {
                section: "schema_registry",
                plain,
                ca_file: settings.ca_file.as_deref(),
                ca_file_only: settings.ca_file_only,
                proxy: settings.proxy.as_ref(),
                user_agent: concat!("dig-ingest/", env!("CARGO_PKG_VERSION")),
                connect_timeout: Duration::from_secs(settings.connect_timeout_s),
                pool_idle: Duration::from_secs(30),
                pool_size: 2,
            };
            transport::client(options, headers.clone())
        })?;
        Ok(Self {
            http: Arc::new(http),
            config,
            bases: bases.into(),
            first: Arc::default(),
        })
    }

    /// The schema of an id, with everything it refers to.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn schema(&self, id: u32) -> Result<Source, Refusal> {
        let id = id.to_string();
        let body = self.ask(&["schemas", "ids", &id]).await?;
        self.source(body).await
    }

    /// The newest schema of a subject and its id; for people.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn newest(&self, subject: &str) -> Result<(u32, Source), Refusal> {
        let body = self
            .ask(&["subjects", subject, "versions", "latest"])
            .await?;
        let id = body.id.unwrap_or_default();
        Ok((id, self.source(body).await?))
    }

    /// Whether every server answers: its address, and how it went.
    pub async fn servers(&self) -> Vec<(String, Result<(), Trouble>)> {
        let mut told = Vec::new();
        for base in &*self.bases {
            let answer = self
                .at(base, Method::GET, &["schemas", "types"], None)
                .await;
            let answer = match answer {
                Ok(_) | Err(Refusal::Unknown(_) | Refusal::Unfit(_)) => Ok(()),
                Err(Refusal::Away(trouble)) => Err(trouble),
            };
            told.push((base.as_str().to_owned(), answer));
        }
        told
    }

    /// Registers a schema under a subject; gives its id.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn register(&self, subject: &str, kind: &str, text: &str) -> Result<u32, Refusal> {
        let body = serde_json::json!({ "schema": text, "schemaType": kind }).to_string();
        let base = self.bases.first().ok_or_else(nowhere)?;
        let path = ["subjects", subject, "versions"];
        let answer = self.at(base, Method::POST, &path, Some(body)).await?;
        answer.id.ok_or_else(|| no_registry(base, "no id"))
    }

    async fn source(&self, body: Body) -> Result<Source, Refusal> {
        let kind = body.kind.clone().unwrap_or_else(|| "AVRO".to_owned());
        let text = body.schema.unwrap_or_default();
        let mut references: Vec<(String, String)> = Vec::new();
        let mut bytes = text.len();
        // Each with how far its own references are asked for; what is referred to is taken before what refers to it.
        let mut open = vec![(None, body.references, 0)];
        let mut seen = std::collections::HashSet::new();
        let most = self.config.max_schema_bytes;
        while let Some((own, wanted, next)) = open.last_mut() {
            let Some(reference) = wanted.get(*next).cloned() else {
                if let Some(own) = own.take() {
                    references.push(own);
                }
                open.pop();
                continue;
            };
            *next += 1;
            // One that is on its way or taken already; a circle ends here.
            if !seen.insert((reference.subject.clone(), reference.version)) {
                continue;
            }
            if seen.len() > REFERENCES {
                return Err(Refusal::Unfit(format!("more than {REFERENCES} references")));
            }
            let version = reference.version.to_string();
            let path = ["subjects", &reference.subject, "versions", &version];
            let body = self.ask(&path).await.map_err(|refusal| match refusal {
                Refusal::Unknown(why) => {
                    let Reference { name, subject, .. } = &reference;
                    let place = redact::foreign(
                        &format!("{name} ({subject} version {version})"),
                        TEXT_CHARS,
                    );
                    Refusal::Unfit(format!("its reference {place} is missing: {why}"))
                }
                other => other,
            })?;
            let text = body.schema.unwrap_or_default();
            bytes += text.len();
            if bytes > most {
                return Err(too_large(most));
            }
            open.push((Some((reference.name, text)), body.references, 0));
        }
        if bytes > most {
            return Err(too_large(most));
        }
        Ok(Source {
            kind,
            text,
            references,
        })
    }

    /// Asks one server after the other, until one has what is asked for.
    async fn ask(&self, path: &[&str]) -> Result<Body, Refusal> {
        let count = self.bases.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut refused: Option<Refusal> = None;
        for turn in 0..count {
            let number = (first + turn) % count;
            let answer = match self.at(&self.bases[number], Method::GET, path, None).await {
                Ok(body) if body.schema.is_some() => Ok(body),
                Ok(_) => Err(no_registry(&self.bases[number], "no schema in its answer")),
                Err(refusal) => Err(refusal),
            };
            match answer {
                Ok(body) => {
                    self.first.store(number, Ordering::Relaxed);
                    return Ok(body);
                }
                // Of several servers one may know more than the other; what one knows counts more than that another is away.
                Err(refusal) => {
                    refused = Some(match (refused, refusal) {
                        (Some(Refusal::Away(_)) | None, refusal) => refusal,
                        (Some(known), _) => known,
                    });
                }
            }
        }
        Err(refused.unwrap_or_else(nowhere))
    }

    async fn at(
        &self,
        base: &Url,
        method: Method,
        path: &[&str],
        body: Option<String>,
    ) -> Result<Body, Refusal> {
        let mut url = base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut call = self
            .http
            .client()
            .request(method, url)
            .timeout(Duration::from_secs(self.config.request_timeout_s));
        call = self.authorised(call).map_err(|error| {
            let cause = format!("{error:#}");
            Refusal::Away(Trouble {
                cause,
                remedy: REMEDY_RIGHTS,
            })
        })?;
        if let Some(body) = body {
            call = call.header(CONTENT_TYPE, "application/vnd.schemaregistry.v1+json");
            call = call.body(body);
        }
        let response = call
            .send()
            .await
            .map_err(|error| away(format!("{}: {}", shown(base), failure(error)), REMEDY_AWAY))?;
        let status = response.status().as_u16();
        let is_json = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.contains("json"));
        let most = self.config.max_schema_bytes * ESCAPED + AROUND;
        let (bytes, end) = read_within(response, most).await;
        // A list, such as that of the types of schemas, has none of the fields.
        let answer = serde_json::from_slice::<Value>(&bytes).and_then(|answer| match answer {
            Value::Object(_) => serde_json::from_value::<Body>(answer),
            _ => Ok(Body::default()),
        });
        let said = match &answer {
            Ok(Body {
                message: Some(message),
                ..
            }) => redact::foreign(message, TEXT_CHARS),
            _ => redact::foreign(&String::from_utf8_lossy(&bytes), TEXT_CHARS),
        };
        let told = format!("{} answered {status}: {said}", shown(base));
        match (status, answer) {
            (200..=299, Ok(body)) => Ok(body),
            (200..=299, Err(_)) => Err(match end {
                Err(End::TooLarge) if is_json => too_large(self.config.max_schema_bytes),
                Err(End::Cut(why)) => away(format!("{}: {why}", shown(base)), REMEDY_AWAY),
                _ => no_registry(base, &format!("no JSON: {said}")),
            }),
            // Subject, version and schema that are unknown; any other 404 says that the address is wrong.
            (404, Ok(body))
                if body
                    .error_code
                    .is_some_and(|code| (40401..=40499).contains(&code)) =>
            {
                Err(Refusal::Unknown(told))
            }
            (409 | 422, Ok(body)) if body.error_code.is_some() => Err(Refusal::Unfit(told)),
            (401 | 403 | 407, _) => Err(away(told, REMEDY_RIGHTS)),
            (300..=399 | 404 | 405, _) => Err(away(told, REMEDY_ADDRESS)),
            _ => Err(away(told, REMEDY_AWAY)),
        }
    }

    fn authorised(&self, call: reqwest::RequestBuilder) -> anyhow::Result<reqwest::RequestBuilder> {
        if let Some(token) = self.config.current_token()? {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()));
            let mut value = value.map_err(|_| {
                anyhow::anyhow!("schema_registry.token holds characters that no header takes")
            })?;
            value.set_sensitive(true);
            return Ok(call.header(AUTHORIZATION, value));
        }
        if self.config.username.is_empty() {
            return Ok(call);
        }
        let password = self.config.current_password()?;
        Ok(call.basic_auth(&self.config.username, Some(password.reveal())))
    }
}

fn away(cause: String, remedy: &'static str) -> Refusal {
    Refusal::Away(Trouble { cause, remedy })
}

fn too_large(most: usize) -> Refusal {
    Refusal::Unfit(format!(
        "larger than {most} bytes (schema_registry.max_schema_bytes)"
    ))
}

fn no_registry(base: &Url, why: &str) -> Refusal {
    away(
        format!("{} is no schema registry: {why}", shown(base)),
        REMEDY_ADDRESS,
    )
}

fn nowhere() -> Refusal {
    away("schema_registry.urls is empty".to_owned(), REMEDY_ADDRESS)
}

/// Host and port, as errors name a server.
fn shown(base: &Url) -> String {
    let host = base.host_str().unwrap_or_default();
    match base.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
