//! Single calls to the gateway: one HTTP exchange each, no retry, no pacing. The only file that knows `reqwest`.
//!
//! Owns the connection pool (HTTP/1.1 keep-alive). Redirects are not followed: a moved gateway is a wrong address.
//! A status line settles what a call came to; a body that breaks off after it changes nothing.

use std::net::IpAddr;
use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Url, redirect};

use super::error::CallError;
use super::wire::{self, Form, Page, Pair};
use super::{Config, Token};
use crate::config::secret::Secret;
use crate::http::retry::{self, Failure};

/// Most bytes read of the answer to a POST.
const ANSWER_BYTES: usize = 64 * 1024;
/// Most bytes read of a page of invalid records.
const PAGE_BYTES: usize = 256 * 1024 * 1024;

/// What the gateway answered to `POST /records`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// The server's words, shortened; empty on success.
    pub text: String,
    /// Identifies an accepted request in a support case; nothing else takes it.
    pub tracking_id: Option<String>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

/// The base address, with a path that ends in `/`.
pub(super) fn base(config: &Config) -> anyhow::Result<Url> {
    let mut url: Url = config.url.parse().context("[dig] url is no address")?;
    anyhow::ensure!(
        url.username().is_empty() && url.password().is_none(),
        "[dig] url holds credentials: use username and password_file"
    );
    let local = match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse()
            .is_ok_and(|ip: IpAddr| ip.is_loopback()),
        None => anyhow::bail!("[dig] url = {:?} names no host", config.url),
    };
    match url.scheme() {
        "https" => {}
        "http" if local || config.allow_plain_http => {}
        "http" => anyhow::bail!(
            "[dig] url = {:?} would send the password in the clear: use https, or set allow_plain_http = true",
            config.url
        ),
        other => anyhow::bail!(
            "[dig] url = {:?}: the scheme {other:?} is not https",
            config.url
        ),
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// The TLS provider of the process, once.
fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Another part of the process may have installed one: that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

impl Client {
    /// # Errors
    /// An address that may not be used, or a CA file or proxy that cannot be.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        install_tls();
        let base = base(config)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .default_headers(headers)
            .user_agent(&config.user_agent)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(config.connect_timeout_s))
            .pool_idle_timeout(Duration::from_secs(config.pool_idle_s))
            .pool_max_idle_per_host(config.pool_size);
        if base.scheme() == "http" {
            // No TLS, so a machine without system certificates is no obstacle.
            builder = builder.tls_certs_only([]);
        } else if let Some(path) = &config.ca_file {
            let pem = std::fs::read(path)
                .with_context(|| format!("[dig] ca_file: cannot read {}", path.display()))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("[dig] ca_file: {} is no PEM bundle", path.display()))?;
            anyhow::ensure!(
                !roots.is_empty(),
                "[dig] ca_file: {} holds no certificate",
                path.display()
            );
            builder = if config.ca_file_only {
                builder.tls_certs_only(roots)
            } else {
                builder.tls_certs_merge(roots)
            };
        }
        builder = match &config.proxy {
            Some(proxy) => {
                let proxy = reqwest::Proxy::all(proxy.reveal())
                    .map_err(|_| anyhow::anyhow!("[dig] proxy is no address"))?;
                builder.proxy(proxy)
            }
            // Otherwise reqwest would read the environment.
            None => builder.no_proxy(),
        };
        let http = builder
            .build()
            .context("[dig] cannot make an HTTP client")?;
        Ok(Self { http, base })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    /// `POST /records`. Any status is an answer.
    ///
    /// # Errors
    /// No status line came.
    pub async fn post_records(
        &self,
        body: Bytes,
        token: &Token,
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let call = self
            .http
            .post(self.url("records"))
            .header(AUTHORIZATION, bearer(token))
            .timeout(timeout)
            .body(body);
        let response = call.send().await.map_err(failure)?;
        let status = response.status().as_u16();
        let retry_after = asked(response.headers());
        let bytes = read(response, ANSWER_BYTES).await.0;
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

    /// `GET /invalidrecords`: up to `count` records from `key` on (from the first if `None`).
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn invalid_records(
        &self,
        token: &Token,
        key: Option<i64>,
        count: u32,
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
            .get(url)
            .header(AUTHORIZATION, bearer(token))
            .timeout(timeout);
        let (status, body) = answered(ACT, call, PAGE_BYTES).await?;
        wire::page(&body).map_err(|why| CallError::Unreadable {
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
    let (body, end) = read(response, most).await;
    if !(200..300).contains(&status) {
        return Err(CallError::Status {
            act,
            status,
            text: wire::error_text(&body),
            retry_after,
        });
    }
    match end {
        Ok(()) => Ok((status, body)),
        Err(why) => Err(CallError::Unreadable { act, status, why }),
    }
}

/// What there is of a body, and why it is not all.
async fn read(mut response: reqwest::Response, most: usize) -> (Vec<u8>, Result<(), String>) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > most => {
                return (body, Err(format!("more than {most} bytes")));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return (body, Ok(())),
            Err(error) => return (body, Err(chain(&error.without_url()))),
        }
    }
}

fn bearer(token: &Token) -> HeaderValue {
    // `wire` lets only tokens through that fit a header.
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.bearer().reveal()))
        .unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}

fn asked(headers: &HeaderMap) -> Option<Duration> {
    retry::retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, now_s())
}

fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let text = chain(&error);
    if error.is_connect() {
        Failure::Connect(text)
    } else if error.is_timeout() {
        Failure::Timeout(text)
    } else {
        Failure::Cut(text)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn now_s() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
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
    fn plain_http_only_to_this_machine() {
        for url in [
            "http://127.0.0.1:1/",
            "http://localhost:8080",
            "http://[::1]:9/x",
            "https://dig.example:443/",
        ] {
            assert!(base(&of(url)).is_ok(), "{url}");
        }
        for url in [
            "http://dig.example/",
            "ftp://127.0.0.1/",
            "dig.example",
            "https://u:p@dig.example/",
            "",
        ] {
            assert!(base(&of(url)).is_err(), "{url}");
        }
        let permitted = Config {
            allow_plain_http: true,
            ..of("http://gateway.internal/")
        };
        assert!(base(&permitted).is_ok());
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
