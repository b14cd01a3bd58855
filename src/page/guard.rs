//! Who may see the operator page, and the headers of its answers.
//!
//! A server on a loopback address trusts who reaches it, unless tokens are set; elsewhere the page needs a token. The token comes as a
//! bearer token, or once in a login that opens a session: a cookie that scripts cannot read and that no other site's request carries.
//! Sessions live in memory: they end with the process, after `LIFE`, or when there are more than `MOST`.
//!
//! * A request under a host name that is not `localhost`, an IP address or in `ops.page.hosts` is refused: a name that another site
//!   points here (DNS rebinding) reads nothing.
//! * A request with an `Origin` of another host is refused; one that changes something needs an `Origin`, or a bearer token.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use percent_encoding::percent_decode_str;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::config::printable;
use crate::http::tokens::{NAMELESS, Tokens};
use crate::ops;

/// How long a session lives.
const LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// Sessions at the same time; the oldest ends for a younger one.
const MOST: usize = 64;
const COOKIE: &str = "dig-ingest-session";
/// Removes the cookie.
pub(super) const GONE: &str = "dig-ingest-session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0";
/// Who acts, percent-encoded, where no token says so.
const PERSON: &str = "dig-person";
/// Longest name of a person, in characters.
const LONGEST_NAME: usize = 60;

/// What a browser may do with an answer: the page's own files, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// See the module's documentation.
pub(super) struct Guard {
    /// `None`: whoever reaches the address may use the page.
    tokens: Option<Tokens>,
    /// The server listens on a loopback address.
    local: bool,
    /// Host names beside `localhost` and IP addresses, in lower case.
    hosts: Vec<String>,
    /// Open sessions, the oldest first.
    sessions: Mutex<VecDeque<Session>>,
}

struct Session {
    id: String,
    who: Box<str>,
    until: Instant,
}

/// A session that was opened.
pub(super) struct Opened {
    pub(super) who: Box<str>,
    /// The value of `Set-Cookie`.
    pub(super) cookie: String,
}

impl Guard {
    /// # Errors
    /// Tokens that cannot be used.
    pub(super) fn new(config: &ops::Config) -> anyhow::Result<Self> {
        let page = &config.page;
        let tokens = match page.has_token() {
            true => Some(Tokens::load("ops.page", &page.token, &page.token_file)?),
            false => None,
        };
        let local = config.listen.ip().is_loopback();
        if !local {
            match tokens {
                Some(_) => tracing::warn!(
                    address = %config.listen,
                    "the operator page is served beyond this machine and its tokens travel in the clear: put a TLS proxy in front"
                ),
                None => tracing::warn!(
                    address = %config.listen,
                    "the operator page is not served: beyond this machine it needs a token; set ops.page.token_file"
                ),
            }
        }
        Ok(Self {
            tokens,
            local,
            hosts: page.hosts.iter().map(|host| host.to_lowercase()).collect(),
            sessions: Mutex::default(),
        })
    }

    pub(super) fn needs_token(&self) -> bool {
        self.tokens.is_some()
    }

    /// Opens a session for the owner of a token.
    pub(super) fn open(&self, token: &str, secure: bool) -> Option<Opened> {
        let who = self.tokens.as_ref()?.owner(token)?;
        let id = format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        let secure = if secure { "; Secure" } else { "" };
        let cookie = format!(
            "{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}",
            LIFE.as_secs()
        );
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() == MOST {
            sessions.pop_front();
        }
        sessions.push_back(Session {
            id,
            who: who.clone(),
            until: Instant::now() + LIFE,
        });
        Some(Opened { who, cookie })
    }

