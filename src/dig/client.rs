//! Single calls to the gateway: one HTTP exchange each, no retry, no pacing.
//!
//! Owns the connection pool. Redirects are not followed: a moved gateway is a wrong address.
//! A status line settles what a call came to; a body that breaks off after it changes nothing. A success with a page of HTML is none: a
//! portal, a proxy or a firewall answers so, and the gateway never does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::error::CallError;
use super::page::{self, Page};
use super::wire::{self, Form, Pair};
use super::{Config, Token};
use crate::config::secret::Secret;
use crate::http::retry::Failure;
use crate::http::transport::{self, Connections, End, asked, failure, now_s, read_within as read};

/// Most bytes read of the answer to a POST.
const ANSWER_BYTES: usize = 64 * 1024;

/// What the gateway answered to `POST /records`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// The server's words, shortened and redacted; empty on success.
    pub text: String,
    /// Identifies an accepted request in a support case; nothing else takes it.
    pub tracking_id: Option<String>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: Arc<Connections>,
    base: Url,
}

/// The base address, with a path that ends in `/`.
pub(super) fn base(config: &Config) -> anyhow::Result<Url> {
    let mut url = transport::address("dig", "url", &config.url, config.allow_plain_http)?;
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

impl Client {
    /// # Errors
    /// An address that may not be used, or a CA file or proxy that cannot be.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let base = base(config)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let plain = base.scheme() == "http";
        let max_age = Duration::from_secs(config.connection_max_age_s);
        let config = config.clone();
        let http = Connections::new(max_age, move || {
            let options = transport::Options {
                section: "dig",
                plain,
                ca_file: config.ca_file.as_deref(),
                ca_file_only: config.ca_file_only,
                proxy: config.proxy.as_ref(),
                user_agent: &config.user_agent,
                connect_timeout: Duration::from_secs(config.connect_timeout_s),
                pool_idle: Duration::from_secs(config.pool_idle_s),
                pool_size: config.pool_size,
            };
            transport::client(options, headers.clone())
        })?;
        Ok(Self {
            http: Arc::new(http),
            base,
        })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    /// `POST /records`. Any status is an answer.
    ///
    /// # Errors
    /// No status line came, or a success that is not the gateway's.
    pub async fn post_records(
        &self,
        body: Bytes,
        token: &Token,
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let call = self
            .http
            .client()
            .post(self.url("records"))
            .header(AUTHORIZATION, bearer(token))
            .timeout(timeout)
            .body(body);
        let response = call.send().await.map_err(failure)?;
        let status = response.status().as_u16();
        let retry_after = asked(response.headers());
        let page = is_page(response.headers());
        let bytes = read(response, ANSWER_BYTES).await.0;
        if page && (200..300).contains(&status) {
            let text = wire::error_text(&bytes);
            return Err(Failure::Foreign(format!(
                "status {status} with a page of HTML: {text}; check dig.url, dig.proxy and the network between"
            )));
        }
        let (text, tracking_id) = if (200..300).contains(&status) {
            (String::new(), wire::tracking_id(&bytes))
        } else {
            (wire::error_text(&bytes), None)
        };
        Ok(Answer {
            status,
            retry_after,
            text,
            tracking_id,
        })
    }

    /// `GET /invalidrecords`: up to `count` records from `key` on (from the first if `None`); at most `most` bytes are read.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn invalid_records(
        &self,
        token: &Token,
        key: Option<i64>,
        (count, most): (u32, usize),
        timeout: Duration,
    ) -> Result<Page, CallError> {
        const ACT: &str = "GET /invalidrecords";
        let mut url = self.url("invalidrecords");
        if let Some(key) = key {
            url.query_pairs_mut()
                .append_pair("nextResultKey", &key.to_string());
        }
        url.query_pairs_mut()
            .append_pair("numberOfResults", &count.to_string());
        let call = self
            .http
            .client()
            .get(url)
            .header(AUTHORIZATION, bearer(token))
            .timeout(timeout);
        let (status, body) = answered(ACT, call, most).await?;
        page::read(&body).map_err(|why| CallError::Unreadable {
            act: ACT,
            status,
            why,
        })
    }

    /// `POST /authentication/authenticate`.
    ///
    /// # Errors
    /// See [`CallError`]; an answer that is not `Authenticated` is unreadable.
    pub async fn authenticate(
        &self,
        username: &str,
        password: &Secret,
        timeout: Duration,
    ) -> Result<Pair, CallError> {
        let form = Form(&[("Username", username), ("Password", password.reveal())]);
        self.pair("authenticate", &form, timeout).await
    }

    /// `POST /authentication/refresh-token`. A refresh token works once.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn refresh(
        &self,
        bearer: &Secret,
        refresh: &Secret,
        timeout: Duration,
    ) -> Result<Pair, CallError> {
        let form = Form(&[
            ("BearerToken", bearer.reveal()),
            ("RefreshToken", refresh.reveal()),
        ]);
        self.pair("refresh-token", &form, timeout).await
    }

    /// `POST /authentication/revoke-token`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn revoke(
        &self,
        bearer: &Secret,
        refresh: &Secret,
        timeout: Duration,
    ) -> Result<(), CallError> {
        let form = Form(&[
            ("BearerToken", bearer.reveal()),
            ("RefreshToken", refresh.reveal()),
        ]);
        let call = self
            .http
            .client()
            .post(self.url("authentication/revoke-token"))
            .timeout(timeout)
            .body(form.body());
        answered("revoke-token", call, ANSWER_BYTES)
            .await
            .map(|_| ())
    }

    async fn pair(
        &self,
        act: &'static str,
        form: &Form<'_>,
        timeout: Duration,
    ) -> Result<Pair, CallError> {
        let call = self
            .http
            .client()
            .post(self.url(&format!("authentication/{act}")))
            .timeout(timeout)
            .body(form.body());
        let (status, body) = answered(act, call, ANSWER_BYTES).await?;
        wire::pair(&body, now_s()).map_err(|why| CallError::Unreadable { act, status, why })
    }
}

/// The body of a 2xx answer, whole.
async fn answered(
    act: &'static str,
    call: reqwest::RequestBuilder,
    most: usize,
) -> Result<(u16, Vec<u8>), CallError> {
    let response = call.send().await.map_err(|error| CallError::Failed {
        act,
        source: failure(error),
    })?;
    let status = response.status().as_u16();
    let retry_after = asked(response.headers());
    let accepted = (200..300).contains(&status);
    let most = if accepted { most } else { ANSWER_BYTES };
    let (body, end) = read(response, most).await;
    if !accepted {
        return Err(CallError::Status {
            act,
            status,
            text: wire::error_text(&body),
            retry_after,
        });
    }
    match end {
        Ok(()) => Ok((status, body)),
        Err(End::TooLarge) => Err(CallError::TooLarge { act, status, most }),
        Err(End::Cut(why)) => Err(CallError::Unreadable { act, status, why }),
    }
}

fn bearer(token: &Token) -> HeaderValue {
    // `wire` lets only tokens through that fit a header.
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.bearer().reveal()))
        .unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}

/// Whether an answer is a page for people.
fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    kind.starts_with(b"text/html") || kind.starts_with(b"application/xhtml")
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
    fn a_base_with_a_path_keeps_it() {
        let client = Client::new(&of("http://127.0.0.1:1/dig")).unwrap();
        assert_eq!(
            client.url("records").as_str(),
            "http://127.0.0.1:1/dig/records"
        );
    }
}
