//! The warehouse's and the office's side over HTTP: what `dig-ingest orders` does, for their own programs.
//!
//! Thin: every request is one call of the store or of what the command calls too. Off unless switched on; listens on loopback
//! unless told otherwise, and knows no TLS: a proxy in front has that. Every path asks for a bearer token, compared in constant
//! time; the token's name is who acted in the audit trail. Bodies, seats, time and connections ([`server`]) are bounded: with all seats taken a request
//! waits, and the time it may take runs meanwhile. A request that is broken off leaves no half of a change.

mod fields;
mod operator_tasks;
mod problem;
mod recover;
mod sheets;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Router, http};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::Clock;
use super::desk::Outside;
use super::journey::Actor;
use super::store::Store;
use super::store::operator_actions::Subject;
use crate::config::secret::Secret;
use crate::http::server::{self, Limits, Server};
use crate::http::tokens::{Caller, Tokens};
use operator_tasks::{Explained, explained};
use problem::Problem;

/// Requests worked on at the same time.
const SEATS: usize = 16;

/// Settings (`[orders.web]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// Listen address; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Bearer token of a client that the audit trail names `api`.
    pub token: Secret,
    /// File of bearer tokens by name, one `NAME TOKEN` per line.
    pub token_file: PathBuf,
    pub max_body_bytes: usize,
    /// Request timeout in seconds (1 or more): time within which a request is answered.
    pub answer_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9465)),
            token: Secret::default(),
            token_file: PathBuf::new(),
            max_body_bytes: 1_048_576,
            answer_s: 30,
        }
    }
}

impl Config {
    /// Checks of the settings that their types do not make.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), String> {
        let in_file = !self.token_file.as_os_str().is_empty();
        if self.enabled && self.token.is_empty() && !in_file {
            return Err("web.token_file: the API needs a token; name a file that holds one".into());
        }
        if in_file && !self.token.is_empty() {
            return Err("web.token_file: web.token is set too; remove one of the two".into());
        }
        if self.max_body_bytes == 0 {
            return Err("web.max_body_bytes: must be at least 1".into());
        }
        if self.answer_s == 0 {
            return Err("web.answer_s: must be at least 1".into());
        }
        Ok(())
    }
}

/// The parts from which requests are answered.
#[derive(Clone)]
struct ApiState {
    /// The orders store; the journey has a clone.
    store: Store,
    /// Settings of the orders.
    config: Arc<super::Config>,
    /// Asks the device registry and MyAdmin, about sheets and recoveries.
    outside: Outside,
    /// Prefixes of the serials of own products.
    own: Arc<[String]>,
    /// The wall clock.
    clock: Clock,
    /// Bearer tokens by name; `None` behind a server that finds out by itself who asks.
    tokens: Option<Arc<Tokens>>,
    /// Bounds the requests that are worked on at the same time.
    seats: Arc<Semaphore>,
    /// One recovery is planned at a time: it reads the registry whole.
    recoveries: Arc<Semaphore>,
}

/// The running API.
#[derive(Debug)]
pub struct Handle {
    /// The address it listens on.
    address: SocketAddr,
    /// The server; `stop` ends it in order.
    server: Server,
}

impl Handle {
    /// The address it listens on, with the port that was really taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops answering; requests under way are finished, within the server's bound.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// Starts serving.
///
/// # Errors
/// No usable token, or the address cannot be listened on.
pub async fn start(
    config: Arc<super::Config>,
    store: Store,
    outside: Outside,
    clock: Clock,
) -> anyhow::Result<Handle> {
    let web = &config.web;
    let tokens = Tokens::load("orders.web", &web.token, &web.token_file)?;
    let (listener, address) = server::listen("orders.web.listen", web.listen).await?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "the orders API listens beyond this machine and its tokens travel in the clear: put a TLS proxy in front"
        );
    }
    let router = router(Some(Arc::new(tokens)), config, store, outside, clock);
    let server = server::serve(listener, router, Limits::reporting("orders"), |_| ());
    Ok(Handle { address, server })
}

/// The same API for a server that finds out by itself who asks: a request without a [`Caller`] is refused.
pub fn mounted(config: Arc<super::Config>, store: Store, outside: Outside, clock: Clock) -> Router {
    router(None, config, store, outside, clock)
}

