//! Single calls to either surface: one HTTP exchange each, behind our limits. No session of its own, no retry.
//!
//! Owns the connection pool, the addresses and the limiters. Every outcome becomes an answer or an [`Error`]; a 429 also
//! pauses its surface for everybody. Dropped while it waits for an answer, a call may have had effects: whoever calls
//! must have written down that it would.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value};

use super::Config;
use super::error::{Error, Why};
use super::limits::{Limits, Surface};
use super::methods::{Method, Version};
use super::paging::PageHeaders;
use super::profile::Verb;
use super::rpc::{self, Answer, Envelope, Keys};
use crate::http::transport::{self, Connections, End, asked, failure, read_within};
use crate::ops::metrics::myadmin as metrics;

/// Most bytes read of an error.
const ERROR_BYTES: usize = 64 * 1024;

/// One JSON-RPC call.
#[derive(Debug, Clone)]
pub(super) struct RpcCall {
    pub method: Method,
    pub version: Version,
    pub params: Map<String, Value>,
    pub pagination: Option<Value>,
}

/// One REST call.
#[derive(Debug, Clone)]
pub(super) struct RestCall {
    pub method: Method,
    pub verb: Verb,
    pub url: Url,
    pub body: Option<Bytes>,
}

/// What a REST call came to.
#[derive(Debug, Default)]
pub(super) struct RestAnswer {
    pub body: Vec<u8>,
    pub page: PageHeaders,
}

/// As `dig.connection_max_age_s` by default: MyAdmin's address may change too.
const CONNECTION_MAX_AGE: Duration = Duration::from_secs(300);

/// See the module.
pub(super) struct Exchange {
    http: Connections,
    v2: Url,
    v3: Url,
    rest: Url,
    pub config: Config,
    limits: Limits,
}

/// The address of the JSON-RPC endpoint: a base to which `v2/MyAdminApi.ashx` is added, or a full address as the
/// documents print it, whose version is replaced.
pub(super) fn rpc_url(config: &Config, version: Version) -> anyhow::Result<Url> {
    let mut url = transport::address("myadmin", "url", &config.url, config.allow_plain_http)?;
    let path = url.path().trim_end_matches('/').to_owned();
    let path = if path.to_ascii_lowercase().ends_with(".ashx") {
        let mut parts: Vec<&str> = path.split('/').collect();
        let place = parts
            .iter()
            .rposition(|part| ["v2", "v3"].contains(&part.to_ascii_lowercase().as_str()));
        let place = place.ok_or_else(|| {
            anyhow::anyhow!(
                "[myadmin] url = {:?} has no /v2/ or /v3/ to replace",
                config.url
            )
        })?;
        parts[place] = version.name();
        parts.join("/")
    } else {
        format!("{path}/{}/MyAdminApi.ashx", version.name())
    };
    url.set_path(&path);
    Ok(url)
}

