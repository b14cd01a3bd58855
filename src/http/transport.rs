//! The one place that builds HTTP clients, and what they need of `reqwest` to read what comes back.
//!
//! Connections are HTTP/1.1 with keep-alive, without `Referer`. Redirects are not followed: a moved server is a wrong address; only
//! [`following_client`] does, for files that are shared by a link. Nothing is retried in here, and the environment's proxy variables are not read.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Url, redirect};

use super::retry::{self, Failure};
use crate::config::secret::Secret;

/// How connections are made. `section` names the settings in errors.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    pub section: &'static str,
    /// The addresses are `http://`: no certificate is needed.
    pub plain: bool,
    pub ca_file: Option<&'a Path>,
    pub ca_file_only: bool,
    pub proxy: Option<&'a Secret>,
    pub user_agent: &'a str,
    pub connect_timeout: Duration,
    pub pool_idle: Duration,
    pub pool_size: usize,
}

/// A client that [`client`] makes.
pub type Client = reqwest::Client;

/// Shared files are handed on once or twice.
const REDIRECTS: usize = 5;

/// The TLS provider of the process, once.
fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Another part of the process may have installed one: that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// A server's address, from the setting `[section] key`: `https`, or plain `http` to this machine or where permitted.
///
/// # Errors
/// It is no such address, or holds credentials.
pub fn address(section: &str, key: &str, text: &str, allow_plain: bool) -> anyhow::Result<Url> {
    let url: Url = text
        .parse()
        .with_context(|| format!("[{section}] {key} is no address"))?;
    anyhow::ensure!(
        url.username().is_empty() && url.password().is_none(),
        "[{section}] {key} holds credentials: use username and password_file"
    );
    anyhow::ensure!(
        url.host_str().is_some(),
        "[{section}] {key} = {text:?} names no host"
    );
    let local = is_local(&url);
    match url.scheme() {
        "https" => {}
        "http" if local || allow_plain => {}
        "http" => anyhow::bail!(
            "[{section}] {key} = {text:?} would send the password in the clear: use https, or set allow_plain_http = true"
        ),
        other => anyhow::bail!("[{section}] {key} = {text:?}: the scheme {other:?} is not https"),
    }
    Ok(url)
}

/// An address that may hold a secret, from the setting `section.key`: `https`, or plain `http` to this machine. No error shows it.
///
/// # Errors
/// It is no such address.
pub fn secret_address(setting: &str, text: &str) -> anyhow::Result<Url> {
    let url: Url = text
        .parse()
        .map_err(|_| anyhow::anyhow!("{setting}: is no address"))?;
    match url.scheme() {
        "https" => {}
        "http" if is_local(&url) => {}
        "http" => anyhow::bail!("{setting}: plain http is for this machine only; use https://"),
        _ => anyhow::bail!("{setting}: must begin with https:// or http://"),
    }
    Ok(url)
}

/// Whether an address is one of this machine.
fn is_local(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse()
            .is_ok_and(|ip: IpAddr| ip.is_loopback()),
        None => false,
    }
}

/// A client that sends `headers` with every request.
///
/// # Errors
/// A CA file or proxy that cannot be used.
pub fn client(options: Options<'_>, headers: HeaderMap) -> anyhow::Result<reqwest::Client> {
    let section = options.section;
    builder(options, headers)?
        .build()
        .with_context(|| format!("[{section}] cannot make an HTTP client"))
}

/// As [`client`], for a file whose address may hold a secret: a few redirects are followed, to the same server, or to another one over
/// TLS that gets nothing of the address's query.
///
/// # Errors
/// As [`client`].
pub fn following_client(options: Options<'_>, from: &Url) -> anyhow::Result<reqwest::Client> {
    let section = options.section;
    let from = from.clone();
    let policy = redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS {
            return attempt.error("it redirects too often");
        }
        match may_lead(&from, attempt.url()) {
            Ok(()) => attempt.follow(),
            Err(why) => attempt.error(why),
        }
    });
    builder(options, HeaderMap::new())?
        .redirect(policy)
        .build()
        .with_context(|| format!("[{section}] cannot make an HTTP client"))
}

/// Whether a redirect may be followed.
fn may_lead(from: &Url, to: &Url) -> Result<(), &'static str> {
    let origin = |url: &Url| {
        (
            url.scheme().to_owned(),
            url.host_str().map(str::to_owned),
            url.port_or_known_default(),
        )
    };
    if origin(from) == origin(to) {
        return Ok(());
    }
    if to.scheme() != "https" {
        return Err("it redirects to another server without TLS");
    }
    let shared = from.query_pairs().any(|(_, value)| {
        let kept = |(_, other): (_, std::borrow::Cow<'_, str>)| other == value;
        !value.is_empty() && (to.query_pairs().any(kept) || to.as_str().contains(&*value))
    });
    if shared || from.query().is_some() && from.query() == to.query() {
        return Err("it redirects to another server with the query of the address");
    }
    Ok(())
}