fn router(
    tokens: Option<Arc<Tokens>>,
    config: Arc<super::Config>,
    store: Store,
    outside: Outside,
    clock: Clock,
) -> Router {
    let body = config.web.max_body_bytes;
    let desk = ApiState {
        store,
        own: config.own_prefixes().into(),
        config,
        outside,
        clock,
        tokens,
        seats: Arc::new(Semaphore::new(SEATS)),
        recoveries: Arc::new(Semaphore::new(1)),
    };
    routes()
        .fallback(operator_tasks::nowhere)
        .method_not_allowed_fallback(operator_tasks::not_so)
        .layer(DefaultBodyLimit::max(body))
        .layer(middleware::from_fn_with_state(desk.clone(), guarded))
        .with_state(desk)
}

fn routes() -> Router<ApiState> {
    Router::new()
        .route("/api/orders", get(operator_tasks::list))
        .route("/api/orders/{id}", get(operator_tasks::show))
        .route("/api/orders/{id}/approve", post(operator_tasks::approve))
        .route(
            "/api/orders/{id}/park",
            post(|task| explained(task, Subject::Order, Explained::Park)),
        )
        .route("/api/orders/{id}/retry", post(operator_tasks::retry_order))
        .route(
            "/api/orders/{id}/cancel",
            post(|task| explained(task, Subject::Order, Explained::Cancel)),
        )
        .route("/api/orders/{id}/ship", post(operator_tasks::ship))
        .route("/api/units", get(operator_tasks::units))
        .route("/api/units/{id}/assign", post(operator_tasks::assign))
        .route(
            "/api/units/{id}/park",
            post(|task| explained(task, Subject::Unit, Explained::Park)),
        )
        .route(
            "/api/orders/{id}/resume",
            post(|task| explained(task, Subject::Order, Explained::Resume)),
        )
        .route("/api/units/{id}/retry", post(operator_tasks::retry_unit))
        .route(
            "/api/units/{id}/cancel",
            post(|task| explained(task, Subject::Unit, Explained::Cancel)),
        )
        .route(
            "/api/units/{id}/resume",
            post(|task| explained(task, Subject::Unit, Explained::Resume)),
        )
        .route(
            "/api/units/{id}/replace",
            post(|task| explained(task, Subject::Unit, Explained::Replace)),
        )
        .route("/api/units/{id}/swap", post(operator_tasks::swap))
        .route("/api/alarms", get(operator_tasks::alarms))
        .route("/api/alarms/clear", post(operator_tasks::clear))
        .route("/api/serials/unclaimed", get(operator_tasks::unclaimed))
        .route("/api/sheets", get(sheets::list))
        .route("/api/sheets/{sheet}", get(sheets::show))
        .route("/api/sheets/{sheet}/accept", post(sheets::accept))
        .route("/api/sheets/{sheet}/refuse", post(sheets::refuse))
        .route("/api/recover", get(recover::show).post(recover::accept))
        .route("/api/events", get(operator_tasks::events))
        .route("/api/import", post(operator_tasks::import))
        .route("/api/export/{paper}", get(operator_tasks::export))
}

/// Who asks is known before anything of the request is read; then it gets a seat.
async fn guarded(State(desk): State<ApiState>, mut request: Request, next: Next) -> Response {
    let name = match &desk.tokens {
        Some(tokens) => tokens.bearer(request.headers()),
        None => request
            .extensions()
            .get::<Caller>()
            .map(|caller| caller.0.clone()),
    };
    let Some(name) = name else {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (challenge, Problem::stranger()).into_response();
    };
    request.extensions_mut().insert(Actor::Person(name));
    let answer = async {
        let Ok(_seat) = desk.seats.acquire().await else {
            return Problem::busy().into_response();
        };
        next.run(request).await
    };
    let within = Duration::from_secs(desk.config.web.answer_s);
    let answer = tokio::time::timeout(within, answer)
        .await
        .unwrap_or_else(|_| Problem::busy().into_response());
    let mut answer = server::cleaned(answer).await;
    let kept = http::HeaderValue::from_static("no-store");
    answer.headers_mut().insert(header::CACHE_CONTROL, kept);
    answer
}