/// The base of the REST surface, without a slash at its end.
pub(super) fn rest_url(config: &Config) -> anyhow::Result<Url> {
    let plain = config.allow_plain_http;
    let mut url = transport::address("myadmin", "rest_url", &config.rest_url, plain)?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

impl Exchange {
    /// # Errors
    /// An address, CA file or proxy that cannot be used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let (v2, v3) = (rpc_url(config, Version::V2)?, rpc_url(config, Version::V3)?);
        let rest = rest_url(config)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let plain = v2.scheme() == "http" && rest.scheme() == "http";
        let made = config.clone();
        let http = Connections::new(CONNECTION_MAX_AGE, move || {
            let options = transport::Options {
                section: "myadmin",
                plain,
                ca_file: made.ca_file.as_deref(),
                ca_file_only: made.ca_file_only,
                proxy: made.proxy.as_ref(),
                user_agent: &made.user_agent,
                connect_timeout: Duration::from_secs(made.connect_timeout_s),
                pool_idle: Duration::from_secs(made.pool_idle_s),
                pool_size: made.pool_size,
            };
            transport::client(options, headers.clone())
        })?;
        Ok(Self {
            http,
            v2,
            v3,
            rest,
            limits: Limits::new(&config.limits, config.limits_share),
            config: config.clone(),
        })
    }

    /// The base of the REST surface.
    pub fn rest_base(&self) -> &Url {
        &self.rest
    }

    /// One JSON-RPC call. `keys` are absent for `Authenticate` alone.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rpc(&self, call: &RpcCall, keys: Option<&Keys>) -> Result<Answer, Error> {
        self.permit(call.method, call.version).await?;
        self.rpc_permitted(call, keys).await
    }

    /// Waits until a JSON-RPC call may leave.
    ///
    /// # Errors
    /// Our limits leave no room soon enough; nothing was sent.
    pub async fn permit(&self, method: Method, version: Version) -> Result<(), Error> {
        self.limit(method, Surface::Rpc(version)).await
    }

    /// One JSON-RPC call that has its permit; it leaves at once.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rpc_permitted(
        &self,
        call: &RpcCall,
        keys: Option<&Keys>,
    ) -> Result<Answer, Error> {
        let url = match call.version {
            Version::V2 => &self.v2,
            Version::V3 => &self.v3,
        };
        let (encoding, pagination) = (self.config.encoding, call.pagination.as_ref());
        let body = rpc::body(encoding, call.method, &call.params, pagination, keys);
        let request = self
            .http
            .client()
            .post(url.clone())
            .header(CONTENT_TYPE, encoding.content_type())
            .body(body);
        let surface = Surface::Rpc(call.version);
        let (status, headers, body) = self.send(call.method, surface, request).await?;
        let wrong = |why| Err(self.error(call.method, why));
        match (rpc::envelope(status, &body.0), body.1) {
            (Envelope::Refused(refusal), _) => wrong(Why::Refused(refusal)),
            (_, Err(why)) if ok(status) => wrong(Why::Unreadable { status, why }),
            (Envelope::Success(answer), _) => Ok(answer),
            (Envelope::Neither(why), _) if ok(status) => wrong(Why::Unreadable { status, why }),
            (Envelope::Neither(_), _) => wrong(refused(status, &headers, &body.0)),
        }
    }

    /// One REST call.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rest(&self, call: &RestCall, keys: &Keys) -> Result<RestAnswer, Error> {
        // `rpc::login` lets only keys through that fit a header.
        let mut session = HeaderValue::from_str(keys.session_id.reveal())
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        session.set_sensitive(true);
        let mut request = self
            .http
            .client()
            .request(call.verb.method(), call.url.clone())
            .header("Auth-SessionId", session);
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        self.limit(call.method, Surface::Rest).await?;
        let (status, headers, body) = self.send(call.method, Surface::Rest, request).await?;
        // Some servers of this family answer an expired session with an envelope under 200.
        if body.0.first() == Some(&b'{')
            && let Envelope::Refused(refusal) = rpc::envelope(status, &body.0)
            && (ok(status) || refusal.kind == super::Kind::Session)
        {
            return Err(self.error(call.method, Why::Refused(refusal)));
        }
        if !ok(status) {
            return Err(self.error(call.method, refused(status, &headers, &body.0)));
        }
        match body {
            (body, Ok(())) => Ok(RestAnswer {
                body,
                page: page(&headers),
            }),
            // What was written is written, whatever became of the answer's body.
            (_, Err(_)) if call.method.changes() => Ok(RestAnswer::default()),
            (_, Err(why)) => Err(self.error(call.method, Why::Unreadable { status, why })),
        }
    }

    /// Waits for room in our limits, up to `patience_s`.
    async fn limit(&self, method: Method, surface: Surface) -> Result<(), Error> {
        let patience = Duration::from_secs(self.config.patience_s);
        let room = self.limits.take(method, surface, patience).await;
        room.map_err(|wait| self.error(method, Why::Full { wait }))
    }

    /// Sends at once; a 429 becomes an error. The body comes with why it is not all.
    async fn send(
        &self,
        method: Method,
        surface: Surface,
        request: reqwest::RequestBuilder,
    ) -> Result<(u16, HeaderMap, (Vec<u8>, Result<(), String>)), Error> {
        let began = Instant::now();
        let sent = request.timeout(self.config.timeout(method)).send().await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Err(self.error(method, Why::Failed(failure(error)))),
        };
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        if status == 429 {
            let retry_after = asked(&headers);
            self.limits.pause(surface, self.config.pause(retry_after));
            metrics::count_throttled(surface.name());
            return Err(self.error(method, Why::Throttled { retry_after }));
        }
        let most = if ok(status) {
            self.config.answer_bytes
        } else {
            ERROR_BYTES
        };
        let (body, end) = read_within(response, most).await;
        let end = end.map_err(|end| match end {
            End::TooLarge => format!("more than {most} bytes; raise myadmin.answer_bytes"),
            End::Cut(why) => why,
        });
        let body = (body, end);
        metrics::record_call(method.name(), began.elapsed());
        Ok((status, headers, body))
    }

    fn error(&self, method: Method, why: Why) -> Error {
        Error {
            act: method.name(),
            changes: method.changes(),
            why,
        }
    }
}