fn builder(options: Options<'_>, headers: HeaderMap) -> anyhow::Result<reqwest::ClientBuilder> {
    install_tls();
    let section = options.section;
    let mut builder = reqwest::Client::builder()
        .http1_only()
        .default_headers(headers)
        .user_agent(options.user_agent)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(options.pool_idle)
        .pool_max_idle_per_host(options.pool_size);
    if options.plain {
        // No TLS, so a machine without system certificates is no obstacle.
        builder = builder.tls_certs_only([]);
    } else if let Some(path) = options.ca_file {
        let shown = path.display();
        let pem = std::fs::read(path)
            .with_context(|| format!("[{section}] ca_file: cannot read {shown}"))?;
        let roots = reqwest::Certificate::from_pem_bundle(&pem)
            .with_context(|| format!("[{section}] ca_file: {shown} is no PEM bundle"))?;
        anyhow::ensure!(
            !roots.is_empty(),
            "[{section}] ca_file: {shown} holds no certificate"
        );
        builder = if options.ca_file_only {
            builder.tls_certs_only(roots)
        } else {
            builder.tls_certs_merge(roots)
        };
    }
    builder = match options.proxy {
        Some(proxy) => {
            let proxy = reqwest::Proxy::all(proxy.reveal())
                .map_err(|_| anyhow::anyhow!("[{section}] proxy is no address"))?;
            builder.proxy(proxy)
        }
        // Otherwise reqwest would read the environment.
        None => builder.no_proxy(),
    };
    Ok(builder)
}

type Make = Box<dyn Fn() -> anyhow::Result<reqwest::Client> + Send + Sync>;

/// Connections that are used for a bounded time: a kept connection stays with the address it was made to, so without a bound a
/// changed DNS record would never be noticed while the old address still answers.
///
/// Owns the client in use. After `max_age` a new client takes its place, which resolves the name again; requests on the old
/// connections end as they would have.
pub struct Connections {
    make: Make,
    /// Zero for no bound.
    max_age: Duration,
    /// The client in use, and since when. Locked for a clone of its handle, and for making the next one.
    current: Mutex<(reqwest::Client, Instant)>,
}

impl Connections {
    /// # Errors
    /// The first client cannot be made.
    pub fn new(
        max_age: Duration,
        make: impl Fn() -> anyhow::Result<reqwest::Client> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let first = make()?;
        Ok(Self {
            make: Box::new(make),
            max_age,
            current: Mutex::new((first, Instant::now())),
        })
    }

    /// The client for one request that begins now.
    #[must_use]
    pub fn client(&self) -> reqwest::Client {
        self.client_at(Instant::now())
    }

    fn client_at(&self, now: Instant) -> reqwest::Client {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let old = now.saturating_duration_since(current.1) >= self.max_age;
        if old && !self.max_age.is_zero() {
            match (self.make)() {
                Ok(next) => current.0 = next,
                // A CA file that was replaced by something else, say: the old trust goes on.
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "connections cannot be renewed; those in use are kept"
                ),
            }
            current.1 = now;
        }
        current.0.clone()
    }
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It has more bytes than were allowed.
    TooLarge,
    /// The connection broke.
    Cut(String),
}

/// What there is of a body, at most `most` bytes, and why it is not all.
pub async fn read_within(
    mut response: reqwest::Response,
    most: usize,
) -> (Vec<u8>, Result<(), End>) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > most => {
                return (body, Err(End::TooLarge));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return (body, Ok(())),
            Err(error) => return (body, Err(End::Cut(chain(&error.without_url())))),
        }
    }
}

/// How long the server asks to wait.
#[must_use]
pub fn asked(headers: &HeaderMap) -> Option<Duration> {
    retry::retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, now_s())
}