    /// Ends the session of a request.
    pub(super) fn close(&self, headers: &HeaderMap) {
        let Some(id) = cookie(headers) else { return };
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| !same(&session.id, id));
    }

    /// Whom a request's session or bearer token belongs to.
    pub(super) fn person(&self, headers: &HeaderMap) -> Option<Box<str>> {
        let tokens = self.tokens.as_ref()?;
        if let Some(name) = tokens.bearer(headers) {
            return Some(name);
        }
        let (id, now) = (cookie(headers)?, Instant::now());
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| session.until > now);
        // All are compared, whichever fits.
        let mut found = None;
        for session in sessions.iter() {
            if same(&session.id, id) {
                found = Some(session.who.clone());
            }
        }
        found
    }

    /// In whose name a request acts. Where no token says so the person says it, and what only reads needs no name.
    pub(super) fn caller(
        &self,
        headers: &HeaderMap,
        reads: bool,
    ) -> Result<Box<str>, Box<Response>> {
        if self.needs_token() {
            return self.person(headers).ok_or_else(|| Box::new(stranger()));
        }
        let given = headers.get(PERSON).and_then(|name| name.to_str().ok());
        let given = given.and_then(|name| percent_decode_str(name).decode_utf8().ok());
        let name = given.as_deref().map(str::trim).unwrap_or_default();
        let fits = name.chars().count() <= LONGEST_NAME && !name.chars().any(printable::is_hidden);
        match (name, reads) {
            ("", true) => Ok(NAMELESS.into()),
            (name, _) if !name.is_empty() && fits => Ok(name.into()),
            _ => Err(Box::new(refused(
                StatusCode::BAD_REQUEST,
                "person",
                "the audit trail needs the name of who acts",
                "give a name of at most 60 characters: on the page under `Name`, else in the header `Dig-Person`, percent-encoded",
            ))),
        }
    }

    /// Why a request is not served at all.
    fn refusal(&self, request: &Request) -> Option<Response> {
        let headers = request.headers();
        if !self.local && !self.needs_token() {
            return Some(refused(
                StatusCode::FORBIDDEN,
                "no-token-set",
                "the operator page needs a token, because ops.listen is not a loopback address",
                "set ops.page.token_file, or ops.listen to a loopback address",
            ));
        }
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let Some(host) = host.filter(|host| self.is_ours(host)) else {
            return Some(refused(
                StatusCode::MISDIRECTED_REQUEST,
                "host",
                "the operator page is not served under this host name",
                "open it by localhost or an IP address, or add the name to ops.page.hosts",
            ));
        };
        let foreign = || {
            Some(refused(
                StatusCode::FORBIDDEN,
                "origin",
                "the request comes from another site",
                "act on the operator page itself; programs send the header `Authorization: Bearer TOKEN`",
            ))
        };
        let origin = headers.get(header::ORIGIN).map(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
        });
        let from = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let elsewhere = !matches!(from, None | Some(b"same-origin" | b"none"));
        let is_page = request.uri().path() == "/";
        // A link from elsewhere may lead to the page itself, which has no data.
        if elsewhere && !is_page {
            return foreign();
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match origin {
            Some(true) => None,
            Some(false) => foreign(),
            None if reads => None,
            None if self
                .tokens
                .as_ref()
                .is_some_and(|tokens| tokens.bearer(headers).is_some()) =>
            {
                None
            }
            None => foreign(),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.to_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.hosts.contains(&name)
    }
}

/// Asks the guard first, and puts the headers on every answer.
pub(super) async fn fenced(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = match guard.refusal(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = answer.headers_mut();
    // A page to print brings its own, narrower policy.
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        let policy = HeaderValue::from_static(POLICY);
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Whether the browser came by TLS, to a proxy in front.
pub(super) fn is_secure(headers: &HeaderMap) -> bool {
    headers
        .get(header::ORIGIN)
        .is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

/// The session's id in a request.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|cookie| {
            let (name, value) = cookie.trim().split_once('=')?;
            (name == COOKIE).then_some(value)
        })
}

fn same(known: &str, given: &str) -> bool {
    known.as_bytes().ct_eq(given.as_bytes()).into()
}

/// The answer to a request without a token or session of ours.
pub(super) fn stranger() -> Response {
    let answer = refused(
        StatusCode::UNAUTHORIZED,
        "token",
        "no token of ours was given",
        "log in with a token of ops.page.token_file; programs send the header `Authorization: Bearer TOKEN`",
    );
    ([(header::WWW_AUTHENTICATE, "Bearer")], answer).into_response()
}

/// An error in the form of the orders API.
pub(super) fn refused(status: StatusCode, code: &str, what: &str, remedy: &str) -> Response {
    let body = json!({ "error": { "code": code, "what": what, "remedy": remedy } });
    (status, Json(body)).into_response()
}