fn refused(status: u16, headers: &HeaderMap, body: &[u8]) -> Why {
    Why::Status {
        status,
        text: rpc::rest_text(body),
        retry_after: asked(headers),
    }
}

fn ok(status: u16) -> bool {
    (200..300).contains(&status)
}

/// What the headers of a list say (1.6).
fn page(headers: &HeaderMap) -> PageHeaders {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |names: &[&str]| names.iter().find_map(|name| rpc::number(text(name)?));
    PageHeaders {
        total: number(&["Total", "X-Total", "X-Total-Count"]),
        per_page: number(&["PerPage", "Per-Page", "X-Per-Page"]).filter(|size| *size > 0),
        next_cursor: text("NextCursor")
            .map(str::to_owned)
            .filter(|cursor| !cursor.is_empty()),
        link_next: text("Link").map(PageHeaders::names_next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Config {
        Config {
            url: url.to_owned(),
            ..Config::default()
        }
    }

    #[test]
    fn documented_addresses_and_plain_bases_lead_to_both_versions() {
        for (url, v2, v3) in [
            (
                "https://myadminapi.geotab.com",
                "https://myadminapi.geotab.com/v2/MyAdminApi.ashx",
                "https://myadminapi.geotab.com/v3/MyAdminApi.ashx",
            ),
            (
                "https://myadmin.geotab.com/v2/myadminapi.ashx",
                "https://myadmin.geotab.com/v2/myadminapi.ashx",
                "https://myadmin.geotab.com/v3/myadminapi.ashx",
            ),
            (
                "http://127.0.0.1:1/sim/",
                "http://127.0.0.1:1/sim/v2/MyAdminApi.ashx",
                "http://127.0.0.1:1/sim/v3/MyAdminApi.ashx",
            ),
        ] {
            assert_eq!(rpc_url(&of(url), Version::V2).unwrap().as_str(), v2);
            assert_eq!(rpc_url(&of(url), Version::V3).unwrap().as_str(), v3);
        }
        for url in [
            "http://myadmin.example/",
            "https://u:p@a.example/",
            "https://a.example/x.ashx",
            "a",
        ] {
            assert!(rpc_url(&of(url), Version::V2).is_err(), "{url}");
        }
    }

    #[test]
    fn page_headers_of_every_spelling() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("total", "150"),
            ("PerPage", "100"),
            ("Link", "<x>; rel=\"next\""),
        ] {
            headers.insert(
                reqwest::header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_static(value),
            );
        }
        let said = page(&headers);
        assert_eq!(
            (said.total, said.per_page, said.link_next),
            (Some(150), Some(100), Some(true))
        );
        assert_eq!(page(&HeaderMap::new()), PageHeaders::default());
    }
}