/// Why no answer came. Its text holds no address: a query may hold what is nobody's business.
#[must_use]
pub fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let text = chain(&error);
    if error.is_connect() || error.is_builder() {
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

/// Seconds since the epoch.
#[must_use]
pub fn now_s() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// The name `gateway.test` is 127.0.0.N, N as it is now; at 0 the name server is away.
    struct Moving(Arc<AtomicU8>);

    impl reqwest::dns::Resolve for Moving {
        fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
            let host = self.0.load(Ordering::Relaxed);
            if host == 0 {
                let error = std::io::Error::other("the name server does not answer");
                return Box::pin(std::future::ready(Err(error.into())));
            }
            let found: reqwest::dns::Addrs =
                Box::new(std::iter::once(SocketAddr::from(([127, 0, 0, host], 0))));
            Box::pin(std::future::ready(Ok(found)))
        }
    }

    /// Answers every request with its own number and keeps the connection.
    async fn server(listener: tokio::net::TcpListener, number: u8) {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while matches!(stream.read(&mut buffer).await, Ok(1..)) {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    #[tokio::test]
    async fn a_name_that_moved_is_found_while_the_old_address_still_answers() {
        install_tls();
        let old = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = old.local_addr().unwrap().port();
        let new = tokio::net::TcpListener::bind(("127.0.0.2", port))
            .await
            .unwrap();
        let servers = [tokio::spawn(server(old, 1)), tokio::spawn(server(new, 2))];
        let host = Arc::new(AtomicU8::new(1));
        let named = Arc::clone(&host);
        let connections = Connections::new(Duration::from_secs(300), move || {
            Ok(reqwest::Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .dns_resolver(Arc::new(Moving(Arc::clone(&named))))
                .build()?)
        })
        .unwrap();
        let url = format!("http://gateway.test:{port}/");
        let ask = async |at: Instant| {
            let call = connections.client_at(at).get(&url);
            call.send().await.unwrap().text().await.unwrap()
        };
        let start = Instant::now();
        assert_eq!(ask(start).await, "1");
        host.store(2, Ordering::Relaxed);
        assert_eq!(ask(start).await, "1", "the kept connection is used");
        let later = start + Duration::from_secs(301);
        assert_eq!(
            ask(later).await,
            "2",
            "after its age the name is asked again"
        );
        host.store(1, Ordering::Relaxed);
        assert_eq!(ask(later).await, "2");
        // The name server is away when new connections are needed: nothing was sent, and it is asked again.
        host.store(0, Ordering::Relaxed);
        let last = later + Duration::from_secs(301);
        let refused = connections.client_at(last).get(&url).send().await;
        let failed = failure(refused.unwrap_err());
        assert!(matches!(failed, Failure::Connect(_)), "{failed:?}");
        host.store(2, Ordering::Relaxed);
        assert_eq!(ask(last).await, "2");
        for server in servers {
            server.abort();
        }
    }

    #[test]
    fn a_redirect_takes_no_secret_to_another_server() {
        let from: Url = "https://sheets.example/get?key=S3CRET&x=1".parse().unwrap();
        for to in [
            "https://sheets.example/other?key=S3CRET",
            "https://cdn.example/file",
            "https://cdn.example/file?signature=abc",
        ] {
            assert_eq!(may_lead(&from, &to.parse().unwrap()), Ok(()), "{to}");
        }
        for to in [
            "https://cdn.example/file?key=S3CRET",
            "https://cdn.example/file?again=S3CRET",
            "https://cdn.example/S3CRET",
            "https://sheets.example:8443/get?key=S3CRET&x=1",
            "http://sheets.example/get",
            "http://127.0.0.1/get",
        ] {
            assert!(may_lead(&from, &to.parse().unwrap()).is_err(), "{to}");
        }
    }

    #[test]
    fn a_secret_address_is_never_shown() {
        for text in [
            "http://sheets.example/?key=S3CRET",
            "ftp://127.0.0.1/?key=S3CRET",
            "S3CRET",
            "https:// S3CRET",
        ] {
            let error = secret_address("orders.terminations.url", text).unwrap_err();
            let error = format!("{error:#}");
            assert!(
                !error.contains("S3CRET") && error.contains("orders.terminations.url"),
                "{error}"
            );
        }
        assert!(secret_address("s", "http://127.0.0.1:1/?key=S3CRET").is_ok());
        assert!(secret_address("s", "https://sheets.example/?key=S3CRET").is_ok());
    }

    #[test]
    fn plain_http_only_to_this_machine() {
        for url in [
            "http://127.0.0.1:1/",
            "http://localhost:8080",
            "http://[::1]:9/x",
            "https://dig.example:443/",
        ] {
            assert!(address("dig", "url", url, false).is_ok(), "{url}");
        }
        for url in [
            "http://dig.example/",
            "ftp://127.0.0.1/",
            "dig.example",
            "https://u:p@dig.example/",
            "",
        ] {
            let error = address("dig", "url", url, false).unwrap_err().to_string();
            assert!(error.starts_with("[dig] url "), "{url}: {error}");
        }
        assert!(address("dig", "url", "http://gateway.internal/", true).is_ok());
    }
}
