//! The operator page: what the job does now, its devices, orders and letters, for people with a browser.
//!
//! Owns the page's files (in the binary), who may see it ([`guard`]), the history behind its charts (`history`), and the reads that no
//! other part has ([`devices`], [`letters`]). The orders are the API of `orders::web`, mounted while the orders part runs. The page is
//! served by the operations server; that server's own paths stay as they are.
//!
//! * W1: nothing is shown or done for a request from another site, under a foreign host name, or without a token where one is needed.
//! * W2: a text of others is data: the page's scripts put it into text nodes, and the policy of every answer permits only the page's
//!   own files.
//! * W3: the page can neither stop nor slow the job (N1): what it reads is bounded, and one search or reading of letters runs at a time.
//!
//! It knows no TLS: a proxy in front has that.

mod assets;
pub mod devices;
pub mod guard;
mod history;
pub mod letters;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::http::mount::Mount;
use crate::http::server;
use crate::http::tokens::Caller;
use crate::ops;
use crate::ops::metrics::Exposition;
use crate::ops::status_registry::StatusRegistry;
use guard::{Guard, refused};
use history::History;

/// Bytes of a login's body at most.
const LOGIN_BYTES: usize = 4096;

/// Places for what the parts of the job answer themselves.
#[derive(Debug, Clone, Default)]
pub struct Mounts {
    /// The API of the orders; filled while their store is open.
    pub orders: Mount,
    /// [`devices`]; filled while a registry is followed.
    pub devices: Mount,
}

#[derive(Clone)]
struct Site {
    guard: Arc<Guard>,
    /// Sums of counters of the last minutes.
    history: Arc<History>,
    /// The parts' own answers; shared with the parts.
    mounts: Mounts,
    /// [`letters`].
    letters: Router,
}

/// The page's paths, for the operations server. Without `ops.page.enabled` there are none.
///
/// # Errors
/// Tokens that cannot be used.
pub fn router(
    config: &ops::Config,
    exposition: Exposition,
    board: Arc<StatusRegistry>,
    mounts: Mounts,
    letters: Router,
) -> anyhow::Result<Router> {
    if !config.page.enabled {
        return Ok(Router::new());
    }
    let site = Site {
        guard: Arc::new(Guard::new(config)?),
        history: History::follow(exposition, board),
        mounts,
        letters,
    };
    let guard = Arc::clone(&site.guard);
    Ok(Router::new()
        .route("/", get(assets::index))
        .route("/page/{file}", get(asset))
        .route("/page/history", get(past))
        .route("/page/session", get(session))
        .route("/page/login", post(login))
        .route("/page/logout", post(logout))
        .route("/api/{*path}", any(api))
        .layer(middleware::from_fn_with_state(guard, guard::fenced))
        .with_state(site))
}

async fn asset(Path(file): Path<String>) -> Response {
    assets::named(&file).unwrap_or_else(|| {
        refused(
            StatusCode::NOT_FOUND,
            "not-found",
            "the page has no such file",
            "open `/`",
        )
    })
}

/// Who the browser is to the page, and which parts of the job answer.
async fn session(State(site): State<Site>, headers: HeaderMap) -> Response {
    let who = site.guard.person(&headers);
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "token_needed": site.guard.needs_token(),
        "who": who,
        "orders": site.mounts.orders.is_filled(),
        "devices": site.mounts.devices.is_filled(),
    });
    fresh(Json(body).into_response())
}

async fn past(State(site): State<Site>, headers: HeaderMap) -> Response {
    if site.guard.needs_token() && site.guard.person(&headers).is_none() {
        return guard::stranger();
    }
    fresh(Json(site.history.samples()).into_response())
}

async fn login(State(site): State<Site>, request: Request) -> Response {
    let secure = guard::is_secure(request.headers());
    let body = axum::body::to_bytes(request.into_body(), LOGIN_BYTES).await;
    let given: Option<serde_json::Value> = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok());
    let token = given.as_ref().and_then(|given| given["token"].as_str());
    let Some(opened) = token.and_then(|token| site.guard.open(token.trim(), secure)) else {
        return guard::stranger();
    };
    let mut answer = fresh(Json(json!({ "who": opened.who })).into_response());
    if let Ok(cookie) = HeaderValue::from_str(&opened.cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

async fn logout(State(site): State<Site>, headers: HeaderMap) -> Response {
    site.guard.close(&headers);
    let mut answer = fresh(Json(json!({ "who": null })).into_response());
    let gone = HeaderValue::from_static(guard::GONE);
    answer.headers_mut().insert(header::SET_COOKIE, gone);
    answer
}

/// Everything below `/api`: who asks is found out, then the part that has it answers.
async fn api(State(site): State<Site>, request: Request<Body>) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let name = match site.guard.caller(request.headers(), reads) {
        Ok(name) => name,
        Err(answer) => return *answer,
    };
    let path = request.uri().path().to_owned();
    // The part's own router reads the path anew: what this one has read of it must not be there.
    let (mut head, body) = request.into_parts();
    head.extensions = Extensions::new();
    head.extensions.insert(Caller(name));
    let request = Request::from_parts(head, body);
    let part = path.split('/').nth(2).unwrap_or_default();
    let answer = match part {
        "devices" => site.mounts.devices.answer(request).await,
        "letters" => {
            let mount = Mount::default();
            let _filled = mount.fill(site.letters.clone());
            mount.answer(request).await
        }
        _ => site.mounts.orders.answer(request).await,
    };
    let answer = answer.unwrap_or_else(|| {
        let (what, remedy) = match part {
            "devices" => (
                "no device registry is followed by this process, or it is not read yet",
                "start the pipeline part here (`run` without --only orders), or set registry.source",
            ),
            _ => (
                "the orders part does not run in this process, or its store has not answered yet",
                "set orders.enabled = true and start without --only pipeline; /status says what its store answers",
            ),
        };
        refused(StatusCode::SERVICE_UNAVAILABLE, "not-running", what, remedy)
    });
    fresh(server::cleaned(answer).await)
}

/// An answer that is not kept by anybody.
fn fresh(mut answer: Response) -> Response {
    let kept = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(header::CACHE_CONTROL, kept);
    answer
}
